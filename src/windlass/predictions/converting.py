"""Finished segments as Parquet, by day and release: each once, whoever is killed meanwhile.

``PARQUET/<endpoint>/date=YYYY-MM-DD/release=<12 hex>/part-<writer>-<segment>.parquet``; and ``late/``, shadows' answers
whose predictions are in another segment. What a segment becomes depends on nothing but the segment, so a conversion
that was killed is done again over its own files; it counts from when its note is in ``done/``.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from windlass.domain.clock import SECOND, text_of
from windlass.domain.errors import Corrupt
from windlass.serving.log import Mark, Position, Segment, segments, writers
from windlass.serving.log.segments import HEADER, records
from windlass.serving.log.writer import SEGMENT_SECONDS
from windlass.serving.record import Prediction

FORMAT = 1
# A writer begins another segment after an hour: to one that nothing was written to for longer, nothing ever will be.
LEFT_SECONDS = 2 * SEGMENT_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What became of a segment. ``parts`` and ``late`` are paths below the endpoint's folder of Parquet files."""

    writer: str
    segment: int
    parts: tuple[str, ...]
    late: str = ""
    rows: int = 0
    format: int = FORMAT


def convert(folder: Path, parquet: Path, *, now: int) -> int:
    """Convert what is finished in an endpoint's log, and was not converted before; returns how many segments it was.

    A damaged segment is left where it is: `windlass verify` tells of it.
    """
    done = {(note.writer, note.segment) for note in notes(parquet)}
    converted = 0
    for writer, where in writers(folder).items():
        for segment in finished(where, now):
            if (writer, segment.number) not in done:
                with suppress(Corrupt):
                    _convert(writer, segment, parquet)
                    converted += 1
    return converted


def finished(folder: Path, now: int) -> list[Segment]:
    """The segments of a writer that are not written to any more."""
    known = segments(folder)
    return [each for each in known if each != known[-1] or _age(each.path, now) > LEFT_SECONDS]


def notes(parquet: Path) -> list[Note]:
    """What was converted."""
    found = sorted((parquet / "done").glob("*.json"))
    return [msgspec.json.decode(path.read_bytes(), type=Note) for path in found]


def expire(folder: Path, parquet: Path, *, keep_seconds: float, needed: Sequence[Position], now: int) -> int:
    """Remove segments that are converted, old, and passed by every reader at ``needed``; returns how many it was.

    Of the newest only its header stays: a writer's numbers never begin anew.
    """
    done = {(note.writer, note.segment) for note in notes(parquet)}
    removed = 0
    for writer, where in writers(folder).items():
        known = segments(where)
        for segment in finished(where, now):
            size = segment.path.stat().st_size
            if (writer, segment.number) not in done or _age(segment.path, now) <= keep_seconds or size <= HEADER.size:
                continue
            if any(position.of(writer) < Mark(segment.number, size) for position in needed):
                continue
            if segment == known[-1]:
                _replace(segment.path, segment.path.read_bytes()[: HEADER.size])
            else:
                segment.path.unlink()
            removed += 1
    return removed


def _convert(writer: str, segment: Segment, parquet: Path) -> None:
    import pyarrow.parquet as pq  # noqa: PLC0415

    from windlass.predictions import rows  # noqa: PLC0415 - pyarrow's weight, only where there is something to do

    found, _ = records(segment.path, 0, None, None)
    pairs, late = rows.paired(found)
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for pair in pairs:
        groups[_place(pair[0])].append(pair)
    name = f"{writer or 'log'}-{segment.number:06d}"
    parts, total = [], 0
    for (date, release), members in sorted(groups.items()):
        made = rows.table(members)
        path = parquet / f"date={date}" / f"release={release}" / f"part-{name}.parquet"
        _write(path, partial(pq.write_table, made, compression="zstd"))
        parts.append(str(path.relative_to(parquet)))
        total += made.num_rows
    beside = ""
    if late:
        path = parquet / "late" / f"{name}.parquet"
        _write(path, partial(pq.write_table, rows.late(late), compression="zstd"))
        beside = str(path.relative_to(parquet))
    note = Note(writer=writer, segment=segment.number, parts=tuple(parts), late=beside, rows=total)
    _replace(parquet / "done" / f"{name}.json", msgspec.json.encode(note))


def _place(prediction: Prediction) -> tuple[str, str]:
    return text_of(prediction.at)[:10], prediction.release.removeprefix("b3:")[:12] or "none"


def _age(path: Path, now: int) -> float:
    try:
        return now / SECOND - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _replace(path: Path, data: bytes) -> None:
    _write(path, lambda place: place.write_bytes(data))


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file durably: the one before or this one is there, whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(f".{path.name}.part")
    write(unfinished)
    unfinished.chmod(0o600)
    _sync(unfinished)
    unfinished.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
