"""How good answers are: realised, once the labels are there, and estimated before.

The estimate is CBPE, confidence-based performance estimation (Garg et al., arXiv 2201.04234, and NannyML's use of
it): a calibrated probability p of the positive class is right with probability p when it answers positive, 1 - p when
not. It assumes that the probabilities are calibrated and that the relation of inputs to label has not changed: it sees
a shift to harder inputs, and is blind to a changed concept and to inputs that the model misreads with confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from windlass.stats.intervals import wilson
from windlass.stats.profile import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A share of right answers of ``n``, with an interval."""

    value: float
    low: float
    high: float
    n: int


def realised(predictions: Array, labels: Array, confidence: float = 0.95) -> Accuracy | None:
    """The share of answers equal to their label (Wilson's interval); None without any."""
    n = len(labels)
    if n == 0:
        return None
    right = int(np.count_nonzero(np.asarray(predictions) == np.asarray(labels)))
    low, high = wilson(right, n, confidence)
    return Accuracy(value=right / n, low=low, high=high, n=n)


def estimated_right(probabilities: Array, positive: Array) -> float:
    """How many answers are expected to be right: ``probabilities`` of the positive class, ``positive``: it answered so.

    A sum, so that windows add up exactly; divide by the number of answers for the estimated accuracy.
    """
    chance = np.asarray(probabilities, dtype=float)
    return float(np.where(np.asarray(positive, dtype=bool), chance, 1.0 - chance).sum())
