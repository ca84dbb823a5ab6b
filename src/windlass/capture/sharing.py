"""Snapshots in another store: objects first, then the names by which others find them.

A name is a blob, ``names/DATASET/VERSION``, that holds the digest of the snapshot's record. It never changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from windlass.capture import data, trees
from windlass.capture.data import Snapshot
from windlass.domain import digest, ledger, names
from windlass.domain.clock import Clock
from windlass.domain.errors import Conflict, Corrupt, NotFound
from windlass.domain.ports import Database, ObjectReader
from windlass.domain.progress import Meter, unwatched
from windlass.store import exchange
from windlass.store.objects import PackedObjects

NAMES = "names"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """What went over: snapshots by name, and objects with their bytes; ``there`` were there already."""

    snapshots: tuple[str, ...]
    objects: int
    size: int
    there: int


def push(
    db: Database,
    objects: PackedObjects,
    remote: PackedObjects,
    wanted: Sequence[Snapshot],
    *,
    meter: Meter = unwatched,
) -> Exchanged:
    """Copy snapshots to another store; returns what it had not. Killed on the way, the next push goes on.

    Raises:
        Conflict: the other store has another snapshot of that name.
        Corrupt: an object here is damaged.
    """
    records = {}
    with db.read() as tx:
        for snapshot in wanted:
            record = data.record_of(tx, snapshot)
            records[snapshot.reference] = record
            if (said := _said(remote, snapshot.name, snapshot.version)) not in (None, record):
                raise Conflict(
                    f"{snapshot.reference} is another snapshot there: {digest.short(str(said))}",
                    hint="pull it first, or push to a remote of your own",
                )
    needed: dict[str, None] = {}
    for snapshot in wanted:
        needed |= dict.fromkeys([records[snapshot.reference], *_closure(objects, snapshot)])
    copied = exchange.copy(objects, remote, needed, meter=meter)
    new = []
    for snapshot in wanted:
        if _said(remote, snapshot.name, snapshot.version) is None:
            remote.blobs.put(_name(snapshot.name, snapshot.version), records[snapshot.reference].encode())
            new.append(snapshot.reference)
    return Exchanged(snapshots=tuple(new), objects=copied.copied, size=copied.size, there=copied.there)


def pull(
    db: Database,
    objects: PackedObjects,
    remote: PackedObjects,
    names_wanted: Sequence[str],
    *,
    actor: str,
    now: Clock,
    meter: Meter = unwatched,
) -> Exchanged:
    """Copy datasets (all, if none is named) from another store, with every version that is not here yet.

    Raises:
        NotFound: the other store has no such dataset.
        Conflict: a snapshot here has the name of another one there.
        Corrupt: an object there is missing or damaged.
    """
    found = list(_listed(remote))
    known = {name for name, _, _ in found}
    for name in names_wanted:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise NotFound(f"the remote has no dataset '{name}' (it has: {there})", hint="push it there first")
    new: list[tuple[Snapshot, str]] = []
    with db.read() as tx:
        for name, version, record in found:
            if names_wanted and name not in names_wanted:
                continue
            here = tx.row("SELECT record FROM snapshots WHERE name = ? AND version = ?", (name, version))
            if here is None:
                new.append((_snapshot(remote, name, version, record), record))
            elif here["record"] != record:
                raise Conflict(
                    f"{name}@{version} is another snapshot there: {digest.short(record)}",
                    hint="add your data under another name, then pull",
                )
    needed: dict[str, None] = {}
    for snapshot, record in new:
        needed |= dict.fromkeys([record, *_closure(remote, snapshot)])
    with objects.batch():  # so that nothing that came is collected before its name is here
        copied = exchange.copy(remote, objects, needed, meter=meter)
        with db.write() as tx:
            for snapshot, record in new:
                ledger.transition(
                    tx,
                    subject=f"snapshot/{snapshot.reference}",
                    action="pull data",
                    before=None,
                    after=record,
                    actor=actor,
                    reason="pulled from a remote",
                    at=now(),
                    evidence={"tree": snapshot.tree},
                )
                data.insert(tx, snapshot, record)
    return Exchanged(
        snapshots=tuple(snapshot.reference for snapshot, _ in new),
        objects=copied.copied,
        size=copied.size,
        there=copied.there,
    )


def _closure(objects: ObjectReader, snapshot: Snapshot) -> Iterator[str]:
    """The pages and files of its tree, and its profile."""
    if snapshot.profile:
        yield snapshot.profile
    for page, files in trees.pages_of(objects, snapshot.tree):
        yield page
        yield from files


def _name(name: str, version: int) -> str:
    return f"{NAMES}/{names.checked(name, 'dataset name')}/{version}"


def _said(remote: PackedObjects, name: str, version: int) -> str | None:
    try:
        return digest.checked(remote.blobs.get(_name(name, version)).decode())
    except NotFound:
        return None


def _listed(remote: PackedObjects) -> Iterator[tuple[str, int, str]]:
    """Every name of a store: dataset, version, record."""
    for path, _ in remote.blobs.ls(NAMES):
        name, _, version = path.removeprefix(f"{NAMES}/").partition("/")
        if version.isdecimal() and (record := _said(remote, name, int(version))):
            yield name, int(version), record


def _snapshot(remote: PackedObjects, name: str, version: int, record: str) -> Snapshot:
    try:
        snapshot = msgspec.convert(json.loads(remote.get(record)), Snapshot)
    except (ValueError, msgspec.ValidationError) as error:
        raise Corrupt(f"the remote's record of {name}@{version} cannot be read: {error}") from None
    if (snapshot.name, snapshot.version) != (name, version):
        raise Corrupt(f"the remote's record of {name}@{version} is that of {snapshot.reference}")
    return snapshot
