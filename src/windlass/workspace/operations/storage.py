"""Operations on the store of all objects: check, collect garbage, exchange with others."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.capture import data, sharing
from windlass.capture.data import Snapshot
from windlass.capture.sharing import Exchanged
from windlass.domain.clock import SECOND
from windlass.domain.errors import Conflict, Denied, Invalid
from windlass.domain.names import Reference, checked
from windlass.domain.ports import Transaction
from windlass.governance.retention import standing
from windlass.registry import lineage
from windlass.registry.lineage import Direction
from windlass.store import check, collect, objects
from windlass.store.collect import Collected
from windlass.workspace import collecting
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckStore:
    """``repair_from``: a remote that damaged and missing objects are taken from."""

    repair_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    digest: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCheck:
    """Objects and bytes that are whole, what is not, and how many of those were repaired."""

    objects: int
    packs: int
    size: int
    damaged: tuple[Damage, ...]
    repaired: int

    @property
    def ok(self) -> bool:
        return not self.damaged


@operation("data.verify")
def verify(ws: Workspace, request: CheckStore) -> StoreCheck:
    """Read and hash every byte of the store, and look for what is missing from it."""
    store = ws.store
    checked_store = check.check(store, meter=ws.meter)
    damaged = dict(checked_store.damaged)
    intact = checked_store.intact
    for key in collecting.missing(ws.database, store, intact)[1]:
        damaged.setdefault(key, "missing")
    repaired = 0
    if damaged and request.repair_from is not None:
        remote = ws.remote_store(request.repair_from)
        open_damage = set(damaged)
        while open_damage:
            mended, missing = check.repair(store, open_damage, remote)
            repaired += mended
            intact |= open_damage - set(missing)
            # What a mended page lists may be missing too: nobody could know before.
            open_damage = {key for key in collecting.missing(ws.database, store, intact)[1] if key not in damaged}
            damaged |= dict.fromkeys(open_damage, "missing")
        damaged = {key: why for key, why in damaged.items() if key not in intact}
    where = {f"pack {name}": why for name, why in checked_store.unreadable.items()} if damaged else {}
    return StoreCheck(
        objects=len(checked_store.intact) + repaired,
        packs=checked_store.packs,
        size=checked_store.size,
        damaged=tuple(
            Damage(digest=name, what=why)
            for name, why in [*((objects.text(key), why) for key, why in damaged.items()), *where.items()]
        ),
        repaired=repaired,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectGarbage:
    """``grace_seconds``: how long what nothing refers to stays in quarantine before it is deleted."""

    dry_run: bool = False
    grace_seconds: int = 24 * 3600


@operation("data.gc")
def gc(ws: Workspace, request: CollectGarbage) -> Collected:
    """Delete what nothing refers to: into quarantine first, for good after a grace period."""
    if request.grace_seconds < 0:
        raise Invalid(f"the grace period is {request.grace_seconds} s", hint="give 0 or more")
    return collect.collect(
        ws.store,
        lambda: collecting.referred(ws.database, ws.store),
        grace=request.grace_seconds * SECOND,
        dry_run=request.dry_run,
        meter=ws.meter,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveData:
    """``force``: also what a model version was trained on, which then can never be rebuilt."""

    reference: str
    reason: str = ""
    force: bool = False
    dry_run: bool = False


@operation("data.remove")
def remove(ws: Workspace, request: RemoveData) -> Snapshot:
    """Take a snapshot's name away; the next collection frees what nothing else needs."""
    reference = Reference.parse(request.reference)
    if reference.version is None:
        raise Invalid(f"'{reference}' names no version", hint=f"say which: {reference}@1")
    with ws.database.write() as tx:
        snapshot = data.find(tx, ws.objects, reference)
        if why := standing.holding(tx, f"snapshot/{snapshot.reference}"):
            raise Denied(f"{snapshot.reference} is {why}", hint="`windlass hold ls` lists the legal holds")
        came = lineage.walk(tx, f"snapshot/{snapshot.reference}", Direction.DOWN)
        users = sorted({edge.child.removeprefix("version/") for edge in came if edge.child.startswith("version/")})
        if users and not request.force:
            raise Conflict(
                f"{', '.join(users[:5])} came from {snapshot.reference}, and could not be rebuilt without it",
                hint="give --force to remove it all the same",
            )
        if not request.dry_run:
            data.remove(tx, snapshot, reason=request.reason or "removed", actor=ws.actor, at=ws.now())
    return snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class PushData:
    """``names``: datasets, or single snapshots (``acs@2``); all, if none is named. ``remote``: its name or URL."""

    names: tuple[str, ...] = ()
    remote: str = "origin"


@operation("data.push")
def push(ws: Workspace, request: PushData) -> Exchanged:
    """Copy snapshots to a remote store: only what it lacks, names last."""
    with ws.database.read() as tx:
        wanted = [
            snapshot
            for text in request.names or [each.name for each in data.ls(tx, ws.objects)]
            for snapshot in _chosen(ws, tx, Reference.parse(text))
        ]
    remote = ws.remote_store(request.remote, create=True)
    return sharing.push(ws.database, ws.store, remote, wanted, meter=ws.meter)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullData:
    """``names``: datasets; all, if none is named."""

    names: tuple[str, ...] = ()
    remote: str = "origin"


@operation("data.pull")
def pull(ws: Workspace, request: PullData) -> Exchanged:
    """Copy datasets from a remote store: only what is missing here, names last."""
    return sharing.pull(
        ws.database,
        ws.store,
        ws.remote_store(request.remote),
        [checked(name, "dataset name") for name in request.names],
        actor=ws.actor,
        now=ws.now,
        meter=ws.meter,
    )


def _chosen(ws: Workspace, tx: Transaction, reference: Reference) -> list[Snapshot]:
    if reference.version is not None:
        return [data.find(tx, ws.objects, reference)]
    return data.log(tx, ws.objects, reference.name)
