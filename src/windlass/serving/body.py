"""Bodies of invocations: MLflow's four forms of JSON, as rows; and answers as a body."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from windlass.domain.errors import Failure, Invalid
from windlass.domain.schema import Scalar
from windlass.serving.record import Row
from windlass.serving.wire import MAX_FRAME

_FORMS = '{"dataframe_records": [{"column": value, ...}, ...]}, dataframe_split, inputs or instances'
_SCALARS = (str, int, float, bool, type(None))
_DECODER = msgspec.json.Decoder(dict[str, Any])
_ENCODER = msgspec.json.Encoder()


def rows_of(body: bytes) -> list[Row]:
    """The rows of a request.

    Raises:
        Invalid: it is not JSON, or in none of the forms.
    """
    try:
        plain = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the body is not a JSON object: {error}", hint=f"send {_FORMS}") from None
    if len(plain) != 1:
        plain = {name: value for name, value in plain.items() if name != "params"}
    if "dataframe_records" in plain:
        rows = plain["dataframe_records"]
    elif "dataframe_split" in plain:
        rows = _split(plain["dataframe_split"])
    elif "inputs" in plain or "instances" in plain:
        found = plain["inputs"] if "inputs" in plain else plain["instances"]
        rows = _columns(found) if isinstance(found, dict) else found
    else:
        raise Invalid("the body has no rows", hint=f"send {_FORMS}")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Invalid("the rows are not a list of objects", hint=f"send {_FORMS}")
    for number, row in enumerate(rows, start=1):
        for name, value in row.items():
            if not isinstance(value, _SCALARS):
                raise Invalid(
                    f"row {number}: column '{name}' is no single value", hint="send numbers, text, true or false"
                )
    return rows


def answer_body(identity: str, predictions: Sequence[Scalar], chances: Sequence[float] | None, release: str) -> bytes:
    answer: dict[str, Any] = {"id": identity, "predictions": predictions}
    if chances is not None:
        answer["probabilities"] = chances
    answer["release"] = release
    return _ENCODER.encode(answer)


def error_body(failure: Failure) -> bytes:
    return _ENCODER.encode({"error": {"kind": failure.kind, "message": failure.message, "hint": failure.hint}})


def _split(split: Any) -> list[dict[str, Any]]:
    if not (isinstance(split, dict) and isinstance(split.get("columns"), list) and isinstance(split.get("data"), list)):
        raise Invalid("dataframe_split lacks columns or data", hint='send {"columns": [...], "data": [[...], ...]}')
    columns = split["columns"]
    # A name that is no text would make a frame that the worker cannot read, and cost all who share its connection.
    if not all(isinstance(name, str) for name in columns) or len(set(columns)) != len(columns):
        raise Invalid("the columns of dataframe_split are not distinct names", hint='send {"columns": ["x", ...], ...}')
    _bound(columns, len(split["data"]))
    if not all(isinstance(row, list) and len(row) == len(columns) for row in split["data"]):
        raise Invalid("a row of dataframe_split has not as many values as there are columns")
    return [dict(zip(columns, row, strict=True)) for row in split["data"]]


def _columns(columns: dict[str, Any]) -> list[dict[str, Any]]:
    lengths = {len(values) if isinstance(values, list) else -1 for values in columns.values()}
    if len(lengths) != 1 or -1 in lengths:
        raise Invalid("the columns are not lists of one length", hint='send {"column": [value, ...], ...}')
    _bound(columns, *lengths)
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _bound(columns: Iterable[str], count: int) -> None:
    """A name is sent once and repeated in every row: a small body must not become a large one."""
    if sum(map(len, columns)) * count > MAX_FRAME:
        raise Invalid(f"{count} rows with names this long are too much", hint="send fewer rows at a time")
