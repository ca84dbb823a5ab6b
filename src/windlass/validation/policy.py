"""What ``[gates]`` in ``windlass.toml`` says: which checks a version must stand, and their thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from windlass.domain.errors import Invalid

METRICS = ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "roc_auc")
FAIRNESS_METRICS = ("demographic_parity", "equal_opportunity", "equalized_odds", "predictive_parity")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFloor:
    """The whole confidence interval of the metric must lie at or above ``min`` and at or below ``max``."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        bounds = [bound for bound in (self.min, self.max) if bound is not None]
        if not bounds:
            raise Invalid("a metric's floor has neither min nor max", hint="write it as accuracy = { min = 0.80 }")
        if not all(map(math.isfinite, bounds)) or bounds != sorted(bounds):
            raise Invalid(f"a metric cannot lie between {self.min} and {self.max}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftPolicy:
    """A column has drifted when its change is beyond chance at ``alpha`` and its effect beyond ``min_effect``."""

    alpha: float = 0.05
    min_effect: float = 0.1

    def __post_init__(self) -> None:
        _within("gates.drift.alpha", self.alpha)
        _at_least("gates.drift.min_effect", self.min_effect, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FairnessPolicy:
    """The largest difference of ``metric`` between the groups of each of ``columns``, held against a bound.

    Groups of fewer than ``min_group`` rows are reported and decide nothing: so few rows show neither fairness nor
    the lack of it.
    """

    columns: tuple[str, ...] = ()
    metric: str = "equal_opportunity"
    max_difference: float = 0.15
    min_group: int = 100
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _one_of("gates.fairness.metric", self.metric, FAIRNESS_METRICS)
        if not 0.5 < self.confidence < 1:
            raise Invalid(f"gates.fairness.confidence is {self.confidence}: it must be over 0.5 and under 1")
        _at_least("gates.fairness.min_group", self.min_group, 1)
        if not 0 < self.max_difference <= 1:
            raise Invalid(f"gates.fairness.max_difference is {self.max_difference}: it must be over 0 and at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class CornerCasePolicy:
    max_failure_rate: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.max_failure_rate < 1:
            raise Invalid(f"gates.corner_cases.max_failure_rate is {self.max_failure_rate}: it must be 0 to under 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyPolicy:
    """Thresholds for one row asked at a time. ``requests`` is the least that is sent: a bound on the 99th percentile
    takes more than a few hundred, and as many as it takes are sent."""

    p50_ms: float = 50.0
    p99_ms: float = 250.0
    requests: int = 200

    def __post_init__(self) -> None:
        _at_least("gates.latency.requests", self.requests, 1)
        for name in ("p50_ms", "p99_ms"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise Invalid(f"gates.latency.{name} is {value}: it must be over 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """``evaluation`` and ``training`` name the rows: an artifact of the version's run (a step, or a step and a key),
    or a snapshot (``dataset:NAME``, ``dataset:NAME@2/FILE``).

    ``approvals`` people have to approve, none of them the author; of ``approval_group`` of ``[groups]``, if it is set.
    """

    evaluation: str = "prepare/test"
    training: str = "prepare/train"
    target: str = ""  # empty: the packaged model's own
    positive: int | str | bool | None = None  # none: the packaged model's own
    approvals: int = 1
    approval_group: str = ""
    metrics: dict[str, MetricFloor] = field(default_factory=dict)
    drift: DriftPolicy = field(default_factory=DriftPolicy)
    fairness: FairnessPolicy = field(default_factory=FairnessPolicy)
    corner_cases: CornerCasePolicy = field(default_factory=CornerCasePolicy)
    latency: LatencyPolicy = field(default_factory=LatencyPolicy)

    def __post_init__(self) -> None:
        _at_least("gates.approvals", self.approvals, 0)
        for name in self.metrics:
            _one_of("a metric under gates.metrics", name, METRICS)


def _within(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise Invalid(f"{name} is {value}: it must lie between 0 and 1, both left out")


def _at_least(name: str, value: float, least: float) -> None:
    if not (math.isfinite(value) and value >= least):
        raise Invalid(f"{name} is {value}: it must be {least:g} or more")


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise Invalid(f"{name} is '{value[:80]}'", hint=f"known: {', '.join(known)}")
