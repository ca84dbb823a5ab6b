"""Estimated accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from windlass.stats import performance


def test_the_estimate_meets_the_truth_where_probabilities_are_calibrated() -> None:
    rng = np.random.default_rng(1)
    chance = rng.beta(2, 2, 50_000)
    truth = rng.uniform(size=50_000) < chance
    answers = chance >= 0.5
    estimate = performance.estimated_right(chance, answers) / len(chance)
    assert estimate == pytest.approx((answers == truth).mean(), abs=0.006)


def test_estimates_of_windows_add_up() -> None:
    rng = np.random.default_rng(2)
    chance = rng.uniform(size=1000)
    whole = performance.estimated_right(chance, chance >= 0.5)
    parts = sum(performance.estimated_right(part, part >= 0.5) for part in np.split(chance, 4))
    assert whole == pytest.approx(parts)
