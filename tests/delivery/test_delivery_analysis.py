"""The decision of a rollout, on numbers alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.delivery import analysis, strategy
from windlass.delivery.analysis import Decision, Evidence, Observation
from windlass.delivery.strategy import Phase, PhaseKind, RolloutPolicy, Strategy
from windlass.domain.errors import Invalid

POLICY = RolloutPolicy()
PHASES = POLICY.phases

observations = st.lists(
    st.builds(Observation, st.booleans(), st.booleans(), st.integers(0, 100_000), st.just(False)), max_size=60
)


def started() -> Evidence:
    return analysis.begin(POLICY, PHASES)


def in_phase(index: int) -> Evidence:
    return analysis.enter(started(), PHASES, index)


def test_nothing_seen_is_a_hold_that_says_how_much_it_needs() -> None:
    judged = analysis.judge(started(), POLICY, PHASES)
    assert judged.decision is Decision.HOLD
    assert "300 more candidate users" in judged.needed


@given(observations)
def test_evidence_survives_the_database(seen: list[Observation]) -> None:
    evidence = analysis.fold(in_phase(1), seen, len(seen))
    assert analysis.from_plain(json.loads(json.dumps(analysis.to_plain(evidence)))) == evidence


@given(observations, st.integers(0, 60))
def test_the_counts_do_not_depend_on_where_the_log_was_cut(seen: list[Observation], cut: int) -> None:
    whole = analysis.fold(in_phase(1), seen, len(seen))
    if whole.streak >= analysis.BREAKER:
        return  # what comes after the breaker is not looked at
    parts = analysis.fold(analysis.fold(in_phase(1), seen[:cut], cut), seen[cut:], len(seen) - cut)
    for name in ("users", "errors", "stable_users", "stable_errors", "requests", "streak", "waiting", "slow_us"):
        assert getattr(parts, name) == getattr(whole, name)
    assert parts.safe.e_value == pytest.approx(whole.safe.e_value)


def test_a_clean_shadow_advances_and_the_last_phase_promotes() -> None:
    evidence = analysis.fold(started(), [Observation(True, False, paired=True)] * 320, 320)
    assert analysis.judge(evidence, POLICY, PHASES).decision is Decision.ADVANCE
    last = analysis.fold(in_phase(4), [Observation(True, False)] * 700, 700)
    assert analysis.judge(last, POLICY, PHASES).decision is Decision.PROMOTE


def test_evidence_alone_is_not_enough_for_a_phase_that_wants_more_users() -> None:
    phases = (Phase(kind=PhaseKind.SHADOW, margin=0.5, users=300), *PHASES[1:])
    evidence = analysis.fold(analysis.begin(POLICY, phases), [Observation(True, False, paired=True)] * 299, 299)
    judged = analysis.judge(evidence, POLICY, phases)
    assert judged.promote_e > 20
    assert judged.decision is Decision.HOLD
    assert "1 more" in judged.needed


def test_five_failures_in_a_row_break_and_four_do_not() -> None:
    for count, expected in ((4, False), (5, True)):
        evidence = analysis.fold(in_phase(1), [Observation(True, True)] * count, count)
        judged = analysis.judge(evidence, POLICY, PHASES)
        assert (judged.decision is Decision.ROLL_BACK) is expected
    assert "breaker" in judged.verdict


def test_a_candidate_that_fails_more_often_is_rolled_back_with_its_numbers() -> None:
    rng = np.random.default_rng(1)
    evidence = in_phase(2)
    for _ in range(40):
        candidate = [Observation(True, bool(rng.random() < 0.05), 1000) for _ in range(20)]
        stable = [Observation(False, False, 1000) for _ in range(380)]
        evidence = analysis.fold(evidence, [*candidate, *stable], 20)
        judged = analysis.judge(evidence, POLICY, PHASES)
        if judged.decision is Decision.ROLL_BACK:
            break
    assert judged.decision is Decision.ROLL_BACK
    assert f"{evidence.all_errors} of {evidence.all_users} candidate users failed" in judged.verdict
    assert judged.e_value >= judged.limit == 60


def test_an_incident_of_both_arms_blames_nobody_and_promotes_nobody() -> None:
    rng = np.random.default_rng(2)
    evidence = in_phase(3)
    for _ in range(20):
        seen = [Observation(bool(rng.random() < 0.25), bool(rng.random() < 0.5), 1000) for _ in range(100)]
        # The breaker is for a candidate alone; here it would trip by chance, as it should on real traffic.
        evidence = analysis.fold(evidence, [each for each in seen if not (each.candidate and each.failed)], 0)
    assert analysis.judge(evidence, POLICY, PHASES).decision is not Decision.ROLL_BACK


def test_slow_answers_roll_back_and_equally_slow_ones_do_not() -> None:
    def after(slow_candidate: float, slow_stable: float) -> Decision:
        rng = np.random.default_rng(3)
        evidence = analysis.fold(in_phase(3), [Observation(False, False, 1000)] * 600, 0)
        assert evidence.slow_us == 251_000
        for _ in range(30):
            seen = []
            for _ in range(40):
                candidate = bool(rng.random() < 0.25)
                slow = rng.random() < (slow_candidate if candidate else slow_stable)
                seen.append(Observation(candidate, False, 400_000 if slow else 900))
            evidence = analysis.fold(evidence, seen, 10)
            judged = analysis.judge(evidence, POLICY, PHASES)
            if judged.decision is Decision.ROLL_BACK:
                assert "latency" in judged.verdict
                return judged.decision
        return Decision.HOLD

    assert after(0.5, 0.01) is Decision.ROLL_BACK
    assert after(0.1, 0.1) is Decision.HOLD


def test_with_all_the_traffic_a_candidate_is_held_against_what_the_stable_release_was() -> None:
    evidence = analysis.fold(in_phase(3), [Observation(False, False, 900)] * 3000, 0)
    evidence = analysis.enter(evidence, PHASES, 4)
    assert evidence.rate is not None
    assert 0.01 < evidence.rate.limit < 0.02
    seen = [Observation(True, i % 12 == 0, 900) for i in range(600)]
    judged = analysis.judge(analysis.fold(evidence, seen, 600), POLICY, PHASES)
    assert judged.decision is Decision.ROLL_BACK
    assert "error rate" in judged.verdict


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


def test_innocent_candidates_are_rolled_back_at_most_as_often_as_the_policy_says() -> None:
    """Both arms fail at 1 %; the whole verdict, breaker included, over all three signals."""
    rng = np.random.default_rng(4)
    rolled_back = 0
    for _ in range(120):
        evidence = in_phase(3)
        for _ in range(25):
            seen = [
                Observation(bool(c), bool(f), int(t))
                for c, f, t in zip(
                    rng.random(100) < 0.25, rng.random(100) < 0.01, rng.normal(900, 50, 100), strict=True
                )
            ]
            evidence = analysis.fold(evidence, seen, 25)
            if analysis.judge(evidence, POLICY, PHASES).decision is Decision.ROLL_BACK:
                rolled_back += 1
                break
    assert rolled_back / 120 <= 0.05
