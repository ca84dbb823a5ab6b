"""The decision of a rollout, on numbers alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.delivery import analysis, signals, strategy
from windlass.delivery.analysis import Decision, Evidence, Finding, Judgement, Labelled, Observation, interval
from windlass.delivery.analysis import breaker as breakers
from windlass.delivery.signals import AnswersSignal, CustomSignal, LatencySignal, QualitySignal, Signals
from windlass.delivery.strategy import Phase, PhaseKind, RolloutPolicy, Strategy
from windlass.domain.errors import Corrupt, Invalid

CUSTOM = CustomSignal(name="yes", expression="prediction = 1", margin=0.1)
POLICY = RolloutPolicy(
    signals=Signals(
        latency=LatencySignal(users=100, noticeable_ms=0), answers=AnswersSignal(users=50), custom=(CUSTOM,)
    )
)
PHASES = POLICY.phases

observations = st.lists(
    st.builds(
        Observation,
        candidate=st.booleans(),
        failed=st.booleans(),
        latency_us=st.integers(0, 100_000),
        at=st.integers(1, 10**15),
        answer=st.one_of(st.none(), st.integers(0, 3), st.booleans()),
        values=st.one_of(st.just({}), st.builds(lambda value: {"yes": value}, st.sampled_from([0.0, 0.5, 1.0]))),
    ),
    max_size=160,
)
labels = st.builds(
    Labelled,
    worse=st.lists(st.integers(-1, 1), max_size=20),
    candidate=st.just([True, False, False, True]),
    right=st.lists(st.booleans(), min_size=4, max_size=4),
)


def folded(evidence: Evidence, seen: list[Observation], policy: RolloutPolicy = POLICY, **more: Any) -> Evidence:
    return analysis.fold(evidence, interval(seen, **more), policy, policy.phases)


def judged(evidence: Evidence, policy: RolloutPolicy = POLICY) -> Judgement:
    return analysis.judge(evidence, policy, policy.phases)


def started(policy: RolloutPolicy = POLICY) -> Evidence:
    return analysis.begin(policy, policy.phases)


def in_phase(index: int, policy: RolloutPolicy = POLICY) -> Evidence:
    evidence = started(policy)
    for each in range(1, index + 1):
        evidence = analysis.enter(evidence, policy.phases, each)
    return evidence


def reading(evidence: Evidence, name: str, policy: RolloutPolicy = POLICY) -> Any:
    return next(each for each in judged(evidence, policy).signals if each.signal == name)


def user(candidate: bool, failed: bool = False, **more: Any) -> Observation:
    return Observation(candidate=candidate, failed=failed, **more)


def test_nothing_seen_is_a_hold_that_says_how_much_it_needs() -> None:
    found = judged(started())
    assert found.decision is Decision.HOLD
    assert "300 more candidate users" in found.needed
    assert {each.finding for each in found.signals} == {Finding.SILENT}


def test_a_hold_says_how_long_it_takes_at_the_rate_that_was_seen() -> None:
    seen = [user(True, at=1_000_000 * second) for second in range(1, 101)]
    assert "200 more candidate users: 3 min at this rate" in judged(folded(started(), seen, paired=True)).needed
    assert [analysis.duration(each) for each in (0.2, 60, 1800, 9000, 400_000)] == [
        "1 s", "60 s", "30 min", "2 h", "5 days"
    ]  # fmt: skip


@given(observations, labels)
def test_evidence_survives_the_database(seen: list[Observation], truth: Labelled) -> None:
    evidence = folded(in_phase(1), seen, requests=len(seen), labelled=truth)
    assert analysis.from_plain(json.loads(json.dumps(analysis.to_plain(evidence)))) == evidence


def test_evidence_of_another_version_is_said_to_be_so() -> None:
    with pytest.raises(Corrupt, match="cannot be read"):
        analysis.from_plain({"phase": 0, "ratio": {}})


@given(observations, labels, st.integers(0, 160))
def test_evidence_does_not_depend_on_where_the_log_was_cut(seen: list[Observation], truth: Labelled, cut: int) -> None:
    whole = folded(in_phase(1), seen, requests=len(seen), labelled=truth)
    parts = folded(folded(in_phase(1), seen[:cut]), seen[cut:], requests=len(seen), labelled=truth)
    if not whole.breaker.tripped:
        assert same(analysis.to_plain(parts), analysis.to_plain(whole))
    assert parts.breaker.tripped == whole.breaker.tripped
    assert judged(parts).decision == judged(whole).decision or near(judged(whole))


@given(observations, st.integers(0, 160))
def test_of_a_shadow_neither(seen: list[Observation], cut: int) -> None:
    seen = [replace(each, partner=(each.latency_us + 1) % 3) for each in seen]
    whole = folded(started(), seen, paired=True)
    parts = folded(folded(started(), seen[:cut], paired=True), seen[cut:], paired=True)
    if not whole.breaker.tripped:
        assert same(analysis.to_plain(parts), analysis.to_plain(whole))


def near(found: Judgement) -> bool:
    """On the very edge, where the last digit decides."""
    return any(each.e_value == pytest.approx(each.limit) for each in found.signals)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == pytest.approx(other, rel=1e-9, abs=1e-9)) if isinstance(one, float) else bool(one == other)


def test_a_clean_shadow_advances_and_the_last_phase_promotes() -> None:
    evidence = folded(started(), [user(True)] * 320, paired=True)
    assert judged(evidence).decision is Decision.ADVANCE
    last = folded(in_phase(4), [user(True)] * 700)
    assert judged(last).decision is Decision.PROMOTE


def test_evidence_alone_is_not_enough_for_a_phase_that_wants_more_users() -> None:
    policy = replace(POLICY, phases=(Phase(kind=PhaseKind.SHADOW, margin=0.5, users=300), *PHASES[1:]))
    found = judged(folded(started(policy), [user(True)] * 299, policy, paired=True), policy)
    assert found.promote_e > 20
    assert found.decision is Decision.HOLD
    assert "1 more candidate user" in found.needed


def test_no_step_is_taken_while_a_signal_is_near_its_limit() -> None:
    evidence = folded(in_phase(1), [user(True)] * 500, labelled=Labelled(worse=[1] * 7))
    found = judged(evidence)
    assert reading(evidence, "quality").finding is Finding.NEAR
    assert found.promote_e > 20
    assert found.decision is Decision.HOLD
    assert "quality is near its limit" in found.needed
    evidence = folded(evidence, [], labelled=Labelled(worse=[0, -1, 0, -1, -1, -1, -1, -1]))
    assert judged(evidence).decision is Decision.ADVANCE


def test_five_failures_in_a_row_break_and_four_do_not() -> None:
    for count, expected in ((4, False), (5, True)):
        found = judged(folded(in_phase(1), [user(True, True)] * count))
        assert (found.decision is Decision.ROLL_BACK) is expected
    assert "breaker" in found.verdict


def test_failures_of_both_arms_break_nothing() -> None:
    both = [user(candidate, True) for candidate in (True, False) * 5]
    assert judged(folded(in_phase(3), both)).decision is Decision.HOLD
    before = [user(False, number % 5 == 0) for number in range(50)]
    assert judged(folded(in_phase(3), [*before, *[user(True, True)] * 5])).decision is Decision.HOLD
    fine = [user(False)] * 50
    assert judged(folded(in_phase(3), [*fine, *[user(True, True)] * 5])).decision is Decision.ROLL_BACK


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60), st.integers(0, 60))
def test_the_breaker_is_the_one_that_a_simple_loop_would_be(seen: list[tuple[bool, bool]], cut: int) -> None:
    recent, streak, stables, hits, tripped = list[bool](), 0, 0, 0, False
    for candidate, failed in seen:
        if candidate:
            if not failed:
                streak = stables = hits = 0
                continue
            streak += 1
            last = recent[-breakers.RECENT :]
            fine = hits <= breakers.TOLERATED * stables and sum(last) <= breakers.TOLERATED * len(last)
            tripped = tripped or (streak >= breakers.FAILURES and fine)
        else:
            recent.append(failed)
            if streak:
                stables, hits = stables + 1, hits + failed
    evidence = in_phase(1)
    for part in (seen[:cut], seen[cut:]):
        evidence = folded(evidence, [user(*each) for each in part])
    assert evidence.breaker.tripped is tripped
    if not tripped:
        state = evidence.breaker
        assert (state.streak, state.stables, state.stable_errors) == (streak, stables, hits)
        assert state.recent == "".join(str(int(each)) for each in recent[-breakers.RECENT :])


def test_a_candidate_that_fails_more_often_is_rolled_back_with_its_numbers() -> None:
    rng = np.random.default_rng(1)
    evidence = in_phase(2)
    for _ in range(40):
        candidate = [user(True, bool(rng.random() < 0.05)) for _ in range(20)]
        evidence = folded(evidence, [*candidate, *[user(False)] * 380])
        found = judged(evidence)
        if found.decision is Decision.ROLL_BACK:
            break
    assert found.decision is Decision.ROLL_BACK
    assert f"{evidence.failing.failed} of {evidence.failing.users} candidate users failed" in found.verdict
    assert found.e_value >= found.limit


def test_an_incident_of_both_arms_blames_nobody_and_promotes_nobody() -> None:
    rng = np.random.default_rng(2)
    evidence = in_phase(3)
    for _ in range(20):
        evidence = folded(evidence, [user(bool(rng.random() < 0.25), bool(rng.random() < 0.5)) for _ in range(100)])
    assert judged(evidence).decision is Decision.HOLD


@pytest.mark.parametrize(
    ("candidate", "stable", "expected"),
    [(1.0, 1.0, Decision.HOLD), (2.0, 1.0, Decision.ROLL_BACK), (5.0, 5.0, Decision.HOLD)],
)
def test_slow_answers_roll_back_and_equally_slow_ones_do_not(
    candidate: float, stable: float, expected: Decision
) -> None:
    rng = np.random.default_rng(3)
    policy = replace(POLICY, phases=(Phase(kind=PhaseKind.CANARY, weight=0.25, users=10**9),))
    usual = [user(False, latency_us=int(each)) for each in rng.lognormal(9.2, 0.4, 100)]
    evidence = folded(started(policy), usual, policy)
    assert evidence.latency is not None
    assert evidence.latency.slow_us == sorted(each.latency_us for each in usual)[99]
    for _ in range(20):
        arms = rng.random(100) < 0.25
        times = rng.lognormal(9.2, 0.4, 100) * np.where(arms, candidate, stable)
        evidence = folded(
            evidence, [user(bool(a), latency_us=int(t)) for a, t in zip(arms, times, strict=True)], policy
        )
        found = judged(evidence, policy)
        if found.decision is Decision.ROLL_BACK:
            break
    assert found.decision is expected
    assert ("latency" in found.verdict) is (expected is Decision.ROLL_BACK)


@pytest.mark.parametrize(
    ("shift", "expected"), [(0.0, Decision.HOLD), (0.05, Decision.HOLD), (0.25, Decision.ROLL_BACK)]
)
@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("kind", ["classes", "numbers", "texts"])
def test_answers_that_are_others_roll_back(shift: float, expected: Decision, paired: bool, kind: str) -> None:
    rng = np.random.default_rng(6)
    index = 0 if paired else 3
    policy = replace(POLICY, phases=tuple(replace(each, users=10**9) for each in PHASES))
    evidence = in_phase(index, policy)

    def answers(share: float, count: int) -> list[Any]:
        yes = rng.random(count) < share
        match kind:
            case "classes":
                return yes.tolist()
            case "numbers":
                return (rng.random(count) + yes).tolist()
            case _:
                return ["often" if each else f"text {rng.integers(100)}" for each in yes]

    for _ in range(30):
        theirs, mine = answers(0.3, 100), answers(0.3 + shift, 100)
        seen = [user(False, answer=each) for each in theirs]
        seen += [user(True, answer=each, partner=other) for each, other in zip(mine, theirs, strict=True)]
        seen = [seen[each] for each in rng.permutation(200)]
        evidence = folded(evidence, seen, policy, paired=paired)
        found = judged(evidence, policy)
        if found.decision is Decision.ROLL_BACK:
            break
    assert found.decision is expected
    assert ("answers" in found.verdict) is (expected is Decision.ROLL_BACK)


def test_fewer_right_answers_roll_back_in_pairs_and_apart() -> None:
    evidence = folded(in_phase(3), [], labelled=Labelled(worse=[1] * 30 + [0] * 300 + [-1] * 3))
    found = judged(evidence)
    assert found.decision is Decision.ROLL_BACK
    assert "of 333 labelled pairs 30 worse, 3 better" in found.verdict
    apart = Labelled(candidate=[False, True] * 400, right=[True, False, True, True] * 200)
    found = judged(folded(in_phase(3), [], labelled=apart))
    assert found.decision is Decision.ROLL_BACK
    assert "50.0% of 400 candidate answers right, 100.0% of 400 stable ones" in found.verdict
    alike = Labelled(candidate=[False, True] * 400, right=[True, False, False, True] * 200)
    assert judged(folded(in_phase(3), [], labelled=alike)).decision is Decision.HOLD


def test_a_custom_signal_rolls_back_and_one_that_cannot_be_computed_holds() -> None:
    both = [user(False, values={"yes": 0.0}), user(True, values={"yes": 1.0})] * 60
    found = judged(folded(in_phase(3), both))
    assert found.decision is Decision.ROLL_BACK
    assert found.verdict.startswith("yes: 1 on average of 60 candidate users, 0 of 60 stable ones")
    evidence = folded(in_phase(3), [user(True)] * 700, broken={"yes": "no such column"})
    assert judged(evidence).decision is Decision.HOLD
    assert "yes cannot be computed: no such column" in judged(evidence).needed
    assert judged(folded(evidence, [user(True)])).decision is Decision.ADVANCE


def test_only_the_direction_that_is_worse_counts() -> None:
    for worse, expected in (("higher", False), ("lower", True), ("both", True)):
        one = replace(CUSTOM, worse=worse, bounds=(0.0, 10.0), margin=1.0)  # type: ignore[arg-type]
        policy = replace(POLICY, signals=replace(POLICY.signals, custom=(one,)))
        seen = [user(False, values={"yes": 9.0}), user(True, values={"yes": 2.0})] * 60
        found = judged(folded(in_phase(3, policy), seen, policy), policy)
        assert (found.decision is Decision.ROLL_BACK) is expected


def test_alpha_is_split_over_the_tests_there_are_and_kept() -> None:
    parts = started().split
    assert sum(parts.values()) == pytest.approx(POLICY.alpha)
    assert set(parts) == {"errors", "error rate", "latency", "answers", "quality", "yes"}
    assert parts["errors"] == pytest.approx(2 * parts["latency"])
    none = Signals(latency=LatencySignal(on=False), answers=AnswersSignal(on=False), quality=QualitySignal(on=False))
    assert signals.split(none, 0.05, alone=False) == {"errors": 0.05}
    # What the configuration says later is for later rollouts.
    fewer = replace(POLICY, signals=replace(POLICY.signals, custom=()))
    stored = analysis.from_plain(analysis.to_plain(started()))
    assert analysis.enter(stored, fewer.phases, 1).split == parts
    assert {each.signal: each.limit for each in judged(stored).signals} == {k: 1 / v for k, v in parts.items()}


def test_with_all_the_traffic_a_candidate_is_held_against_what_the_stable_release_was() -> None:
    evidence = folded(in_phase(3), [user(False)] * 3000)
    evidence = analysis.enter(evidence, PHASES, 4)
    assert evidence.failing.rate is not None
    assert 0.01 < evidence.failing.rate.limit < 0.02
    found = judged(folded(evidence, [user(True, i % 12 == 0) for i in range(600)]))
    assert found.decision is Decision.ROLL_BACK
    assert "error rate" in found.verdict


def test_strategies_are_made_of_the_policys_phases() -> None:
    kinds = {name: [p.kind for p in strategy.phases(POLICY, name)] for name in Strategy}
    assert kinds[Strategy.PROGRESSIVE][0] is PhaseKind.SHADOW
    assert PhaseKind.SHADOW not in kinds[Strategy.CANARY]
    assert kinds[Strategy.SHADOW] == [PhaseKind.SHADOW, PhaseKind.BLUE_GREEN]
    assert kinds[Strategy.BLUE_GREEN] == [PhaseKind.BLUE_GREEN]
    with pytest.raises(Invalid, match="no strategy"):
        strategy.parse("big-bang")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Phase(kind=PhaseKind.CANARY, weight=1.5),
        lambda: Phase(kind=PhaseKind.SHADOW, weight=0.5),
        lambda: Phase(kind=PhaseKind.CANARY, weight=0.5, margin=0.0),
        lambda: RolloutPolicy(alpha=0.0),
        lambda: RolloutPolicy(max_ratio=0.5),
        lambda: RolloutPolicy(phases=()),
        lambda: RolloutPolicy(
            phases=(Phase(kind=PhaseKind.CANARY, weight=0.5), Phase(kind=PhaseKind.CANARY, weight=0.1))
        ),
    ],
)
def test_policies_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(Invalid):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    "make",
    [
        lambda: LatencySignal(ratio=0.5),
        lambda: LatencySignal(users=1),
        lambda: LatencySignal(noticeable_ms=-1),
        lambda: AnswersSignal(margin=0.0),
        lambda: AnswersSignal(users=3),
        lambda: QualitySignal(margin=-0.1),
        lambda: CustomSignal(name="errors", expression="1", margin=0.1),
        lambda: CustomSignal(name="A B", expression="1", margin=0.1),
        lambda: CustomSignal(name="a", expression=" ", margin=0.1),
        lambda: CustomSignal(name="a", expression="1", margin=2.0),
        lambda: CustomSignal(name="a", expression="1", margin=0.1, bounds=(1.0, 1.0)),
        lambda: Signals(custom=(CUSTOM, CUSTOM)),
    ],
)
def test_signals_that_make_no_sense_are_refused(make: Any) -> None:
    with pytest.raises(Invalid):
        make()
