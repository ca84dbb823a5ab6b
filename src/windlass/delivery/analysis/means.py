"""Signals that are a mean: right answers by labels, and whatever a project measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from windlass.delivery.analysis.interval import Interval, Labelled
from windlass.delivery.signals import CustomSignal, QualitySignal
from windlass.stats import evalues
from windlass.stats.evalues import MeanTest


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """``tests``: one for each direction that would be harm; evidence is their mean. ``total`` and ``stable_total``
    are the sums of the arms' values, ``waiting`` the stable users not yet paired with a candidate's, and the sum of
    theirs. ``pairs``: how many users were pairs, and of these how often the candidate was worse and better."""

    tests: tuple[MeanTest, ...]
    users: int = 0
    total: float = 0.0
    stable_users: int = 0
    stable_total: float = 0.0
    waiting: tuple[int, float] = (0, 0.0)
    pairs: tuple[int, int, int] = (0, 0, 0)
    broken: str = ""

    @property
    def e_value(self) -> float:
        return sum(test.e_value / len(self.tests) for test in self.tests)


def begin_quality(signal: QualitySignal) -> Means:
    return Means(tests=(MeanTest(above=signal.margin),))


def begin_custom(signal: CustomSignal) -> Means:
    low, high = signal.bounds
    above = signal.margin / (high - low)
    return Means(tests=(MeanTest(above=above),) * len(_directions(signal)))


def enter(state: Means) -> Means:
    """Go on to another phase: who waits there has nobody to be paired with."""
    return replace(state, waiting=(0, 0.0))


def fold_quality(state: Means, labelled: Labelled) -> Means:
    """Take labelled answers in: the pairs of a shadow each by itself, others by the means of the two arms."""
    import numpy as np  # noqa: PLC0415

    (test,) = state.tests
    if len(labelled.worse):
        worse = np.asarray(labelled.worse)
        test = test.update(worse)
        pairs, lost, won = state.pairs
        state = replace(
            state, pairs=(pairs + len(worse), lost + int((worse > 0).sum()), won + int((worse < 0).sum()))
        )  # fmt: skip
    if len(labelled.candidate):
        candidate, right = np.asarray(labelled.candidate, dtype=bool), np.asarray(labelled.right, dtype=float)
        means, waiting = evalues.fresh_means(candidate, right, state.waiting)
        difference = means - right[candidate]
        test = test.update(difference[~np.isnan(difference)])
        state = replace(_counted(state, candidate, right), waiting=(waiting[0], float(waiting[1])))
    return replace(state, tests=(test,))


def fold_custom(state: Means, new: Interval, signal: CustomSignal) -> Means:
    """Take users in whose value is known."""
    import numpy as np  # noqa: PLC0415

    state = replace(state, broken=new.broken.get(signal.name, ""))
    if signal.name not in new.values:
        return state
    low, high = signal.bounds
    own, partner = ((each - low) / (high - low) for each in new.values[signal.name])
    known = ~np.isnan(own)
    candidate = new.candidate
    if new.paired:
        both = candidate & known & ~np.isnan(partner)
        difference = own[both] - partner[both]
        state = replace(
            state,
            users=state.users + int(both.sum()),
            total=state.total + float(own[both].sum()),
            stable_users=state.stable_users + int(both.sum()),
            stable_total=state.stable_total + float(partner[both].sum()),
        )
    else:
        means, waiting = evalues.fresh_means(candidate[known], own[known], state.waiting)
        difference = own[known & candidate] - means
        difference = difference[~np.isnan(difference)]
        state = replace(_counted(state, candidate[known], own[known]), waiting=(waiting[0], float(waiting[1])))
    tests = [test.update(side * difference) for test, side in zip(state.tests, _directions(signal), strict=True)]
    return replace(state, tests=tuple(tests))


def shown(signal: CustomSignal, total: float, users: int) -> float:
    """A mean in the signal's own unit."""
    low, high = signal.bounds
    return low + (high - low) * total / users if users else float("nan")


def _directions(signal: CustomSignal) -> tuple[int, ...]:
    return {"higher": (1,), "lower": (-1,), "both": (1, -1)}[signal.worse]


def _counted(state: Means, candidate: Any, values: Any) -> Means:
    users = int(candidate.sum())
    return replace(
        state,
        users=state.users + users,
        total=state.total + float(values[candidate].sum()),
        stable_users=state.stable_users + len(candidate) - users,
        stable_total=state.stable_total + float(values[~candidate].sum()),
    )
