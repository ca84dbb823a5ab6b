"""The Open Inference Protocol, version 2, over HTTP: requests in, answers out.

Its schema is specification/protocol/open_inference_rest.yaml of github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, cast

import msgspec

from windlass.domain import version
from windlass.domain.errors import Failure, Invalid, NotFound
from windlass.domain.schema import Column, Kind, Scalar
from windlass.serving.protocols.decoding import Path, decoded, require_once, shown
from windlass.serving.protocols.rows import Columns, bound, fit, known, listed, of_columns, of_matrix
from windlass.serving.record import Row
from windlass.serving.wire import Description

PREDICT, PROBABILITY = "predict", "probability"

_DATATYPES = MappingProxyType(
    {Kind.INTEGER: "INT64", Kind.NUMBER: "FP64", Kind.STRING: "BYTES", Kind.BOOLEAN: "BOOL"},
)
_NULL: type = type(None)
_WHOLE: frozenset[type] = frozenset((int, _NULL))
_NUMBER: frozenset[type] = frozenset((int, float, _NULL))
_NUMERIC = frozenset((Kind.INTEGER, Kind.NUMBER, Kind.BOOLEAN))


@dataclass(frozen=True, slots=True)
class _Type:
    """A datatype: the JSON values that are of it, their bounds, and the columns that they may be for."""

    accepted: frozenset[type]
    kinds: frozenset[Kind]
    bounds: tuple[float, float] | None = None


_TYPES = MappingProxyType(
    {f"INT{bits}": _Type(_WHOLE, _NUMERIC, (-(1 << bits - 1), (1 << bits - 1) - 1)) for bits in (8, 16, 32, 64)}
    | {f"UINT{bits}": _Type(_WHOLE, _NUMERIC, (0, (1 << bits) - 1)) for bits in (8, 16, 32, 64)}
    | {
        "FP16": _Type(_NUMBER, _NUMERIC, (-65504.0, 65504.0)),
        "FP32": _Type(_NUMBER, _NUMERIC, (-3.4028234663852886e38, 3.4028234663852886e38)),
        "FP64": _Type(_NUMBER, _NUMERIC),
        "BOOL": _Type(frozenset((bool, _NULL)), frozenset((Kind.BOOLEAN,))),
        "BYTES": _Type(frozenset((str, _NULL)), frozenset((Kind.STRING,))),
    }
)
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
    require_once(body, _names(sent), (), _place)
    wanted = tuple(each.name for each in sent.outputs or ())
    return Inference(_rows(sent.inputs, known(columns)), sent.id or "", wanted)


def infer_body(
    wanted: Sequence[str], *, model: str, release: str, identity: str, prediction_id: str,
    predictions: Sequence[Scalar], chances: Sequence[float] | None, kind: Kind,
) -> bytes:  # fmt: skip
    """The answer to an inference. ``kind`` is that of predictions as the model's metadata have it.

    Raises:
        Invalid: it wants an output that the model has not.
        Failure: the predictions are of several types, which no tensor can hold.
    """
    outputs = [_Output(PREDICT, (len(predictions),), _datatype(predictions, kind), predictions)]
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
    if len(tensors) == 1 and len(first.shape) == 2 and (first.shape[1] != 1 or len(columns.names) == 1):
        return _all_columns(first, columns)
    found: dict[str, Sequence[Scalar]] = {}
    for tensor in tensors:
        column = columns.by_name.get(tensor.name)
        if column is None:
            raise Invalid(f"{_named(tensor)} is no input of the model", hint=f"send {_expected(columns)}")
        if tensor.name in found:
            raise Invalid(f"{_named(tensor)} is there twice")
        shape = tensor.shape
        if len(shape) != 1 and (len(shape) != 2 or shape[1] != 1):
            raise Invalid(f"{_named(tensor)} has the shape {_shape(shape)}", hint="send [n] or [n, 1]")
        datatype = _type(tensor)
        if column.kind not in datatype.kinds:
            raise _unfit(tensor, column)
        values = _values(tensor, datatype)
        found[tensor.name] = values if column.kind is Kind.NUMBER else fit(values, column)
    if len(found) != len(columns.names):
        missing = next(name for name in columns.names if name not in found)
        raise Invalid(f"the request lacks the tensor '{shown(missing)}'", hint=f"send {_expected(columns)}")
    lengths = set(map(len, found.values()))
    if len(lengths) != 1:
        few, many = (next(name for name in found if len(found[name]) == size) for size in (min(lengths), max(lengths)))
        raise Invalid(
            f"tensor '{shown(few)}' has {min(lengths)} rows, and '{shown(many)}' {max(lengths)}",
            hint="send tensors of as many rows",
        )
    bound(found, *lengths)
    return of_columns(list(found), found.values())


def _all_columns(tensor: _Tensor, columns: Columns) -> list[Row]:
    count, width = tensor.shape
    if width != len(columns.names):
        raise Invalid(
            f"{_named(tensor)} has the shape {_shape(tensor.shape)}, and the model takes {len(columns.names)} columns",
            hint=f"send {_expected(columns)}",
        )
    datatype = _type(tensor)
    if not columns.kinds <= datatype.kinds:
        raise _unfit(tensor, next(each for each in columns.all if each.kind not in datatype.kinds))
    values = _values(tensor, datatype)
    rows = [values[start : start + width] for start in range(0, count * width, width)]
    return of_matrix(rows, columns, _named(tensor))


def _values(tensor: _Tensor, datatype: _Type) -> Sequence[Scalar]:
    """The tensor's values, as many as its shape says, and of its datatype."""
    shape, data = tensor.shape, tensor.data
    if data is msgspec.UNSET:
        if "binary_data_size" in (tensor.parameters or ()):
            raise Invalid(f"{_named(tensor)} is sent in binary, which is not read here", hint="send its data as JSON")
        raise Invalid(f"{_named(tensor)} has no data")
    kinds: set[type] = set(map(type, data))
    values = cast(Sequence[Scalar], data)
    if list in kinds:
        values = _flattened(tensor, kinds)
        kinds = set(map(type, values))
    # Two sizes at the most. One below 0 is no size, though two of them have a product.
    if (shape[0] if len(shape) == 1 else shape[0] * shape[1]) != len(values) or shape[0] < 0:
        raise Invalid(f"{_named(tensor)} has the shape {_shape(shape)}, and {len(values)} values")
    if not kinds <= datatype.accepted:
        names: dict[type, str] = {bool: "a truth value", str: "text", float: "a fraction", int: "a number"}
        raise Invalid(f"{_named(tensor)} is {tensor.datatype}, and has {names[(kinds - datatype.accepted).pop()]}")
    if datatype.bounds is not None:
        numbers = cast(Sequence[float], values if _NULL not in kinds else [each for each in values if each is not None])
        least, most = datatype.bounds
        if numbers and not least <= min(numbers) <= max(numbers) <= most:
            raise Invalid(f"{_named(tensor)} has a number that is no {tensor.datatype}", hint=f"{least:g} to {most:g}")
    return values


def _flattened(tensor: _Tensor, kinds: set[type]) -> list[Scalar]:
    """The values of data that are nested."""
    if kinds != {list}:
        raise Invalid(f"{_named(tensor)} has data that are nested here and flat there")
    nested = cast(Sequence[Sequence[Scalar]], tensor.data)
    if len(tensor.shape) != 2 or set(map(len, nested)) != {tensor.shape[1]}:
        raise Invalid(f"{_named(tensor)} has the shape {_shape(tensor.shape)}, and its data are nested otherwise")
    return [value for row in nested for value in row]


def _type(tensor: _Tensor) -> _Type:
    found = _TYPES.get(tensor.datatype)
    if found is None:
        raise Invalid(
            f"{_named(tensor)} is of the unknown datatype '{shown(tensor.datatype)}'", hint=f"known: {listed(_TYPES)}"
        )
    return found


def _unfit(tensor: _Tensor, column: Column) -> Invalid:
    return Invalid(
        f"{_named(tensor)} is {tensor.datatype}, and column '{shown(column.name)}' is {column.kind}",
        hint=f"send {_DATATYPES[column.kind]}",
    )


def _named(tensor: _Tensor) -> str:
    return f"tensor '{shown(tensor.name)}'"


def _datatype(values: Sequence[Scalar], kind: Kind) -> str:
    """The datatype of predictions: by their values, since another release than the described one may have answered."""
    kinds = set(map(type, values)) - {_NULL}
    if kinds == {int}:
        return "FP64" if kind is Kind.NUMBER else "INT64"
    if kinds <= {int, float}:
        return "FP64" if kinds else _DATATYPES[kind]
    if len(kinds) > 1:
        raise Failure("the model's predictions are of several types, which no tensor holds", hint="ask /invocations")
    return "BYTES" if kinds == {str} else "BOOL"


def _described(name: str, column: Column) -> dict[str, Any]:
    return {"name": name, "datatype": _DATATYPES[column.kind], "shape": [-1]}


def _expected(columns: Columns) -> str:
    tensors = listed(f"{shown(each.name)}: {_DATATYPES[each.kind]}" for each in columns.all[:50])
    return f"{tensors}; or one tensor [n, {len(columns.names)}]"


def _shape(shape: Sequence[int]) -> str:
    return shown(list(shape)) if len(shape) <= 8 else f"of {len(shape)} sizes"


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
