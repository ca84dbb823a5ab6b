"""Datasets and their snapshots: named lines of immutable versions of data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

import msgspec

from windlass.capture import folders, tables, trees
from windlass.capture.statcache import StatCache
from windlass.capture.tables import TableDiff
from windlass.domain import digest, ledger, names
from windlass.domain.clock import Clock
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.names import Reference
from windlass.domain.ports import Batch, Database, ObjectReader, ObjectStore, Row, Transaction
from windlass.domain.progress import Meter, unwatched

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One version of a dataset. ``rows`` and ``columns`` (name, type) are of its tables, if it has any.

    ``source`` says what it was made from, where that was more than files: a query, a feature view, another snapshot.
    ``profile`` is the digest of what is in its columns (see profiles.py).
    """

    name: str
    version: int
    tree: str
    files: int
    size: int
    rows: int | None
    columns: tuple[tuple[str, str], ...]
    target: str
    reason: str
    at: int
    actor: str
    source: Mapping[str, Any] = field(default_factory=dict)
    profile: str = ""
    format: int = FORMAT

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDiff:
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    rows_before: int | None
    rows_after: int | None
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    tables: tuple[TableDiff, ...] = ()
    profiles: tuple[str, ...] = ()  # what changed in columns, in words


def add(
    db: Database,
    objects: ObjectStore,
    *,
    name: str,
    path: Path,
    target: str = "",
    reason: str = "",
    source: Mapping[str, Any] | None = None,
    actor: str,
    now: Clock,
    cache: StatCache | None = None,
    progress: Callable[[str], None] = lambda _: None,
    meter: Meter = unwatched,
) -> tuple[Snapshot, bool]:
    """Version what lies at ``path``; returns the snapshot, and whether it is new.

    Data equal to the latest snapshot keeps its version.

    Raises:
        NotFound, Invalid, Unavailable: as ``trees.store``; Invalid also for a table that cannot be read.
    """
    if path.exists():
        names.checked(name, "dataset name")
    progress(f"reading {path}")
    with objects.batch() as batch:
        with db.read() as tx:
            same = _latest(tx, name)
        tree = folders.store_in(batch, path, cache=cache, current=same["tree"] if same else "", meter=meter)
        if same and same["tree"] == tree:
            return _load(objects, same), False
        batch.flush()
        found = trees.manifest(objects, tree)
        rows, columns = _tables(objects, found)
        profile = _profile(objects, batch, found, same) if columns else ""
        batch.flush()
        with db.write() as tx:
            latest = _latest(tx, name)
            if latest and latest["tree"] == tree:
                return _load(objects, latest), False
            snapshot = Snapshot(
                name=name,
                version=_next(tx, name),
                tree=tree,
                files=len(found.files),
                size=found.size,
                rows=rows,
                columns=columns,
                target=target,
                reason=reason,
                at=now(),
                actor=actor,
                source=source or {},
                profile=profile,
            )
            _record(tx, objects, snapshot, reason)
    return snapshot, True


def _record(tx: Transaction, objects: ObjectStore, snapshot: Snapshot, reason: str) -> None:
    record = objects.put(digest.canonical(asdict(snapshot)))
    insert(tx, snapshot, record)
    ledger.transition(
        tx,
        subject=f"snapshot/{snapshot.reference}",
        action="add data",
        before=None,
        after=record,
        actor=snapshot.actor,
        reason=reason or "data changed",
        at=snapshot.at,
        evidence={"tree": snapshot.tree},
    )


def insert(tx: Transaction, snapshot: Snapshot, record: str) -> None:
    """Put a snapshot's row; its ledger entry belongs in the same transaction."""
    tx.execute(
        "INSERT INTO snapshots (name, version, tree, record, at) VALUES (?, ?, ?, ?, ?)",
        (snapshot.name, snapshot.version, snapshot.tree, record, snapshot.at),
    )


def record_of(tx: Transaction, snapshot: Snapshot) -> str:
    """The digest of a snapshot's record. Raises NotFound if it was removed."""
    row = tx.row("SELECT record FROM snapshots WHERE name = ? AND version = ?", (snapshot.name, snapshot.version))
    if row is None:
        raise NotFound(f"no snapshot {snapshot.reference}", hint="`windlass data ls` lists the datasets")
    return str(row["record"])


def remove(tx: Transaction, snapshot: Snapshot, *, reason: str, actor: str, at: int) -> None:
    """Take a snapshot's name away; what nothing else refers to can then be collected. Its ledger entries stay."""
    record = record_of(tx, snapshot)
    tx.execute("DELETE FROM snapshots WHERE name = ? AND version = ?", (snapshot.name, snapshot.version))
    ledger.transition(
        tx,
        subject=f"snapshot/{snapshot.reference}",
        action="remove data",
        before=record,
        after=None,
        actor=actor,
        reason=reason,
        at=at,
    )


def find(tx: Transaction, objects: ObjectStore, reference: Reference) -> Snapshot:
    """A snapshot by its number; the latest if the reference names none.

    Raises:
        NotFound: no such dataset or snapshot.
        Invalid: the version is no number.
    """
    if reference.version is not None and not re.fullmatch(r"[0-9]{1,18}", reference.version):
        raise Invalid(f"'{reference}' is not a snapshot", hint="snapshots are numbered: name@1")
    row = (
        _latest(tx, reference.name)
        if reference.version is None
        else tx.row("SELECT * FROM snapshots WHERE name = ? AND version = ?", (reference.name, int(reference.version)))
    )
    if row is None:
        raise NotFound(f"no snapshot {reference}", hint="`windlass data ls` lists the datasets")
    return _load(objects, row)


def ls(tx: Transaction, objects: ObjectStore) -> list[Snapshot]:
    """The latest snapshot of every dataset, by name."""
    rows = tx.rows(
        "SELECT s.* FROM snapshots s JOIN (SELECT name, MAX(version) AS version FROM snapshots GROUP BY name) latest"
        " ON s.name = latest.name AND s.version = latest.version ORDER BY s.name"
    )
    return [_load(objects, row) for row in rows]


def log(tx: Transaction, objects: ObjectStore, name: str) -> list[Snapshot]:
    """Every snapshot of a dataset, oldest first.

    Raises:
        NotFound: no such dataset.
    """
    rows = tx.rows("SELECT * FROM snapshots WHERE name = ? ORDER BY version", (name,))
    if not rows:
        raise NotFound(f"no dataset '{name}'", hint="`windlass data ls` lists the datasets")
    return [_load(objects, row) for row in rows]


def diff(objects: ObjectReader, old: Snapshot, new: Snapshot) -> DataDiff:
    """What changed from ``old`` to ``new``: by file, and in tables by rows and columns."""
    before = {entry.path: entry.digest for entry in trees.manifest(objects, old.tree).entries}
    after = {entry.path: entry.digest for entry in trees.manifest(objects, new.tree).entries}
    columns_before, columns_after = [dict(snapshot.columns) for snapshot in (old, new)]
    changed = tuple(sorted(path for path in before.keys() & after.keys() if before[path] != after[path]))
    return DataDiff(
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=changed,
        rows_before=old.rows,
        rows_after=new.rows,
        columns_added=tuple(name for name in columns_after if name not in columns_before),
        columns_removed=tuple(name for name in columns_before if name not in columns_after),
        tables=tuple(
            tables.compare(path, objects.open(before[path]), objects.open(after[path]))
            for path in changed
            if tables.is_table(path)
        ),
        profiles=_profiles_changed(objects, old, new),
    )


def checkout(
    objects: ObjectReader,
    snapshot: Snapshot,
    destination: Path,
    *,
    only: str = "",
    links: Path | None = None,
    meter: Meter = unwatched,
) -> None:
    """Write a snapshot's files, read-only, to a folder that does not exist or is empty. As ``folders.checkout``."""
    folders.checkout(objects, snapshot.tree, destination, read_only=True, only=only, links=links, meter=meter)


def _next(tx: Transaction, name: str) -> int:
    """The number of the next snapshot: that of a removed one is never given again."""
    rows = tx.rows("SELECT subject FROM heads WHERE subject LIKE ?", (f"snapshot/{name}@%",))
    subjects = [row["subject"].rpartition("@") for row in rows]
    # An underscore is a wildcard to LIKE.
    return 1 + max((int(version) for subject, _, version in subjects if subject == f"snapshot/{name}"), default=0)


def _latest(tx: Transaction, name: str) -> Row | None:
    return tx.row("SELECT * FROM snapshots WHERE name = ? ORDER BY version DESC LIMIT 1", (name,))


def _load(objects: ObjectReader, row: Row) -> Snapshot:
    return msgspec.convert(json.loads(objects.get(row["record"])), Snapshot)


class _Opened(Mapping[str, IO[bytes]]):
    """The tables of a tree, each opened when it is asked for."""

    def __init__(self, objects: ObjectReader, tree: trees.Tree) -> None:
        self._objects = objects
        self._entries = {entry.path: entry for entry in tree.files if tables.is_table(entry.path)}

    def __getitem__(self, path: str) -> IO[bytes]:
        entry = self._entries[path]
        file = self._objects.open(entry.digest)
        return tables.parts(file, entry.size) if tables.is_too_large(path, entry.size) else file

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _profile(objects: ObjectReader, batch: Batch, tree: trees.Tree, before: Row | None) -> str:
    """Store the profile of a tree's tables, by the bins of the version before, so that the two compare."""
    from windlass.capture import profiles  # noqa: PLC0415 - only for tables

    earlier = _load(objects, before).profile if before else ""
    over = json.loads(objects.get(earlier)) if earlier else None
    return batch.put(digest.canonical(profiles.profile_of(_Opened(objects, tree), over)))


def _profiles_changed(objects: ObjectReader, old: Snapshot, new: Snapshot) -> tuple[str, ...]:
    if not (old.profile and new.profile) or old.profile == new.profile:
        return ()
    from windlass.capture import profiles  # noqa: PLC0415

    before, after = (json.loads(objects.get(each.profile)) for each in (old, new))
    return tuple(profiles.in_words(change) for change in profiles.changed(before, after))


def _tables(objects: ObjectReader, tree: trees.Tree) -> tuple[int | None, tuple[tuple[str, str], ...]]:
    """How many rows the tables of a tree have together, if that is known, and the columns that any of them has."""
    rows: int | None = None
    known = True
    columns: dict[str, str] = {}
    for entry in tree.files:
        if tables.is_table(entry.path):
            count, found = tables.described(entry.path, partial(objects.open, entry.digest), entry.size)
            known = known and count is not None
            rows = (rows or 0) + (count or 0)
            columns = {**found, **columns}
    return rows if known else None, tuple(columns.items())
