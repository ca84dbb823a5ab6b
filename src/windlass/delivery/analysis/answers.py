"""The distribution of the answers: is some class, or some range of a number, more frequent than it was, or less?

The categories are those of the first stable answers of the rollout: the classes where there are few different
answers, otherwise the fifths of the numbers, or the most frequent texts. Probabilities are left alone: two good
models of the same thing may well be sure of it to different degrees.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from windlass.delivery.analysis.interval import Interval
from windlass.delivery.signals import AnswersSignal
from windlass.domain.schema import Scalar
from windlass.stats import evalues
from windlass.stats.evalues import SharesTest

CLASSES = 12
BINS = 5
OTHER = "another"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """``first``: the stable answers so far, until there are enough to freeze the categories: ``classes``, or the bins
    between ``edges``. ``counts`` and ``stable_counts`` are the arms' users by category; ``waiting``: stable users not
    yet paired with a candidate's, and how many of them are of each category."""

    first: tuple[str | float, ...] = ()
    classes: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    stable_counts: tuple[int, ...] = ()
    waiting: tuple[int, tuple[float, ...]] = (0, ())
    test: SharesTest

    @property
    def names(self) -> tuple[str, ...]:
        """The categories as people read them."""
        if self.classes:
            return (*self.classes, OTHER)
        return (*(f"at most {edge:.4g}" for edge in self.edges), f"above {self.edges[-1]:.4g}") if self.edges else ()


def begin(signal: AnswersSignal) -> Answers:
    return Answers(test=SharesTest(margin=signal.margin, categories=0))


def enter(state: Answers) -> Answers:
    """Go on to another phase: who waits there has nobody to be paired with."""
    return replace(state, waiting=(0, (0.0,) * len(state.names)))


def fold(state: Answers, new: Interval, signal: AnswersSignal) -> Answers:
    """Take users in: the first stable ones say what the categories are, and do not count."""
    import numpy as np  # noqa: PLC0415

    if not len(new.answers):
        return state
    begun = 0
    if not state.names:
        state, begun = _freeze(state, new, signal)
        if not state.names:
            return state
    names = state.names
    candidate = new.candidate[begun:]
    codes = np.array(_codes(state, new.answers[begun:]), dtype=np.int64)
    codes[new.failed[begun:]] = -1
    width = len(names)
    counts = np.bincount(codes[candidate & (codes >= 0)], minlength=width)
    stable_counts = np.bincount(codes[~candidate & (codes >= 0)], minlength=width)
    waiting, test = state.waiting, state.test
    if new.paired:
        partners = np.array(_codes(state, new.partners[begun:]), dtype=np.int64)
        both = candidate & (codes >= 0) & (partners >= 0)
        differ = both & (codes != partners)
        test = test.update_pairs(
            int(both.sum()),
            np.bincount(codes[differ], minlength=width),
            np.bincount(partners[differ], minlength=width),
        )
        # Of a shadow the stable users' shares are the partners'.
        stable_counts = np.bincount(partners[both], minlength=width)
    else:
        known = codes >= 0
        ones = np.eye(width)[codes[known]]
        means, left = evalues.fresh_means(candidate[known], ones, waiting)
        waiting = (left[0], tuple(float(each) for each in left[1]))
        differences = ones[candidate[known]] - means
        test = test.update(differences[~np.isnan(differences).any(axis=1)])
    return replace(
        state,
        counts=tuple((np.array(state.counts) + counts).tolist()),
        stable_counts=tuple((np.array(state.stable_counts) + stable_counts).tolist()),
        waiting=waiting,
        test=test,
    )


def widest(state: Answers) -> tuple[str, float, float] | None:
    """The category whose shares differ most, and both shares, the candidate's first; None while nothing is known."""
    users, stables = sum(state.counts), sum(state.stable_counts)
    if not users or not stables:
        return None
    shares = [
        (name, mine / users, theirs / stables)
        for name, mine, theirs in zip(state.names, state.counts, state.stable_counts, strict=True)
    ]
    return max(shares, key=lambda each: abs(each[1] - each[2]))


def _freeze(state: Answers, new: Interval, signal: AnswersSignal) -> tuple[Answers, int]:
    """The state with the first stable answers added, and after which user the categories stand."""
    first = list(state.first)
    stable = ~new.candidate & ~new.failed
    given = new.answers if isinstance(new.answers, list) else new.answers.tolist()
    for at in stable.nonzero()[0].tolist():
        key = _key(given[at])
        if key is not None:
            first.append(key)
        if len(first) >= signal.users:
            classes, edges = _categories(first)
            width = len(classes) + 1 if classes else len(edges) + 1
            none = (0,) * width
            return replace(
                state, first=(), classes=classes, edges=edges, counts=none, stable_counts=none,
                waiting=(0, (0.0,) * width), test=replace(state.test, categories=width),
            ), at + 1  # fmt: skip
    return replace(state, first=tuple(first)), len(new.answers)


def _categories(first: Sequence[str | float]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Classes, or edges of bins."""
    frequent = Counter(first).most_common()
    numbers = sorted(each for each in first if not isinstance(each, str))
    if len(frequent) > CLASSES and len(numbers) == len(first):
        edges = sorted({numbers[len(numbers) * part // BINS] for part in range(1, BINS)})
        return (), tuple(edges)
    kept = [each for each, _ in frequent[: CLASSES if len(frequent) <= CLASSES else CLASSES - 1]]
    return tuple(sorted(_text(each) for each in kept)), ()


def _codes(state: Answers, answers: Any) -> Any:
    """Each answer's category by number, -1 where there is none."""
    import numpy as np  # noqa: PLC0415

    if isinstance(answers, np.ndarray) and answers.dtype != object:
        kinds, which = np.unique(answers, return_inverse=True)
        return np.array(_codes(state, kinds.tolist()), dtype=np.int64)[which]
    if state.edges:
        return [
            -1 if (key := _key(each)) is None else len(state.edges) if isinstance(key, str)
            else bisect_left(state.edges, key)
            for each in answers
        ]  # fmt: skip
    known: dict[Any, int] = {name: number for number, name in enumerate(state.classes)}
    seen: dict[tuple[type, Scalar], int] = {}
    codes = []
    for each in answers:
        at = (type(each), each)
        code = seen.get(at)
        if code is None:
            key = _key(each)
            code = -1 if key is None else known.get(_text(key), len(known))
            seen[at] = code
        codes.append(code)
    return codes


def _key(answer: Scalar) -> str | float | None:
    """Answers that are equal have the same; a boolean is the number that Python takes it for."""
    return answer if answer is None or isinstance(answer, str) else float(answer)


def _text(key: str | float) -> str:
    if isinstance(key, str):
        return key
    return str(int(key)) if key.is_integer() else repr(key)
