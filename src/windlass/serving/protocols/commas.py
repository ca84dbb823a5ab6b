"""CSV with a header row, as a table's ``to_csv`` writes it; types are the signature's."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence

from windlass.domain.errors import Invalid
from windlass.domain.schema import Column, Kind, Scalar
from windlass.serving.protocols.decoding import shown
from windlass.serving.protocols.rows import MOST_ROWS, Columns, bound, known, listed, of_columns
from windlass.serving.record import Row

_INTEGER = re.compile(r"[+-]?[0-9]{1,19}(\.0*)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_TRUTHS = {"true": True, "false": False, "1": True, "0": False}


def rows_of(body: bytes, columns: Columns | None) -> list[Row]:
    """The rows of a CSV body. An empty field is null; a first column without a name is a table's index, and left out.

    Raises:
        Invalid: it is no CSV in UTF-8 with a header of distinct names, or a field is not of its column's kind.
        Untold: nobody knows the columns yet.
    """
    by_name = known(columns).by_name
    names, lines = _lines(body)
    if names and not names[0] and "" not in by_name:
        names, lines = names[1:], [line[1:] for line in lines]
    for name in names:
        if name not in by_name:
            raise Invalid(f"the header has the unknown column '{shown(name)}'", hint=f"known: {listed(by_name)}")
    bound(names, len(lines))
    fields = zip(*lines, strict=True)
    return of_columns(names, [_typed(each, by_name[name]) for name, each in zip(names, fields, strict=False)])


def _lines(body: bytes) -> tuple[list[str], list[list[str]]]:
    """The header, and the other lines: each with as many fields. Empty lines are none."""
    try:
        reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        names = next(reader, [])
        lines: list[list[str]] = []
        for line in reader:
            if not line:
                continue
            if len(line) != len(names):
                raise Invalid(f"row {len(lines) + 1} has {len(line)} values, and the header {len(names)} columns")
            if len(lines) == MOST_ROWS:
                bound((), MOST_ROWS + 1)
            lines.append(line)
    except UnicodeDecodeError as error:
        raise Invalid(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise Invalid(f"the body is not CSV: line {reader.line_num}: {error}") from None
    if not names:
        raise Invalid("the body has no header row", hint="send the columns' names in the first line")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"the header has the column '{shown(twice)}' twice")
    return names, lines


def _typed(fields: Sequence[str], column: Column) -> list[Scalar]:
    if column.kind is Kind.STRING:
        return [field or None for field in fields]
    read = _READ[column.kind]
    try:
        return [read(field) if field else None for field in fields]
    except ValueError:
        for number, field in enumerate(fields, start=1):
            try:
                _ = field and read(field)
            except ValueError:
                raise Invalid(
                    f"row {number}: column '{shown(column.name)}' is '{shown(field)}', not {column.kind}",
                    hint="leave the field empty where the column may be missing" if column.nullable else "",
                ) from None
        raise


def _integer(text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise ValueError
    return int(text.partition(".")[0])


def _number(text: str) -> float:
    # float() takes nan, infinity, 1_000 and other digits than ours, too.
    if _NUMBER.fullmatch(text) is None:
        raise ValueError
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _truth(text: str) -> bool:
    found = _TRUTHS.get(text.lower())
    if found is None:
        raise ValueError
    return found


_READ: dict[Kind, Callable[[str], Scalar]] = {Kind.INTEGER: _integer, Kind.NUMBER: _number, Kind.BOOLEAN: _truth}
