"""Operations on releases and rollouts."""

from __future__ import annotations

from dataclasses import dataclass, field

from windlass.delivery import alertmanager, by_hand, explain, rollback, rollouts, strategy
from windlass.delivery.alertmanager import Alert, Taken
from windlass.delivery.by_hand import Approvers
from windlass.delivery.explain import Explanation
from windlass.delivery.rollback import RollbackResult
from windlass.delivery.rollouts import Rollout
from windlass.delivery.strategy import Choice, Phase
from windlass.domain.errors import Invalid
from windlass.workspace import gating, releasing
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRelease:
    """How it takes over is said by one of: ``strategy`` (progressive, canary, shadow or blue-green: what of the phases
    of ``[rollout]`` it goes through), ``preset`` (low, medium or high: by risk), ``steps`` (the shares of a canary,
    0 to 1), ``phases`` (written out). By default it is ``[rollout]``'s; the first release of an endpoint is
    blue-green."""

    reference: str
    to: str | None = None
    strategy: str | None = None
    preset: str | None = None
    steps: tuple[float, ...] | None = None
    phases: tuple[Phase, ...] | None = None
    force: bool = False
    reason: str = ""


@operation("release.start")
def start(ws: Workspace, request: StartRelease) -> Rollout:
    """Roll a version out to an endpoint; refused without a passing gate and the approvals."""
    version = gating.find_version(ws, request.reference)
    config = ws.config
    return releasing.release(
        ws,
        version,
        endpoint=request.to or config.endpoint.name,
        config=config,
        clearance=gating.cleared(ws, version, gating.asked(ws)),
        choice=_choice(request),
        force=request.force,
        reason=request.reason or f"release {version.reference}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRollout:
    """As for ``release.start``; nothing is changed."""

    to: str | None = None
    strategy: str | None = None
    preset: str | None = None
    steps: tuple[float, ...] | None = None
    phases: tuple[Phase, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRollout:
    """``first``: nothing serves at the endpoint yet, so that the release would take over at once."""

    endpoint: str
    name: str
    first: bool
    phases: tuple[Phase, ...]


@operation("rollout.plan", reads_only=True)
def plan(ws: Workspace, request: PlanRollout) -> PlannedRollout:
    """Show the phases that a release would go through now."""
    endpoint = request.to or ws.config.endpoint.name
    with ws.database.read() as tx:
        row = tx.row("SELECT release FROM endpoints WHERE name = ?", (endpoint,))
    first = row is None or row["release"] is None
    made = strategy.plan(ws.config.rollout, _choice(request), first=first)
    return PlannedRollout(endpoint=endpoint, name=made.name, first=first, phases=made.phases)


def _choice(request: StartRelease | PlanRollout) -> Choice:
    return Choice(strategy=request.strategy, preset=request.preset, steps=request.steps, phases=request.phases)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRollouts:
    endpoint: str | None = None


@operation("rollout.list", reads_only=True)
def ls(ws: Workspace, request: ListRollouts) -> list[Rollout]:
    """List rollouts, newest last."""
    with ws.database.read() as tx:
        return rollouts.ls(tx, request.endpoint)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowRollout:
    """``rollout`` is an id or its beginning; the latest if not given."""

    rollout: str | None = None


@operation("rollout.show", reads_only=True)
def show(ws: Workspace, request: ShowRollout) -> Rollout:
    """Show a rollout: each phase, its evidence and what was decided."""
    with ws.database.read() as tx:
        return rollouts.find(tx, request.rollout)


@operation("rollout.explain", reads_only=True)
def explained(ws: Workspace, request: ShowRollout) -> Explanation:
    """Recompute each decision of a rollout from the prediction log."""
    with ws.database.read() as tx:
        rollout = rollouts.find(tx, request.rollout)
        return explain.explain(tx, ws.layout.predictions, rollout.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveRollout:
    rollout: str | None = None
    reason: str = ""


@operation("rollout.pause")
def pause(ws: Workspace, request: MoveRollout) -> Rollout:
    """Hold a rollout where it is; a verdict of harm still rolls it back."""
    return by_hand.pause(ws.database, _id(ws, request), actor=ws.actor, reason=request.reason, now=ws.now)


@operation("rollout.resume")
def resume(ws: Workspace, request: MoveRollout) -> Rollout:
    """Let a paused rollout go on."""
    return by_hand.resume(ws.database, _id(ws, request), actor=ws.actor, reason=request.reason, now=ws.now)


@operation("rollout.abort")
def abort(ws: Workspace, request: MoveRollout) -> Rollout:
    """End a rollout: all traffic goes back to the stable release."""
    return by_hand.abort(ws.database, _id(ws, request), actor=ws.actor, reason=request.reason, now=ws.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteRollout:
    """``full``: straight to its end, past every phase that is left."""

    rollout: str | None = None
    full: bool = False
    reason: str = ""


@operation("rollout.promote")
def promote(ws: Workspace, request: PromoteRollout) -> Rollout:
    """Take a rollout to its next phase by hand, or to its end; refused while the evidence is of harm."""
    found = _found(ws, request.rollout)
    return by_hand.promote(
        ws.database,
        found.id,
        full=request.full,
        approvers=_approvers(ws, found),
        actor=ws.actor,
        reason=request.reason,
        now=ws.now,
    )


@operation("rollout.approve")
def approve(ws: Workspace, request: MoveRollout) -> Rollout:
    """Approve the phase that a rollout waits to enter; not for who released it, nor for the version's author."""
    found = _found(ws, request.rollout)
    return by_hand.approve(
        ws.database,
        found.id,
        approvers=_approvers(ws, found),
        actor=ws.actor,
        reason=request.reason,
        now=ws.now,
    )


def _approvers(ws: Workspace, rollout: Rollout) -> Approvers:
    """Those whose approvals count for the gate, and as many; one where policy asks for none there."""
    asked = gating.asked(ws)
    author = gating.find_version(ws, rollout.candidate_reference).actor
    return Approvers(
        needed=max(1, asked.needed),
        group=asked.group,
        members=asked.members,
        barred={author: f"registered {rollout.candidate_reference}"},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """``to`` names an older version; by default it is the last good release. ``partial`` takes back only the
    share of the rollout that is live."""

    endpoint: str | None = None
    to: str | None = None
    partial: bool = False
    reason: str = ""


@operation("endpoint.rollback")
def roll_back(ws: Workspace, request: Rollback) -> RollbackResult:
    """Put an endpoint back to its last good release, once that answers its golden rows."""
    means = releasing.means(ws)
    return rollback.rollback(
        ws.database,
        ws.objects,
        endpoint=request.endpoint or ws.config.endpoint.name,
        to=request.to,
        partial=request.partial,
        reason=request.reason or "by hand",
        actor=ws.actor,
        now=ws.now,
        gateway_socket=means.gateway_socket,
        socket=means.socket,
        revalidate=means.revalidate,
        wait_seconds=means.wait_seconds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertmanagerWebhook:
    """What Alertmanager posts to a webhook, format 4. Of the alerts, those are acted on that are firing and whose label
    ``endpoint`` names one, as ``[rollback]`` of the release has it; each once, however often it is sent."""

    version: str = "4"
    groupKey: str = ""  # noqa: N815 - these are Alertmanager's names
    truncatedAlerts: int = 0  # noqa: N815
    status: str = ""
    receiver: str = ""
    groupLabels: dict[str, str] = field(default_factory=dict)  # noqa: N815
    commonLabels: dict[str, str] = field(default_factory=dict)  # noqa: N815
    commonAnnotations: dict[str, str] = field(default_factory=dict)  # noqa: N815
    externalURL: str = ""  # noqa: N815
    alerts: tuple[Alert, ...] = ()


@operation("endpoint.alertmanager")
def alerted(ws: Workspace, request: AlertmanagerWebhook) -> list[Taken]:
    """Take Alertmanager's alerts: roll back the rollout that is on, or the endpoint, as the release's policy has it."""
    if request.version != "4":
        raise Invalid(f"version is '{request.version[:20]}'", hint="send what Alertmanager sends: version 4")
    means = releasing.means(ws)
    return [
        alertmanager.take(ws.database, ws.objects, alert, actor=ws.actor, now=ws.now, means=means)
        for alert in request.alerts
    ]


def _id(ws: Workspace, request: MoveRollout) -> str:
    return _found(ws, request.rollout).id


def _found(ws: Workspace, rollout: str | None) -> Rollout:
    with ws.database.read() as tx:
        return rollouts.find(tx, rollout)
