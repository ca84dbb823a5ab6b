"""E-processes: evidence that may be looked at as often as one likes.

An e-process starts at 1 and, while its null hypothesis holds, is expected never to grow; so the chance that it *ever*
reaches 1/alpha is at most alpha (Ville's inequality). Stopping, pausing and peeking cost nothing. References: arXiv
2011.03567 (safe tests for two proportions), 2205.14762 (rates), 1512.04922 (always-valid inference), 2010.09686
(bounded means by betting), 2009.02824 (means of e-values).

All states are immutable, hold logarithms and plain numbers only, and take what is new as one array: how it is cut into
arrays changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, inf, isfinite, log, log1p
from typing import Any

# The rates that a test for more than ``limit`` times something bets on, in multiples of the limit, and how much of the
# stake is on each: most on what is hard to see. At a limit of 1.25 they are 1.5, 2, 3, 5, 10 and 30 times.
RATIOS = (1.2, 1.6, 2.4, 4.0, 8.0, 24.0)
RATIO_WEIGHTS = (0.2, 0.35, 0.2, 0.1, 0.1, 0.05)
# Shares of the largest stake that is safe: bold ones earn fast when nobody errs, timid ones survive errors.
STAKES = (0.95, 0.8, 0.6, 0.35, 0.15, 0.05)
# For the many tests of a distribution a coarser choice does.
FEW_STAKES = (0.6, 0.3, 0.15, 0.05)
_FAR = 1_000_000_000


@dataclass(frozen=True, slots=True)
class RatioTest:
    """Is something more than ``limit`` times as frequent among the candidate's users as among the stable release's?

    A block has ``c`` candidate users of whom ``k`` were hit, and ``s`` stable ones of whom ``m`` were. With theta(r)
    = r c / (r c + s), E is the mean over r of the products of [theta(r)/theta(limit)]^k
    [(1-theta(r))/(1-theta(limit))]^m.

    No block is expected to gain while the null holds, whatever the common rate is: for independent users of rates q and
    at most limit q the expectation is at most exp(q (limit c + s) (theta(limit) (a - 1) + (1 - theta(limit)) (b - 1)))
    = 1, a and b being the two brackets. And if users are dealt to the arms by chance, k of the hits that there are is
    hypergeometric, and no wider than the binomial (Hoeffding 1963): an incident in the middle of a block that hits both
    arms blames nobody. What ends a block may depend on which arms users are of, never on who was hit.
    """

    limit: float = 1.25
    logs: tuple[float, ...] = (0.0,) * len(RATIOS)

    def update(self, *, candidates: Any, candidate_hits: Any, stables: Any, stable_hits: Any) -> RatioTest:
        """Fold blocks in: four numbers, or four arrays with a number a block. Each block has users of both arms."""
        import numpy as np  # noqa: PLC0415 - those who only show what was decided do without

        c, k, s, m = (np.atleast_1d(each) for each in (candidates, candidate_hits, stables, stable_hits))
        hit = (k + m > 0) & (c > 0) & (s > 0)
        if not hit.any():
            return self
        c, k, s, m = c[hit], k[hit], s[hit], m[hit]
        null = self.limit * c / (self.limit * c + s)
        odds = self.limit * np.array(RATIOS)[:, None] * c
        theta = odds / (odds + s)
        gains = (k * np.log(theta / null) + m * np.log((1 - theta) / (1 - null))).sum(axis=1)
        return replace(self, logs=_added(self.logs, gains))

    @property
    def e_value(self) -> float:
        return _mean(self.logs, RATIO_WEIGHTS)


@dataclass(frozen=True, slots=True)
class RateTest:
    """Is a rate above an absolute ``limit``? For when there is nobody left to compare with.

    E is the mean over r of the likelihood ratios of r times the limit against the limit.
    """

    limit: float
    logs: tuple[float, ...] = (0.0,) * len(RATIOS)

    def update(self, *, users: int, hits: int) -> RateTest:
        logs = []
        for value, ratio in zip(self.logs, RATIOS, strict=True):
            rate = min(1.25 * ratio * self.limit, (1 + self.limit) / 2)
            logs.append(value + hits * log(rate / self.limit) + (users - hits) * log((1 - rate) / (1 - self.limit)))
        return replace(self, logs=tuple(logs))

    @property
    def e_value(self) -> float:
        return _mean(self.logs, RATIO_WEIGHTS)


@dataclass(frozen=True, slots=True)
class MeanTest:
    """Is the mean of values between -1 and 1 greater than ``above``?

    A game of fair bets (arXiv 2010.09686): the wealth is multiplied by 1 + stake (value - above). While each value's
    mean, given those before it, is at most ``above``, no stake is expected to gain. E is the mean wealth over
    ``STAKES``.

    With values that are -1, 0 and 1 and ``above`` 0 it is a sign test on the pairs that differ. With values that are a
    stable user's error less a candidate's and ``above`` the negative margin it is evidence that the candidate is not
    worse by the margin: without errors it takes about ln(1/alpha) / margin users.
    """

    above: float
    n: int = 0
    logs: tuple[float, ...] = (0.0,) * len(STAKES)

    def update(self, values: Any) -> MeanTest:
        """Fold values in, each between -1 and 1."""
        import numpy as np  # noqa: PLC0415

        values = np.asarray(values, dtype=float)
        if not len(values):
            return self
        # Most values are one of a few; then the logarithms are few too.
        kinds, counts = np.unique(values, return_counts=True)
        gains = np.log1p(np.array(STAKES)[:, None] / (1 + self.above) * (kinds - self.above)) @ counts
        return replace(self, n=self.n + len(values), logs=_added(self.logs, gains))

    @property
    def e_value(self) -> float:
        return _mean(self.logs)

    def needed(self, alpha: float) -> int | None:
        """About how many more values until E reaches 1/alpha, going on as it went; None: it does not get there."""
        pace = [
            value / self.n if self.n >= 20 else log1p(share / (1 + self.above) * -self.above)
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


@dataclass(frozen=True, slots=True)
class SharesTest:
    """Does any category's share differ by more than ``margin``, up or down?

    For each category and each direction a game of bets as in ``MeanTest``, on the difference between a candidate's
    answer being of the category (0 or 1) and a stable one's, or the mean of some. While no share differs by more than
    the margin, the mean of all these wealths is no more expected to grow than each (arXiv 2009.02824).
    """

    margin: float
    categories: int
    n: int = 0
    logs: tuple[float, ...] = ()

    def update(self, differences: Any) -> SharesTest:
        """Fold users in: a row a user, a column a category, each between -1 and 1."""
        import numpy as np  # noqa: PLC0415

        values = np.asarray(differences, dtype=float)
        if not len(values):
            return self
        stakes = np.array(FEW_STAKES)[:, None, None] / (1 + self.margin)
        gains = [np.log1p(stakes * (side * values - self.margin)).sum(axis=1) for side in (1, -1)]
        logs = self.logs or (0.0,) * (2 * len(FEW_STAKES) * self.categories)
        return replace(self, n=self.n + len(values), logs=_added(logs, np.concatenate(gains).ravel()))

    def update_pairs(self, pairs: int, mine: Any, theirs: Any) -> SharesTest:
        """Fold so many pairs of answers in; of those that differ, how many of each arm's were of each category."""
        import numpy as np  # noqa: PLC0415

        if not pairs:
            return self
        up, down, neither = (
            np.log1p(np.array(FEW_STAKES)[:, None] / (1 + self.margin) * (value - self.margin)) for value in (1, -1, 0)
        )
        same = pairs - mine - theirs
        gains = [one * up + other * down + same * neither for one, other in ((mine, theirs), (theirs, mine))]
        logs = self.logs or (0.0,) * (2 * len(FEW_STAKES) * self.categories)
        return replace(self, n=self.n + pairs, logs=_added(logs, np.concatenate(gains).ravel()))

    @property
    def e_value(self) -> float:
        return _mean(self.logs) if self.logs else 1.0


def blocks(candidate: Any, hit: Any, open_block: tuple[int, int, int, int], size: int) -> tuple[Any, Any]:
    """Cut users, in their order, into blocks of at least ``size`` of each arm; for ``RatioTest``.

    ``candidate`` and ``hit`` are arrays of booleans; ``open_block`` has the (c, k, s, m) of users that came before and
    fill no block yet. Returns an array with a row (c, k, s, m) for each block that was filled, and the block now open.
    """
    import numpy as np  # noqa: PLC0415

    candidate, hit = np.asarray(candidate, dtype=bool), np.asarray(hit, dtype=bool)
    counts = np.empty((len(candidate) + 1, 4), dtype=np.int64)
    counts[0] = 0
    counts[1:, 0] = candidate.cumsum()
    counts[1:, 1] = (candidate & hit).cumsum()
    counts[1:, 2] = (~candidate).cumsum()
    counts[1:, 3] = (~candidate & hit).cumsum()
    # As counted from the beginning of the block that is open.
    begun = -np.array(open_block, dtype=np.int64)
    ends = []
    while True:
        at = max(
            int(counts[:, 0].searchsorted(begun[0] + size)), int(counts[:, 2].searchsorted(begun[2] + size))
        )  # fmt: skip
        if at >= len(counts):
            break
        ends.append(counts[at] - begun)
        begun = counts[at]
    left = counts[-1] - begun
    return np.array(ends, dtype=np.int64).reshape(-1, 4), tuple(int(each) for each in left)


def fresh_means(candidate: Any, values: Any, waiting: tuple[int, Any]) -> tuple[Any, tuple[int, Any]]:
    """For each candidate user the mean value of the stable users since the candidate user before; nobody counts twice.

    ``values`` has a number a user, or a row of numbers; ``waiting`` how many stable users before these are not yet
    paired, and the sum of their values. Returns the means, NaN where no stable user was there, and who waits now.
    """
    import numpy as np  # noqa: PLC0415

    candidate, values = np.asarray(candidate, dtype=bool), np.asarray(values, dtype=float)
    stable = ~candidate
    users = np.concatenate([[0], stable.cumsum()]) + waiting[0]
    shape = (-1, *(1 for _ in values.shape[1:]))
    zero = np.zeros((1, *values.shape[1:]))
    sums = np.concatenate([zero, (values * stable.reshape(shape)).cumsum(axis=0)]) + np.asarray(waiting[1], dtype=float)
    at = np.flatnonzero(candidate) + 1
    before = np.concatenate([[0], users[at[:-1]]]) if len(at) else np.empty(0)
    sums_before = np.concatenate([zero, sums[at[:-1]]]) if len(at) else zero[:0]
    count = (users[at] - before).reshape(shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (sums[at] - sums_before) / count
    # Sums of sums: what is a rounding error away from a bound is the bound.
    means = np.where(count > 0, means, np.nan)
    if len(at):
        return means, (int(users[-1] - users[at[-1]]), sums[-1] - sums[at[-1]])
    return means, (int(users[-1]), sums[-1])


def _added(logs: Sequence[float], gains: Any) -> tuple[float, ...]:
    return tuple(value + gain for value, gain in zip(logs, gains.tolist(), strict=True))


def _mean(logs: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """The mean of the exponentials, without overflow on the way; as large as a float can be at most."""
    top = max(logs)
    if not isfinite(top):
        return 0.0 if top == -inf else inf
    if weights is None:
        scaled = sum(exp(value - top) for value in logs) / len(logs)
    else:
        scaled = sum(exp(value - top) * weight for value, weight in zip(logs, weights, strict=True))
    return exp(min(top + log(scaled), 700.0))
