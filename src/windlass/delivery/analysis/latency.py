"""Slow answers: slower than nearly all of the stable release's were when the rollout began.

Compared are answers that came. Of a canary both arms' latencies are what the user waited, in the gateway. Of a shadow
the candidate's is from the gateway's asking it to its answer, and the stable release's what the user waited for the
very same: assigning a user to an arm, which is all that one has and the other has not, takes microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from windlass.delivery.analysis.interval import Interval
from windlass.delivery.signals import LatencySignal
from windlass.stats import evalues
from windlass.stats.evalues import RatioTest

# Users of each arm in a block: few, so that it holds no more than a moment, and enough to see both arms well.
BLOCK = 10
Block = tuple[int, int, int, int]
EMPTY: Block = (0, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """``first``: the stable release's latencies so far, until there are enough to freeze ``slow_us``, all in us."""

    first: tuple[int, ...] = ()
    slow_us: int = 0
    users: int = 0
    slow: int = 0
    stable_users: int = 0
    stable_slow: int = 0
    block: Block = EMPTY
    test: RatioTest


def begin(signal: LatencySignal) -> Latency:
    return Latency(test=RatioTest(limit=signal.ratio))


def fold(state: Latency, new: Interval, signal: LatencySignal) -> Latency:
    """Take users in: the first stable ones say what slow is, and do not count."""
    answered = (new.latency_us > 0) & ~new.failed
    candidate, latencies = new.candidate[answered], new.latency_us[answered]
    if not state.slow_us:
        lacking = signal.users - len(state.first)
        stable_at = (~candidate).nonzero()[0]
        taken = stable_at[:lacking]
        first = (*state.first, *latencies[taken].tolist())
        if len(first) < signal.users:
            return replace(state, first=first)
        usual = sorted(first)[int(0.99 * len(first))]
        state = replace(state, first=(), slow_us=usual + round(signal.noticeable_ms * 1000))
        rest = int(taken[-1]) + 1
        candidate, latencies = candidate[rest:], latencies[rest:]
    slow = latencies > state.slow_us
    filled, block = evalues.blocks(candidate, slow, state.block, BLOCK)
    users, hits = int(candidate.sum()), int((candidate & slow).sum())
    return replace(
        state,
        users=state.users + users,
        slow=state.slow + hits,
        stable_users=state.stable_users + len(candidate) - users,
        stable_slow=state.stable_slow + int(slow.sum()) - hits,
        block=block,
        test=updated(state.test, filled),
    )


def updated(test: RatioTest, filled: object) -> RatioTest:
    """The test after the blocks, which have a row (c, k, s, m) each."""
    rows: list[list[int]] = filled  # type: ignore[assignment]
    if not len(rows):
        return test
    c, k, s, m = rows.T  # type: ignore[attr-defined]
    return test.update(candidates=c, candidate_hits=k, stables=s, stable_hits=m)
