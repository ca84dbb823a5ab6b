"""Reading a log: the records of all its writers, in one order that the interval alone decides."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from windlass.domain.errors import NotFound
from windlass.serving.log.position import START, Mark, Position
from windlass.serving.log.segments import records, segments, whole_until, writers
from windlass.serving.record import Record, Shadow


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What one writer wrote in an interval, and where each record ends."""

    writer: str
    records: Sequence[Record]
    ends: Sequence[Mark]


def read(
    folder: Path, after: Position = START, limit: int | None = None, until: Position | None = None
) -> tuple[list[Record], Position]:
    """The complete records after a position, at most ``limit``, and the position after them.

    They are ordered by time, id and kind. ``until`` is a position that an earlier read gave: nothing after it is read.
    Reading from ``after`` until the position that was returned gives the same records in the same order, whoever writes
    meanwhile.

    Raises:
        Corrupt: a segment is of no known format, or a whole record in it is damaged.
        NotFound: with ``until``: segments in between are gone, kept no longer.
    """
    stretches = [
        _stretch(writer, path, after.of(writer), limit, None if until is None else until.of(writer))
        for writer, path in writers(folder).items()
        if until is None or writer in until.marks
    ]
    if until is not None:
        _require_all(folder, after, until)
    if limit is not None and sum(len(each.records) for each in stretches) > limit:
        stretches = _first(stretches, limit)
    found = [record for each in stretches for record in each.records]
    found.sort(key=_order)  # stable, and writers are in order: records that cannot be told apart stay as they were
    read_until = {each.writer: each.ends[-1] for each in stretches if each.ends}
    return found, Position({**after.marks, **read_until}) if read_until else after


def end(folder: Path) -> Position:
    """The position after all that is in the log now."""
    marks = {}
    for writer, path in writers(folder).items():
        known = segments(path)
        if known:
            marks[writer] = Mark(known[-1].number, whole_until(known[-1].path))
    return Position(marks)


def _stretch(writer: str, folder: Path, after: Mark, limit: int | None, until: Mark | None) -> _Stretch:
    found: list[Record] = []
    ends: list[Mark] = []
    # Listed before read: a segment that has a successor by now is finished, and all of it will be seen.
    for segment in segments(folder):
        if segment.number < after.segment or (until is not None and segment.number > until.segment):
            continue
        offset = after.offset if segment.number == after.segment else 0
        last = until.offset if until is not None and segment.number == until.segment else None
        left = None if limit is None else limit - len(found)
        if left == 0:
            break
        try:
            part, offsets = records(segment.path, offset, left, last)
        except FileNotFoundError:
            continue  # kept no longer
        found += part
        ends += [Mark(segment.number, offset) for offset in offsets]
    return _Stretch(writer, found, ends)


def _first(stretches: Sequence[_Stretch], limit: int) -> list[_Stretch]:
    """The first records of each, so many in all, by their time: no writer is read far ahead of another."""
    heads = [(each.records[0].at, index, 0) for index, each in enumerate(stretches) if each.records]
    heapq.heapify(heads)
    counts = [0] * len(stretches)
    for _ in range(limit):
        _, index, at = heads[0]
        counts[index] += 1
        following = at + 1
        if following < len(stretches[index].records):
            heapq.heapreplace(heads, (stretches[index].records[following].at, index, following))
        else:
            heapq.heappop(heads)
    return [
        _Stretch(each.writer, each.records[:count], each.ends[:count])
        for each, count in zip(stretches, counts, strict=True)
    ]


def _order(record: Record) -> tuple[int, str, bool]:
    return record.at, record.id, isinstance(record, Shadow)


def _require_all(folder: Path, after: Position, until: Position) -> None:
    for writer, last in until.marks.items():
        first = after.of(writer)
        if last <= first:
            continue
        there = {segment.number for segment in segments(folder / writer)}
        # What ends at its header has no records: such a segment may never have come to be.
        needed = range(max(1, first.segment), last.segment + 1)
        if any(number not in there for number in needed):
            raise NotFound(
                f"segments {needed.start} to {last.segment} of {folder.name}'s prediction log, written by"
                f" {writer or 'the gateway'}, are not all there",
                hint="they were kept for predictions.keep_days; `windlass predictions` still shows their rows",
            )
