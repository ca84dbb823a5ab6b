from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from windlass.domain.evidence import Verdict
from windlass.validation import latency
from windlass.validation.policy import LatencyPolicy


@pytest.mark.parametrize(("n", "quantile"), [(30, 0.5), (200, 0.5), (700, 0.99), (2000, 0.99)])
def test_the_interval_of_a_quantile_covers_at_least_what_it_says(n: int, quantile: float) -> None:
    values = list(range(1, n + 1))  # the r-th smallest is r: the bounds are ranks
    _, low, high = latency.bounds(values, quantile, 0.95)
    assert low is not None and high is not None
    # P(X_(low) <= q < X_(high)) = P(low <= B < high).
    cover = binom.cdf(high - 1, n, quantile) - binom.cdf(low - 1, n, quantile)
    assert cover >= 0.95
    narrower = binom.cdf(high - 2, n, quantile) - binom.cdf(low, n, quantile)
    assert narrower < 0.95


def test_too_few_measurements_bound_no_tail() -> None:
    _, low, high = latency.bounds([1.0] * 200, 0.99)
    assert low == 1.0
    assert high is None
    slow = latency.check(LatencyPolicy(p50_ms=5, p99_ms=5), [1.0] * 200)
    assert [result.verdict for result in slow] == [Verdict.PASS, Verdict.INCONCLUSIVE]


def test_enough_measurements_bound_the_tail_past_one_straggler() -> None:
    n = latency.enough(0.99)
    milliseconds = [1.0] * (n - 1) + [900.0]
    results = latency.check(LatencyPolicy(p50_ms=5, p99_ms=5), milliseconds)
    assert [result.verdict for result in results] == [Verdict.PASS, Verdict.PASS]
    assert n < 1000


def test_a_slow_model_fails() -> None:
    milliseconds = np.random.default_rng(1).gamma(2, 50, 800).tolist()
    results = latency.check(LatencyPolicy(p50_ms=10, p99_ms=100), milliseconds)
    assert [result.verdict for result in results] == [Verdict.FAIL, Verdict.FAIL]


def test_nothing_measured_is_inconclusive() -> None:
    assert {result.verdict for result in latency.check(LatencyPolicy(), [])} == {Verdict.INCONCLUSIVE}
