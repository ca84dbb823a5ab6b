"""Realised and estimated accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from windlass.stats import performance


def test_realised_accuracy_is_the_share_of_equal_answers() -> None:
    found = performance.realised(np.array([1, 0, 1, 1]), np.array([1, 0, 0, 1]))
    assert found is not None
    assert (found.value, found.n) == (0.75, 4)
    assert found.low < 0.75 < found.high


def test_without_labels_there_is_none() -> None:
    assert performance.realised(np.array([]), np.array([])) is None


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
