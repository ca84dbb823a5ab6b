"""Strategies as data: the phases by which a candidate takes over, written out, by steps, or by a preset of risk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from windlass.delivery.signals import Signals
from windlass.domain.errors import Invalid


class PhaseKind(StrEnum):
    SHADOW = "shadow"
    CANARY = "canary"
    BLUE_GREEN = "blue-green"
    BAKE = "bake"


class Strategy(StrEnum):
    PROGRESSIVE = "progressive"  # the policy's phases
    CANARY = "canary"  # the policy's phases without shadow
    SHADOW = "shadow"  # the policy's shadow phase, then the flip
    BLUE_GREEN = "blue-green"  # both fully up, then the flip


class Preset(StrEnum):
    """By how much harm a bad release could do."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """``weight`` is the candidate's share of users; ``margin`` how much more often than the stable release it may fail
    at most; ``users`` how many have to be seen at least; ``seconds`` how long it lasts at least. ``approval``: it is
    entered only once a person other than who released agreed."""

    kind: PhaseKind
    weight: float = 0.0
    margin: float = 0.02
    users: int = 0
    seconds: float = 0.0
    approval: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.margin < 1:
            raise Invalid(f"rollout.phases: margin is {self.margin}", hint="use a share between 0 and 1, such as 0.02")
        if self.kind is PhaseKind.CANARY and not 0 < self.weight <= 1:
            raise Invalid(f"rollout.phases: weight is {self.weight}", hint="a canary's weight is above 0, at most 1")
        if self.kind is PhaseKind.SHADOW and self.weight:
            raise Invalid("rollout.phases: a shadow has no weight", hint="leave it out: a shadow answers nobody")
        if self.kind in _ALL_USERS and self.weight not in (0.0, 1.0):
            raise Invalid(
                f"rollout.phases: weight is {self.weight} of a {self.kind}", hint="leave it out: it is all users"
            )
        if self.users < 0:
            raise Invalid(f"rollout.phases: users is {self.users}", hint="use 0 or more")
        if not 0 <= self.seconds <= LONGEST:
            raise Invalid(f"rollout.phases: seconds is {self.seconds}", hint=f"use 0 to {LONGEST:,}")
        if self.kind is PhaseKind.BLUE_GREEN and (self.users or self.seconds):
            raise Invalid(
                "rollout.phases: a blue-green is a flip, it has no users or seconds",
                hint='let a phase follow it: { kind = "bake", seconds = 600 }',
            )
        if self.kind is PhaseKind.BAKE and not (self.users or self.seconds):
            raise Invalid("rollout.phases: a bake has neither seconds nor users", hint="say how long: seconds = 600")

    @property
    def share(self) -> float:
        """The part of the users that the candidate answers."""
        return 1.0 if self.kind in _ALL_USERS else self.weight

    @property
    def by_evidence(self) -> bool:
        """Whether it ends on evidence that the candidate is no worse; a flip and a bake end without."""
        return self.kind not in _ALL_USERS


LONGEST = 365 * 86400
_ALL_USERS = (PhaseKind.BLUE_GREEN, PhaseKind.BAKE)
FLIP = Phase(kind=PhaseKind.BLUE_GREEN, weight=1.0)
SHADOW = Phase(kind=PhaseKind.SHADOW, margin=0.02, users=300)
STEPS = (0.01, 0.05, 0.25, 1.0)


def canaries(steps: Sequence[float]) -> tuple[Phase, ...]:
    """A canary phase a step; the more users it has, the less it may fail more often than the stable release."""
    return tuple(Phase(kind=PhaseKind.CANARY, weight=weight, margin=_margin(weight)) for weight in steps)


def preset(name: Preset) -> tuple[Phase, ...]:
    """The phases of a preset: the more harm a bad release could do, the more is seen of it before it is in charge."""
    match name:
        case Preset.LOW:
            return (FLIP, Phase(kind=PhaseKind.BAKE, seconds=300))
        case Preset.MEDIUM:
            return (*canaries(STEPS), Phase(kind=PhaseKind.BAKE, seconds=600))
        case Preset.HIGH:
            flip = Phase(kind=PhaseKind.BLUE_GREEN, weight=1.0, approval=True)
            return (SHADOW, *canaries(STEPS[:-1]), flip, Phase(kind=PhaseKind.BAKE, seconds=1800))


def by_steps(steps: Sequence[float], key: str = "rollout.steps") -> tuple[Phase, ...]:
    """Canary phases of the shares ``steps``; ``key`` names them in errors.

    Raises:
        Invalid: a share is not above 0 and at most 1, or is not above the one before.
    """
    if not steps:
        raise Invalid(f"{key} is empty", hint=f"give the shares, such as {list(STEPS)}")
    for index, weight in enumerate(steps):
        if not 0 < weight <= 1:
            raise Invalid(f"{key}[{index}] is {weight:g}", hint=f"a share is above 0, at most 1, as in {list(STEPS)}")
        if index and weight <= steps[index - 1]:
            raise Invalid(
                f"{key}[{index}]: {weight:g} after {steps[index - 1]:g}", hint="a rollout only ever adds users"
            )
    return canaries(steps)


def checked(phases: tuple[Phase, ...], key: str = "rollout.phases") -> tuple[Phase, ...]:
    """Phases that make sense after each other.

    Raises:
        Invalid: there are none, the candidate's share goes down, or a bake is elsewhere than at the end.
    """
    if not phases:
        raise Invalid(f"{key} is empty", hint="give at least one phase")
    for index, phase in enumerate(phases):
        before = phases[index - 1].share if index else 0.0
        if phase.kind is PhaseKind.BAKE and before < 1:
            raise Invalid(
                f"{key}[{index}]: a bake follows {f'{before:.0%} of the users' if index else 'nothing'}",
                hint="it comes after the phase that gives the candidate all users: a canary of weight 1, or blue-green",
            )
        if phase.share < before:
            raise Invalid(
                f"{key}[{index}]: the weights go down, from {before:g} to {phase.share:g}",
                hint="a rollout only ever adds users",
            )
        if index and phases[index - 1].kind is PhaseKind.BAKE:
            raise Invalid(f"{key}[{index}]: something follows a bake", hint="a bake is the last phase")
    return phases


def _margin(weight: float) -> float:
    for most, margin in ((0.01, 0.05), (0.05, 0.03), (0.25, 0.02)):
        if weight <= most:
            return margin
    return 0.01


DEFAULT = (SHADOW, *canaries(STEPS))


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPolicy:
    """``alpha``: the chance that an innocent candidate is ever rolled back; ``max_ratio``: how many times the stable
    release's error rate is tolerated. The phases are written out, or said in short by ``preset`` or by ``steps`` (the
    shares of a canary): then ``phases`` has what that means. ``strategy``: what of them a release goes through, unless
    it says otherwise."""

    alpha: float = 0.05
    max_ratio: float = 1.25
    strategy: Strategy = Strategy.PROGRESSIVE
    preset: Preset | None = None
    steps: tuple[float, ...] | None = None
    phases: tuple[Phase, ...] = DEFAULT
    signals: Signals = field(default_factory=Signals)

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5:
            raise Invalid(f"rollout.alpha is {self.alpha}", hint="use a chance such as 0.05")
        if self.max_ratio < 1:
            raise Invalid(f"rollout.max_ratio is {self.max_ratio}", hint="use 1 or more")
        _only_one(
            {
                "rollout.preset": self.preset is not None,
                "rollout.steps": self.steps is not None,
                "rollout.phases": self.phases is not DEFAULT,
            }
        )
        phases = checked(self.phases)
        if self.preset is not None:
            phases = preset(self.preset)
        elif self.steps is not None:
            phases = by_steps(self.steps)
        # What is stored with a rollout are the phases alone: what a preset means may change, what was done may not.
        for name, value in (("phases", phases), ("preset", None), ("steps", None)):
            object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a release goes through; ``name`` says where that comes from."""

    name: str
    phases: tuple[Phase, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a release asks for itself, at most one of these; nothing: what the policy has."""

    strategy: str | None = None
    preset: str | None = None
    steps: tuple[float, ...] | None = None
    phases: tuple[Phase, ...] | None = None


def plan(policy: RolloutPolicy, choice: Choice, *, first: bool) -> Plan:
    """The phases of a release: as it asks itself, or as the policy has them.

    ``first``: nothing serves at the endpoint yet, so that there is nothing to compare with or to go back to. Then the
    release is blue-green, and what the policy says is for the ones after it.

    Raises:
        Invalid: more than one is asked for, or the first release asks for what needs one before it.
    """
    _only_one(
        {
            "strategy": choice.strategy is not None,
            "preset": choice.preset is not None,
            "steps": choice.steps is not None,
            "phases": choice.phases is not None,
        }
    )
    if choice.steps is not None:
        made = Plan(name="steps", phases=by_steps(choice.steps, "steps"))
    elif choice.preset is not None:
        chosen = parse_preset(choice.preset)
        made = Plan(name=chosen, phases=preset(chosen))
    elif choice.phases is not None:
        made = Plan(name="phases", phases=checked(choice.phases, "phases"))
    else:
        named = parse(choice.strategy) if choice.strategy is not None else policy.strategy
        made = Plan(name=named, phases=phases(policy, named))
    if not first:
        return made
    if choice != Choice() and made.phases[0].kind is not PhaseKind.BLUE_GREEN:
        raise Invalid(
            "the endpoint serves nothing yet: there is no stable release to compare with",
            hint="the first release is blue-green; leave the strategy out",
        )
    return Plan(name=Strategy.BLUE_GREEN, phases=(FLIP,))


def phases(policy: RolloutPolicy, strategy: Strategy) -> tuple[Phase, ...]:
    """The phases of a strategy under a policy, which may say how each of them is done, and whether there is a bake."""
    by_kind: Mapping[PhaseKind, tuple[Phase, ...]] = {
        kind: tuple(phase for phase in policy.phases if phase.kind is kind) for kind in PhaseKind
    }
    flip = by_kind[PhaseKind.BLUE_GREEN] or (FLIP,)
    bake = by_kind[PhaseKind.BAKE]
    match strategy:
        case Strategy.PROGRESSIVE:
            return policy.phases
        case Strategy.CANARY:
            steps = by_kind[PhaseKind.CANARY] or canaries(STEPS)
            return (*steps, *by_kind[PhaseKind.BLUE_GREEN], *bake)
        case Strategy.SHADOW:
            return (*(by_kind[PhaseKind.SHADOW] or (SHADOW,)), *flip, *bake)
        case Strategy.BLUE_GREEN:
            return (*flip, *bake)


def parse(text: str) -> Strategy:
    """
    Raises:
        Invalid: no such strategy.
    """
    try:
        return Strategy(text)
    except ValueError:
        raise Invalid(f"no strategy '{text}'", hint=f"choose from: {', '.join(Strategy)}") from None


def parse_preset(text: str) -> Preset:
    """
    Raises:
        Invalid: no such preset.
    """
    try:
        return Preset(text)
    except ValueError:
        raise Invalid(f"no preset '{text}'", hint=f"choose from: {', '.join(Preset)}") from None


def _only_one(given: Mapping[str, bool]) -> None:
    named = [name for name, there in given.items() if there]
    if len(named) > 1:
        raise Invalid(f"{' and '.join(named)} are given", hint="each says what the phases are: keep one of them")
