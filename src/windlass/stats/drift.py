"""Drift: has a column's distribution changed, beyond chance and by enough to matter?

Each column's cells (frozen bins, unseen, missing) are compared by Pearson's two-sample chi-square, sparse cells
pooled; p-values are corrected over the columns by Benjamini and Hochberg (J. R. Statist. Soc. B 57 (1995) 289-300).
The effect is the square root of half the triangular discrimination, sum (p - q)^2 / (p + q) (Topsoe, IEEE Trans. Inf.
Theory 46 (2000) 1602-1609), less its expectation under no change: 0 for equal distributions at any sample size and
number of bins, 1 for distributions without a common value. For a normal variable, a shift of d standard deviations
has an effect of about d / 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import chdtrc

from windlass.stats.profile import Array, Column, Profile

LEAST_ROWS = 50
_LEAST_EXPECTED = 5.0  # Cochran's rule for the chi-square approximation


class Outcome(StrEnum):
    DRIFT = "drift"
    NONE = "none"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDrift:
    """``n`` is the number of current rows; ``adjusted_p`` is corrected over all columns of the comparison."""

    column: str
    n: int
    statistic: float
    p_value: float
    adjusted_p: float
    effect: float
    verdict: Outcome


def drift(reference: Profile, current: Profile, alpha: float = 0.05, min_effect: float = 0.1) -> list[ColumnDrift]:
    """Compare every column of ``current``, counted over the bins of ``reference``, with the reference.

    Drift is called where the corrected p-value is at most ``alpha`` and the effect at least ``min_effect``; with fewer
    than 50 rows on a side a column is inconclusive.

    Raises:
        ValueError: the columns or their bins differ.
    """
    if reference.columns.keys() != current.columns.keys():
        raise ValueError("the profiles have different columns")
    names = list(current.columns)
    tests = [_test(reference.columns[name], current.columns[name]) for name in names]
    enough = [min(reference.columns[name].n, current.columns[name].n) >= LEAST_ROWS for name in names]
    adjusted = iter(benjamini_hochberg([p for (_, p, _), told in zip(tests, enough, strict=True) if told]))
    found = []
    for name, (statistic, p_value, effect), told in zip(names, tests, enough, strict=True):
        corrected = next(adjusted) if told else 1.0
        verdict = Outcome.NONE if told else Outcome.INCONCLUSIVE
        if told and corrected <= alpha and effect >= min_effect:
            verdict = Outcome.DRIFT
        found.append(
            ColumnDrift(
                column=name,
                n=current.columns[name].n,
                statistic=statistic,
                p_value=p_value,
                adjusted_p=corrected,
                effect=effect,
                verdict=verdict,
            )
        )
    return found


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted so that rejecting those at most alpha keeps the false discovery rate at alpha."""
    if not p_values:
        return []
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values)[::-1]
    ranks = np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(values[order] * len(values) / ranks))
    return [float(value) for value in adjusted]


def _test(reference: Column, current: Column) -> tuple[float, float, float]:
    """Chi-square statistic, p-value and effect of one column."""
    if (reference.kind, reference.bins) != (current.kind, current.bins):
        raise ValueError("the bins differ: count both over the same reference")
    old, new = np.array(reference.cells, dtype=float), np.array(current.cells, dtype=float)
    total_old, total_new = old.sum(), new.sum()
    if not (total_old and total_new):
        return 0.0, 1.0, 0.0
    effect = _effect(old / total_old, new / total_new, total_old, total_new)
    old, new = _pooled(old, new)
    if len(old) < 2:
        return 0.0, 1.0, effect
    both = old + new
    statistic = 0.0
    for counts, total in ((old, total_old), (new, total_new)):
        expected = both * total / (total_old + total_new)
        statistic += float(((counts - expected) ** 2 / expected).sum())
    return statistic, float(chdtrc(len(old) - 1, statistic)), effect


def _pooled(old: Array, new: Array) -> tuple[Array, Array]:
    """The cells, the rarest put together until each has enough of an expectation on either side."""
    both = old + new
    order = np.argsort(both, kind="stable")
    share = min(old.sum(), new.sum()) / both.sum()
    # How many of the rarest make up one cell: all that are too sparse alone, and as many more as that takes.
    expected = np.cumsum(both[order]) * share
    sparse = int((both * share < _LEAST_EXPECTED).sum())
    if sparse and expected[sparse - 1] < _LEAST_EXPECTED:
        sparse = min(sparse + 1, len(order)) if expected[sparse - 1] > 0 else sparse
    rare, kept = order[:sparse], order[sparse:]
    old_cells, new_cells = old[kept], new[kept]
    if both[rare].sum() > 0:
        old_cells, new_cells = np.append(old_cells, old[rare].sum()), np.append(new_cells, new[rare].sum())
    return old_cells, new_cells


def _effect(p: Array, q: Array, n_p: float, n_q: float) -> float:
    used = (p + q) > 0
    p, q = p[used], q[used]
    apart = ((p - q) ** 2 / (p + q)).sum()
    by_chance = ((p * (1 - p) / n_p + q * (1 - q) / n_q) / (p + q)).sum()
    return float(np.sqrt(max(0.0, apart - by_chance) / 2))
