"""State machines as tables: (state, event) -> state. What is not in the table cannot happen."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from windlass.domain.errors import Conflict

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


class Machine(Generic[S, E]):
    def __init__(self, name: str, table: Mapping[tuple[S, E], S]) -> None:
        self.name = name
        self.table = dict(table)

    def next(self, state: S, event: E) -> S:
        """Where ``event`` leads from ``state``.

        Raises:
            Conflict: nowhere.
        """
        following = self.table.get((state, event))
        if following is None:
            legal = ", ".join(sorted(e.value for (s, e) in self.table if s == state)) or "nothing: it has ended"
            raise Conflict(f"a {self.name} that is {state} cannot {event}", hint=f"it can: {legal}")
        return following

    def ends(self, state: S) -> bool:
        """Whether nothing leads out of ``state``."""
        return all(s != state for (s, _) in self.table)


class RolloutState(StrEnum):
    PLANNED = "planned"
    WARMING = "warming"
    RUNNING = "running"
    PAUSED = "paused"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"
    FAILED = "failed"


class RolloutEvent(StrEnum):
    START = "start"
    READY = "ready"
    ADVANCE = "advance"
    COMPLETE = "complete"
    VERDICT = "roll_back"
    CRASH = "crash"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"


ROLLOUT: Machine[RolloutState, RolloutEvent] = Machine(
    "rollout",
    {
        (RolloutState.PLANNED, RolloutEvent.START): RolloutState.WARMING,
        (RolloutState.PLANNED, RolloutEvent.ABORT): RolloutState.ABORTED,
        (RolloutState.WARMING, RolloutEvent.READY): RolloutState.RUNNING,
        (RolloutState.WARMING, RolloutEvent.CRASH): RolloutState.FAILED,
        (RolloutState.WARMING, RolloutEvent.ABORT): RolloutState.ABORTED,
        (RolloutState.RUNNING, RolloutEvent.ADVANCE): RolloutState.RUNNING,
        (RolloutState.RUNNING, RolloutEvent.COMPLETE): RolloutState.PROMOTED,
        (RolloutState.RUNNING, RolloutEvent.VERDICT): RolloutState.ROLLED_BACK,
        (RolloutState.RUNNING, RolloutEvent.CRASH): RolloutState.ROLLED_BACK,
        (RolloutState.RUNNING, RolloutEvent.PAUSE): RolloutState.PAUSED,
        (RolloutState.RUNNING, RolloutEvent.ABORT): RolloutState.ABORTED,
        (RolloutState.PAUSED, RolloutEvent.RESUME): RolloutState.RUNNING,
        (RolloutState.PAUSED, RolloutEvent.VERDICT): RolloutState.ROLLED_BACK,
        (RolloutState.PAUSED, RolloutEvent.CRASH): RolloutState.ROLLED_BACK,
        (RolloutState.PAUSED, RolloutEvent.ABORT): RolloutState.ABORTED,
    },
)
