"""Rows of a request, decoded and held against a signature in one go, and laid out as the model takes them.

A signature becomes a msgspec Struct, so that decoding checks names and kinds in C. What does not fit is looked at again
row by row, only to say which row and column are at fault: ``check`` is the authority, the fast way never refuses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from windlass.domain.errors import Invalid
from windlass.domain.schema import Column, Kind, Signature
from windlass.serving.record import Row

# By type and not by isinstance: a bool is an int to Python, and is not to a signature.
_ACCEPTED: dict[Kind, tuple[type, ...]] = {
    Kind.INTEGER: (int,), Kind.NUMBER: (float, int), Kind.STRING: (str,), Kind.BOOLEAN: (bool,),
}  # fmt: skip
_TYPES: dict[Kind, type] = {Kind.INTEGER: int, Kind.NUMBER: float, Kind.STRING: str, Kind.BOOLEAN: bool}
_EXACT = 2**53  # a float64 holds every whole number up to here
_RANGE = {Kind.INTEGER: range(-(2**63), 2**63), Kind.NUMBER: range(-_EXACT, _EXACT + 1), Kind.BOOLEAN: range(2)}
_RANGES = "whole numbers have 64 bits, and 53 where any number is taken"
_ROWS = msgspec.msgpack.Decoder(list[Row])


class Reader:
    """Reads the rows of one signature."""

    def __init__(self, signature: Signature) -> None:
        self.columns = signature.inputs
        kinds = {each.kind for each in self.columns}
        self.numeric = bool(kinds) and kinds <= {Kind.INTEGER, Kind.NUMBER}
        self._whole = kinds == {Kind.INTEGER}
        self._decoder = msgspec.msgpack.Decoder(list[_struct(self.columns)])  # type: ignore[misc]

    def matrix(self, packed: bytes | msgspec.Raw) -> Any:
        """Rows in msgpack (a list of maps, numbers alone) as a matrix: whole numbers stay whole where all are, null
        is NaN.

        Raises:
            Invalid: names the first row and column at fault.
        """
        try:
            values = list(map(msgspec.structs.astuple, self._decoder.decode(packed)))
            made = np.array(values, dtype=np.int64 if self._whole else np.float64)
        except (msgspec.MsgspecError, OverflowError, TypeError):
            return self.matrix_of(unpacked(packed))
        # False for NaN and infinity too, and for whole numbers that became others as they were read.
        if values and not self._whole and not np.abs(made).max() < _EXACT:
            return self.matrix_of(unpacked(packed))
        return made if values else self.matrix_of([])

    def matrix_of(self, rows: Sequence[Row]) -> Any:
        """As ``matrix``, of rows that are read already."""
        self.check(rows)
        values = [tuple([row[each.name] for each in self.columns]) for row in rows]
        whole = self._whole and not any(None in row for row in values)
        return np.array(values, dtype=np.int64 if whole else np.float64)

    def table_of(self, rows: Sequence[Row]) -> Any:
        """Rows as a ``pyarrow.Table`` of the signature's columns, as feature code takes them.

        Raises:
            Invalid: names the first row and column at fault.
        """
        import pyarrow as pa  # noqa: PLC0415 - 40 MB and 0.2 s that a model of numbers alone does without

        self.check(rows)
        types = {
            Kind.INTEGER: pa.int64(), Kind.NUMBER: pa.float64(), Kind.STRING: pa.string(), Kind.BOOLEAN: pa.bool_()
        }  # fmt: skip
        arrays = [pa.array([row[each.name] for row in rows], type=types[each.kind]) for each in self.columns]
        return pa.Table.from_arrays(arrays, names=[each.name for each in self.columns])

    def check(self, rows: Sequence[Row]) -> None:
        """Hold rows against the signature.

        Raises:
            Invalid: names the first row and column at fault.
        """
        if not rows:
            raise Invalid("the request has no rows", hint="send at least one")
        columns = self.columns
        for number, row in enumerate(rows, start=1):
            for column in columns:
                if column.name not in row:
                    raise Invalid(f"row {number} lacks the column '{column.name}'", hint=self.expected())
                value = row[column.name]
                if value is None:
                    if not column.nullable:
                        raise Invalid(f"row {number}: column '{column.name}' is null", hint=self.expected())
                elif type(value) not in _ACCEPTED[column.kind]:
                    raise Invalid(
                        f"row {number}: column '{column.name}' is {type(value).__name__}, not {column.kind}",
                        hint=self.expected(),
                    )
                elif isinstance(value, float):
                    if not math.isfinite(value):
                        raise Invalid(f"row {number}: column '{column.name}' is {value}", hint="send a finite number")
                elif isinstance(value, int) and value not in _RANGE[column.kind]:
                    raise Invalid(f"row {number}: column '{column.name}' is out of range: {value}", hint=_RANGES)
            if len(row) != len(columns):
                unknown = sorted(row.keys() - {column.name for column in columns})
                raise Invalid(f"row {number} has the unknown column '{unknown[0]}'", hint=self.expected())

    def expected(self) -> str:
        return "the model takes " + ", ".join(
            f"{each.name}: {each.kind}{' or null' if each.nullable else ''}" for each in self.columns
        )


def unpacked(packed: bytes | msgspec.Raw) -> list[Row]:
    """Rows in msgpack as maps.

    Raises:
        Invalid: they are not a list of maps of single values.
    """
    try:
        return _ROWS.decode(packed)
    except msgspec.MsgspecError as error:
        raise Invalid(f"the rows cannot be read: {error}", hint="send numbers, text, true or false") from None


def _struct(columns: Sequence[Column]) -> type:
    # A column's name need not be one to Python: fields are numbered, and renamed to it.
    fields = [f"f{number}" for number in range(len(columns))]
    types = [_TYPES[each.kind] | None if each.nullable else _TYPES[each.kind] for each in columns]
    return msgspec.defstruct(
        "Row",
        list(zip(fields, types, strict=True)),
        rename=dict(zip(fields, (each.name for each in columns), strict=True)),
        forbid_unknown_fields=True,
        frozen=True,
        gc=False,
    )
