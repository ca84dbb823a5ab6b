"""Profiles: what is in each column of a dataset's tables, and what changed in it from one version to the next.

A profile is plain (format 1), to be kept beside a snapshot:

    {"format": 1, "tables": [looked at, of], "rows": [looked at, of], "columns": {NAME: {
        "type": "int64", "rows": 3, "nulls": 0, "distinct": 3, "min": 1, "max": 9, "mean": 4.0, "std": 3.6,
        "top": [["a", 2], ["b", 1]], "bins": a column of ``stats.profile``}}}

A large table is looked at in part: row groups evenly spread over it, and evenly spread rows of those. Then ``rows``
says so, and ``distinct`` is what was seen, so that there are at least so many. Whatever does not fit a type is left
out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from windlass.domain.errors import Invalid

if TYPE_CHECKING:
    from windlass.stats.profile import Column

FORMAT = 1
MOST_ROWS = 200_000  # that are kept of one column
MOST_TABLES = 64  # that are looked at
MOST_TOP = 10
_LEAST_ROWS = 10_000
_CELLS = 20_000_000  # that are kept of all columns
_DECODED = 4_000_000  # rows of a table that are read to choose from, or a row group if that is larger
_BATCH = 8192  # rows
_EXACT = 2**53  # beyond it a float is no longer the same whole number
_TEXT = 200  # characters that count of a text
_CSV_BLOCK = 1 << 22  # bytes

_NULLS_APART = 0.005  # share of rows
_BEYOND_CHANCE = 4  # standard errors
_MEANS_APART = 0.1  # standard deviations
_EFFECT = 0.1  # see stats.drift


def profile_of(tables: Mapping[str, IO[bytes]], over: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Profile the Parquet and CSV files among ``tables`` (by path; other files are passed over), column by column.

    ``over`` is the profile of an earlier version: its bins are taken, so that the two compare exactly. A file is taken
    from the mapping only when it is its turn, and closed by whoever opened it.

    Raises:
        Invalid: one cannot be read as a table.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy

    names = [path for path in sorted(tables) if path.endswith((".parquet", ".csv"))]
    chosen = _spread(names, MOST_TABLES)
    columns: dict[str, list[Any]] = {}
    seen = total = 0
    for path in chosen:
        try:
            sampled = _csv if path.endswith(".csv") else _parquet
            read, of, found = sampled(tables[path], MOST_ROWS // len(chosen))
        except (pa.ArrowException, OSError) as error:
            said = str(error).strip().splitlines()[0]
            raise Invalid(
                f"{path} cannot be read as a table: {said}", hint="repair it, or give it another name"
            ) from None
        seen, total = seen + read, total + of
        for name, values in found:
            columns.setdefault(name, []).append(values)
    bins = (over or {}).get("columns", {})
    return {
        "format": FORMAT,
        "tables": [len(chosen), len(names)],
        "rows": [seen, total],
        "columns": {name: _described(columns.pop(name), bins.get(name)) for name in list(columns)},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChange:
    """What changed in a column, each as before and after; what is None or empty did not change by enough to matter.

    ``effect`` is that of ``stats.drift``, or, where the bins differ, the least distance of the two distribution
    functions that is certain; 0 if neither can be said.
    """

    column: str
    type: tuple[str, str] | None = None
    nulls: tuple[float, float] | None = None  # shares of the rows
    mean: tuple[float, float] | None = None
    categories_added: tuple[str, ...] = ()
    categories_removed: tuple[str, ...] = ()
    effect: float = 0.0


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[ColumnChange]:
    """The columns of both profiles that changed, in the order of the new one."""
    found = []
    for name, after in new["columns"].items():
        before = old["columns"].get(name)
        if before is not None and (change := _change(name, before, after)) != ColumnChange(column=name):
            found.append(change)
    return found


def in_words(change: ColumnChange) -> str:
    """A change in one line, for people."""
    said = []
    if change.type:
        said.append(f"type {change.type[0]} -> {change.type[1]}")
    if change.nulls:
        said.append(f"nulls {change.nulls[0]:.1%} -> {change.nulls[1]:.1%}")
    if change.mean:
        said.append(f"mean {change.mean[0]:.4g} -> {change.mean[1]:.4g}")
    for word, values in (("new values", change.categories_added), ("no longer", change.categories_removed)):
        if values:
            more = f" and {len(values) - MOST_TOP} more" if len(values) > MOST_TOP else ""
            said.append(f"{word} {', '.join(values[:MOST_TOP])}{more}")
    if change.effect:
        said.append(f"distribution changed (effect {change.effect:.2f})")
    return f"{change.column}: {', '.join(said)}"


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many of the items, evenly spread."""
    if len(items) <= most:
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * most)] for i in range(most)]


def _parquet(file: IO[bytes], most: int) -> tuple[int, int, Iterator[tuple[str, Any]]]:
    """How many rows were looked at, of how many, and each column's values: one column at a time, as memory is short."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    opened: Any = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    described = opened.metadata
    sizes = [described.row_group(i).num_rows for i in range(described.num_row_groups)]
    largest = max(sizes, default=1)
    groups = _spread(range(len(sizes)), max(1, _DECODED // max(1, largest)))
    rows = sum(sizes[i] for i in groups)
    most = _kept(most, len(opened.schema_arrow))
    step = max(1, math.ceil(rows / most))

    def values() -> Iterator[tuple[str, Any]]:
        for field in opened.schema_arrow:
            yield field.name, _column(opened, field, groups, step)

    return math.ceil(rows / step), described.num_rows, values()


def _column(opened: Any, field: Any, groups: Sequence[int], step: int) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    parts, at = [], 0
    for batch in opened.iter_batches(_BATCH, row_groups=list(groups), columns=[field.name], use_threads=False):
        parts.append(_every(batch.column(0), step, at))
        at += batch.num_rows
    kind = parts[0].type if parts else _short(pa.array([], field.type)).type
    return pa.chunked_array(parts, kind)


def _csv(file: IO[bytes], most: int) -> tuple[int, int, Iterator[tuple[str, Any]]]:
    """As ``_parquet``; as nobody knows how many rows there are, ever fewer of them are kept on the way."""
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import csv  # noqa: PLC0415

    options: Any = csv.ReadOptions(block_size=_CSV_BLOCK, use_threads=False)
    with csv.open_csv(file, read_options=options) as reader:
        most = _kept(most, len(reader.schema))
        kept: Any = pa.table({field.name: _short(pa.array([], field.type)) for field in reader.schema})
        step, at = 1, 0
        for batch in reader:
            columns = [_every(column, step, at) for column in batch.columns]
            kept = pa.concat_tables([kept, pa.table(columns, names=kept.column_names)])
            at += batch.num_rows
            while kept.num_rows > 2 * most:
                step *= 2
                kept = kept.take(pa.array(range(0, kept.num_rows, 2)))
    return kept.num_rows, at, zip(kept.column_names, kept.columns, strict=True)


def _kept(most: int, columns: int) -> int:
    return max(1, min(most, max(_LEAST_ROWS, _CELLS // max(1, columns))))


def _every(values: Any, step: int, at: int) -> Any:
    """Every ``step``-th row of the table; ``at`` is the place of the first of these values in it."""
    import numpy as np  # noqa: PLC0415
    import pyarrow as pa  # noqa: PLC0415

    if step > 1:
        values = values.take(pa.array(np.arange(-at % step, len(values), step)))
    return _short(values)


def _short(values: Any) -> Any:
    """Values as they are kept: no dictionaries, and of texts only their beginning."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return pc.utf8_slice_codeunits(values.cast(pa.large_string()), 0, _TEXT)
    return values


def _described(parts: list[Any], bins: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a column of one or more tables has."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    kinds = {part.type for part in parts}
    if len(kinds) > 1:
        try:
            parts = [part.cast(pa.large_string()) for part in parts]
        except pa.ArrowException:
            parts = parts[:1]  # nested in one table and flat in another: there is nothing to say of both
    values: Any = pa.chunked_array([chunk for part in parts for chunk in part.chunks], parts[0].type)
    kind = values.type
    said: dict[str, Any] = {"type": _type(kind), "rows": len(values), "nulls": values.null_count}
    if pa.types.is_nested(kind) or pa.types.is_null(kind) or _is_bytes(kind):
        return said
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = values.cast(pa.float64())
        absent = pc.sum(pc.is_nan(values)).as_py() or 0
        said["nulls"] += absent
        return said | _numbers(values, bins)
    if pa.types.is_integer(kind):
        return said | _numbers(values, bins)
    if not (pa.types.is_boolean(kind) or pa.types.is_large_string(kind)):
        values = pc.cast(values, pa.large_string())  # a date or a time, whose text is in its order
    return said | _texts(values, bins)


def _numbers(values: Any, bins: Mapping[str, Any] | None) -> dict[str, Any]:
    import numpy as np  # noqa: PLC0415

    from windlass.stats import profile  # noqa: PLC0415

    array = values.to_numpy()
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    said: dict[str, Any] = {}
    if finite.size:
        distinct, counts = np.unique(finite, return_counts=True)
        said = {"distinct": int(distinct.size), "min": distinct[0].item(), "max": distinct[-1].item()}
        as_float = finite.astype(np.float64)
        mean, std = float(as_float.mean()), float(as_float.std())
        # Sums of numbers near the greatest float are none; JSON has no word for that.
        said |= {"mean": mean, "std": std} if math.isfinite(mean) and math.isfinite(std) else {}
        if distinct.size <= profile.MOST_CODES:
            said["top"] = _top(distinct.tolist(), counts.tolist())
    if array.dtype.kind in "iu" and finite.size and max(abs(said["min"]), abs(said["max"])) > _EXACT:
        return said  # names, ids, hashes: no two versions have the same
    column = _reference(bins)
    if column is not None and column.kind is profile.Kind.CATEGORY and any(isinstance(b, str) for b in column.bins):
        column = None  # it was text
    counted = (
        profile.profile({"": array}) if column is None else profile.count(profile.Profile({"": column}), {"": array})
    )
    return said | {"bins": profile.to_plain(counted)["columns"][""]}


def _texts(values: Any, bins: Mapping[str, Any] | None) -> dict[str, Any]:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.compute as pc  # noqa: PLC0415

    from windlass.stats import profile  # noqa: PLC0415

    is_bool = pa.types.is_boolean(values.type)
    present = values.drop_null()
    counted: Any = pc.value_counts(present)
    counts = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
    if is_bool:
        counts = {int(value): count for value, count in counts.items()}
    said: dict[str, Any] = {"distinct": len(counts)}
    if counts and not is_bool:
        said |= {"min": min(counts), "max": max(counts)}
    column = _reference(bins)
    if column is None and len(counts) > profile.MOST_CATEGORIES:
        return said  # names, ids: no two versions have the same
    said["top"] = _top(list(counts), list(counts.values()))
    if column is not None and column.kind is not profile.Kind.CATEGORY:
        column = None
    order = sorted(counts) if column is None else list(column.bins)
    inside = [counts.get(value, 0) for value in order]
    return said | {
        "bins": {
            "kind": "category", "bins": order, "counts": inside, "missing": values.null_count, "below": 0, "above": 0,
            "unseen": sum(counts.values()) - sum(inside),
        }
    }  # fmt: skip


def _top(values: list[Any], counts: list[int]) -> list[list[Any]]:
    ranked = sorted(zip(values, counts, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return [list(pair) for pair in ranked[:MOST_TOP]]


def _reference(described: Mapping[str, Any] | None) -> Column | None:
    """The bins of a column as described before."""
    from windlass.stats import profile  # noqa: PLC0415

    if not described or not described.get("bins") or not described["bins"]["counts"]:
        return None
    return profile.from_plain({"format": profile.FORMAT, "columns": {"": described["bins"]}}).columns[""]


def _type(kind: Any) -> str:
    return "string" if str(kind) == "large_string" else str(kind)


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa  # noqa: PLC0415

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _change(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> ColumnChange:
    added, removed = _categories(before, after)
    return ColumnChange(
        column=name,
        type=(before["type"], after["type"]) if before["type"] != after["type"] else None,
        nulls=_nulls(before, after),
        mean=_means(before, after),
        categories_added=added,
        categories_removed=removed,
        effect=_effect(before, after),
    )


def _nulls(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[float, float] | None:
    old, new = (each["nulls"] / max(1, each["rows"]) for each in (before, after))
    if (old == 0) != (new == 0):
        return old, new
    by_chance = math.sqrt(sum(p * (1 - p) / max(1, each["rows"]) for p, each in ((old, before), (new, after))))
    return (old, new) if abs(old - new) >= max(_NULLS_APART, _BEYOND_CHANCE * by_chance) else None


def _means(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[float, float] | None:
    if "mean" not in before or "mean" not in after:
        return None
    apart = abs(before["mean"] - after["mean"])
    # A column that had one value had no spread: any other mean is a change.
    return (before["mean"], after["mean"]) if apart > _MEANS_APART * before["std"] and apart > 0 else None


def _categories(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The values that came and went, where all of them are known: those of a column with few."""
    known = [_known_values(each) for each in (before, after)]
    old, new = known
    if old is None or new is None:
        return (), ()
    return tuple(map(str, sorted(new - old, key=str))), tuple(map(str, sorted(old - new, key=str)))


def _known_values(described: Mapping[str, Any]) -> set[Any] | None:
    bins = described.get("bins")
    if not bins or bins["kind"] != "category":
        return None
    seen = {value for value, count in zip(bins["bins"], bins["counts"], strict=True) if count}
    if not bins["unseen"]:
        return seen
    # Values that the bins do not have are told by the most frequent ones, if these are all.
    top = {value for value, _ in described.get("top", [])}
    return seen | top if len(seen | top) == described.get("distinct") else None


def _effect(before: Mapping[str, Any], after: Mapping[str, Any]) -> float:
    from windlass.stats import drift, profile  # noqa: PLC0415

    old, new = _reference(before), _reference(after)
    if old is None or new is None or old.kind is not new.kind:
        return 0.0
    if old.kind is profile.Kind.NUMBER and old.bins != new.bins:
        least = _distance(old, new)
        return round(least, 4) if least >= _EFFECT else 0.0
    if old.bins != new.bins:
        old, new = _same_categories(old, new)
    (found,) = drift.drift(profile.Profile({"": old}), profile.Profile({"": new}), min_effect=_EFFECT)
    return round(found.effect, 4) if found.verdict is drift.Outcome.DRIFT else 0.0


def _same_categories(old: Column, new: Column) -> tuple[Column, Column]:
    from dataclasses import replace  # noqa: PLC0415

    both = sorted({*old.bins, *new.bins}, key=lambda value: (isinstance(value, str), value))

    def over(column: Column) -> Column:
        counts = dict(zip(column.bins, column.counts, strict=True))
        return replace(column, bins=tuple(both), counts=tuple(counts.get(value, 0) for value in both))

    return over(old), over(new)


def _distance(old: Column, new: Column) -> float:
    """The least that the two distribution functions are apart somewhere, by what the counts of each allow."""
    edges = sorted({float(edge) for column in (old, new) for edge in column.bins})
    apart = 0.0
    for edge in edges:
        (low, high), (other_low, other_high) = _below(old, edge), _below(new, edge)
        apart = max(apart, low - other_high, other_low - high)
    return apart


def _below(column: Column, value: float) -> tuple[float, float]:
    """Between which two shares the numbers below ``value`` lie: at a bin's edge both are the same."""
    total = sum(column.cells) - column.missing - column.unseen
    if not total:
        return 0.0, 1.0
    low, high, known = 0, total, column.below
    for edge, count in zip(column.bins, column.counts, strict=False):
        if float(edge) <= value:
            low = known
        if float(edge) >= value:
            high = known
            break
        known += count
    if value > float(column.bins[-1]):
        low, high = total - column.above, total
    return low / total, high / total
