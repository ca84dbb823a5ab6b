"""From values that come without names, or as columns, to rows; and what keeps a small body from becoming large ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from windlass.domain.errors import Invalid, Unavailable
from windlass.domain.schema import Column, Kind, Scalar
from windlass.serving.protocols.decoding import shown
from windlass.serving.record import Row
from windlass.serving.wire import MAX_FRAME

MOST_ROWS = 100_000  # in one request; more are a matter for batch scoring

# Columns whose values may come as numbers of another type than their own.
_FITTED = (Kind.INTEGER, Kind.BOOLEAN)


@dataclass(frozen=True, slots=True)
class Columns:
    """A model's columns in their order, and what every request would have to find out about them otherwise."""

    all: tuple[Column, ...]
    names: tuple[str, ...]
    by_name: Mapping[str, Column]
    kinds: frozenset[Kind]
    fitted: tuple[tuple[int, Column], ...]

    @staticmethod
    def of(columns: Sequence[Column]) -> Columns:
        return Columns(
            tuple(columns),
            tuple(each.name for each in columns),
            {each.name: each for each in columns},
            frozenset(each.kind for each in columns),
            tuple((at, each) for at, each in enumerate(columns) if each.kind in _FITTED),
        )


class Untold(Unavailable):
    """The columns of the model are needed, and not known yet: ask a worker."""


def bound(names: Iterable[str], count: int) -> None:
    """A name is sent once and repeated in every row: a small body must not become a large one.

    Raises:
        Invalid: it would.
    """
    if count > MOST_ROWS:
        raise Invalid(f"{count} rows are too many, the most is {MOST_ROWS}", hint="send fewer rows at a time")
    if sum(map(len, names)) * count > MAX_FRAME:
        raise Invalid(f"{count} rows with names this long are too much", hint="send fewer rows at a time")


def known(columns: Columns | None) -> Columns:
    """The signature's columns.

    Raises:
        Untold: no worker has told them yet.
    """
    if columns is None:
        raise Untold(
            "no worker of the endpoint has said yet what its model takes",
            hint="try again in a moment, or send rows with names: dataframe_records",
        )
    return columns


def of_columns(names: Sequence[str], columns: Iterable[Iterable[Scalar]]) -> list[Row]:
    """Rows of columns of one length."""
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def of_matrix(data: Sequence[Sequence[Scalar]], columns: Columns, what: str) -> list[Row]:
    """Rows of rows without names, in the order of the signature. Numbers of an array have one type: 1.0 is a 1 for a
    column of whole numbers, and 1 a true for one of truth values.

    Raises:
        Invalid: a row has not as many values as the model has columns; a number is not whole.
    """
    names = columns.names
    if set(map(len, data)) - {len(names)}:
        number = next(number for number, row in enumerate(data, start=1) if len(row) != len(names))
        raise Invalid(
            f"{what}: row {number} has {len(data[number - 1])} values, and the model takes {len(names)}",
            hint=f"in this order: {listed(names)}",
        )
    bound(names, len(data))
    rows = [dict(zip(names, row, strict=True)) for row in data]
    for at, column in columns.fitted:
        values = [row[at] for row in data]
        fitted = fit(values, column)
        if fitted is not values:
            for row, value in zip(rows, fitted, strict=True):
                row[column.name] = value
    return rows


def fit(values: Sequence[Scalar], column: Column) -> Sequence[Scalar]:
    """A column's values from an array of one type of numbers; what does not fit otherwise the worker refuses.

    Raises:
        Invalid: names the row and the column where a number is not whole, or is no truth value.
    """
    kinds = set(map(type, values))
    if column.kind is Kind.INTEGER and float in kinds:
        return [_whole(value, column, number) for number, value in enumerate(values, start=1)]
    if column.kind is Kind.BOOLEAN and (float in kinds or int in kinds):
        return [_truth(value, column, number) for number, value in enumerate(values, start=1)]
    return values


def _whole(value: Scalar, column: Column, number: int) -> Scalar:
    if not isinstance(value, float):
        return value
    if not value.is_integer() or abs(value) > 2**53:
        raise Invalid(f"row {number}: column '{shown(column.name)}' is {value}, and takes whole numbers")
    return int(value)


def _truth(value: Scalar, column: Column, number: int) -> Scalar:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if value not in (0, 1):
        raise Invalid(f"row {number}: column '{shown(column.name)}' is {value}, and takes true or false")
    return bool(value)


def listed(names: Iterable[str]) -> str:
    """Names as a hint shows them: not more than fit a message."""
    found = ", ".join(map(shown, names))
    return found if len(found) <= 400 else f"{found[:397]}..."


def lists(values: Sequence[object]) -> Sequence[Sequence[Scalar]] | None:
    """The values, if every one of them is a list."""
    return cast(Sequence[Sequence[Scalar]], values) if set(map(type, values)) == {list} else None
