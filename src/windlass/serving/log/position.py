"""Where a reader stands in a log of several writers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from windlass.domain.errors import Invalid

WRITER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NOTHING = "0:0"


class Mark(NamedTuple):
    """After ``offset`` bytes of a segment of one writer."""

    segment: int = 0
    offset: int = 0


_BEGINNING = Mark()


@dataclass(frozen=True, slots=True)
class Position:
    """After a mark in each writer's segments; a writer without one is at its beginning.

    As text ``gateway-0=3:120,gateway-1=2:77``; ``0:0`` is the beginning of all. The writer without a name, ``3:120``,
    is the one that wrote to the endpoint's folder itself, before there were several.

    Positions are ordered as far as every writer agrees: two that one reader came by always are.
    """

    marks: Mapping[str, Mark] = field(default_factory=dict)

    def of(self, writer: str) -> Mark:
        return self.marks.get(writer, _BEGINNING)

    def __le__(self, other: Position) -> bool:
        return all(mark <= other.of(writer) for writer, mark in self.marks.items())

    def __lt__(self, other: Position) -> bool:
        return self <= other and not other <= self

    def __ge__(self, other: Position) -> bool:
        return other <= self

    def __gt__(self, other: Position) -> bool:
        return other < self

    def __str__(self) -> str:
        parts = (
            f"{writer}={mark.segment}:{mark.offset}" if writer else f"{mark.segment}:{mark.offset}"
            for writer, mark in sorted(self.marks.items())
        )
        return ",".join(parts) or _NOTHING

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position that was written as ``text``; "" is the beginning.

        Raises:
            Invalid: it is none.
        """
        if text in ("", _NOTHING):
            return START
        marks: dict[str, Mark] = {}
        for part in text.split(","):
            writer, named, where = part.rpartition("=")
            segment, colon, offset = where.partition(":")
            written = colon and _is_number(segment) and _is_number(offset)
            if not written or bool(named) != bool(WRITER.fullmatch(writer)) or writer in marks:
                raise Invalid(
                    f"'{text[:80]}' is not a position in a prediction log",
                    hint="it is written writer=segment:offset, with commas between writers",
                )
            marks[writer] = Mark(int(segment), int(offset))
        return cls(marks)


START = Position()


def earliest(positions: Iterable[Position]) -> Position:
    """The latest position that is before all of these, or one of them; of none, the beginning."""
    found = list(positions)
    if not found:
        return START
    shared = set.intersection(*(set(each.marks) for each in found))
    return Position({writer: min(each.of(writer) for each in found) for writer in sorted(shared)})


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18
