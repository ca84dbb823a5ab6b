"""Bodies as MLflow's scoring server takes them: its four forms of JSON, and CSV; and its answer.

https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/ describes them; docs/serving.md says where we differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from windlass.domain.errors import Failure, Invalid
from windlass.domain.schema import Scalar
from windlass.serving.protocols.decoding import Path, decoded, require_once, shown
from windlass.serving.protocols.rows import MOST_ROWS, Columns, bound, known, lists, of_columns, of_matrix
from windlass.serving.record import Row

_FORMS = '{"dataframe_records": [{"column": value, ...}, ...]}, dataframe_split, inputs or instances'
_NAMES = ("dataframe_records", "dataframe_split", "inputs", "instances")

_Tensor = list[Row | list[Scalar] | Scalar] | dict[str, list[Scalar] | Scalar]


class _Split(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    columns: list[str]
    data: list[list[Scalar]]
    index: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Body(msgspec.Struct, gc=False):
    dataframe_records: list[Row] | msgspec.UnsetType = msgspec.UNSET
    dataframe_split: _Split | msgspec.UnsetType = msgspec.UNSET
    inputs: _Tensor | msgspec.UnsetType = msgspec.UNSET
    instances: _Tensor | msgspec.UnsetType = msgspec.UNSET
    params: dict[str, msgspec.Raw] | None = None


class _Answer(msgspec.Struct, gc=False, kw_only=True, omit_defaults=True):
    id: str
    predictions: Sequence[Scalar]
    probabilities: Sequence[float] | None = None
    release: str


_DECODER = msgspec.json.Decoder(_Body)
_ENCODER = msgspec.json.Encoder()


def rows_of(body: bytes, columns: Columns | None = None) -> list[Row]:
    """The rows of a JSON body. ``columns`` are the model's, which rows without names need; None: not known.

    Raises:
        Invalid: it is not JSON, or in none of the forms.
        Untold: it needs the columns, and they are not known.
    """
    sent = decoded(_DECODER, body, _place, _fault, f"send {_FORMS}")
    # Each is compared and not looped over: this is done for every request.
    records, split, inputs, instances = sent.dataframe_records, sent.dataframe_split, sent.inputs, sent.instances
    unset = msgspec.UNSET
    given = (records is not unset) + (split is not unset) + (inputs is not unset) + (instances is not unset)
    if given != 1:
        raise Invalid("the body has no rows" if given == 0 else "the body has rows in two forms", hint=f"send {_FORMS}")
    names = 1 if sent.params is None else 2 + len(sent.params)
    if records is not unset:
        rows = records
        names += sum(map(len, rows))
        _bound_rows(len(rows))
    elif split is not unset:
        found = split
        names += 2 + (found.index is not unset)
        rows = _split(found)
    else:
        given_rows = cast(_Tensor, instances if inputs is unset else inputs)
        if isinstance(given_rows, dict):
            names += len(given_rows)
            rows = _columns(given_rows)
        else:
            _bound_rows(len(given_rows))
            rows = _list(given_rows, columns, "instances" if inputs is unset else "inputs")
            if given_rows and type(given_rows[0]) is dict:
                names += sum(map(len, rows))
    require_once(body, names, rows, _place)
    return rows


def answer_body(identity: str, predictions: Sequence[Scalar], chances: Sequence[float] | None, release: str) -> bytes:
    return _ENCODER.encode(_Answer(id=identity, predictions=predictions, probabilities=chances, release=release))


def error_body(failure: Failure) -> bytes:
    return _ENCODER.encode({"error": {"kind": failure.kind, "message": failure.message, "hint": failure.hint}})


def _bound_rows(count: int) -> None:
    if count > MOST_ROWS:
        bound((), count)


def _split(split: _Split) -> list[Row]:
    columns, data = split.columns, split.data
    if len(set(columns)) != len(columns):
        raise Invalid("the columns of dataframe_split are not distinct names", hint='send {"columns": ["x", ...], ...}')
    bound(columns, len(data))
    if set(map(len, data)) - {len(columns)}:
        number = next(number for number, row in enumerate(data, start=1) if len(row) != len(columns))
        raise Invalid(
            f"row {number} of dataframe_split has {len(data[number - 1])} values, and there are {len(columns)} columns"
        )
    return [dict(zip(columns, row, strict=True)) for row in data]


def _columns(columns: dict[str, list[Scalar] | Scalar]) -> list[Row]:
    kinds = set(map(type, columns.values()))
    if columns and list not in kinds:
        return [cast(Row, columns)]
    hint = 'send {"column": [value, ...], ...}'
    if kinds != {list}:
        name = next((name for name, values in columns.items() if not isinstance(values, list)), "")
        raise Invalid(
            f"column '{shown(name)}' is a single value, and others are lists" if columns else "there are no columns",
            hint=hint,
        )
    lengths = set(map(len, cast(dict[str, list[Scalar]], columns).values()))
    if len(lengths) != 1:
        raise Invalid("the columns are not lists of one length", hint=hint)
    bound(columns, *lengths)
    return of_columns(list(columns), cast(dict[str, list[Scalar]], columns).values())


def _list(values: Sequence[Row | list[Scalar] | Scalar], columns: Columns | None, form: str) -> list[Row]:
    kinds = set(map(type, values))
    if kinds == {dict} or not values:
        return cast(list[Row], values)
    if (matrix := lists(values)) is not None:
        return of_matrix(matrix, known(columns), form)
    if dict not in kinds and list not in kinds:
        # Values alone are rows of a model that takes one.
        if len(known(columns).names) == 1:
            return of_matrix([[cast(Scalar, value)] for value in values], known(columns), form)
        raise Invalid(
            f"{form} has values alone, and the model takes {len(known(columns).names)} a row", hint="send a list a row"
        )
    raise Invalid(f"the rows of {form} are not all of one form", hint="send a list of objects, or a list of lists")


def _place(plain: Any, path: Path) -> str:
    """Where in a body something is: in words of rows and columns."""
    match path:
        case ("dataframe_split", "data", int(row), int(at), *_):
            split = plain["dataframe_split"]
            names = split.get("columns") if isinstance(split, dict) else None
            if isinstance(names, list) and at < len(names):
                return f"row {row + 1}: column '{shown(names[at])}'"
            return f"row {row + 1}: value {at + 1}"
        case ("dataframe_split", "data", int(row), *_):
            return f"row {row + 1}"
        case (_, int(row), str(name), *_):
            return f"row {row + 1}: column '{shown(name)}'"
        case (_, int(row), int(at), *_):
            return f"row {row + 1}: value {at + 1}"
        case (_, int(row)):
            return f"row {row + 1}"
        case ("inputs" | "instances", str(name), int(row), *_):
            return f"row {row + 1}: column '{shown(name)}'"
        case (str(name), *rest):
            return " of ".join(f"'{shown(each)}'" for each in (*rest[:1], name))
        case _:
            return ""


def _fault(plain: Any) -> str:
    """What is wrong with a body that is JSON, and in no form."""
    if not isinstance(plain, dict):
        return "the body is not a JSON object"
    for form in _NAMES:
        if form in plain and (said := _form_fault(form, plain[form])):
            return said
    if not isinstance(plain.get("params"), dict | None):
        return "params is not an object"
    return ""


def _form_fault(form: str, value: Any) -> str:
    if form == "dataframe_split":
        return _split_fault(value)
    if form != "dataframe_records" and isinstance(value, dict):
        for name, each in value.items():
            for number, one in enumerate(each if isinstance(each, list) else [each], start=1):
                if isinstance(one, dict | list):
                    return f"row {number}: column '{shown(name)}' is no single value"
        return ""
    if not isinstance(value, list):
        return f"the rows of {form} are not a list of objects"
    for number, row in enumerate(value, start=1):
        if isinstance(row, dict):
            name = next((name for name, each in row.items() if isinstance(each, dict | list)), None)
            if name is not None:
                return f"row {number}: column '{shown(name)}' is no single value"
        elif form == "dataframe_records":
            return f"row {number} of {form} is no object: the rows are not a list of objects"
        elif isinstance(row, list) and any(isinstance(each, dict | list) for each in row):
            return f"row {number} of {form} has what is no single value"
    return ""


def _split_fault(split: Any) -> str:
    if not isinstance(split, dict) or not isinstance(split.get("data"), list) or "columns" not in split:
        return "dataframe_split lacks columns or data"
    # A name that is no text would make a frame that the worker cannot read, and cost all who share its connection.
    columns = split["columns"]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        return "the columns of dataframe_split are not distinct names"
    unknown = next((name for name in split if name not in ("columns", "data", "index")), None)
    if unknown is not None:
        return f"dataframe_split has the unknown field '{shown(unknown)}'"
    for number, row in enumerate(split["data"], start=1):
        if not isinstance(row, list):
            return f"row {number} of dataframe_split is not a list of values"
        at = next((at for at, each in enumerate(row) if isinstance(each, dict | list)), None)
        if at is not None:
            name = f"column '{shown(columns[at])}'" if at < len(columns) else f"value {at + 1}"
            return f"row {number}: {name} is no single value"
    return ""
