"""Labels as evidence: which came for a rollout's answers, and which of them each interval took in.

A label counts as it is when it is first seen; what was decided on is kept with the interval, so that a label that is
corrected later, or that came after its phase, leaves the record of the decision as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

from windlass.delivery.observations import Memory
from windlass.delivery.rollouts import Live
from windlass.domain.clock import SECOND
from windlass.domain.ports import Database, Transaction
from windlass.monitoring import labels

Taken = list[tuple[str, str]]

EVERY = SECOND
# Whoever writes labels says when before it commits, and has a clock of its own.
SLACK = 10 * SECOND
MOST = 5000


class Labels:
    """Looks for labels, not at every look of a controller but about every second."""

    def __init__(self) -> None:
        self._looked: dict[str, tuple[int, int | None]] = {}

    def due(self, db: Database, rollout: Live, memory: Memory, now: int) -> Taken:
        """The labels that came for answers of the rollout which have none yet: (id, label as text)."""
        looked_at, newest = self._looked.get(rollout.id, (0, None))
        if not rollout.policy.signals.quality.on or not memory.answers or now - looked_at < EVERY:
            return []
        fresh = memory.fresh
        memory.fresh = []
        with db.read() as tx:
            last = tx.row("SELECT MAX(at) AS at FROM labels WHERE endpoint = ?", (rollout.endpoint,))
            found = labels.values(tx, rollout.endpoint, fresh)
            if newest is not None:
                since = tx.rows(
                    "SELECT id, label FROM labels WHERE endpoint = ? AND at >= ? ORDER BY at, id",
                    (rollout.endpoint, newest - SLACK),
                )
                found |= {row["id"]: row["label"] for row in since if row["id"] in memory.answers}
        self._looked[rollout.id] = (now, (last["at"] if last else None) or 0)
        taken = list(found.items())
        memory.fresh += [identity for identity, _ in taken[MOST:]]
        return taken[:MOST]


def come(tx: Transaction, rollout: Live) -> bool:
    """Whether labels matter to a rollout, and there are any."""
    if not rollout.policy.signals.quality.on:
        return False
    return tx.row("SELECT id FROM labels WHERE endpoint = ? LIMIT 1", (rollout.endpoint,)) is not None


def keep(tx: Transaction, rollout: str, seq: int, taken: Sequence[tuple[str, str]]) -> None:
    """Write down which labels an interval took in."""
    tx.many(
        "INSERT INTO rollout_labels (rollout, seq, number, id, label) VALUES (?, ?, ?, ?, ?)",
        [(rollout, seq, number, identity, label) for number, (identity, label) in enumerate(taken)],
    )


def kept(tx: Transaction, rollout: str) -> dict[int, Taken]:
    """The labels that each interval took in, by its number."""
    found: dict[int, Taken] = {}
    for row in tx.rows("SELECT seq, id, label FROM rollout_labels WHERE rollout = ? ORDER BY seq, number", (rollout,)):
        found.setdefault(row["seq"], []).append((row["id"], row["label"]))
    return found
