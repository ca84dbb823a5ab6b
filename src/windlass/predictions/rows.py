"""Records of the log as rows of a table: one a row that was asked, with the shadow's answer beside the user's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from windlass.serving.record import Prediction, Record, Shadow

AT = pa.timestamp("us", tz="UTC")
FIXED = {
    "id": pa.string(), "row": pa.int32(), "asked_at": AT, "endpoint": pa.string(), "rollout": pa.string(),
    "release": pa.string(), "arm": pa.string(), "user": pa.string(), "status": pa.int32(), "user_status": pa.int32(),
    "error": pa.string(), "latency_us": pa.int64(), "answered_by": pa.string(),
}  # fmt: skip
SHADOWED = {
    "shadow_release": pa.string(), "shadow_status": pa.int32(), "shadow_error": pa.string(),
    "shadow_latency_us": pa.int64(),
}  # fmt: skip
# What an answer holds is the model's business: typed by what there is.
FREE = ("prediction", "probability", "shadow_prediction", "shadow_probability")
LATE = ("id", "user", "row", *SHADOWED, "shadow_prediction", "shadow_probability")


def paired(records: Iterable[Record]) -> tuple[list[tuple[Prediction, Shadow | None]], list[Shadow]]:
    """Each prediction with its shadow's answer, and the answers whose prediction is not among the records.

    An id can be a user's own, and come twice: shadows then go to predictions in order.
    """
    waiting: dict[tuple[str, str], list[Shadow]] = defaultdict(list)
    predictions: list[Prediction] = []
    for record in records:
        if isinstance(record, Shadow):
            waiting[record.id, record.user].append(record)
        else:
            predictions.append(record)
    pairs = []
    for each in predictions:
        shadows = waiting.get((each.id, each.user))
        pairs.append((each, shadows.pop(0) if shadows else None))
    return pairs, [shadow for shadows in waiting.values() for shadow in shadows]


def table(pairs: Sequence[tuple[Prediction, Shadow | None]]) -> pa.Table:
    """Predictions with their shadows' answers as a table. A request whose rows were not kept is one row without inputs.

    ``inputs`` is a struct with a field for each column that a row has; null where there are none.
    """
    values: dict[str, list[Any]] = {name: [] for name in (*FIXED, *SHADOWED, *FREE)}
    inputs: list[dict[str, Any] | None] = []
    for prediction, shadow in pairs:
        beside = _beside(shadow)
        for number, row in enumerate(prediction.rows) if prediction.rows else ((None, None),):
            inputs.append(row)
            answer = _nth(prediction.answers, number)
            said = {
                "id": prediction.id, "row": number, "asked_at": prediction.at, "endpoint": prediction.endpoint,
                "rollout": prediction.rollout, "release": prediction.release, "arm": prediction.arm.value,
                "user": prediction.user, "status": prediction.status, "user_status": prediction.user_status,
                "error": prediction.error, "latency_us": prediction.latency_us, "answered_by": prediction.answered_by,
                "prediction": answer.get("prediction"), "probability": answer.get("probability"),
                **beside, **_shadow_answer(shadow, number),
            }  # fmt: skip
            for name, column in values.items():
                column.append(said[name])
    columns = _typed(values)
    columns["inputs"] = _struct(inputs)
    order = (*FIXED, "inputs", "prediction", "probability", *SHADOWED, "shadow_prediction", "shadow_probability")
    return pa.table({name: columns[name] for name in order})


def late(shadows: Sequence[Shadow]) -> pa.Table:
    """Shadows' answers that came after their predictions were put away: to be joined by id, user and row."""
    values: dict[str, list[Any]] = {name: [] for name in LATE}
    for shadow in shadows:
        for number in range(len(shadow.answers)) if shadow.answers else (None,):
            said = {"id": shadow.id, "user": shadow.user, "row": number, **_beside(shadow)}
            said |= _shadow_answer(shadow, number)
            for name, column in values.items():
                column.append(said[name])
    return pa.table(_typed(values))


def unified(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """The schema that all of these fit: fields of all, numbers as the wider type, what differs otherwise as text."""
    fields: dict[str, pa.DataType] = {}
    for schema in schemas:
        for field in schema:
            fields[field.name] = _wider(fields.get(field.name, pa.null()), field.type)
    return pa.schema(fields.items())


def fitted(found: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table in the types of a schema; fields that it lacks are null."""
    columns = [
        _fit(found[field.name].combine_chunks(), field.type)
        if field.name in found.column_names
        else pa.nulls(found.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _beside(shadow: Shadow | None) -> dict[str, Any]:
    if shadow is None:
        return dict.fromkeys(SHADOWED)
    return {
        "shadow_release": shadow.release, "shadow_status": shadow.status, "shadow_error": shadow.error,
        "shadow_latency_us": shadow.latency_us,
    }  # fmt: skip


def _shadow_answer(shadow: Shadow | None, number: int | None) -> dict[str, Any]:
    answer = _nth(None if shadow is None else shadow.answers, number)
    return {"shadow_prediction": answer.get("prediction"), "shadow_probability": answer.get("probability")}


def _nth(answers: Sequence[dict[str, Any]] | None, number: int | None) -> dict[str, Any]:
    return answers[number] if answers and number is not None and number < len(answers) else {}


def _typed(values: dict[str, list[Any]]) -> dict[str, pa.Array]:
    known = {**FIXED, **SHADOWED}
    return {
        name: pa.array(column, type=known[name]) if name in known else _inferred(column)
        for name, column in values.items()
    }


def _struct(rows: list[dict[str, Any] | None]) -> pa.Array:
    names = list(dict.fromkeys(name for row in rows if row for name in row))
    if not names:
        return pa.nulls(len(rows))
    arrays = [_inferred([None if row is None else row.get(name) for row in rows]) for name in names]
    return pa.StructArray.from_arrays(arrays, names=names, mask=pa.array([row is None for row in rows]))


def _inferred(values: list[Any]) -> pa.Array:
    """Values by what they are: integers, numbers, true and false, text; a mixture as text (JSON for what is none)."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} and all(value is None or -(1 << 63) <= value < 1 << 63 for value in values):
        return pa.array(values, type=pa.int64()) if kinds else pa.nulls(len(values))
    if kinds <= {int, float} and float in kinds:
        return pa.array([None if value is None else float(value) for value in values], type=pa.float64())
    if kinds == {bool}:
        return pa.array(values, type=pa.bool_())
    texts = (v if v is None or isinstance(v, str) else msgspec.json.encode(v).decode() for v in values)
    return pa.array(list(texts), type=pa.string())


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        return pa.struct(list(unified([pa.schema(list(one)), pa.schema(list(other))])))
    numbers = (pa.types.is_integer, pa.types.is_floating)
    if all(any(is_a(each) for is_a in numbers) for each in (one, other)):
        return pa.float64()
    return pa.string()


def _fit(array: Any, wanted: pa.DataType) -> pa.Array:
    if array.type == wanted:
        return array
    if pa.types.is_struct(wanted) and pa.types.is_struct(array.type):
        there = {field.name: array.field(field.name) for field in array.type}
        parts = [
            _fit(there[field.name], field.type) if field.name in there else pa.nulls(len(array), field.type)
            for field in wanted
        ]
        return pa.StructArray.from_arrays(parts, fields=list(wanted), mask=array.is_null())
    return array.cast(wanted)
