"""The index of a store: in which pack each object lies, and what is in quarantine.

A SQLite file beside the store. It is derived: every pack says itself what it holds, so a lost index is built again from
them. What it adds is one lock for all processes that use the store: rows change in transactions.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from windlass.domain.errors import Corrupt, Unavailable
from windlass.store.pack import Record

_BUSY_SECONDS = 60.0
_VERSION = 1
_SCHEMA = """
CREATE TABLE packs (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    dropped INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE objects (
    digest BLOB PRIMARY KEY,
    pack INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    size INTEGER NOT NULL,
    form INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX objects_pack ON objects (pack);
CREATE TABLE quarantine (digest BLOB PRIMARY KEY, since INTEGER NOT NULL) WITHOUT ROWID;
"""
_TOGETHER = 500


class Place(NamedTuple):
    """Where an object lies."""

    pack: str
    record: Record


class Index:
    """Used by many threads of a process, one at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with self._clear_errors():
            if not path.exists():
                _create(path)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version != _VERSION:
                raise Unavailable(
                    f"the store's index {path} is of version {version}, this Windlass knows {_VERSION}",
                    hint=f"remove {path.name}*: it is built again from the packs",
                    retryable=False,
                )
            # NORMAL: after a power failure the last rows may be gone, and are read from their packs again.
            self._connection.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def place(self, digest: bytes) -> Place | None:
        with self._reading():
            row = self._connection.execute(
                "SELECT p.name, o.digest, o.offset, o.stored, o.size, o.form"
                " FROM objects o JOIN packs p ON p.id = o.pack WHERE o.digest = ?",
                (digest,),
            ).fetchone()
        return Place(row[0], Record._make(row[1:])) if row else None

    def places(self, digests: Sequence[bytes]) -> dict[bytes, Place]:
        """Where those of the digests lie that the index has."""
        found = {}
        for some in _batches(digests):
            with self._reading():
                rows = self._connection.execute(
                    "SELECT p.name, o.digest, o.offset, o.stored, o.size, o.form FROM objects o"
                    f" JOIN packs p ON p.id = o.pack WHERE o.digest IN ({_marks(some)})",
                    some,
                ).fetchall()
            found.update({row[1]: Place(row[0], Record._make(row[1:])) for row in rows})
        return found

    def known(self, digests: Sequence[bytes]) -> set[bytes]:
        """Those that the index has; what of them was in quarantine is out of it from now on."""
        found: set[bytes] = set()
        for some in _batches(digests):
            with self._reading():
                rows = self._connection.execute(
                    "SELECT o.digest, q.digest FROM objects o LEFT JOIN quarantine q ON q.digest = o.digest"
                    f" WHERE o.digest IN ({_marks(some)})",
                    some,
                ).fetchall()
            held = [row[0] for row in rows if row[1] is not None]
            found.update(row[0] for row in rows if row[1] is None)
            if held:
                found |= self.release(held)
        return found

    def release(self, digests: Sequence[bytes]) -> set[bytes]:
        """Take objects out of quarantine; returns those that the index still has."""
        with self.changing() as change:
            change.executemany("DELETE FROM quarantine WHERE digest = ?", [(each,) for each in digests])
            return {
                row[0]
                for some in _batches(digests)
                for row in change.execute(f"SELECT digest FROM objects WHERE digest IN ({_marks(some)})", some)
            }

    def is_quarantined(self, digest: bytes) -> bool:
        with self._reading():
            found = self._connection.execute("SELECT 1 FROM quarantine WHERE digest = ?", (digest,)).fetchone()
        return found is not None

    def add(self, name: str, size: int, records: Iterable[Record]) -> None:
        """Make a pack known. What another pack has already stays where it is."""
        with self.changing() as change:
            change.execute("INSERT OR IGNORE INTO packs (name, size) VALUES (?, ?)", (name, size))
            pack = change.execute("SELECT id FROM packs WHERE name = ?", (name,)).fetchone()[0]
            change.executemany(
                "INSERT OR IGNORE INTO objects (digest, pack, offset, stored, size, form) VALUES (?, ?, ?, ?, ?, ?)",
                [(each.digest, pack, each.offset, each.stored, each.size, each.form) for each in sorted(records)],
            )

    def discard(self, digest: bytes) -> None:
        """Forget where an object lies."""
        with self.changing() as change:
            change.execute("DELETE FROM objects WHERE digest = ?", (digest,))

    def forget(self, packs: Iterable[str]) -> None:
        """Forget packs that are no longer there, with all that they held."""
        with self.changing() as change:
            for name in packs:
                change.execute("DELETE FROM objects WHERE pack = (SELECT id FROM packs WHERE name = ?)", (name,))
                change.execute("DELETE FROM packs WHERE name = ? AND dropped = 0", (name,))

    def packs(self, *, dropped: bool = False) -> dict[str, int]:
        """The packs in use, or those on their way out: name -> size in bytes."""
        with self._reading():
            rows = self._connection.execute("SELECT name, size FROM packs WHERE dropped = ?", (dropped,)).fetchall()
        return dict(rows)

    def objects(self) -> Iterator[tuple[bytes, str, Record]]:
        """Every object with its pack's name, by digest."""
        last = b""
        while True:
            with self._reading():
                rows = self._connection.execute(
                    "SELECT o.digest, p.name, o.offset, o.stored, o.size, o.form FROM objects o"
                    " JOIN packs p ON p.id = o.pack WHERE o.digest > ? ORDER BY o.digest LIMIT 10000",
                    (last,),
                ).fetchall()
            if not rows:
                return
            for row in rows:
                yield row[0], row[1], Record(row[0], *row[2:])
            last = rows[-1][0]

    def quarantined(self) -> dict[bytes, int]:
        """What is in quarantine, and since when (us)."""
        with self._reading():
            return dict(self._connection.execute("SELECT digest, since FROM quarantine").fetchall())

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the store's write lock."""
        with self._lock, self._clear_errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock, self._clear_errors():
            yield

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise Unavailable(
                f"the store's index {self._path} does not answer: {error}", hint="check that the disk is not full"
            ) from error
        except sqlite3.DatabaseError as error:
            raise Corrupt(
                f"the store's index {self._path} is damaged: {error}",
                hint=f"remove {self._path.name}*: it is built again from the packs",
            ) from error


def _create(path: Path) -> None:
    """Made beside its name and linked to it: two processes that start at once make one index, and wait for nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".index-", dir=path.parent)
    os.close(handle)
    made = Path(name)
    try:
        connection = sqlite3.connect(made, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.close()
        with suppress(FileExistsError):
            os.link(made, path)
    finally:
        made.unlink()


def _batches(digests: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(digests), _TOGETHER):
        yield digests[start : start + _TOGETHER]


def _marks(some: Sequence[bytes]) -> str:
    return ",".join("?" * len(some))
