"""What a candidate's workers take of the machine, held against what the stable release's take.

It is not in the prediction log, so no verdict on it can be recomputed from there; the verdict has the numbers.
"""

from __future__ import annotations

from windlass.delivery import workers
from windlass.delivery.rollouts import Live
from windlass.delivery.signals import ResourcesSignal
from windlass.domain.clock import SECOND
from windlass.domain.ports import Transaction

MB = 1 << 20


class Watch:
    """Since when each candidate has taken too much. Who takes over from another controller begins anew."""

    def __init__(self) -> None:
        self._since: dict[str, int] = {}

    def excess(self, tx: Transaction, rollout: Live, now: int) -> str:
        """Why the candidate is to be rolled back; "": it is not. ``now``: us since the epoch."""
        signal = rollout.policy.signals.resources
        why = "" if rollout.stable is None else exceeds(signal, *workers.largest(tx, rollout.candidate, rollout.stable))
        if not why:
            self._since.pop(rollout.id, None)
            return ""
        if now - self._since.setdefault(rollout.id, now) < signal.seconds * SECOND:
            return ""
        del self._since[rollout.id]  # it ends with this
        return why


def exceeds(signal: ResourcesSignal, candidate: int, stable: int) -> str:
    """Say that a worker of ``candidate`` bytes takes too much beside one of ``stable``; "": it does not, or one of them
    has not been measured (0)."""
    most = max(signal.memory_ratio * stable, stable + signal.noticeable_mb * MB)
    if not signal.on or not stable or candidate <= most:
        return ""
    return (
        f"memory: a worker of the candidate takes {candidate / MB:,.0f} MB, the stable release's {stable / MB:,.0f} MB"
    )
