"""Rollbacks that Alertmanager asks for: its alerts about an endpoint, each acted on once.

An alert is *news* about a release only if it began while that release was in charge (or, of a candidate, while it
answered). One that is older says something of the release before; one that follows an automatic rollback closely may
still be about what was rolled back. Both change nothing, so that a storm of alerts undoes one release and not five.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from windlass.delivery import analysis, history, phases, releases, rollback, rollouts
from windlass.delivery.analysis import Decision
from windlass.delivery.config import RollbackPolicy
from windlass.delivery.phases import By
from windlass.delivery.rollouts import Live
from windlass.domain import clock
from windlass.domain.clock import SECOND, Clock
from windlass.domain.errors import Conflict, Refused
from windlass.domain.ports import Database, ObjectStore, Transaction
from windlass.domain.release import Release
from windlass.domain.states import RolloutEvent, RolloutState

FIRING = "firing"
ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert as Alertmanager's webhooks have it; what else they say of it is not needed."""

    status: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    startsAt: str  # noqa: N815 - Alertmanager's name
    fingerprint: str

    @property
    def name(self) -> str:
        return self.labels.get("alertname", self.fingerprint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of an alert: ``acted`` says whether it moved anything, ``outcome`` what, or why not."""

    alert: str
    fingerprint: str
    endpoint: str
    acted: bool
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a rollback needs besides the tables."""

    gateway_socket: Path
    socket: Callable[[str], Path]
    revalidate: Callable[[Release], None]
    wait_seconds: float


def take(db: Database, objects: ObjectStore, alert: Alert, *, actor: str, now: Clock, means: Means) -> Taken:
    """Do what an alert asks for: end the rollout that is on, or else put the endpoint back to its last good release.

    Raises:
        Unavailable: the gateway does not acknowledge; the routes are set, and are pushed as soon as it is back.
        Invalid: its beginning is no time.
    """
    endpoint = alert.labels.get(ENDPOINT, "")

    def taken(outcome: str, acted: bool = False) -> Taken:
        return Taken(alert=alert.name, fingerprint=alert.fingerprint, endpoint=endpoint, acted=acted, outcome=outcome)

    if alert.status != FIRING:
        return taken(f"it is {alert.status}: nothing to do")
    began = clock.parse(alert.startsAt)
    with db.read() as tx:
        row = tx.row("SELECT * FROM endpoints WHERE name = ?", (endpoint,))
        if row is None or row["release"] is None:
            return taken("no such endpoint: the label 'endpoint' has to name one")
        if _known(tx, alert):
            return taken("known already: nothing more to do")
        trial = rollouts.require(tx, row["rollout"]) if row["rollout"] else None
        since, last = _moves(tx, endpoint)
        charged = releases.find(tx, objects, row["release"])
        candidate = releases.find(tx, objects, trial.candidate) if trial else None
        blamed = trial is not None and _answered_since(tx, trial, began)
    on_trial = blamed and candidate is not None
    policy = policy_of(candidate if on_trial and candidate else charged)
    if not policy.alertmanager:
        return taken("[rollback] alertmanager is off in the release that it is about")
    if any(alert.labels.get(name) != value for name, value in policy.labels.items()):
        return taken("its labels are not those of [rollback] labels")
    reason = f"alert {alert.name} is firing since {alert.startsAt}"
    if summary := alert.annotations.get("summary", ""):
        reason = f"{reason}: {summary[:200]}"
    at = now()
    try:
        if on_trial and trial is not None:
            _end(db, trial, alert, reason, actor, at)
            rollback.push(db, means.gateway_socket, now)
            return taken(f"rollout {trial.id[:8]} was rolled back", acted=True)
        if not policy.whole:
            return taken("no rollout is on, and [rollback] whole is false")
        if began < since:
            return taken("it began before the release in charge took over")
        if last is not None and at - last < round(policy.cooldown_seconds * SECOND):
            return taken(f"{endpoint} was rolled back less than {policy.cooldown_seconds:g} s ago")
        result = rollback.rollback(
            db, objects, endpoint=endpoint, reason=reason, actor=actor, now=now, gateway_socket=means.gateway_socket,
            socket=means.socket, revalidate=means.revalidate, wait_seconds=means.wait_seconds,
            note=lambda tx: _note(tx, alert, "rolled back whole", now()),
        )  # fmt: skip
    except (Conflict, Refused) as failure:
        return taken(failure.message)
    return taken(f"{result.from_reference} -> {result.to_reference}", acted=True)


def policy_of(release: Release) -> RollbackPolicy:
    """The rollback policy that came with a release."""
    return msgspec.convert(dict(release.rollback), RollbackPolicy)


def _known(tx: Transaction, alert: Alert) -> bool:
    return (
        tx.row(
            "SELECT at FROM alertmanager_alerts WHERE fingerprint = ? AND starts_at = ? AND endpoint = ?",
            (alert.fingerprint, alert.startsAt, alert.labels[ENDPOINT]),
        )
        is not None
    )


def _note(tx: Transaction, alert: Alert, outcome: str, at: int) -> None:
    """Write an alert down as acted on, in the transaction that acts.

    Raises:
        Conflict: it was acted on meanwhile.
    """
    if _known(tx, alert):
        raise Conflict("known already: nothing more to do")
    tx.execute(
        "INSERT INTO alertmanager_alerts (fingerprint, starts_at, endpoint, outcome, at) VALUES (?, ?, ?, ?, ?)",
        (alert.fingerprint, alert.startsAt, alert.labels[ENDPOINT], outcome, at),
    )


def _answered_since(tx: Transaction, trial: Live, began: int) -> bool:
    """Whether a candidate was asked anything before an alert began."""
    first = tx.row("SELECT step FROM rollout_steps WHERE rollout = ? ORDER BY phase LIMIT 1", (trial.id,))
    return (
        trial.state in (RolloutState.RUNNING, RolloutState.PAUSED)
        and first is not None
        and msgspec.json.decode(first["step"])["at"] <= began
    )


def _moves(tx: Transaction, endpoint: str) -> tuple[int, int | None]:
    """Since when the release in charge is, and when the endpoint was last rolled back."""
    served = history.log(tx, endpoint)
    back = [each.since for each in served if each.action == rollback.ACTION]
    return served[-1].since, back[-1] if back else None


def _end(db: Database, trial: Live, alert: Alert, reason: str, actor: str, at: int) -> None:
    judged = analysis.judge(trial.evidence, trial.policy, trial.phases)
    judged = replace(judged, decision=Decision.ROLL_BACK, verdict=reason)
    with db.write() as tx:
        _note(tx, alert, f"rollout {trial.id} rolled back", at)
        found = rollouts.require(tx, trial.id)
        if (found.state, found.phase) != (trial.state, trial.phase):
            raise Conflict(f"rollout {trial.id[:8]} moved meanwhile")
        rollouts.put_step(tx, found, found.evidence, judged, at, hand=actor)
        phases.roll_back(tx, found, RolloutEvent.VERDICT, found.evidence, judged, By(actor=actor, at=at, hand=actor))
