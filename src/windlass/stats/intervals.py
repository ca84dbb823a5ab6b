"""Confidence intervals for rates and for the difference of two rates.

Score intervals keep their coverage for rates near 0 and 1 and for small n, where the textbook interval does not
(Wilson 1927; Newcombe, Statistics in Medicine 17 (1998) 857-872 and 873-890, the latter's method 10).
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a rate of ``k`` in ``n``; nothing seen bounds nothing: (0, 1)."""
    _check(k, n)
    z = _z(confidence)
    if n == 0:
        return 0.0, 1.0
    rate, spread = k / n, z * z / n
    centre = (rate + spread / 2) / (1 + spread)
    half = z * sqrt(rate * (1 - rate) / n + spread / (4 * n)) / (1 + spread)
    # At the ends the exact bound is 0 or 1; rounding must not say otherwise.
    return (0.0 if k == 0 else max(0.0, centre - half)), (1.0 if k == n else min(1.0, centre + half))


def newcombe(k1: int, n1: int, k2: int, n2: int, confidence: float = 0.95) -> tuple[float, float]:
    """Newcombe's hybrid score interval for ``k1/n1 - k2/n2``; with an empty arm it is (-1, 1)."""
    low1, high1 = wilson(k1, n1, confidence)
    low2, high2 = wilson(k2, n2, confidence)
    if n1 == 0 or n2 == 0:
        return -1.0, 1.0
    rate1, rate2 = k1 / n1, k2 / n2
    difference = rate1 - rate2
    return (
        max(-1.0, difference - sqrt((rate1 - low1) ** 2 + (high2 - rate2) ** 2)),
        min(1.0, difference + sqrt((high1 - rate1) ** 2 + (rate2 - low2) ** 2)),
    )


def _check(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"{k} of {n} is no rate")


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    return NormalDist().inv_cdf((1 + confidence) / 2)
