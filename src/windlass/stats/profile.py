"""Profiles: mergeable counts over frozen bins that stand for the distribution of each column.

The bins are chosen once, from the reference (``profile``); everything after is counted over the same bins
(``count``), so that two profiles can be compared cell by cell and added exactly (``merge``).

A number has quantile edges: bin i is ``[edges[i], edges[i + 1])``, the last one closed, with counts ``below``
and ``above`` outside. A category has its values; whatever no bin stands for (an unseen category, one beyond the
``MOST_CATEGORIES`` most frequent of the reference, a value of another type) counts as ``unseen``. Whole numbers
with few distinct values are codes, hence categories. None, NaN and NaT are ``missing``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = 1
BINS = 20
MOST_CODES = 50
MOST_CATEGORIES = 100
_EXACT = 2**53  # beyond it a float64 is no longer a whole number for sure

Scalar = str | int | float
Array = NDArray[Any]
_NUMBERS = {int, float, bool, type(None)}


class Kind(StrEnum):
    NUMBER = "number"
    CATEGORY = "category"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """The counts of one column. ``bins`` holds the edges of a number (one more than counts), or the categories."""

    kind: Kind
    bins: tuple[Scalar, ...]
    counts: tuple[int, ...]
    missing: int = 0
    below: int = 0
    above: int = 0
    unseen: int = 0

    def __post_init__(self) -> None:
        extra = 1 if self.kind is Kind.NUMBER and self.counts else 0
        if len(self.bins) != len(self.counts) + extra:
            raise ValueError(f"{len(self.bins)} bins do not fit {len(self.counts)} counts")

    @property
    def n(self) -> int:
        """How many rows were counted, missing ones included."""
        return sum(self.counts) + self.missing + self.below + self.above + self.unseen

    @property
    def cells(self) -> tuple[int, ...]:
        """Every count in one order, matching ``labels``: a number's bins stand between below and above."""
        inside = (self.below, *self.counts, self.above) if self.kind is Kind.NUMBER else self.counts
        return (*inside, self.unseen, self.missing)

    @property
    def labels(self) -> tuple[str, ...]:
        """What each of ``cells`` counts, for people."""
        if self.kind is Kind.CATEGORY:
            return (*map(str, self.bins), "unseen", "missing")
        if not self.counts:
            return ("below", "above", "unseen", "missing")
        edges = [f"{edge:g}" for edge in self.bins]
        last = len(self.counts) - 1
        inside = [f"{edges[i]} to {'' if i == last else 'under '}{edges[i + 1]}" for i in range(last + 1)]
        return (f"under {edges[0]}", *inside, f"over {edges[-1]}", "unseen", "missing")


@dataclass(frozen=True, slots=True)
class Profile:
    columns: Mapping[str, Column]


def profile(columns: Mapping[str, Array], kinds: Mapping[str, Kind] | None = None) -> Profile:
    """Choose the bins from these rows, and count the rows over them. ``kinds`` overrides what is inferred."""
    wanted = kinds or {}
    return Profile({name: _profile(_values(name, array), wanted.get(name)) for name, array in columns.items()})


def count(reference: Profile, columns: Mapping[str, Array]) -> Profile:
    """Count new rows over the reference's bins. Columns the reference does not know are left out.

    Raises:
        ValueError: a column of the reference is not there (``select`` those that are).
    """
    if absent := [name for name in reference.columns if name not in columns]:
        raise ValueError(f"no column {', '.join(absent)} to count")
    return Profile({name: _count(column, _values(name, columns[name])) for name, column in reference.columns.items()})


def merge(a: Profile, b: Profile) -> Profile:
    """Add two profiles over the same bins: exact, commutative and associative."""
    if a.columns.keys() != b.columns.keys():
        raise ValueError("profiles of different columns cannot be merged")
    return Profile({name: _add(name, column, b.columns[name]) for name, column in a.columns.items()})


def select(whole: Profile, names: Iterable[str]) -> Profile:
    """The profile of some of the columns."""
    return Profile({name: whole.columns[name] for name in names})


def to_plain(value: Profile) -> dict[str, Any]:
    """As JSON has it (format 1)."""
    return {
        "format": FORMAT,
        "columns": {
            name: {
                "kind": str(column.kind),
                "bins": list(column.bins),
                "counts": list(column.counts),
                "missing": column.missing,
                "below": column.below,
                "above": column.above,
                "unseen": column.unseen,
            }
            for name, column in value.columns.items()
        },
    }


def from_plain(plain: Mapping[str, Any]) -> Profile:
    """The inverse of ``to_plain``.

    Raises:
        ValueError: it is no profile of a format known here.
    """
    if plain.get("format") != FORMAT:
        raise ValueError(f"profile format {plain.get('format')!r} is not {FORMAT}")
    try:
        return Profile(
            {
                name: Column(
                    **{**fields, "kind": Kind(fields["kind"]), "bins": tuple(fields["bins"]),
                       "counts": tuple(int(n) for n in fields["counts"])}
                )
                for name, fields in plain["columns"].items()
            }
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a profile: {error}") from None


def _add(name: str, a: Column, b: Column) -> Column:
    if (a.kind, a.bins) != (b.kind, b.bins):
        raise ValueError(f"the bins of {name} differ: count both over the same reference")
    return replace(
        a,
        counts=tuple(x + y for x, y in zip(a.counts, b.counts, strict=True)),
        missing=a.missing + b.missing,
        below=a.below + b.below,
        above=a.above + b.above,
        unseen=a.unseen + b.unseen,
    )


def _values(name: str, array: Array) -> Array:
    """One of two forms: a numeric array (NaN for missing), or an object array of None and JSON's scalars."""
    array = np.asarray(array)
    if array.ndim != 1:
        raise ValueError(f"column {name} has {array.ndim} dimensions, not 1")
    match array.dtype.kind:
        case "f":
            return array
        case "i" | "u":
            # Beyond 2**53 a float is no longer the same whole number: those go the way of objects, below.
            if not array.size or (array.min() >= -_EXACT and array.max() <= _EXACT):
                return array
        case "b":
            return array.astype(np.int8)
        case "M" | "m":
            return np.where(np.isnat(array), np.nan, array.astype("int64").astype(np.float64))
    values = array.tolist()
    if set(map(type, values)) <= _NUMBERS and not any(type(each) is int and abs(each) > _EXACT for each in values):
        return np.array(values, dtype=np.float64)
    return np.fromiter(map(_scalar, values), dtype=object, count=len(values))


def _scalar(value: Any) -> Scalar | None:
    if isinstance(value, str):
        return value
    if isinstance(value, np.generic):
        return _scalar(value.item())
    if isinstance(value, int):
        return int(value) if abs(value) <= _EXACT else str(value)
    if isinstance(value, float):
        return None if math.isnan(value) else value if math.isfinite(value) else str(value)
    # pandas' NA and NaT say so when compared with themselves.
    return None if value is None or repr(value) in ("<NA>", "NaT") else str(value)


def _profile(values: Array, kind: Kind | None) -> Column:
    if values.dtype == object:
        if kind is Kind.NUMBER:
            raise ValueError("a column that holds text is no number")
        return _count(_categories(Counter(values.tolist())), values)
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if kind is not Kind.NUMBER:
        codes = _codes(finite)
        if codes is not None:
            return _count(Column(kind=Kind.CATEGORY, bins=codes, counts=(0,) * len(codes)), values)
        if kind is Kind.CATEGORY:
            return _count(_categories(Counter(finite.tolist())), values)
    return _count(_quantiles(finite), values)


def _codes(finite: Array) -> tuple[int, ...] | None:
    """The distinct values, if they are whole numbers and few enough to be codes."""
    if not finite.size or finite.min() <= -_EXACT or finite.max() >= _EXACT:
        return None
    if finite.dtype.kind == "f" and not bool(np.all(finite == np.floor(finite))):
        return None
    low = int(finite.min())
    if int(finite.max()) - low < 1 << 16:  # a table instead of a sort
        distinct = np.flatnonzero(np.bincount(finite.astype(np.int64) - low)) + low
    else:
        distinct = np.unique(finite)
    return tuple(int(code) for code in distinct) if distinct.size <= MOST_CODES else None


def _categories(seen: Counter[Any]) -> Column:
    seen.pop(None, None)
    kept = sorted(seen, key=lambda value: (-seen[value], *_order(value)))[:MOST_CATEGORIES]
    return Column(kind=Kind.CATEGORY, bins=tuple(sorted(kept, key=_order)), counts=(0,) * len(kept))


def _order(value: Scalar) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, float(value), "")


def _quantiles(finite: Array) -> Column:
    if not finite.size:
        return Column(kind=Kind.NUMBER, bins=(), counts=())
    # Edges are values that occur: no interpolation, so the same rows give the same edges on any machine.
    edges = np.unique(np.quantile(finite, np.linspace(0, 1, BINS + 1), method="inverted_cdf").astype(np.float64))
    if edges.size == 1:
        edges = np.repeat(edges, 2)
    return Column(kind=Kind.NUMBER, bins=tuple(edges.tolist()), counts=(0,) * (edges.size - 1))


def _count(column: Column, values: Array) -> Column:
    if values.dtype == object:
        seen = Counter(values.tolist())
        missing = seen.pop(None, 0)
        numbers = {value: n for value, n in seen.items() if not isinstance(value, str)}
        if column.kind is Kind.NUMBER:
            repeated = np.repeat(np.array([*numbers], dtype=np.float64), [*numbers.values()])
            counted = _count_numbers(column, repeated)
            return replace(counted, missing=missing, unseen=counted.unseen + seen.total() - sum(numbers.values()))
        counts = tuple(seen.pop(category, 0) for category in column.bins)
        return replace(column, counts=counts, missing=missing, below=0, above=0, unseen=seen.total())
    missing = 0
    if values.dtype.kind == "f":
        absent = np.isnan(values)
        missing = int(np.count_nonzero(absent))
        values = values[~absent] if missing else values
    counted = _count_numbers(column, values) if column.kind is Kind.NUMBER else _count_codes(column, values)
    return replace(counted, missing=missing)


def _count_numbers(column: Column, values: Array) -> Column:
    if not column.counts:  # the reference had no number at all
        return replace(column, missing=0, below=0, above=0, unseen=int(values.size))
    edges = np.array(column.bins, dtype=np.float64)
    last = len(column.counts) - 1
    below, above = values < edges[0], values > edges[-1]
    where = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, last)
    counts = np.bincount(where[~(below | above)], minlength=last + 1)
    return replace(
        column,
        counts=tuple(counts.tolist()),
        missing=0,
        below=int(np.count_nonzero(below)),
        above=int(np.count_nonzero(above)),
        unseen=0,
    )


def _count_codes(column: Column, values: Array) -> Column:
    at = [i for i, category in enumerate(column.bins) if not isinstance(category, str)]
    codes = np.array([column.bins[i] for i in at], dtype=np.float64)
    counts = np.zeros(len(column.bins), dtype=np.int64)
    if codes.size:  # numbers stand first among the categories, in order
        where = np.minimum(np.searchsorted(codes, values), codes.size - 1)
        counts[at] = np.bincount(where[codes[where] == values], minlength=codes.size)
    return replace(
        column, counts=tuple(counts.tolist()), missing=0, below=0, above=0, unseen=int(values.size - counts.sum())
    )
