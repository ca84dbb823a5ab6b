"""Metric floors: what the model is worth on rows it has not seen, each metric with its interval.

Accuracy, precision and recall are rates: Wilson's interval. F1 is 2J / (1 + J) of the Jaccard index J, a rate among
the rows that are or are called positive: Wilson's interval of J, carried over. Balanced accuracy is the mean of the
classes' recalls: their intervals combined by MOVER (Zou & Donner, Statistics in Medicine 27 (2008) 1693-1702). ROC
AUC: Newcombe's score interval (Statistics in Medicine 25 (2006) 559-573, method 5), which also holds at AUC 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from windlass.domain.errors import Invalid
from windlass.domain.evidence import CheckResult, Verdict
from windlass.stats.intervals import wilson
from windlass.validation.bounds import CONFIDENCE, judge
from windlass.validation.policy import MetricFloor

FAMILY = "metrics"

# A value with its interval, and how many rows it rests on; no rows, no value.
Estimate = tuple[float | None, float, float, int]


def check(
    floors: Mapping[str, MetricFloor],
    truth: Sequence[Any],
    predicted: Sequence[Any],
    probability: Sequence[float] | None,
    positive: Any,
) -> list[CheckResult]:
    """Hold each metric that has a floor against it.

    Raises:
        Invalid: a metric that this model's answers do not define.
    """
    return [
        _check(name, floor, estimate(name, truth, predicted, probability, positive)) for name, floor in floors.items()
    ]


def _check(name: str, floor: MetricFloor, measured: Estimate) -> CheckResult:
    value, low, high, n = measured
    verdict = Verdict.INCONCLUSIVE if value is None else judge(low, high, least=floor.min, most=floor.max)
    bounds = [("at least", floor.min), ("at most", floor.max)]
    wanted = " and ".join(f"{which} {bound:g}" for which, bound in bounds if bound is not None)
    if value is None:
        summary = "no evaluation row it could be measured on"
    elif verdict is Verdict.INCONCLUSIVE:
        summary = f"{value:.3f}: the interval {low:.3f} to {high:.3f} does not show that it is {wanted}"
    else:
        summary = f"{value:.3f} ({low:.3f} to {high:.3f}), must be {wanted}"
    return CheckResult(
        name=name,
        family=FAMILY,
        verdict=verdict,
        summary=summary,
        value=value,
        low=low,
        high=high,
        threshold=floor.min if floor.min is not None else floor.max,
        n=n,
        details={"min": floor.min, "max": floor.max, "confidence": CONFIDENCE},
    )


def estimate(
    name: str,
    truth: Sequence[Any],
    predicted: Sequence[Any],
    probability: Sequence[float] | None,
    positive: Any,
) -> Estimate:
    """One metric of these answers, with its interval."""
    actual, said = np.array(truth, dtype=object), np.array(predicted, dtype=object)
    if name == "accuracy":
        return _rate(int(np.count_nonzero(actual == said)), len(actual))
    if name == "balanced_accuracy":
        return _mean([_rate(int(np.count_nonzero(said[actual == c] == c)), n) for c, n in _classes(truth)])
    if positive is None:
        raise Invalid(
            f"{name} needs to know which class is the positive one",
            hint="say it where the training step returns its Model: Model(..., positive=1)",
        )
    is_positive, called = actual == positive, said == positive
    if name == "roc_auc":
        if probability is None:
            raise Invalid("roc_auc needs probabilities, and the model gives none")
        return _auc(np.asarray(probability, dtype=np.float64), is_positive)
    hits = int(np.count_nonzero(is_positive & called))
    return _OF_HITS[name](hits, int(np.count_nonzero(is_positive)), int(np.count_nonzero(called)))


_OF_HITS: Mapping[str, Callable[[int, int, int], Estimate]] = {
    "precision": lambda hits, positives, called: _rate(hits, called),
    "recall": lambda hits, positives, called: _rate(hits, positives),
    "f1": lambda hits, positives, called: _f1(_rate(hits, positives + called - hits)),
}


def _classes(truth: Sequence[Any]) -> list[tuple[Any, int]]:
    counts: dict[Any, int] = {}
    for label in truth:
        counts[label] = counts.get(label, 0) + 1
    return sorted(counts.items(), key=lambda item: str(item[0]))


def _rate(k: int, n: int) -> Estimate:
    low, high = wilson(k, n, CONFIDENCE)
    return (k / n if n else None), low, high, n


def _f1(jaccard: Estimate) -> Estimate:
    value, low, high, n = jaccard
    f1 = None if value is None else 2 * value / (1 + value)
    return f1, 2 * low / (1 + low), 2 * high / (1 + high), n


def _mean(rates: Sequence[Estimate]) -> Estimate:
    known = [(value, low, high) for value, low, high, _ in rates if value is not None]
    if not known:
        return None, 0.0, 1.0, 0
    count = len(known)
    mean = sum(value for value, _, _ in known) / count
    below = math.sqrt(sum((value - low) ** 2 for value, low, _ in known)) / count
    above = math.sqrt(sum((high - value) ** 2 for value, _, high in known)) / count
    return mean, max(0.0, mean - below), min(1.0, mean + above), sum(n for *_, n in rates)


def _auc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> Estimate:
    m = int(np.count_nonzero(positive))
    n = positive.size - m
    if not m or not n:
        return None, 0.0, 1.0, positive.size
    ranks = _ranks(score)
    auc = (float(ranks[positive].sum()) - m * (m + 1) / 2) / (m * n)
    z, half = NormalDist().inv_cdf((1 + CONFIDENCE) / 2), (m + n) / 2 - 1

    def beyond(theta: float) -> float:
        spread = theta * (1 - theta) / (m * n) * (1 + half * ((1 - theta) / (2 - theta) + theta / (1 + theta)))
        return (auc - theta) ** 2 - z * z * spread

    # At the estimate ``beyond`` is negative, at 0 and 1 positive: a bound lies on either side. An estimate of 0 or 1
    # has no spread of its own, so the search for its other bound starts just inside.
    low = 0.0 if auc == 0 else float(brentq(beyond, 0.0, min(auc, 1 - 1e-9)))
    high = 1.0 if auc == 1 else float(brentq(beyond, max(auc, 1e-9), 1.0))
    return auc, low, high, positive.size


def _ranks(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal scores share the mean of theirs."""
    _, where, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((2 * last - counts + 1) / 2)[where]
