"""Latency of the packaged model: one row at a time, through its worker's socket.

A quantile's exact interval: the number of measurements under the true quantile q is binomial (n, q) whatever the
distribution, so that order statistics bound it (David & Nagaraja, Order Statistics, 3rd ed., 7.1). No model of how
latencies are distributed is needed, and none would fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr

from windlass.domain.evidence import CheckResult, Verdict
from windlass.validation.bounds import CONFIDENCE, judge
from windlass.validation.policy import LatencyPolicy

FAMILY = "latency"


def check(policy: LatencyPolicy, milliseconds: Sequence[float]) -> list[CheckResult]:
    """Hold the median and the 99th percentile against their thresholds."""
    return [
        _check("p50", 0.50, policy.p50_ms, milliseconds),
        _check("p99", 0.99, policy.p99_ms, milliseconds),
    ]


def _check(name: str, quantile: float, most: float, milliseconds: Sequence[float]) -> CheckResult:
    value, low, high = bounds(milliseconds, quantile)
    verdict = judge(low, high, most=most)
    if value is None:
        summary = "nothing was measured"
    elif verdict is Verdict.INCONCLUSIVE:
        upper = "no bound from so few" if high is None else f"up to {high:.2f} ms"
        summary = f"{value:.2f} ms, but {upper}: does not show that it is at most {most:g} ms"
    else:
        summary = f"{value:.2f} ms, must be at most {most:g} ms"
    return CheckResult(
        name=name,
        family=FAMILY,
        verdict=verdict,
        summary=summary,
        value=value,
        low=low,
        high=high,
        threshold=most,
        n=len(milliseconds),
        details={"unit": "ms", "confidence": CONFIDENCE},
    )


def bounds(
    values: Sequence[float], quantile: float, confidence: float = CONFIDENCE
) -> tuple[float | None, float | None, float | None]:
    """A quantile and its exact interval; a bound that so few values cannot give is None."""
    ordered, n = sorted(values), len(values)
    if not n:
        return None, None, None
    tail = (1 - confidence) / 2
    lower, upper = _ranks(n, quantile, tail)
    value = ordered[math.ceil(quantile * n) - 1]
    return value, ordered[lower - 1] if lower >= 1 else None, ordered[upper - 1] if upper <= n else None


def enough(quantile: float, confidence: float = CONFIDENCE) -> int:
    """The fewest measurements that bound a quantile from above and leave room for one straggler."""
    tail, n = (1 - confidence) / 2, 2
    while _ranks(n, quantile, tail)[1] > n - 1:
        n += 1
    return n


def _ranks(n: int, quantile: float, tail: float) -> tuple[int, int]:
    """Ranks r <= s with P(X_(r) > q) <= tail and P(X_(s) < q) <= tail; 0 and n + 1 stand for no bound."""
    # X_(r) > q when fewer than r fell at or under q, X_(s) < q when at least s fell under it.
    at_most = bdtr(np.arange(n + 1), n, quantile)
    return int(np.searchsorted(at_most, tail)), int(np.searchsorted(at_most, 1 - tail)) + 1
