"""Failed answers: held against the stable release's, against an absolute rate where that has no users, and for going
on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from windlass.delivery.analysis.interval import Interval
from windlass.delivery.analysis.latency import BLOCK, EMPTY, Block, updated
from windlass.stats import evalues
from windlass.stats.evalues import MeanTest, RateTest, RatioTest
from windlass.stats.intervals import wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Counts over the whole rollout. ``ratio`` and ``rate`` are evidence of harm, ``safe`` is evidence of none in the
    phase; ``waiting``: stable users, and failures among them, not yet paired with a candidate's user; ``baseline``:
    what the stable release's rate is at least, for when there is nobody to pair with."""

    users: int = 0
    failed: int = 0
    stable_users: int = 0
    stable_failed: int = 0
    baseline: float = 0.0
    waiting: tuple[int, float] = (0, 0.0)
    block: Block = EMPTY
    ratio: RatioTest
    rate: RateTest | None = None
    safe: MeanTest


def begin(max_ratio: float, margin: float) -> Errors:
    return Errors(ratio=RatioTest(limit=max_ratio), safe=MeanTest(above=-margin))


def enter(state: Errors, margin: float, *, alone: bool) -> Errors:
    """Go on to a phase; ``alone``: with all users the candidate's, it is held against what the stable release's rate
    may have been at most. That evidence runs on where another such phase follows."""
    low, high = wilson(state.stable_failed, state.stable_users, 0.98) if state.stable_users else (0.0, 0.0)
    rate = state.rate
    if alone and rate is None:
        rate = RateTest(limit=min(0.5, high + margin))
    return replace(
        state, baseline=low, waiting=(0, 0.0), block=EMPTY, rate=rate, safe=MeanTest(above=-margin)
    )  # fmt: skip


def fold(state: Errors, new: Interval, *, alone: bool) -> Errors:
    """Take users in."""
    import numpy as np  # noqa: PLC0415

    candidate, failed = new.candidate, new.failed
    users, hits = int(candidate.sum()), int((candidate & failed).sum())
    stables = len(candidate) - users
    filled, block = evalues.blocks(candidate, failed, state.block, BLOCK)
    # A shadow is asked only what the stable release answered; failures there are held against that one's rate as well.
    means, left = evalues.fresh_means(candidate, failed, state.waiting)
    means = np.where(np.isnan(means), state.baseline, means)
    return replace(
        state,
        users=state.users + users,
        failed=state.failed + hits,
        stable_users=state.stable_users + stables,
        stable_failed=state.stable_failed + int(failed.sum()) - hits,
        waiting=(left[0], float(left[1])),
        block=block,
        ratio=updated(state.ratio, filled),
        rate=state.rate.update(users=users, hits=hits) if state.rate and alone else state.rate,
        safe=state.safe.update(means - failed[candidate]),
    )
