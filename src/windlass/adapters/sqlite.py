"""The database port on SQLite (WAL): how a connection is opened, how a write transaction takes its lock, how the
schema's version is kept. The SQL of the capabilities is plain; ``postgres.py`` is the other one that runs it.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from windlass.adapters import schema
from windlass.domain import clock
from windlass.domain.errors import Corrupt, Invalid, Unavailable
from windlass.domain.ports import Params, Row

BUSY_SECONDS = 15.0
# What the driver raises for a value that it cannot pass on.
_UNFIT = (OverflowError, UnicodeEncodeError)


class SqliteTransaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, params: Params = ()) -> int:
        return self._run(sql, params).rowcount

    def many(self, sql: str, rows: Iterable[Params]) -> None:
        try:
            self._connection.executemany(sql, rows)
        except _UNFIT as error:
            raise _unfit(error) from error

    def rows(self, sql: str, params: Params = ()) -> list[Row]:
        cursor = self._run(sql, params)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]

    def row(self, sql: str, params: Params = ()) -> Row | None:
        cursor = self._run(sql, params)
        values = cursor.fetchone()
        if values is None:
            return None
        return dict(zip((column[0] for column in cursor.description), values, strict=True))

    def tuples(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        return self._run(sql, params).fetchall()

    def now(self) -> int:
        return clock.now()  # the database is a file of this machine: its clock is the machine's

    def _run(self, sql: str, params: Params) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, tuple(params))
        except _UNFIT as error:
            raise _unfit(error) from error

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        # One name for all: SQL finds the innermost of a name.
        self._connection.execute("SAVEPOINT inner_part")
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:  # else the engine has rolled all of it back
                self._connection.execute("ROLLBACK TO inner_part")
                self._connection.execute("RELEASE inner_part")
            raise
        self._connection.execute("RELEASE inner_part")


class SqliteDatabase:
    """One file; one connection a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._clear_errors():
            _migrate(self._connection())

    def close(self) -> None:
        for connection in self._opened:
            connection.close()
        self._opened.clear()
        self._local = threading.local()

    @contextmanager
    def write(self) -> Iterator[SqliteTransaction]:
        # IMMEDIATE: the lock is taken at the start, so that a transaction never fails half-way for want of it.
        with self._transaction("BEGIN IMMEDIATE") as tx:
            yield tx

    @contextmanager
    def read(self) -> Iterator[SqliteTransaction]:
        with self._transaction("BEGIN DEFERRED") as tx:
            yield tx

    def mentions(self, text: str) -> Iterator[tuple[str, str, str]]:
        with self.read() as tx:
            tables = [row["name"] for row in tx.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
            for table in tables:
                columns = [row["name"] for row in tx.rows(f"PRAGMA table_info({table})") if row["type"] == "TEXT"]
                for column in columns:
                    found = tx.rows(f"SELECT {column} AS cell FROM {table} WHERE instr({column}, ?) > 0", (text,))
                    yield from ((table, column, row["cell"]) for row in found)

    def damage(self) -> list[str]:
        with self.read() as tx:
            found = [str(row["integrity_check"]) for row in tx.rows("PRAGMA integrity_check")]
        return [line for line in found if line != "ok"]

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[SqliteTransaction]:
        with self._clear_errors():
            connection = self._connection()
            connection.execute(begin)
            try:
                yield SqliteTransaction(connection)
            except BaseException:
                if connection.in_transaction:  # else the engine has rolled it back: the disk was full, for one
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as error:
            raise Unavailable(
                f"the database {self.path} does not answer: {error}",
                hint="check that the disk is not full and that no other program holds the file",
            ) from error
        except sqlite3.DatabaseError as error:
            raise Corrupt(f"the database {self.path} is damaged: {error}", hint="restore it from a backup") from error

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            _use_wal(connection)
            # FULL, not NORMAL: what is answered is on disk, even when the power goes.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            # As on PostgreSQL and in every other comparison of text.
            connection.execute("PRAGMA case_sensitive_like = ON")
            connection.execute("PRAGMA cache_size = -16384")  # KiB
            # Pages that are written again and again go to the file once in 32 MiB of log, not once in 4.
            connection.execute("PRAGMA wal_autocheckpoint = 8192")
            self._local.connection = connection
            self._opened.append(connection)
        return connection


def _unfit(error: Exception) -> Invalid:
    return Invalid(
        f"the database cannot keep that value: {error}",
        hint="whole numbers have up to 64 bits, text is of Unicode characters",
    )


def _use_wal(connection: sqlite3.Connection) -> None:
    """Turn the write-ahead log on, once in a file's life: it needs the file alone, and SQLite does not wait for it."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
                connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.005)


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema to the newest version; two processes that start at once migrate once."""
    if not schema.pending(_version(connection)):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for migration in schema.pending(_version(connection)):
            for statement in migration.statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {migration.number}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
