"""Operations on rollouts: how a release takes over, who may approve a phase, what comes and goes with a release."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from windlass.delivery import phases, releases, rollouts
from windlass.delivery.phases import By
from windlass.delivery.rollouts import Rollout
from windlass.domain.errors import Denied, Invalid, NotFound
from windlass.domain.routing import Arm
from windlass.governance import approvals
from windlass.registry.models import Version
from windlass.serving import log
from windlass.serving.record import Prediction
from windlass.workspace import control, gating, golden
from windlass.workspace.operations import simulating
from windlass.workspace.operations.releases import (
    Alert,
    AlertmanagerWebhook,
    MoveRollout,
    PlanRollout,
    PromoteRollout,
    StartRelease,
    alerted,
    approve,
    plan,
    promote,
    start,
)
from windlass.workspace.operations.simulating import SimulateRollout, simulate
from windlass.workspace.workspace import Workspace

Cleared = Callable[[], Version]


@pytest.fixture
def cleared(project: Workspace, adopted: Callable[..., Version], gated: Callable[[Version], str]) -> Cleared:
    """A version that may be released: ada registered it, alex and sam approved."""

    def clear() -> Version:
        version = adopted("ada")
        gated(version)
        report, found = "", None
        with project.database.read() as tx:
            report, found = gating.reports.find(tx, project.objects, version.reference)
        for person in ("alex", "sam"):
            approvals.approve(
                project.database, reference=version.reference, report=report, verdict=found.verdict, author="ada",
                asked=gating.asked(project), actor=person, reason="", now=project.now,
            )  # fmt: skip
        return version

    return clear


def acting(ws: Workspace, person: str) -> Workspace:
    found = dataclasses.replace(ws, actor=person)
    found.database, found.store = ws.database, ws.store
    return found


def serves(ws: Workspace, version: Version) -> Rollout:
    """The first release, in charge."""
    made = start(acting(ws, "dana"), StartRelease(reference=version.reference))
    with ws.database.write() as tx:
        row = rollouts.require(tx, made.id)
        rollouts.move(tx, row, rollouts.RolloutEvent.START, actor="windlass", reason="", at=ws.now())
        phases.begin(tx, rollouts.require(tx, made.id), By(actor="windlass", at=ws.now()))
        return rollouts.find(tx, made.id)


def configured(ws: Workspace, more: str) -> None:
    ws.layout.config.write_text(ws.layout.config.read_text() + more)
    ws.__dict__.pop("config", None)


def test_a_plan_says_what_a_release_would_go_through_and_changes_nothing(project: Workspace, cleared: Cleared) -> None:
    first = plan(project, PlanRollout())
    assert (first.first, [phase.kind for phase in first.phases]) == (True, ["blue-green"])
    serves(project, cleared())
    assert [phase.share for phase in plan(project, PlanRollout(steps=(0.01, 0.1, 1.0))).phases] == [0.01, 0.1, 1.0]
    high = plan(project, PlanRollout(preset="high"))
    assert (high.name, high.first, high.phases[-2].approval) == ("high", False, True)
    with project.database.read() as tx:
        assert len(rollouts.ls(tx)) == 1


def test_a_release_goes_through_what_was_planned(project: Workspace, cleared: Cleared) -> None:
    serves(project, cleared())
    made = start(project, StartRelease(reference=cleared().reference, preset="medium"))
    assert (made.strategy, made.phases) == ("medium", plan(project, PlanRollout(preset="medium")).phases)
    with pytest.raises(Invalid, match="preset and steps"):
        plan(project, PlanRollout(preset="low", steps=(1.0,)))


def test_a_phase_is_approved_by_those_who_approve_gates_and_never_by_who_made_or_released_it(
    project: Workspace, cleared: Cleared
) -> None:
    serves(project, cleared())
    made = start(acting(project, "alex"), StartRelease(reference=cleared().reference, preset="high"))
    with project.database.write() as tx:  # as the controller does once the worker is ready and the evidence there
        tx.execute("UPDATE rollouts SET state = 'running', phase = 3, awaiting = 4 WHERE id = ?", (made.id,))
        evidence = json.loads(tx.rows("SELECT evidence FROM rollouts WHERE id = ?", (made.id,))[0]["evidence"])
        tx.execute("UPDATE rollouts SET evidence = ? WHERE id = ?", (json.dumps({**evidence, "phase": 3}), made.id))
    for person, why in (("alex", "released"), ("ada", "registered"), ("dana", "not in the group")):
        for move in (
            lambda ws: approve(ws, MoveRollout(rollout=made.id)),
            lambda ws: promote(ws, PromoteRollout(rollout=made.id)),
        ):
            with pytest.raises(Denied, match=why):
                move(acting(project, person))
    assert approve(acting(project, "sam"), MoveRollout(rollout=made.id)).awaiting == 4
    with project.database.read() as tx:
        assert rollouts.require(tx, made.id).approved == -1  # two have to: [gates] approvals


def test_a_release_is_watched_and_rolled_back_by_what_came_with_it(project: Workspace, cleared: Cleared) -> None:
    configured(project, "[monitors]\nwindow_rows = 500\n[rollback]\nalertmanager = true\n[rollback.labels]\na = 'b'\n")
    first = serves(project, cleared())
    text = project.layout.config.read_text()
    project.layout.config.write_text(text.replace("500", "900").replace("alertmanager = true", ""))
    project.__dict__.pop("config", None)
    second = start(project, StartRelease(reference=cleared().reference))
    assert [control.monitors_of(project, each.candidate).window_rows for each in (first, second)] == [500, 900]
    with project.database.read() as tx:
        found = [releases.find(tx, project.objects, each.candidate).rollback for each in (first, second)]
    assert [(each["alertmanager"], each["labels"]) for each in found] == [(True, {"a": "b"}), (False, {"a": "b"})]


PAYLOAD: dict[str, Any] = {
    "version": "4", "groupKey": '{}:{alertname="Errors"}', "truncatedAlerts": 0, "status": "firing",
    "receiver": "windlass", "groupLabels": {"alertname": "Errors"}, "commonLabels": {"endpoint": "churn"},
    "commonAnnotations": {}, "externalURL": "http://alertmanager:9093",
    "alerts": [
        {
            "status": "firing", "labels": {"alertname": "Errors", "endpoint": "churn"},
            "annotations": {"summary": "5 % of requests fail"}, "startsAt": "2030-01-01T09:52:26.739266876+02:00",
            "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://prometheus/graph", "fingerprint": "c0ffee",
        }
    ],
}  # fmt: skip


def test_what_alertmanager_sends_is_taken_as_it_is(project: Workspace, cleared: Cleared) -> None:
    configured(project, "[rollback]\nalertmanager = true\n")
    serves(project, cleared())
    request = msgspec.convert(PAYLOAD, AlertmanagerWebhook)
    (taken,) = alerted(project, request)
    assert (taken.alert, taken.endpoint, taken.acted) == ("Errors", "churn", False)
    assert "no good release" in taken.outcome
    with pytest.raises(Invalid, match="version"):
        alerted(project, dataclasses.replace(request, version="3"))
    with pytest.raises(Invalid, match="not a time"):
        alerted(
            project,
            AlertmanagerWebhook(
                alerts=(Alert(status="firing", labels={"endpoint": "churn"}, startsAt="soon", fingerprint="x"),)
            ),
        )


def test_a_signal_that_cannot_be_computed_is_refused_before_it_is_needed(
    project: Workspace, cleared: Cleared, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = cleared()
    # What came by way of MLflow has no golden rows with answers: then nothing can be tried out.
    monkeypatch.setattr(golden, "first", lambda ws, package: ({"x": 1}, {"prediction": 1}))
    configured(project, "\n[[rollout.signals.custom]]\nname = 'own'\nexpression = 'no_such'\nmargin = 0.1\n")
    with pytest.raises(Invalid, match="own cannot be computed"):
        start(acting(project, "dana"), StartRelease(reference=version.reference))


def test_a_policy_is_rehearsed(project: Workspace) -> None:
    said: list[str] = []
    project.progress = said.append
    found = simulate(project, SimulateRollout(faults=("errors=0.3",), runs=5, strategy="canary"))
    assert found.faults[0].rolled_back == 5
    assert found.innocent.phases[0].kind == "canary"
    assert "errors=0.3: 5 of 5" in said
    with pytest.raises(NotFound, match="no prediction log"):
        simulate(project, SimulateRollout(log="nowhere"))
    for wrong in ({"runs": 10**6}, {"seed": -1}, {"log": "e", "rate": "5/s"}, {"latency_ms": 0.0}, {"faults": ("x",)}):
        with pytest.raises(Invalid):
            simulate(project, SimulateRollout(**wrong))  # type: ignore[arg-type]


def test_a_log_is_drawn_from_as_it_is_on_disk(project: Workspace) -> None:
    with log.Writer(project.layout.predictions / "drawn") as writer:
        for number in range(200):
            writer.append(
                Prediction(
                    id=f"{number}", at=1_000_000 + 10_000 * number, endpoint="drawn", revision=1, rollout=None,
                    release="r", arm=Arm.STABLE, user=f"u{number}", rows=[{"x": 1}],
                    answers=[{"prediction": number % 2}], status=200, user_status=200, error="",
                    latency_us=900 + number, answered_by="r",
                )
            )  # fmt: skip
    found = simulate(project, SimulateRollout(log="drawn", runs=3, strategy="canary"))
    assert found.traffic == "200 users of the log of drawn, 100 new ones a second"
    assert found.innocent.rolled_back == 0


def test_a_server_simulates_for_a_bounded_time(project: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulating, "REMOTE_SECONDS", 0.0)
    asked = SimulateRollout(runs=5, strategy="canary")
    with pytest.raises(Invalid, match="more than 0 s"):
        simulate(dataclasses.replace(project, remote=True), asked)
    assert simulate(project, asked).runs == 5
