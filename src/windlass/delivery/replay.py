"""Reading a rollout's part of the prediction log again, in the intervals in which it was read the first time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from windlass.delivery import labelling, observations
from windlass.delivery.observations import Memory
from windlass.delivery.rollouts import Live
from windlass.domain.ports import Transaction
from windlass.serving import log
from windlass.serving.log import Position
from windlass.serving.record import Record

_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of the log that was read in one phase."""

    seq: int
    phase: int
    revision: int
    after: str
    until: str
    decision: str


def stretches(tx: Transaction, rollout: str) -> list[Stretch]:
    """Every interval of a rollout, in order."""
    rows = tx.rows("SELECT * FROM rollout_intervals WHERE rollout = ? ORDER BY seq", (rollout,))
    return [Stretch(**{name: row[name] for name in Stretch.__dataclass_fields__}) for row in rows]


def remembered(tx: Transaction, rollout: Live, folder: Path, *, whole: bool) -> Memory:
    """What a controller that had looked at the rollout from its beginning would remember; ``whole``: also the answers
    of the phases before, for which only labels ever ask.

    Raises:
        Corrupt: the prediction log is damaged.
    """
    memory = Memory(complete=whole)
    signals = replace(rollout.policy.signals, custom=())
    phase = 0
    known = stretches(tx, rollout.id)
    for index, part in groupby(known, key=lambda each: each.phase):
        if index != phase:
            memory.enter()
            phase = index
        read = list(part)
        # For labels it matters which request of a user came first: that the intervals decide. For the rest it does not.
        pieces = (records(folder, each) for each in read) if whole else _pieces(folder, read[0].after, read[-1].until)
        if not whole and index != rollout.phase:
            continue
        for found in pieces:
            observations.observed(
                found, rollout=rollout.id, revision=read[0].revision, phase=rollout.phases[index], signals=signals,
                memory=memory,
            )  # fmt: skip
    if phase != rollout.phase:
        memory.enter()
    for taken in labelling.kept(tx, rollout.id).values():
        for identity, _ in taken:
            memory.answers.pop(identity, None)
    memory.fresh = list(memory.answers)
    return memory


def records(folder: Path, stretch: Stretch) -> list[Record]:
    """What was read in an interval."""
    found, _ = log.read(folder, Position.parse(stretch.after), until=Position.parse(stretch.until))
    return found


def _pieces(folder: Path, after: str, until: str) -> Iterator[list[Record]]:
    position, end = Position.parse(after), Position.parse(until)
    while position < end:
        found, further = log.read(folder, position, _AT_ONCE, end)
        if further == position:
            return
        yield found
        position = further
