from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics as oracle

from windlass.domain.errors import Invalid
from windlass.domain.evidence import Verdict
from windlass.stats.intervals import wilson
from windlass.validation import metrics
from windlass.validation.policy import METRICS, MetricFloor


def answers(n: int, seed: int = 0) -> tuple[list[int], list[int], list[float]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n)
    score = 1 / (1 + np.exp(-(truth * 1.5 - 0.75 + rng.normal(0, 1, n))))
    return truth.tolist(), (score > 0.5).astype(int).tolist(), np.round(score, 2).tolist()


@pytest.mark.parametrize("name", METRICS)
def test_each_metric_is_that_of_scikit_learn(name: str) -> None:
    truth, predicted, score = answers(2000)
    expected = {
        "roc_auc": lambda: oracle.roc_auc_score(truth, score),
        "f1": lambda: oracle.f1_score(truth, predicted),
    }.get(name, lambda: getattr(oracle, f"{name}_score")(truth, predicted))()
    value, low, high, n = metrics.estimate(name, truth, predicted, score, 1)
    assert value == pytest.approx(expected, abs=1e-12)
    assert low < expected < high
    assert 0 < n <= 2000


@pytest.mark.parametrize("name", ["balanced_accuracy", "f1", "roc_auc"])
def test_an_interval_covers_the_truth_as_often_as_it_says(name: str) -> None:
    # Scores N(0, 1) and N(1.5, 1) cut at 0.75: recalls are Phi(0.75), F1 with equal classes is the same.
    exact = {"balanced_accuracy": norm.cdf(0.75), "f1": norm.cdf(0.75), "roc_auc": norm.cdf(1.5 / math.sqrt(2))}[name]
    rng, covered, times = np.random.default_rng(7), 0, 400
    for _ in range(times):
        truth = rng.permutation(np.repeat([0, 1], 40))
        score = rng.normal(0, 1, 80) + 1.5 * truth
        _, low, high, _ = metrics.estimate(name, truth.tolist(), (score > 0.75).tolist(), norm.cdf(score).tolist(), 1)
        covered += low <= exact <= high
    assert 0.92 <= covered / times <= 0.995


def test_a_perfect_ranking_of_few_rows_is_not_certain() -> None:
    value, low, high, _ = metrics.estimate("roc_auc", [0, 0, 1, 1], [0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 1)
    assert (value, high) == (1.0, 1.0)
    assert 0.2 < low < 0.9
    value, low, high, _ = metrics.estimate("roc_auc", [1, 1, 0, 0], [0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 1)
    assert (value, low) == (0.0, 0.0)
    assert 0.1 < high < 0.8


def check(floor: MetricFloor, right: int, n: int) -> Any:
    truth = [1] * n
    (result,) = metrics.check({"accuracy": floor}, truth, [1] * right + [0] * (n - right), None, 1)
    return result


def test_a_floor_is_met_only_by_the_whole_interval() -> None:
    assert check(MetricFloor(min=0.8), 830, 1000).verdict is Verdict.PASS
    assert check(MetricFloor(min=0.8), 790, 1000).verdict is Verdict.INCONCLUSIVE
    assert check(MetricFloor(min=0.8), 81, 100).verdict is Verdict.INCONCLUSIVE
    assert check(MetricFloor(min=0.8), 700, 1000).verdict is Verdict.FAIL
    assert check(MetricFloor(max=0.9), 700, 1000).verdict is Verdict.PASS


def test_a_result_carries_value_interval_threshold_and_n() -> None:
    result = check(MetricFloor(min=0.8), 830, 1000)
    assert (result.value, result.threshold, result.n) == (0.83, 0.8, 1000)
    assert (result.low, result.high) == wilson(830, 1000)


def test_no_row_is_inconclusive() -> None:
    results = metrics.check({name: MetricFloor(min=0.5) for name in METRICS}, [], [], [], 1)
    assert {result.verdict for result in results} == {Verdict.INCONCLUSIVE}


def test_text_labels_and_several_classes_are_metered() -> None:
    truth, said = ["a", "b", "c", "a"], ["a", "b", "b", "a"]
    value, *_ = metrics.estimate("balanced_accuracy", truth, said, None, None)
    assert value == pytest.approx(2 / 3)


def test_what_a_model_does_not_define_is_refused() -> None:
    with pytest.raises(Invalid, match="positive"):
        metrics.estimate("recall", [0, 1], [0, 1], None, None)
    with pytest.raises(Invalid, match="probabilities"):
        metrics.estimate("roc_auc", [0, 1], [0, 1], None, 1)
