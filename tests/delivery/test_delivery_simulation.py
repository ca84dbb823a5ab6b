"""Rehearsed rollouts: what the analysis promises, by the code that decides real ones. Larger runs: benchmarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from windlass.delivery import simulation
from windlass.delivery.simulation import Fault, Incident, Outcome, Traffic
from windlass.delivery.strategy import Phase, PhaseKind, RolloutPolicy
from windlass.domain.errors import Invalid
from windlass.domain.routing import Arm
from windlass.serving.record import Prediction

POLICY = RolloutPolicy()
TRAFFIC = Traffic()
CANARY = (Phase(kind=PhaseKind.CANARY, weight=0.05, users=10**9),)
SHADOW = (Phase(kind=PhaseKind.SHADOW, users=10**9),)


def ended(fault: Fault, runs: int, phases: tuple[Phase, ...] = POLICY.phases, **more: object) -> Outcome:
    options = {"traffic": TRAFFIC, "seed": 1, **more}
    return simulation.outcome(POLICY, phases, fault=fault, runs=runs, **options)  # type: ignore[arg-type]


def test_innocent_candidates_are_promoted_and_hardly_ever_rolled_back() -> None:
    found = ended(Fault(), 60)
    assert found.rolled_back <= 3
    assert found.promoted >= 57
    assert found.promoted_seconds is not None
    assert found.phases[0].entered == 60
    assert sum(each.rolled_back for each in found.phases) == found.rolled_back


@pytest.mark.parametrize("errors", [0.2, 0.5, 1.0])
def test_an_incident_of_both_arms_rolls_nobody_back(errors: float) -> None:
    found = ended(Fault(), 30, incident=Incident(errors=errors, after=3000, users=3000))
    assert found.rolled_back <= 1


def test_twice_the_errors_are_found_in_a_canary_of_a_twentieth() -> None:
    found = ended(Fault(errors=0.02), 60, CANARY)
    assert found.share >= 0.99
    assert found.median_requests is not None
    # 2,500 by 1,000 rollouts (docs/rollouts.md); of 60 the median is known to about a tenth.
    assert found.median_requests <= 2800
    assert found.by_signal == {"errors": found.rolled_back}


def test_two_points_less_quality_are_found_in_few_labels() -> None:
    found = ended(Fault(quality=-0.02), 60, SHADOW, traffic=Traffic(labels=1.0), most_users=20_000)
    assert found.share >= 0.99
    assert found.median_labels is not None
    assert found.median_labels <= 800
    late = ended(Fault(quality=-0.02), 20, SHADOW, traffic=Traffic(labels=0.5, label_seconds=30), most_users=20_000)
    assert late.share >= 0.9
    assert late.median_seconds is not None
    assert found.median_seconds is not None
    assert late.median_seconds > found.median_seconds + 20


@pytest.mark.parametrize(
    ("fault", "signal"),
    [("latency=2x", "latency"), ("answers=+0.25", "answers"), ("answers=-0.2", "answers"), ("errors=0.2", "errors")],
)
def test_other_faults_are_found_by_the_signal_that_they_are_of(fault: str, signal: str) -> None:
    found = ended(simulation.parse_fault(fault), 20)
    assert found.share >= 0.9
    assert found.by_signal.get(signal, 0) + found.by_signal.get("breaker", 0) >= 0.9 * found.rolled_back


def test_slowness_and_disagreement_of_both_arms_is_nobodys_fault() -> None:
    bursts = Traffic(bursts=60, burst_seconds=20, burst_factor=20, disagree=0.2, labels=0.5)
    assert ended(Fault(), 30, traffic=bursts).rolled_back <= 2


def test_the_same_seed_gives_the_same_and_others_give_others() -> None:
    one, again, other = (ended(Fault(errors=0.05), 5, seed=seed) for seed in (3, 3, 4))
    assert one == again
    assert one != other


def predictions(count: int) -> list[Prediction]:
    rng = np.random.default_rng(8)
    return [
        Prediction(
            id=f"{i}", at=1_000_000 + 20_000 * i, endpoint="e", revision=1, rollout=None, release="r",
            arm=Arm.STABLE if i % 10 else Arm.CHOSEN, user=f"u{i % (count - 10)}", rows=[{"x": 1}],
            answers=None if i % 50 == 1 else [{"prediction": "yes" if rng.random() < 0.3 else "no"}],
            status=500 if i % 50 == 1 else 200, user_status=200, error="",
            latency_us=int(rng.lognormal(10, 0.3)), answered_by="r",
        )
        for i in range(count)
    ]  # fmt: skip


def test_a_prediction_log_is_drawn_from() -> None:
    traffic = simulation.recorded(predictions(1000), labels=0.5)
    assert len(traffic.failed) == 891
    assert traffic.rate == pytest.approx(45, rel=0.02)
    assert traffic.labels == 0.5
    assert sum(traffic.failed) == 20
    assert set(traffic.answers) == {"yes", "no"}
    assert ended(Fault(), 10, traffic=traffic).rolled_back <= 1
    shifted = ended(Fault(answers=0.3), 10, traffic=traffic)
    assert shifted.share >= 0.8
    assert set(shifted.by_signal) == {"answers"}
    slower = ended(Fault(latency=3), 10, traffic=traffic)
    assert slower.by_signal.get("latency", 0) >= 8
    with pytest.raises(Invalid, match="users"):
        simulation.recorded(predictions(60))


def test_numbers_are_drawn_from_too() -> None:
    drawn = simulation.recorded(predictions(1000))
    numbers = replace(drawn, answers=[float(i) for i in range(len(drawn.failed))])
    found = ended(Fault(answers=0.3), 6, traffic=numbers)
    assert found.by_signal.get("answers", 0) >= 5


def test_a_whole_simulation_says_what_it_is_of() -> None:
    seen: list[tuple[str, int, int]] = []
    found = simulation.simulate(
        POLICY, POLICY.phases, TRAFFIC, [simulation.parse_fault("errors=0.1")], runs=3, seed=1, told="as stated",
        progress=lambda *each: seen.append(each),
    )  # fmt: skip
    assert [each.fault for each in (found.innocent, *found.faults)] == ["innocent", "errors=0.1"]
    assert seen[-1] == ("errors=0.1", 3, 3)
    assert sum(1 / limit for limit in found.limits.values()) == pytest.approx(POLICY.alpha)


@pytest.mark.parametrize("text", ["", "errors", "errors=x", "errors=2", "speed=3", "latency=0x", "quality=0.1"])
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match="fault"):
        simulation.parse_fault(text)


def test_rates_and_faults_are_read_as_people_write_them() -> None:
    assert simulation.parse_rate("600/min") == simulation.parse_rate("10") == pytest.approx(10)
    assert simulation.parse_rate("36000/h") == pytest.approx(10)
    both = simulation.parse_fault("errors=0.02,latency=2x")
    assert (both.errors, both.latency) == (0.02, 2.0)
    for text in ("fast", "3/day", "/s"):
        with pytest.raises(Invalid, match="rate"):
            simulation.parse_rate(text)
    with pytest.raises(Invalid, match="rate"):
        Traffic(rate=0)
    with pytest.raises(Invalid, match="errors is 2"):
        Traffic(errors=2)
    with pytest.raises(Invalid, match="runs"):
        simulation.simulate(POLICY, POLICY.phases, TRAFFIC, [], runs=0, seed=1, told="")
    with pytest.raises(Invalid, match="no matter of evidence"):
        flip = (Phase(kind=PhaseKind.BLUE_GREEN, weight=1.0),)
        simulation.simulate(POLICY, flip, TRAFFIC, [], runs=1, seed=1, told="")


def test_the_figures_are_measured() -> None:
    found = simulation.figures(canaries=4, found=3)
    assert found["false_rollbacks"] <= 0.5
    assert found["errors_1_to_2_found"] == 1.0
    assert found["quality_90_to_88_labels"] > 100
