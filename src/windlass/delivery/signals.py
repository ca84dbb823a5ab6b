"""What ``[rollout.signals]`` in ``windlass.toml`` says: which measurements may roll a candidate back.

Each signal that is on makes a test for harm, or two, and alpha is split over them when a rollout begins. The split is
kept with the rollout: what is configured later is for later rollouts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from windlass.domain.errors import Invalid

ERRORS, RATE, LATENCY, ANSWERS, QUALITY = "errors", "error rate", "latency", "answers", "quality"
# Failures are what harms most and what there is least of: their test has twice the share of the others.
_PARTS = {ERRORS: 2.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorsSignal:
    """Failed answers. Always on: without them there is nothing to promote on. How many times the stable release's rate
    is tolerated is ``rollout.max_ratio``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySignal:
    """Slow answers. Slow is what takes more than the 99th percentile of the first ``users`` stable users of the rollout
    and ``noticeable_ms`` milliseconds besides; ``ratio``: how many times as often as the stable release the candidate
    may be slow."""

    on: bool = True
    ratio: float = 4.0
    noticeable_ms: float = 25.0
    users: int = 500

    def __post_init__(self) -> None:
        _require(self.ratio >= 1, "latency.ratio", self.ratio, "use 1 or more")
        _require(0 <= self.noticeable_ms <= 600_000, "latency.noticeable_ms", self.noticeable_ms, "use 0 to 600000")
        _require(100 <= self.users <= 5000, "latency.users", self.users, "use 100 to 5000")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersSignal:
    """The distribution of the answers: no class (or bin of a number), as the first ``users`` stable answers have
    them, may be more frequent or less by more than ``margin``, a difference of shares."""

    on: bool = True
    margin: float = 0.1
    users: int = 200

    def __post_init__(self) -> None:
        _require(0 < self.margin < 1, "answers.margin", self.margin, "use a share between 0 and 1, such as 0.1")
        _require(50 <= self.users <= 5000, "answers.users", self.users, "use 50 to 5000")


@dataclass(frozen=True, slots=True, kw_only=True)
class QualitySignal:
    """Right answers, by the labels that arrive; without labels it is silent. ``margin``: by what share of the answers
    the candidate may be worse than the stable release."""

    on: bool = True
    margin: float = 0.002

    def __post_init__(self) -> None:
        _require(0 <= self.margin < 1, "quality.margin", self.margin, "use a share from 0 to 1, such as 0.002")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcesSignal:
    """Memory: a worker of the candidate that takes more than ``memory_ratio`` times what the stable release's largest
    takes, and ``noticeable_mb`` besides, for ``seconds``. It is measured, not estimated, and so no part of alpha."""

    on: bool = True
    memory_ratio: float = 4.0
    noticeable_mb: float = 256.0
    seconds: float = 10.0

    def __post_init__(self) -> None:
        _require(self.memory_ratio >= 1, "resources.memory_ratio", self.memory_ratio, "use 1 or more")
        _require(0 <= self.noticeable_mb <= 1 << 24, "resources.noticeable_mb", self.noticeable_mb, "use 0 or more")
        _require(0 <= self.seconds <= 3600, "resources.seconds", self.seconds, "use 0 to 3600")


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomSignal:
    """Any measurement of an answered request. ``expression`` is SQL (DuckDB's) over the columns of the request's
    first row, ``prediction``, ``probability`` and ``latency_ms``; it gives a boolean, or a number within ``bounds``.
    ``worse`` says which way harm lies; the candidate's mean may differ by ``margin``, in the measurement's unit."""

    name: str
    expression: str
    margin: float
    worse: Literal["higher", "lower", "both"] = "both"
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,40}", self.name) or self.name in (ERRORS, LATENCY, ANSWERS, QUALITY):
            raise Invalid(
                f"rollout.signals.custom: name is '{self.name[:80]}'",
                hint="use lower-case letters, digits, _ and -, and no name of the other signals",
            )
        low, high = self.bounds
        _require(
            bool(self.expression.strip()),
            f"custom.{self.name}.expression",
            "empty",
            "give SQL, such as: prediction > 0",
        )
        _require(low < high, f"custom.{self.name}.bounds", list(self.bounds), "give the least and the greatest value")
        _require(0 < self.margin < high - low, f"custom.{self.name}.margin", self.margin, "it lies within the bounds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """All signals of a rollout."""

    errors: ErrorsSignal = field(default_factory=ErrorsSignal)
    latency: LatencySignal = field(default_factory=LatencySignal)
    answers: AnswersSignal = field(default_factory=AnswersSignal)
    quality: QualitySignal = field(default_factory=QualitySignal)
    resources: ResourcesSignal = field(default_factory=ResourcesSignal)
    custom: tuple[CustomSignal, ...] = ()

    def __post_init__(self) -> None:
        names = [each.name for each in self.custom]
        if len(set(names)) < len(names):
            raise Invalid("rollout.signals.custom: two have the same name", hint="name each signal differently")


def split(signals: Signals, alpha: float, *, alone: bool) -> Mapping[str, float]:
    """Each test's part of ``alpha``; they add up to it. ``alone``: some phase has all users on the candidate, so that
    its error rate is tested by itself too. Two directions of a custom signal are two tests in one: the mean of both."""
    tests = [ERRORS]
    tests += [RATE] if alone else []
    tests += [name for name, on in _switches(signals).items() if on]
    tests += [each.name for each in signals.custom]
    whole = sum(_PARTS.get(name, 1.0) for name in tests)
    return {name: alpha * _PARTS.get(name, 1.0) / whole for name in tests}


def _switches(signals: Signals) -> dict[str, bool]:
    return {LATENCY: signals.latency.on, ANSWERS: signals.answers.on, QUALITY: signals.quality.on}


def _require(fine: bool, key: str, value: object, hint: str) -> None:
    if not fine:
        raise Invalid(f"rollout.signals.{key} is {value}", hint=hint)
