"""Batch scoring, the worker's side: one model in a process of its own, asked for a table at a time over pipes.

    python -P -B -m windlass.serving.batch PACKAGE --form table|csv|lines --on-error fail|null [--keep COLUMN]...

Format 1 of the pipes. In: u32 length, u64 number of the first row, and that many bytes of Arrow's IPC stream: the
signature's columns and those to keep, or one column ``line`` of JSON objects. Out: u8 kind, u32 length, bytes: 0 an IPC
stream (kept columns, ``prediction``, ``probability``, ``error``), 1 a failure as JSON. The first message out is ``{}``
as a failure of kind "": the model is loaded and answers its golden rows. Numbers are little-endian.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from windlass.domain.errors import Failure, Invalid
from windlass.domain.schema import Column, Kind
from windlass.serving.model import Model, check_golden
from windlass.serving.rows import Reader

ASKED = struct.Struct("<IQ")
ANSWERED = struct.Struct("<BI")
ANSWER, FAILURE = 0, 1
MADE = ("prediction", "probability", "error")

TYPES = {Kind.INTEGER: pa.int64(), Kind.NUMBER: pa.float64(), Kind.STRING: pa.string(), Kind.BOOLEAN: pa.bool_()}
_OF_PYTHON = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
_OBJECT = msgspec.json.Decoder(dict[str, Any])

Faults = dict[int, str]  # row -> what is wrong with it


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m windlass.serving.batch", description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--form", choices=("table", "csv", "lines"), default="table")
    parser.add_argument("--on-error", choices=("fail", "null"), default="fail")
    parser.add_argument("--keep", action="append", default=[])
    options = parser.parse_args(arguments)
    # What package code prints is not to be read as an answer.
    given, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        model = Model.load(options.package)
        check_golden(model)
        types = answer_types(model)
    except Failure as failure:
        _refuse(out, failure)
        return 1
    _write(out, FAILURE, b'{"kind":""}')
    while head := given.read(ASKED.size):
        length, first = ASKED.unpack(head)
        try:
            table = pa.ipc.open_stream(given.read(length)).read_all()
            made = scored(
                model, types, table, first, form=options.form, keep=options.keep, skips=options.on_error == "null"
            )  # fmt: skip
        except Failure as failure:
            _refuse(out, failure)
            continue
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, made.schema) as stream:
            stream.write_table(made)
        _write(out, ANSWER, sink.getvalue())
    return 0


def scored(
    model: Model,
    types: tuple[pa.DataType, bool],
    table: pa.Table,
    first: int,
    *,
    form: str,
    keep: Sequence[str],
    skips: bool,
) -> pa.Table:
    """The answers to rows, of which ``first`` is the number of the first one, beside the columns to keep.

    ``types`` are those of ``answer_types``. ``skips``: a row without an answer has null, and the column ``error`` says
    why.

    Raises:
        Invalid: a row does not fit the signature; names the row and the column.
        Failure: the model has no answer to them.
    """
    columns = model.signature.inputs
    if form == "lines":
        kept, raw, faults = _of_lines(model.reader, table["line"].to_pylist(), keep)
    else:
        kept = {name: table[name] for name in keep}
        raw, faults = fitted(table, columns, text=form == "csv")
    if faults and not skips:
        row = min(faults)
        raise Invalid(f"row {first + row}: {faults[row]}", hint="mend it, or score with --on-error null")
    good = [row for row in range(table.num_rows) if row not in faults] if faults else list(range(table.num_rows))
    predictions: list[Any] = [None] * table.num_rows
    chances: list[Any] = [None] * table.num_rows
    # A feature function that fails for one row fails for all that are with it: halves are asked until it is alone.
    waiting = [good] if good else []
    while waiting:
        rows = waiting.pop()
        try:
            answered = model.score(raw.take(rows) if len(rows) < raw.num_rows else raw)
        except Failure as failure:
            if not skips:
                where = f"rows {first + rows[0]} to {first + rows[-1]}"
                raise type(failure)(f"{where}: {failure.message}", hint=failure.hint) from None
            if len(rows) == 1:
                faults[rows[0]] = failure.message
            else:
                waiting += [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
            continue
        for row, prediction in zip(rows, answered.predictions, strict=True):
            predictions[row] = prediction
        if answered.probabilities is not None:
            for row, chance in zip(rows, answered.probabilities, strict=True):
                chances[row] = chance
    kind, chance_too = types
    try:
        made: dict[str, Any] = {**kept, "prediction": pa.array(predictions, type=kind)}
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise Failure(f"the model's predictions are not all of one kind: {error}") from None
    if chance_too:
        made["probability"] = pa.array(chances, type=pa.float64())
    if skips:
        made["error"] = pa.array([faults.get(row) for row in range(table.num_rows)], type=pa.string())
    return pa.table(made)


def answer_types(model: Model) -> tuple[pa.DataType, bool]:
    """The type of predictions, and whether there are probabilities: those of the golden answers, if there are any."""
    rows, answers = model.golden
    if answers is None and rows:
        (given,) = model.answer([rows])
        answers = [] if isinstance(given, Failure) else given
    if answers:
        labels, chances = [each["prediction"] for each in answers], "probability" in answers[0]
    else:
        labels, chances = list(model.classes or ()), model.classes is not None and model.positive is not None
    kinds = {type(each) for each in labels} - {type(None)}
    kind = float if kinds == {int, float} else kinds.pop() if len(kinds) == 1 else None
    if kind in _OF_PYTHON:
        return _OF_PYTHON[kind], chances
    outputs = {each.name: each.kind for each in model.signature.outputs}
    return TYPES[outputs.get("prediction", Kind.NUMBER)], chances or "probability" in outputs


def fitted(table: pa.Table, columns: Sequence[Column], *, text: bool) -> tuple[pa.Table, Faults]:
    """A table's columns as the signature types them, and what is wrong with which row; there, it has null.

    ``text``: cells are text, as in CSV, where an empty one is null. NaN is null where null is allowed, and a number
    without a fraction is a whole one: tools that know no null in whole numbers write both.
    """
    faults: Faults = {}
    made = {}
    for column in columns:
        values = table[column.name].combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], type=values.type)
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if text and (column.kind is not Kind.STRING or column.nullable):
            values = pc.replace_with_mask(
                values, pc.fill_null(pc.equal(values, ""), False), pa.scalar(None, values.type)
            )
        if pa.types.is_floating(values.type) and column.nullable:
            values = pc.replace_with_mask(values, pc.fill_null(pc.is_nan(values), False), pa.scalar(None, values.type))
        made[column.name] = _cast(values, column, faults, text=text)
    return pa.table(made), faults


def _cast(values: pa.Array, column: Column, faults: Faults, *, text: bool) -> pa.Array:
    wanted = TYPES[column.kind]
    try:
        if not _may_be(values.type, column.kind, text=text):
            raise pa.ArrowInvalid("another kind")
        cast = values.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        cast = pa.array([_single(each, column, faults, row, text=text) for row, each in enumerate(values)], type=wanted)
    if not column.nullable and cast.null_count:
        for row in pc.indices_nonzero(cast.is_null()).to_pylist():
            faults.setdefault(row, f"column '{column.name}' is null")
    if column.kind is Kind.NUMBER:
        finite = pc.fill_null(pc.is_finite(cast), True)
        if not pc.all(finite).as_py() and len(cast):
            for row in pc.indices_nonzero(pc.invert(finite)).to_pylist():
                faults.setdefault(row, f"column '{column.name}' is {cast[row].as_py()}")
    return cast


def _single(value: pa.Scalar, column: Column, faults: Faults, row: int, *, text: bool) -> Any:
    try:
        if _may_be(value.type, column.kind, text=text):
            return value.cast(TYPES[column.kind]).as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    faults.setdefault(row, f"column '{column.name}' is {str(value.as_py())[:40]!r}, not {column.kind}")
    return None


def _may_be(kind: pa.DataType, wanted: Kind, *, text: bool) -> bool:
    if pa.types.is_null(kind):
        return True
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return text or wanted is Kind.STRING
    if pa.types.is_boolean(kind):
        return wanted is Kind.BOOLEAN
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return number and wanted in (Kind.INTEGER, Kind.NUMBER)


def _of_lines(reader: Reader, lines: list[bytes], keep: Sequence[str]) -> tuple[dict[str, Any], pa.Table, Faults]:
    """Rows out of lines of JSON: columns to keep, the signature's as a table, and what is wrong with which row."""
    faults: Faults = {}
    objects, rows = list[dict[str, Any]](), list[dict[str, Any]]()
    names = [column.name for column in reader.columns]
    filler = {column.name: None for column in reader.columns}
    for number, line in enumerate(lines):
        try:
            found = _OBJECT.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            faults[number], found = "it is no JSON object", {}
        objects.append(found)
        rows.append({name: found[name] for name in names if name in found})
    good = [number for number in range(len(rows)) if number not in faults]
    try:
        if good:
            reader.check([rows[number] for number in good])
    except Invalid:
        for number in good:
            try:
                reader.check([rows[number]])
            except Invalid as error:
                faults[number] = error.message.removeprefix("row 1").lstrip(": ")
    table = pa.table(
        {
            column.name: pa.array(
                [(filler if number in faults else row)[column.name] for number, row in enumerate(rows)],
                type=TYPES[column.kind],
            )
            for column in reader.columns
        }
    )
    try:
        kept = {name: pa.array([each.get(name) for each in objects]) for name in keep}
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise Invalid(f"a column to keep has values of several kinds: {error}") from None
    return kept, table, faults


def _refuse(out: BinaryIO, failure: Failure) -> None:
    said = {"kind": failure.kind, "message": failure.message, "hint": failure.hint}
    _write(out, FAILURE, json.dumps(said).encode())


def _write(out: BinaryIO, kind: int, data: Any) -> None:
    out.write(ANSWERED.pack(kind, len(data)))
    out.write(data)
    out.flush()


if __name__ == "__main__":
    sys.exit(main())
