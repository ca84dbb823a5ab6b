"""The prediction log as a rollout sees it: users' first requests in a phase, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from windlass.delivery.analysis import Observation
from windlass.delivery.strategy import Phase, PhaseKind
from windlass.domain.routing import Arm
from windlass.serving.record import Prediction, Record, Shadow

BAD_ROWS = 400


def observed(
    records: Iterable[Record], *, rollout: str, revision: int, phase: Phase, seen: set[str]
) -> tuple[list[Observation], int]:
    """What the records of an interval say, and how many requests the candidate was asked.

    ``revision`` is the first of the phase: what was answered by the routes before it is no evidence of it. ``seen`` has
    the users that were counted in the phase, and gets the new ones.
    """
    found: list[Observation] = []
    requests = 0
    for record in records:
        if record.rollout != rollout:
            continue
        if phase.kind is PhaseKind.SHADOW:
            if isinstance(record, Shadow):
                requests += 1
                if record.user not in seen:
                    seen.add(record.user)
                    found.append(Observation(True, record.status != 200, paired=True))
        elif isinstance(record, Prediction) and record.revision >= revision and record.arm is not Arm.CHOSEN:
            candidate = record.arm is Arm.CANDIDATE
            requests += candidate
            # Rows that no release accepts are the user's fault and nobody's failure.
            if record.status != BAD_ROWS and record.user not in seen:
                seen.add(record.user)
                found.append(Observation(candidate, record.status != 200, record.latency_us))
    return found, requests
