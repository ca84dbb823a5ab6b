"""E-processes: evidence that may be looked at as often as one likes.

An e-process starts at 1 and, while its null hypothesis holds, is expected never to grow; so the chance that it *ever*
reaches 1/alpha is at most alpha (Ville's inequality). Stopping, pausing and peeking cost nothing. References: arXiv
2011.03567 (safe tests for two proportions), 2205.14762 (rates), 1512.04922 (always-valid inference).

All states are immutable, hold logarithms, and convert to and from plain dicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isfinite, log, log1p
from typing import Any

RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
# Shares of the largest stake that is safe: bold ones earn fast when nobody errs, timid ones survive errors.
STAKES = (0.98, 0.5, 0.25, 0.12, 0.06, 0.03)
_FAR = 1_000_000


@dataclass(frozen=True, slots=True)
class RatioTest:
    """Is the candidate's error rate more than ``limit`` times the stable release's?

    Given that an error happened in an interval with ``c`` candidate and ``s`` stable users, it was the candidate's
    with probability theta(r) = r c / (r c + s) when the rates' ratio is r, whatever the common rate is: an incident
    that hits both arms blames nobody. E is the mean over r in ``RATIOS`` of the likelihood ratios against ``limit``.
    """

    limit: float = 1.25
    logs: tuple[float, ...] = (0.0,) * len(RATIOS)

    def update(self, *, candidates: int, candidate_errors: int, stables: int, stable_errors: int) -> RatioTest:
        """Fold an interval in. Intervals without users of both arms say nothing about a ratio."""
        if not candidates or not stables or not (candidate_errors or stable_errors):
            return self
        null = self.limit * candidates / (self.limit * candidates + stables)
        logs = []
        for value, ratio in zip(self.logs, RATIOS, strict=True):
            theta = ratio * candidates / (ratio * candidates + stables)
            gain = candidate_errors * log(theta / null) + stable_errors * log((1 - theta) / (1 - null))
            # A ratio below the limit is no alternative to it.
            logs.append(value + (gain if ratio > self.limit else 0.0))
        return replace(self, logs=tuple(logs))

    @property
    def e_value(self) -> float:
        return _mean(self.logs)


@dataclass(frozen=True, slots=True)
class RateTest:
    """Is an error rate above an absolute ``limit``? For when there is nobody left to compare with.

    E is the mean over r in ``RATIOS`` of the likelihood ratios of r times the limit against the limit.
    """

    limit: float
    logs: tuple[float, ...] = (0.0,) * len(RATIOS)

    def update(self, *, users: int, errors: int) -> RateTest:
        logs = []
        for value, ratio in zip(self.logs, RATIOS, strict=True):
            rate = min(ratio * self.limit, (1 + self.limit) / 2)
            logs.append(value + errors * log(rate / self.limit) + (users - errors) * log((1 - rate) / (1 - self.limit)))
        return replace(self, logs=tuple(logs))

    @property
    def e_value(self) -> float:
        return _mean(self.logs)


@dataclass(frozen=True, slots=True)
class NonInferiority:
    """Is the candidate's error rate less than the stable release's plus ``margin``?

    A game of fair bets: each candidate user is paired with the mean error ``m`` of stable users whom nobody else is
    paired with, and the wealth is multiplied by 1 + stake (margin - (x - m)), x being 1 for an error. While the
    candidate is worse by the margin or more, no stake is expected to gain, in any order of arrival (arXiv 2010.09686).
    E is the mean wealth over ``STAKES``. A candidate without errors needs about ln(1/alpha) / margin users.
    """

    margin: float
    users: int = 0
    logs: tuple[float, ...] = (0.0,) * len(STAKES)

    def update(self, errors: Sequence[tuple[float, float]]) -> NonInferiority:
        """Fold users in: for each, the candidate's error (0 or 1) and the stable mean it is paired with."""
        logs = list(self.logs)
        for candidate, stable in errors:
            gain = self.margin - (candidate - stable)
            for index, share in enumerate(STAKES):
                logs[index] += log1p(share / (1 - self.margin) * gain)
        return replace(self, users=self.users + len(errors), logs=tuple(logs))

    @property
    def e_value(self) -> float:
        return _mean(self.logs)

    def needed(self, alpha: float) -> int | None:
        """About how many more users until E reaches 1/alpha, going on as it went; None: it does not get there."""
        pace = [
            value / self.users if self.users >= 20 else log1p(share / (1 - self.margin) * self.margin)
            for value, share in zip(self.logs, STAKES, strict=True)
        ]

        def reached(more: int) -> bool:
            return _mean([value + more * step for value, step in zip(self.logs, pace, strict=True)]) >= 1 / alpha

        if reached(0):
            return 0
        if not reached(_FAR):
            return None
        low, high = 0, _FAR
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if reached(middle) else (middle, high)
        return high


def to_plain(test: RatioTest | RateTest | NonInferiority) -> dict[str, Any]:
    """The state as JSON has it."""
    return {name: getattr(test, name) for name in test.__dataclass_fields__}


def ratio_test(plain: Mapping[str, Any]) -> RatioTest:
    return RatioTest(limit=plain["limit"], logs=tuple(plain["logs"]))


def rate_test(plain: Mapping[str, Any]) -> RateTest:
    return RateTest(limit=plain["limit"], logs=tuple(plain["logs"]))


def non_inferiority(plain: Mapping[str, Any]) -> NonInferiority:
    return NonInferiority(margin=plain["margin"], users=plain["users"], logs=tuple(plain["logs"]))


def _mean(logs: Sequence[float]) -> float:
    """The mean of the exponentials, without overflow on the way; as large as a float can be at most."""
    top = max(logs)
    if not isfinite(top):
        return 0.0 if top == -inf else inf
    scaled = sum(exp(value - top) for value in logs) / len(logs)
    return exp(min(top + log(scaled), 700.0))
