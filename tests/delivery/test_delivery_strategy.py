"""Strategies as data: what is said in short, what it means, and what makes no sense."""

from __future__ import annotations

import itertools
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.delivery import strategy
from windlass.delivery.strategy import FLIP, Choice, Phase, PhaseKind, Preset, RolloutPolicy, Strategy
from windlass.domain.errors import Invalid

SHADOW, CANARY, BLUE_GREEN, BAKE = PhaseKind
shares = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=6)


def kinds(phases: tuple[Phase, ...]) -> list[PhaseKind]:
    return [phase.kind for phase in phases]


def test_the_more_harm_a_release_could_do_the_more_is_seen_of_it_before_it_is_in_charge() -> None:
    low, medium, high = (strategy.preset(name) for name in Preset)
    assert kinds(low) == [BLUE_GREEN, BAKE]
    assert [phase.share for phase in medium] == [0.01, 0.05, 0.25, 1.0, 1.0]
    assert kinds(high) == [SHADOW, CANARY, CANARY, CANARY, BLUE_GREEN, BAKE]
    assert [phase.approval for phase in high] == [False, False, False, False, True, False]
    assert low[-1].seconds < medium[-1].seconds < high[-1].seconds


@pytest.mark.parametrize("name", Preset)
def test_presets_are_phases_that_could_be_written_out(name: Preset) -> None:
    assert RolloutPolicy(preset=name) == RolloutPolicy(phases=strategy.preset(name))


@given(shares)
def test_steps_are_taken_if_and_only_if_each_adds_users(steps: list[float]) -> None:
    if all(a < b for a, b in itertools.pairwise(steps)):
        assert [phase.share for phase in RolloutPolicy(steps=tuple(steps)).phases] == steps
    else:
        with pytest.raises(Invalid, match=r"rollout.steps\[\d\]"):
            RolloutPolicy(steps=tuple(steps))


@given(st.lists(st.sampled_from([*strategy.preset(Preset.HIGH), *strategy.preset(Preset.MEDIUM)]), max_size=7))
def test_no_phases_that_pass_take_users_away_or_go_on_after_a_bake(phases: list[Phase]) -> None:
    try:
        policy = RolloutPolicy(phases=tuple(phases))
    except Invalid as error:
        assert error.message.startswith("rollout.phases")
        return
    found = [phase.share for phase in policy.phases]
    assert found == sorted(found)
    assert BAKE not in kinds(policy.phases)[:-1]


def test_what_is_stored_with_a_rollout_are_the_phases_themselves() -> None:
    policy = RolloutPolicy(preset=Preset.HIGH, alpha=0.01)
    again = msgspec.convert(msgspec.json.decode(msgspec.json.encode(policy)), RolloutPolicy)
    assert again == policy
    assert policy.preset is None
    assert replace(policy, alpha=0.02).phases == policy.phases


def test_a_release_may_ask_for_a_way_of_its_own() -> None:
    policy = RolloutPolicy(preset=Preset.MEDIUM)

    def planned(**asked: object) -> strategy.Plan:
        return strategy.plan(policy, Choice(**asked), first=False)  # type: ignore[arg-type]

    assert planned().phases == policy.phases
    assert [p.share for p in planned(steps=(0.01, 0.1, 1.0)).phases] == [0.01, 0.1, 1.0]
    assert planned(preset="high") == strategy.Plan(name="high", phases=strategy.preset(Preset.HIGH))
    assert kinds(planned(strategy="blue-green").phases) == [BLUE_GREEN, BAKE]
    assert kinds(planned(strategy="shadow").phases) == [SHADOW, BLUE_GREEN, BAKE]
    assert planned(phases=(FLIP,)).phases == (FLIP,)
    with pytest.raises(Invalid, match="preset and steps"):
        planned(preset="low", steps=(0.5,))
    with pytest.raises(Invalid, match="no preset"):
        planned(preset="none")
    with pytest.raises(Invalid, match=r"steps\[1\]"):
        planned(steps=(0.5, 0.1))


def test_the_policy_says_what_releases_go_through_that_ask_for_nothing() -> None:
    policy = RolloutPolicy(strategy=Strategy.BLUE_GREEN, preset=Preset.LOW)
    assert strategy.plan(policy, Choice(), first=False).name == "blue-green"


def test_with_nothing_to_compare_with_the_first_release_flips_without_a_bake() -> None:
    for choice in (Choice(), Choice(preset="low"), Choice(strategy="blue-green")):
        assert strategy.plan(RolloutPolicy(preset=Preset.HIGH), choice, first=True).phases == (FLIP,)
    for choice in (Choice(preset="high"), Choice(strategy="canary"), Choice(steps=(1.0,))):
        with pytest.raises(Invalid, match="nothing yet"):
            strategy.plan(RolloutPolicy(), choice, first=True)


def bake(**options: float) -> Phase:
    return Phase(kind=BAKE, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: RolloutPolicy(preset=Preset.LOW, steps=(0.5,)), "rollout.preset and rollout.steps"),
        (lambda: RolloutPolicy(preset=Preset.LOW, phases=(FLIP,)), "rollout.preset and rollout.phases"),
        (lambda: RolloutPolicy(steps=()), "rollout.steps is empty"),
        (lambda: RolloutPolicy(steps=(0.0,)), "rollout.steps[0]"),
        (lambda: RolloutPolicy(steps=(0.5, 1.5)), "rollout.steps[1]"),
        (lambda: RolloutPolicy(phases=(bake(seconds=5),)), "rollout.phases[0]: a bake follows nothing"),
        (lambda: RolloutPolicy(phases=(FLIP, bake(users=1), bake(users=1))), "rollout.phases[2]"),
        (lambda: RolloutPolicy(phases=(FLIP, strategy.SHADOW)), "rollout.phases[1]: the weights go down"),
        (lambda: Phase(kind=CANARY, weight=0.5, seconds=-1), "seconds"),
        (lambda: Phase(kind=CANARY, weight=0.5, seconds=float("nan")), "seconds"),
        (lambda: Phase(kind=CANARY, weight=0.5, users=-1), "users"),
        (bake, "neither seconds nor users"),
        (lambda: Phase(kind=BAKE, seconds=5, weight=0.5), "weight"),
        (lambda: Phase(kind=BLUE_GREEN, seconds=5), "blue-green"),
    ],
)
def test_errors_name_the_key(make: object, key: str) -> None:
    with pytest.raises(Invalid) as raised:
        make()  # type: ignore[operator]
    assert key in raised.value.message
