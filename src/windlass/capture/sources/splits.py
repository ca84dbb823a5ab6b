"""Splits: which part a row belongs to, by a hash that nothing but its own place or group goes into.

Format 1. A row's hash is 63 bits of blake3 over the seed and either its group's value as text, or its table's path and
its place in it. A part takes the hashes of its share of the range: rows that are added later move none that were there.
With strata, the shares are taken of the ranked hashes of each stratum: exact, but rows near a limit may move later.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from windlass.capture.sources import tables
from windlass.capture.sources.parquet import Writer
from windlass.domain import names
from windlass.domain.errors import Invalid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Hashes = NDArray[np.int64]

FORMAT = 1
_BLOCK = 65_536  # rows whose hashes come from one call
_RANGE = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """``into`` has the parts' shares, in order; ``by`` is a column whose equal values stay in one part."""

    into: Mapping[str, float]
    seed: int
    by: str = ""
    stratify: str = ""

    def plain(self) -> dict[str, Any]:
        """As records have it."""
        said: dict[str, Any] = {"format": FORMAT, "into": [[part, share] for part, share in self.into.items()]}
        return said | ({"by": self.by} if self.by else {}) | ({"stratify": self.stratify} if self.stratify else {})


def checked(recipe: Recipe) -> Recipe:
    """The recipe, if it can be followed.

    Raises:
        Invalid: it has fewer than two parts, shares that are not all of it, or both a group and strata.
    """
    for part in recipe.into:
        names.checked(part, "name of a part")
    if len(recipe.into) < 2:
        raise Invalid("a split has two parts or more", hint="write them as train=0.8,test=0.2")
    if not all(0 < share < 1 for share in recipe.into.values()) or abs(sum(recipe.into.values()) - 1) > 1e-9:
        raise Invalid(
            f"the shares of a split are above 0 and make up 1, not {sum(recipe.into.values()):g}",
            hint="write them as train=0.8,test=0.2",
        )
    if recipe.by and recipe.stratify:
        raise Invalid("a split is either by groups or by strata", hint="give one of by and stratify")
    return recipe


def split(files: Mapping[str, Path], recipe: Recipe, folder: Path) -> dict[str, int]:
    """Write every table's rows to ``folder/PART/TABLE.parquet``, in their order; returns the rows of each part.

    Raises:
        Invalid: a table cannot be read or lacks a column, or a part would have no row.
    """
    limits = _limits(files, recipe)
    counts = dict.fromkeys(recipe.into, 0)
    for path, name in tables.as_parquet(files).items():
        with tables.opened(path, files[path]) as (schema, batches), ExitStack() as open_files:
            _require(path, schema, recipe)
            writers = []
            for part in recipe.into:
                place = folder / part / name
                place.parent.mkdir(parents=True, exist_ok=True)
                writers.append(open_files.enter_context(Writer(schema, place)))
            at = 0
            for batch in batches:
                found = _parts(batch, _hashes(batch, recipe, path, at), recipe, limits)
                for number, (part, writer) in enumerate(zip(recipe.into, writers, strict=True)):
                    chosen = batch.filter(_mask(found == number))
                    counts[part] += chosen.num_rows
                    writer.add(chosen)
                at += batch.num_rows
    if empty := [part for part, count in counts.items() if not count]:
        raise Invalid(f"the part {empty[0]} would have no row", hint="give it a larger share, or take another seed")
    return counts


def _limits(files: Mapping[str, Path], recipe: Recipe) -> dict[str, Hashes]:
    """For each stratum (one, if there are none) the least hash of every part but the first."""
    import numpy as np  # noqa: PLC0415 - heavy

    shares = np.cumsum(list(recipe.into.values()))[:-1]
    if not recipe.stratify:
        return {"": np.array([int(share * _RANGE) for share in shares.tolist()], dtype=np.int64)}
    seen: dict[str, list[Hashes]] = {}
    for path, file in files.items():
        with tables.opened(path, file, [recipe.stratify]) as (_, batches):
            at = 0
            for batch in batches:
                hashes = _hashes(batch, recipe, path, at)
                values, codes = _coded(batch, recipe.stratify)
                for code, value in enumerate(values):
                    seen.setdefault(value, []).append(hashes[codes == code])
                at += batch.num_rows
    limits = {}
    for value, found in seen.items():
        ranked = np.append(np.sort(np.concatenate(found)), np.iinfo(np.int64).max)
        limits[value] = ranked[np.floor(shares * (ranked.size - 1) + 0.5).astype(np.int64)]
    return limits


def _parts(batch: Any, hashes: Hashes, recipe: Recipe, limits: Mapping[str, Hashes]) -> Hashes:
    """Each row's part, by number."""
    import numpy as np  # noqa: PLC0415

    if not recipe.stratify:
        return np.searchsorted(limits[""], hashes, side="right")
    values, codes = _coded(batch, recipe.stratify)
    found = np.zeros(batch.num_rows, dtype=np.int64)
    for code, value in enumerate(values):
        rows = codes == code
        found[rows] = np.searchsorted(limits[value], hashes[rows], side="right")
    return found


def _hashes(batch: Any, recipe: Recipe, path: str, at: int) -> Hashes:
    """Each row's hash; ``at`` is the place of the first row in its table."""
    import numpy as np  # noqa: PLC0415

    if recipe.by:
        values, codes = _coded(batch, recipe.by)
        drawn = b"".join(_hash(f"{recipe.seed}\0group\0{value}").digest(length=8) for value in values)
        return _numbers(drawn)[codes]
    first, last = at // _BLOCK, (at + max(batch.num_rows, 1) - 1) // _BLOCK
    # A hash may be as long as one likes: one call draws the numbers of a block of rows.
    blocks = [
        _numbers(_hash(f"{recipe.seed}\0rows\0{path}\0{block}").digest(length=8 * _BLOCK))
        for block in range(first, last + 1)
    ]
    start = at - first * _BLOCK
    return np.concatenate(blocks)[start : start + batch.num_rows]


def _hash(text: str) -> Any:
    return blake3(b"windlass split 1\0" + text.encode("utf-8", "surrogatepass"))


def _numbers(drawn: bytes) -> Hashes:
    import numpy as np  # noqa: PLC0415

    return (np.frombuffer(drawn, dtype="<u8") >> np.uint64(1)).astype(np.int64)


def _coded(batch: Any, column: str) -> tuple[list[str], NDArray[np.int64]]:
    """A column's distinct values as text, and for each row which of them it has; null is a value."""
    import numpy as np  # noqa: PLC0415

    encoded = batch.column(column).dictionary_encode(null_encoding="encode")
    values = [_text(value) for value in encoded.dictionary.to_pylist()]
    codes: NDArray[np.int64] = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return values, codes


def _text(value: Any) -> str:
    return "\0null" if value is None else str(value)


def _mask(chosen: Any) -> Any:
    import pyarrow as pa  # noqa: PLC0415

    return pa.array(chosen)


def _require(path: str, schema: Any, recipe: Recipe) -> None:
    for column in filter(None, (recipe.by, recipe.stratify)):
        if column not in schema.names:
            raise Invalid(f"{path} has no column '{column}'", hint=f"it has: {', '.join(schema.names)[:300]}")
