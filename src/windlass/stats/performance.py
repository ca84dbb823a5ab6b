"""How good answers are likely to be, before the labels are there.

The estimate is CBPE, confidence-based performance estimation (Garg et al., arXiv 2201.04234, and NannyML's use of
it): a calibrated probability p of the positive class is right with probability p when it answers positive, 1 - p when
not. It assumes that the probabilities are calibrated and that the relation of inputs to label has not changed: it sees
a shift to harder inputs, and is blind to a changed concept and to inputs that the model misreads with confidence.
"""

from __future__ import annotations

import numpy as np

from windlass.stats.profile import Array


def estimated_right(probabilities: Array, positive: Array) -> float:
    """How many answers are expected to be right: ``probabilities`` of the positive class, ``positive``: it answered so.

    A sum, so that windows add up exactly; divide by the number of answers for the estimated accuracy.
    """
    chance = np.asarray(probabilities, dtype=float)
    return float(np.where(np.asarray(positive, dtype=bool), chance, 1.0 - chance).sum())
