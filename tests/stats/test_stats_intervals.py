from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from windlass.stats.intervals import newcombe, wilson

counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, st.sampled_from([0.8, 0.95, 0.999]))
def test_wilson_equals_scipys(pair: tuple[int, int], confidence: float) -> None:
    expected = binomtest(*pair).proportion_ci(confidence, method="wilson")
    assert wilson(*pair, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


# Newcombe (1998), Statistics in Medicine 17, 873-890, table II: contrasts a to h, method 10 (score, uncorrected).
@pytest.mark.parametrize(
    ("first", "second", "interval"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((6, 7), (2, 7), (0.0582, 0.8062)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
        ((0, 10), (0, 20), (-0.1611, 0.2775)),
        ((0, 10), (0, 10), (-0.2775, 0.2775)),
        ((10, 10), (0, 20), (0.6791, 1.0)),
        ((10, 10), (0, 10), (0.6075, 1.0)),
    ],
)
def test_newcombe_gives_the_published_intervals(
    first: tuple[int, int], second: tuple[int, int], interval: tuple[float, float]
) -> None:
    assert newcombe(*first, *second) == pytest.approx(interval, abs=5e-5)


@given(counts, counts)
def test_newcombe_is_antisymmetric_and_holds_the_difference(a: tuple[int, int], b: tuple[int, int]) -> None:
    low, high = newcombe(*a, *b)
    assert newcombe(*b, *a) == pytest.approx((-high, -low))
    assert -1 <= low <= a[0] / a[1] - b[0] / b[1] + 1e-12
    assert low <= high <= 1


def test_nothing_seen_bounds_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert newcombe(0, 0, 1, 10) == (-1.0, 1.0)


def test_impossible_counts_are_refused() -> None:
    for k, n in ((2, 1), (-1, 5)):
        with pytest.raises(ValueError, match="no rate"):
            wilson(k, n)
    with pytest.raises(ValueError, match="confidence"):
        wilson(1, 2, 1.0)
