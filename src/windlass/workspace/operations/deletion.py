"""Operations on what is deleted: runs and versions deleted and restored, legal holds, the purge."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.domain.clock import text_of
from windlass.domain.errors import NotFound, WrongState
from windlass.domain.names import Reference
from windlass.domain.ports import Row, Transaction
from windlass.governance.retention import holds, things
from windlass.governance.retention import purging as rounds
from windlass.governance.retention.holds import Hold
from windlass.registry import registered, restoring
from windlass.registry.tracking import runs
from windlass.registry.tracking.stages import DELETED
from windlass.workspace import promoting, purging
from windlass.workspace.operation import operation
from windlass.workspace.purging import Purged
from windlass.workspace.workspace import Workspace

_ENOUGH = 4  # characters of an id that are not there by chance


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """``restorable_until`` (us): from then on a purge may take it; None for what was restored."""

    thing: str
    restorable_until: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OfRun:
    """``run`` is an id or its beginning."""

    run: str


@operation("run.remove")
def remove_run(ws: Workspace, request: OfRun) -> Deleted:
    """Delete a run: it can be restored until it is purged."""
    with ws.database.write() as tx:
        row = _run(ws, tx, request.run)
        if row["stage"] == DELETED:
            raise WrongState(
                f"run {row['run_id'][:8]} is deleted, since {text_of(row['deleted_at'] * 1000)[:10]}",
                hint=f"take it back: windlass runs restore {row['run_id'][:8]}",
            )
        at = ws.now()
        runs.delete_run(tx, row["run_id"], at=at // 1000)
    return Deleted(thing=f"run/{row['run_id']}", restorable_until=_until(ws, at))


@operation("run.restore")
def restore_run(ws: Workspace, request: OfRun) -> Deleted:
    """Take a deleted run back."""
    with ws.database.write() as tx:
        row = _run(ws, tx, request.run)
        if row["stage"] != DELETED:
            raise WrongState(f"run {row['run_id'][:8]} is not deleted", hint="nothing to do")
        runs.restore_run(tx, row["run_id"])
    return Deleted(thing=f"run/{row['run_id']}", restorable_until=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfVersion:
    """``reference`` is MODEL@VERSION."""

    reference: str


@operation("model.remove")
def remove_version(ws: Workspace, request: OfVersion) -> Deleted:
    """Delete a model version that serves nowhere: it can be restored until it is purged."""
    with ws.database.write() as tx:
        row = things.version_row(tx, Reference.parse(request.reference))
        at = ws.now()
        reference = f"{row['model']}@{row['semver']}"
        if row["deleted_at"] is not None:
            purged = row["purged_at"] is not None
            raise WrongState(
                f"{reference} is {'purged' if purged else 'deleted'}, since {text_of(row['deleted_at'])[:10]}",
                hint="nothing to do" if purged else f"take it back: windlass models restore {reference}",
            )
        entry = registered.entry_of(tx, row["model"], row["number"])
        promoting.require_unprotected(ws, entry.model, entry.aliases)
        registered.delete_version(tx, entry.model, entry.number, actor=ws.actor, at=at)
    return Deleted(thing=f"version/{reference}", restorable_until=_until(ws, at))


@operation("model.restore")
def restore_version(ws: Workspace, request: OfVersion) -> Deleted:
    """Take a deleted model version back; its aliases are not set again."""
    with ws.database.write() as tx:
        row = things.version_row(tx, Reference.parse(request.reference))
        restoring.restore_version(tx, row, actor=ws.actor, reason="restored", at=ws.now())
    return Deleted(thing=f"version/{row['model']}@{row['semver']}", restorable_until=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfHold:
    """``thing``: run/ID, experiment/ID, version/MODEL@SEMVER, model/NAME, snapshot/NAME@N or logged-model/ID."""

    thing: str
    reason: str


@operation("hold.place")
def place_hold(ws: Workspace, request: OfHold) -> Hold:
    """Hold a thing: it and all that it came from stays until the hold is released."""
    with ws.database.write() as tx:
        thing = things.checked(tx, request.thing)
        return holds.hold(tx, thing, reason=request.reason, actor=ws.actor, at=ws.now())


@operation("hold.release")
def release_hold(ws: Workspace, request: OfHold) -> Hold:
    """Release a hold: from now on the retention counts again."""
    with ws.database.write() as tx:
        thing = things.checked(tx, request.thing)
        return holds.release(tx, thing, reason=request.reason, actor=ws.actor, at=ws.now())


@dataclass(frozen=True, slots=True, kw_only=True)
class ListHolds:
    """``released``: those that held, too."""

    released: bool = False


@operation("hold.list", reads_only=True)
def list_holds(ws: Workspace, request: ListHolds) -> list[Hold]:
    """List the legal holds, oldest first."""
    with ws.database.read() as tx:
        return holds.ls(tx, released=request.released)


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeDeleted:
    """``older_than``: days since the deletion; as [retention] says, if not given."""

    dry_run: bool = False
    older_than: int | None = None


@operation("retention.purge")
def purge(ws: Workspace, request: PurgeDeleted) -> Purged:
    """Remove for good what was deleted longer ago than the retention, and free its space."""
    return purging.purge(ws, dry_run=request.dry_run, older_than=request.older_than)


def _run(ws: Workspace, tx: Transaction, text: str) -> Row:
    try:
        return things.run_named(tx, text)
    except NotFound:
        if len(text) >= _ENOUGH and (found := rounds.gone(tx, ws.objects, f"run/{text}")):
            run, entry = found
            raise NotFound(
                f"{run[:12]} was purged on {text_of(entry.at)[:10]} by {entry.actor}: it is gone for good",
                hint="a backup may still have it",
            ) from None
        raise


def _until(ws: Workspace, at: int) -> int:
    return at + ws.config.retention.deleted_days * rounds.DAY
