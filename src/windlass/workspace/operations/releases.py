"""Operations on releases and rollouts."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.delivery import explain, rollback, rollouts
from windlass.delivery.explain import Explanation
from windlass.delivery.rollback import RollbackResult
from windlass.delivery.rollouts import Rollout
from windlass.workspace import gating, golden, releasing
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace

ROLLBACK_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRelease:
    """``strategy``: progressive, canary, shadow or blue-green; by default the first release of an endpoint is
    blue-green, and later ones go through the phases of ``[rollout]``."""

    reference: str
    to: str | None = None
    strategy: str | None = None
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
        strategy=request.strategy,
        force=request.force,
        reason=request.reason or f"release {version.reference}",
    )


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
    return rollouts.pause(ws.database, _id(ws, request), actor=ws.actor, reason=request.reason, now=ws.now)


@operation("rollout.resume")
def resume(ws: Workspace, request: MoveRollout) -> Rollout:
    """Let a paused rollout go on."""
    return rollouts.resume(ws.database, _id(ws, request), actor=ws.actor, reason=request.reason, now=ws.now)


@operation("rollout.abort")
def abort(ws: Workspace, request: MoveRollout) -> Rollout:
    """End a rollout: all traffic goes back to the stable release."""
    return rollouts.abort(ws.database, _id(ws, request), actor=ws.actor, reason=request.reason, now=ws.now)


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
    return rollback.rollback(
        ws.database,
        ws.objects,
        endpoint=request.endpoint or ws.config.endpoint.name,
        to=request.to,
        partial=request.partial,
        reason=request.reason or "by hand",
        actor=ws.actor,
        now=ws.now,
        gateway_socket=ws.layout.socket("gateway"),
        socket=ws.layout.worker_socket,
        revalidate=lambda release: golden.revalidate(ws, release),
        wait_seconds=ROLLBACK_SECONDS,
    )


def _id(ws: Workspace, request: MoveRollout) -> str:
    with ws.database.read() as tx:
        return rollouts.find(tx, request.rollout).id
