"""The one rule by which an interval and a threshold make a verdict."""

from __future__ import annotations

from windlass.domain.evidence import Verdict

# Of the intervals for which a policy states no confidence of its own.
CONFIDENCE = 0.95


def judge(low: float | None, high: float | None, *, least: float | None = None, most: float | None = None) -> Verdict:
    """The verdict on a quantity known to lie in ``[low, high]``; an end that is None is unknown.

    Pass when all of the interval keeps within the thresholds, fail when none of it does. An interval that straddles
    a threshold is inconclusive, on whichever side the point estimate lies: the rows at hand do not show that the
    threshold is kept, and more rows would settle it.
    """
    if (least is not None and high is not None and high < least) or (
        most is not None and low is not None and low > most
    ):
        return Verdict.FAIL
    if (least is not None and (low is None or low < least)) or (most is not None and (high is None or high > most)):
        return Verdict.INCONCLUSIVE
    return Verdict.PASS
