"""Strategies as data: the phases by which a candidate takes over."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from windlass.delivery.signals import Signals
from windlass.domain.errors import Invalid


class PhaseKind(StrEnum):
    SHADOW = "shadow"
    CANARY = "canary"
    BLUE_GREEN = "blue-green"


class Strategy(StrEnum):
    PROGRESSIVE = "progressive"  # the policy's phases
    CANARY = "canary"  # the policy's phases without shadow
    SHADOW = "shadow"  # the policy's shadow phase, then the flip
    BLUE_GREEN = "blue-green"  # both fully up, then the flip


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """``weight`` is the candidate's share of users; ``margin`` how much more often than the stable release it may fail
    at most; ``users`` how many have to be seen at least."""

    kind: PhaseKind
    weight: float = 0.0
    margin: float = 0.02
    users: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.margin < 1:
            raise Invalid(f"rollout.phases: margin is {self.margin}", hint="use a share between 0 and 1, such as 0.02")
        if self.kind is PhaseKind.CANARY and not 0 < self.weight <= 1:
            raise Invalid(f"rollout.phases: weight is {self.weight}", hint="a canary's weight is above 0, at most 1")
        if self.kind is PhaseKind.SHADOW and self.weight:
            raise Invalid("rollout.phases: a shadow has no weight", hint="leave it out: a shadow answers nobody")
        if self.users < 0:
            raise Invalid(f"rollout.phases: users is {self.users}", hint="use 0 or more")


FLIP = Phase(kind=PhaseKind.BLUE_GREEN, weight=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPolicy:
    """``alpha``: the chance that an innocent candidate is ever rolled back; ``max_ratio``: how many times the stable
    release's error rate is tolerated."""

    alpha: float = 0.05
    max_ratio: float = 1.25
    phases: tuple[Phase, ...] = (
        Phase(kind=PhaseKind.SHADOW, margin=0.02, users=300),
        Phase(kind=PhaseKind.CANARY, weight=0.01, margin=0.05),
        Phase(kind=PhaseKind.CANARY, weight=0.05, margin=0.03),
        Phase(kind=PhaseKind.CANARY, weight=0.25, margin=0.02),
        Phase(kind=PhaseKind.CANARY, weight=1.0, margin=0.01),
    )
    signals: Signals = field(default_factory=Signals)

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise Invalid(f"rollout.alpha is {self.alpha}", hint="use a chance such as 0.05")
        if self.max_ratio < 1:
            raise Invalid(f"rollout.max_ratio is {self.max_ratio}", hint="use 1 or more")
        if not self.phases:
            raise Invalid("rollout.phases is empty", hint="give at least one phase")
        weights = [phase.weight for phase in self.phases if phase.kind is PhaseKind.CANARY]
        if weights != sorted(weights):
            raise Invalid("rollout.phases: the weights go down", hint="a rollout only ever adds users")


def phases(policy: RolloutPolicy, strategy: Strategy) -> tuple[Phase, ...]:
    """The phases of a strategy under a policy."""
    match strategy:
        case Strategy.PROGRESSIVE:
            return policy.phases
        case Strategy.CANARY:
            return tuple(phase for phase in policy.phases if phase.kind is not PhaseKind.SHADOW) or (FLIP,)
        case Strategy.SHADOW:
            return (*(phase for phase in policy.phases if phase.kind is PhaseKind.SHADOW), FLIP)
        case Strategy.BLUE_GREEN:
            return (FLIP,)


def parse(text: str) -> Strategy:
    """
    Raises:
        Invalid: no such strategy.
    """
    try:
        return Strategy(text)
    except ValueError:
        raise Invalid(f"no strategy '{text}'", hint=f"choose from: {', '.join(Strategy)}") from None
