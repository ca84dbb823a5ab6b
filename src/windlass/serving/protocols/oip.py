"""The Open Inference Protocol, version 2, over HTTP: requests in, answers out.

Its schema is specification/protocol/open_inference_rest.yaml of github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, cast

import msgspec

from windlass.domain import version
from windlass.domain.errors import Failure, Invalid, NotFound
from windlass.domain.schema import Column, Kind, Scalar
from windlass.serving.protocols.decoding import Path, decoded, require_once, shown
from windlass.serving.protocols.rows import Columns, bound, fit, known, lists, of_columns, of_matrix
from windlass.serving.record import Row
from windlass.serving.wire import Description

PREDICT, PROBABILITY = "predict", "probability"

_DATATYPES = MappingProxyType(
    {Kind.INTEGER: "INT64", Kind.NUMBER: "FP64", Kind.STRING: "BYTES", Kind.BOOLEAN: "BOOL"},
)
_INTEGERS = MappingProxyType(
    {f"INT{bits}": (-(1 << bits - 1), (1 << bits - 1) - 1) for bits in (8, 16, 32, 64)}
    | {f"UINT{bits}": (0, (1 << bits) - 1) for bits in (8, 16, 32, 64)}
)
_FLOATS = MappingProxyType({"FP16": 65504.0, "FP32": 3.4028234663852886e38, "FP64": math.inf})
_HINT = '{"inputs": [{"name": "x", "shape": [n], "datatype": "FP64", "data": [...]}, ...]}'

_Values = list[list[Scalar] | Scalar]


class _Tensor(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: _Values | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, msgspec.Raw] | None = None


class _Wanted(msgspec.Struct, gc=False):
    name: str
    parameters: dict[str, msgspec.Raw] | None = None


class _Body(msgspec.Struct, gc=False):
    inputs: list[_Tensor]
    id: str | None = None
    outputs: list[_Wanted] | None = None
    parameters: dict[str, msgspec.Raw] | None = None


class _Output(msgspec.Struct, gc=False):
    name: str
    shape: tuple[int]
    datatype: str
    data: Sequence[Scalar]


class _Answer(msgspec.Struct, gc=False):
    model_name: str
    model_version: str
    id: str
    parameters: dict[str, str]
    outputs: list[_Output]


_DECODER = msgspec.json.Decoder(_Body)
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Inference:
    """A request: its rows, its own id ("": none), and the names of the outputs it wants (none: all)."""

    rows: list[Row]
    id: str
    outputs: tuple[str, ...]


def inference(body: bytes, columns: Columns | None, *, binary: bool = False) -> Inference:
    """The request of a body. Its tensors are one a column ([n] or [n, 1]), or one of all columns in the signature's
    order ([n, k]); data lie row by row, flat or nested.

    Raises:
        Invalid: the body is no request of the protocol, or does not fit the columns; names the tensor.
        Untold: nobody knows the columns yet.
    """
    if binary:
        raise Invalid("tensors in binary are not read here", hint="send the data as JSON")
    sent = decoded(_DECODER, body, _place, _fault, f"send {_HINT}")
    require_once(body, _names(sent), _place)
    wanted = tuple(each.name for each in sent.outputs or ())
    return Inference(_rows(sent.inputs, known(columns)), sent.id or "", wanted)


def infer_body(
    wanted: Sequence[str], *, model: str, release: str, identity: str, prediction_id: str,
    predictions: Sequence[Scalar], chances: Sequence[float] | None, number: bool = False,
) -> bytes:  # fmt: skip
    """The answer to an inference. ``number``: the signature says that predictions are numbers, be they whole or not.

    Raises:
        Invalid: it wants an output that the model has not.
    """
    outputs = [_Output(PREDICT, (len(predictions),), _datatype(predictions, number=number), predictions)]
    if chances is not None:
        outputs.append(_Output(PROBABILITY, (len(chances),), "FP64", chances))
    if wanted:
        by_name = {each.name: each for each in outputs}
        require_outputs(wanted, tuple(by_name))
        outputs = [by_name[name] for name in dict.fromkeys(wanted)]
    return _ENCODER.encode(_Answer(model, release, identity, {"prediction_id": prediction_id}, outputs))


def require_outputs(wanted: Sequence[str], known: Sequence[str]) -> None:
    """Hold what a request wants against what the model gives.

    Raises:
        Invalid: it wants what there is not.
    """
    for name in wanted:
        if name not in known:
            raise Invalid(f"the model has no output '{shown(name)}'", hint=f"it has {', '.join(known)}")


def outputs_of(described: Description) -> tuple[str, ...]:
    """The names of a model's outputs."""
    return (PREDICT, PROBABILITY)[: len(described.signature.outputs)]


def server_body() -> bytes:
    return _ENCODER.encode({"name": "windlass", "version": version.VERSION, "extensions": []})


def live_body() -> bytes:
    return b'{"live":true}'


def ready_body(*, ready: bool, model: str = "") -> bytes:
    return _ENCODER.encode({"name": model, "ready": ready} if model else {"live": True, "ready": ready})


def model_body(name: str, versions: Sequence[str], described: Description) -> bytes:
    """What a model takes and gives. Any number of rows: -1."""
    outputs = zip(outputs_of(described), described.signature.outputs, strict=False)
    return _ENCODER.encode(
        {
            "name": name,
            "versions": versions,
            "platform": described.platform,
            "inputs": [_described(column.name, column) for column in described.signature.inputs],
            "outputs": [_described(name, column) for name, column in outputs],
        }
    )


def error_body(failure: Failure) -> bytes:
    return _ENCODER.encode({"error": f"{failure.message}; {failure.hint}" if failure.hint else failure.message})


def release_of(version: str, versions: Mapping[str, str], model: str) -> str:
    """The release of a version: by its label, the release's own id, or the beginning of one (8 characters, and of
    one release only). ``versions`` are the endpoint's, by label.

    Raises:
        NotFound: the endpoint serves no such version.
    """
    if version in versions:
        return versions[version]
    releases = set(versions.values())
    found = {each for each in releases if each == version or (len(version) >= 8 and each.startswith(version))}
    if len(found) != 1:
        raise NotFound(
            f"model '{shown(model)}' has no version '{shown(version)}'", hint=f"it has {', '.join(sorted(versions))}"
        )
    return found.pop()


def _rows(tensors: Sequence[_Tensor], columns: Columns) -> list[Row]:
    if not tensors:
        raise Invalid("the request has no inputs", hint=f"send {_expected(columns)}")
    first = tensors[0]
    if len(tensors) == 1 and len(first.shape) == 2 and (first.shape[1] != 1 or len(columns) == 1):
        return _all_columns(first, columns)
    by_name = {each.name: each for each in columns}
    found: dict[str, Sequence[Scalar]] = {}
    for tensor in tensors:
        column = by_name.get(tensor.name)
        if column is None:
            raise Invalid(f"tensor '{shown(tensor.name)}' is no input of the model", hint=f"send {_expected(columns)}")
        if tensor.name in found:
            raise Invalid(f"tensor '{shown(tensor.name)}' is there twice")
        found[tensor.name] = _column(tensor, column)
    if len(found) != len(columns):
        missing = next(each.name for each in columns if each.name not in found)
        raise Invalid(f"the request lacks the tensor '{shown(missing)}'", hint=f"send {_expected(columns)}")
    lengths = {len(values): name for name, values in found.items()}
    if len(lengths) != 1:
        fewest, most = min(lengths), max(lengths)
        raise Invalid(
            f"tensor '{shown(lengths[fewest])}' has {fewest} rows, and '{shown(lengths[most])}' {most}",
            hint="send tensors of as many rows",
        )
    bound(found, *lengths)
    return of_columns(list(found), found.values())


def _column(tensor: _Tensor, column: Column) -> Sequence[Scalar]:
    shape = tensor.shape
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
        raise Invalid(f"tensor '{shown(tensor.name)}' has the shape {_shape(shape)}", hint="send [n] or [n, 1]")
    values = _flat(tensor)
    _require_kind(tensor, column)
    return fit(values, column)


def _all_columns(tensor: _Tensor, columns: Columns) -> list[Row]:
    what = f"tensor '{shown(tensor.name)}'"
    count, width = tensor.shape
    if width != len(columns):
        raise Invalid(
            f"{what} has the shape {_shape(tensor.shape)}, and the model takes {len(columns)} columns",
            hint=f"send {_expected(columns)}",
        )
    values = _flat(tensor)
    for column in columns:
        _require_kind(tensor, column)
    rows = [values[start : start + width] for start in range(0, count * width, width)]
    return of_matrix(rows, columns, what)


def _flat(tensor: _Tensor) -> Sequence[Scalar]:
    """The tensor's values, as many as its shape says, and of its datatype."""
    what, shape, data = f"tensor '{shown(tensor.name)}'", tensor.shape, tensor.data
    if data is msgspec.UNSET:
        if "binary_data_size" in (tensor.parameters or ()):
            raise Invalid(f"{what} is sent in binary, which is not read here", hint="send its data as JSON")
        raise Invalid(f"{what} has no data")
    if any(size < 0 for size in shape):
        raise Invalid(f"{what} has the shape {_shape(shape)}", hint="no size is below 0")
    flat = lists(data)
    if flat is None:
        values = cast(Sequence[Scalar], data)
        if list in set(map(type, data)):
            raise Invalid(f"{what} has data that are nested here and flat there")
    else:
        width = shape[1] if len(shape) == 2 else 0
        if len(shape) != 2 or set(map(len, flat)) != {width}:
            raise Invalid(f"{what} has the shape {_shape(shape)}, and its data are nested otherwise")
        values = [value for row in flat for value in row]
    if math.prod(shape) != len(values):
        raise Invalid(f"{what} has the shape {_shape(shape)}, and {len(values)} values")
    _require_datatype(tensor, values)
    return values


def _require_datatype(tensor: _Tensor, values: Sequence[Scalar]) -> None:
    what, datatype = f"tensor '{shown(tensor.name)}'", tensor.datatype
    kinds = set(map(type, values)) - {type(None)}
    present = values if len(kinds) == 0 or None not in values else [each for each in values if each is not None]
    bounds = _INTEGERS.get(datatype)
    most = _FLOATS.get(datatype)
    if bounds is not None:
        _require_types(tensor, kinds, {int})
        numbers = cast(Sequence[int], present)
        if kinds and not bounds[0] <= min(numbers) <= max(numbers) <= bounds[1]:
            raise Invalid(f"{what} has a number that is no {datatype}", hint=f"{bounds[0]} to {bounds[1]}")
    elif most is not None:
        _require_types(tensor, kinds, {int, float})
        if kinds and most != math.inf and max(map(abs, cast(Sequence[float], present))) > most:
            raise Invalid(f"{what} has a number that is no {datatype}", hint=f"the largest is {most:g}")
    elif datatype == "BOOL":
        _require_types(tensor, kinds, {bool})
    elif datatype == "BYTES":
        _require_types(tensor, kinds, {str})
    else:
        known = ", ".join(("BOOL", *_INTEGERS, *_FLOATS, "BYTES"))
        raise Invalid(f"{what} is of the unknown datatype '{shown(datatype)}'", hint=f"known: {known}")


def _require_types(tensor: _Tensor, kinds: set[type], accepted: set[type]) -> None:
    if kinds <= accepted:
        return
    names: dict[type, str] = {bool: "a truth value", str: "text", float: "a fraction", int: "a number"}
    raise Invalid(
        f"tensor '{shown(tensor.name)}' is {tensor.datatype}, and has {names.get((kinds - accepted).pop(), 'a list')}"
    )


def _require_kind(tensor: _Tensor, column: Column) -> None:
    """Hold a tensor's datatype against a column; which numbers fit it is seen by their values."""
    datatype = tensor.datatype
    number = datatype in _INTEGERS or datatype in _FLOATS
    fits = {
        Kind.STRING: datatype == "BYTES",
        Kind.BOOLEAN: datatype == "BOOL" or number,
        Kind.INTEGER: number,
        Kind.NUMBER: number,
    }[column.kind]
    if not fits:
        raise Invalid(
            f"tensor '{shown(tensor.name)}' is {datatype}, and column '{shown(column.name)}' is {column.kind}",
            hint=f"send {_DATATYPES[column.kind]}",
        )


def _datatype(values: Sequence[Scalar], *, number: bool) -> str:
    kinds = set(map(type, values))
    if kinds == {str}:
        return "BYTES"
    if kinds == {bool}:
        return "BOOL"
    return "INT64" if kinds == {int} and not number else "FP64"


def _described(name: str, column: Column) -> dict[str, Any]:
    return {"name": name, "datatype": _DATATYPES[column.kind], "shape": [-1]}


def _expected(columns: Columns) -> str:
    listed = ", ".join(f"{shown(each.name)}: {_DATATYPES[each.kind]}" for each in columns[:50])
    return f"{listed}{', ...' if len(columns) > 50 else ''}; or one tensor [n, {len(columns)}]"


def _shape(shape: Sequence[int]) -> str:
    return shown(list(shape[:8]) if len(shape) <= 8 else f"{list(shape[:8])[:-1]}... of {len(shape)} sizes")


def _names(sent: _Body) -> int:
    """How many names an ordinary body of this has: its objects' fields and their parameters'."""
    names = 1 + (sent.id is not None) + _of(sent.parameters)
    for tensor in sent.inputs:
        names += 4 + _of(tensor.parameters)
    if sent.outputs is not None:
        names += 1
        for wanted in sent.outputs:
            names += 1 + _of(wanted.parameters)
    return names


def _of(parameters: Mapping[str, object] | None) -> int:
    return 0 if parameters is None else 1 + len(parameters)


def _place(plain: Any, path: Path) -> str:
    match path:
        case (("inputs" | "outputs") as kind, int(at), *_):
            each = plain[kind][at]
            name = each.get("name") if isinstance(each, dict) else None
            word = "tensor" if kind == "inputs" else "output"
            return f"{word} '{shown(name)}'" if isinstance(name, str) else f"{word} {at + 1}"
        case (str(name), *_):
            return f"'{shown(name)}'"
        case _:
            return ""


_FIELDS: tuple[tuple[Literal["name", "shape", "datatype"], type, str], ...] = (
    ("name", str, "text"), ("shape", list, "a list of whole numbers"), ("datatype", str, "text"),
)  # fmt: skip


def _fault(plain: Any) -> str:
    if not isinstance(plain, dict):
        return "the body is not a JSON object"
    if not isinstance(plain.get("inputs"), list):
        return "the request has no inputs" if "inputs" not in plain else "inputs is not a list of tensors"
    if not isinstance(plain.get("id"), str | None):
        return "id is not text"
    for at, tensor in enumerate(plain["inputs"]):
        if not isinstance(tensor, dict):
            return f"tensor {at + 1} is not an object"
        what = _place(plain, ("inputs", at))
        for field, kind, words in _FIELDS:
            if field not in tensor:
                return f"{what} has no {field}"
            if not isinstance(tensor[field], kind):
                return f"{what}: its {field} is not {words}"
        if not all(isinstance(size, int) and not isinstance(size, bool) for size in tensor["shape"]):
            return f"{what}: its shape is not a list of whole numbers"
        if not isinstance(tensor.get("data", []), list):
            return f"{what}: its data are not a list"
        if not isinstance(tensor.get("parameters"), dict | None):
            return f"{what}: its parameters are not an object"
        if any(_deep(value) for value in tensor.get("data", [])):
            return f"{what}: its data are nested more deeply than rows and columns, or hold objects"
    return ""


def _deep(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(each, dict | list) for each in value))
