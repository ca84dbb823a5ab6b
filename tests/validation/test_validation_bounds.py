from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.evidence import Verdict
from windlass.validation.bounds import judge


@pytest.mark.parametrize(
    ("low", "high", "least", "most", "verdict"),
    [
        (0.81, 0.85, 0.80, None, Verdict.PASS),
        (0.80, 0.85, 0.80, None, Verdict.PASS),
        (0.79, 0.85, 0.80, None, Verdict.INCONCLUSIVE),
        (0.70, 0.79, 0.80, None, Verdict.FAIL),
        (0.01, 0.09, None, 0.10, Verdict.PASS),
        (0.05, 0.15, None, 0.10, Verdict.INCONCLUSIVE),
        (0.11, 0.15, None, 0.10, Verdict.FAIL),
        (None, 0.09, None, 0.10, Verdict.PASS),
        (0.01, None, None, 0.10, Verdict.INCONCLUSIVE),
        (0.40, 0.60, 0.30, 0.55, Verdict.INCONCLUSIVE),
        (0.60, 0.70, 0.30, 0.55, Verdict.FAIL),
    ],
)
def test_the_whole_interval_must_keep_to_the_threshold(
    low: float | None, high: float | None, least: float | None, most: float | None, verdict: Verdict
) -> None:
    assert judge(low, high, least=least, most=most) is verdict


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_a_wider_interval_never_turns_a_verdict_into_its_opposite(
    a: float, b: float, threshold: float, wider: float
) -> None:
    low, high = min(a, b), max(a, b)
    narrow, wide = judge(low, high, least=threshold), judge(low - wider, high + wider, least=threshold)
    assert wide is narrow or wide is Verdict.INCONCLUSIVE
