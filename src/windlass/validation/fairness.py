"""Fairness: the largest difference of a rate between the groups of a protected column, held against a bound.

demographic_parity compares how often the positive class is answered, equal_opportunity how often it is answered to
those who are positive (true positive rate), predictive_parity how often it is right when answered, equalized_odds
true and false positive rates both.

The bounds of the largest difference come from Newcombe's intervals of all pairs of groups, each bound holding at the
stated confidence by itself, as in a test of equivalence. The upper one is the largest upper bound of any pair: the
pair that truly differs most is one of them, whichever it is, so no correction is due (an intersection-union test:
Berger, Technometrics 24 (1982) 295-300). The lower one is the largest lower bound after correction for the number of
pairs (Bonferroni), so that picking the extreme pair after looking makes no unfairness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from windlass.domain.errors import Invalid
from windlass.domain.evidence import CheckResult, Verdict
from windlass.stats.intervals import newcombe, wilson
from windlass.validation.bounds import judge
from windlass.validation.policy import FairnessPolicy

FAMILY = "fairness"

_RATES = {
    "demographic_parity": ("selection rate",),
    "equal_opportunity": ("true positive rate",),
    "equalized_odds": ("true positive rate", "false positive rate"),
    "predictive_parity": ("precision",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group's rate: ``k`` of ``base`` of its ``n`` rows."""

    group: str
    n: int
    k: int
    base: int
    rate: float | None
    low: float
    high: float
    large_enough: bool


def check(
    policy: FairnessPolicy,
    groups: Mapping[str, Sequence[Any]],
    truth: Sequence[Any],
    predicted: Sequence[Any],
    positive: Any,
) -> list[CheckResult]:
    """One result for each column and rate, and one that decides nothing for each group too small to compare.

    Raises:
        Invalid: the model says of no class that it is the positive one.
    """
    if positive is None:
        raise Invalid(
            f"{policy.metric} needs to know which class is the positive one",
            hint="say it where the training step returns its Model: Model(..., positive=1)",
        )
    actual = np.array(truth, dtype=object) == positive
    called = np.array(predicted, dtype=object) == positive
    results: list[CheckResult] = []
    for column, members in groups.items():
        for rate in _RATES[policy.metric]:
            results += _compare(policy, column, rate, _groups(policy, members, *_cells(rate, actual, called)))
    return results


def _cells(rate: str, actual: np.ndarray[Any, Any], called: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Which rows a rate is among, and which of them count."""
    everyone = np.ones(len(actual), dtype=bool)
    return {
        "selection rate": (everyone, called),
        "true positive rate": (actual, called),
        "false positive rate": (~actual, called),
        "precision": (called, actual),
    }[rate]


def _groups(policy: FairnessPolicy, members: Sequence[Any], among: Any, counted: Any) -> list[Group]:
    names = np.array(["missing" if member is None else str(member) for member in members], dtype=object)
    found = []
    for name in sorted(set(names.tolist()), key=_order):
        mine = names == name
        n, base = int(np.count_nonzero(mine)), int(np.count_nonzero(mine & among))
        k = int(np.count_nonzero(mine & among & counted))
        low, high = wilson(k, base, policy.confidence)
        found.append(
            Group(
                group=name,
                n=n,
                k=k,
                base=base,
                rate=k / base if base else None,
                low=low,
                high=high,
                large_enough=n >= policy.min_group,
            )
        )
    return found


def _order(name: str) -> tuple[int, float, str]:
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def _compare(policy: FairnessPolicy, column: str, rate: str, groups: Sequence[Group]) -> list[CheckResult]:
    large = [group for group in groups if group.large_enough]
    value, low, high = difference(large, policy.confidence)
    if len(large) < 2:
        verdict = Verdict.INCONCLUSIVE
        summary = f"{len(large)} group of at least {policy.min_group} rows: nothing to compare"
    else:
        verdict = judge(low, high, most=policy.max_difference)
        summary = _said(policy, verdict, large, value, high)
    main = CheckResult(
        name=f"{rate} by {column}",
        family=FAMILY,
        verdict=verdict,
        summary=summary,
        value=value,
        low=low,
        high=high,
        threshold=policy.max_difference,
        n=sum(group.base for group in large),
        details={
            "metric": policy.metric,
            "column": column,
            "rate": rate,
            "confidence": policy.confidence,
            "min_group": policy.min_group,
            "groups": [asdict(group) for group in groups],
        },
    )
    return [main, *(_too_small(policy, column, rate, group) for group in groups if not group.large_enough)]


def _said(policy: FairnessPolicy, verdict: Verdict, large: Sequence[Group], value: float | None, high: float) -> str:
    if value is None:
        return "a group has no row that the rate is among: nothing to compare"
    rated = [(group.rate, group.group) for group in large if group.rate is not None]
    (least, lowest), (most, highest) = min(rated), max(rated)
    spread = f"from {least:.3f} ({lowest}) to {most:.3f} ({highest})"
    if verdict is Verdict.INCONCLUSIVE:
        return f"{spread}: the difference may be up to {high:.3f}, over {policy.max_difference:g}"
    return f"{spread}: a difference of {value:.3f}, at most {high:.3f}; must be at most {policy.max_difference:g}"


def difference(groups: Sequence[Group], confidence: float) -> tuple[float | None, float, float]:
    """The largest difference of rates between any two groups, with its lower and upper bound."""
    pairs = list(combinations(groups, 2))
    if not pairs:
        return None, 0.0, 1.0
    miss = 1 - confidence
    low, high = 0.0, 0.0
    for a, b in pairs:
        # A two-sided interval that misses twice as often misses as often as wanted on either side.
        under, over = newcombe(a.k, a.base, b.k, b.base, 1 - 2 * miss)
        high = max(high, over, -under)
        under, over = newcombe(a.k, a.base, b.k, b.base, 1 - 2 * miss / len(pairs))
        low = max(low, under, -over)
    rates = [group.rate for group in groups if group.rate is not None]
    return (max(rates) - min(rates) if len(rates) == len(groups) else None), low, high


def _too_small(policy: FairnessPolicy, column: str, rate: str, group: Group) -> CheckResult:
    return CheckResult(
        name=f"{rate} of {column} = {group.group}",
        family=FAMILY,
        verdict=Verdict.INCONCLUSIVE,
        summary=f"{group.n} rows, under {policy.min_group}: too few to call it fair or unfair",
        value=group.rate,
        low=group.low,
        high=group.high,
        n=group.base,
        blocking=False,
        details={"column": column, "group": group.group, "rate": rate},
    )
