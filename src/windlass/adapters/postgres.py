"""The database port on PostgreSQL 14 or newer, by psycopg.

Everything in which it differs from SQLite is here: how SQL is written (``translated``, ``defined``), how a write
transaction takes its lock, how the schema's version is kept, and what Python's values become.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import errors
from psycopg.adapt import AdaptersMap, Buffer
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader

from windlass.adapters import schema
from windlass.domain.errors import Corrupt, Denied, Failure, Invalid, Unavailable
from windlass.domain.ports import Params, Row

OLDEST = 14
BUSY_SECONDS = 15
# The one lock that writers take, each database its own: the letters of our name.
WRITE_LOCK = int.from_bytes(b"windlass", "big")

_WRITE = f"BEGIN; SELECT pg_advisory_xact_lock({WRITE_LOCK})".encode()
_READ = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SESSION = f"""
    SET lock_timeout = '{BUSY_SECONDS}s';
    -- Our statements are short: compiling one takes longer than it runs.
    SET jit = off;
    -- What is answered is on disk, whatever the server's configuration says; a stricter one stays.
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
""".encode()
# A server that is gone without a word is noticed after a minute, not after hours.
_PATIENCE = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}

# Text in quotes, a name in quotes, a comment: nothing in them is translated.
_PARTS = re.compile(r"'[^']*'|\"[^\"]*\"|--[^\n]*|\?")
# LIKE with its whole pattern: parameters, texts, columns and calls, joined by ||.
_CALL = r"\w*\((?:[^()']|'[^']*'|\((?:[^()']|'[^']*')*\))*\)"
_OPERAND = rf"(?:\?|(?:'[^']*')+|{_CALL}|[\w.]+)"
_LIKE = re.compile(rf"\b(LIKE\s+(?>{_OPERAND}(?:\s*\|\|\s*{_OPERAND})*))(?!\s+ESCAPE\b)", re.IGNORECASE)
_CAST = re.compile(r"\bAS (INTEGER|REAL|BLOB|TEXT)\)")
_TYPES = {
    "INTEGER": "BIGINT",
    "REAL": "DOUBLE PRECISION",
    "BLOB": "BYTEA",
    # Text sorts by its code points, as on SQLite, whatever the language of the server.
    "TEXT": 'TEXT COLLATE "C"',
}
# The end of CAST(x AS ...): the collation is the expression's, not the type's.
_CASTS = {"INTEGER": "BIGINT)", "REAL": "DOUBLE PRECISION)", "BLOB": "BYTEA)", "TEXT": 'TEXT) COLLATE "C"'}


_TOGETHER = (500, 50, 10)
_INSERT = re.compile(
    r"(INSERT INTO \w+ \((?P<columns>[^()]*)\) VALUES )(?P<row>\(\?(?:, \?)*\))"
    r"(?P<rest>(?: ON CONFLICT(?: \((?P<key>[^()]*)\))? DO (?:NOTHING|(?P<update>UPDATE) .*))?)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Insert:
    """An INSERT of one row that can be one of many. ``key``: where in a row that is which an update must not meet
    twice in one statement; None if there is no update."""

    head: str
    row: str
    rest: str
    key: tuple[int, ...] | None

    def takes_together(self, rows: Sequence[tuple[Any, ...]]) -> bool:
        if len(rows) < _TOGETHER[-1]:
            return False
        return self.key is None or len({tuple(row[at] for at in self.key) for row in rows}) == len(rows)

    def of(self, size: int) -> str:
        return self.head + ", ".join([self.row] * size) + self.rest


@lru_cache(maxsize=256)
def _insert(sql: str) -> _Insert | None:
    match = _INSERT.fullmatch(sql)
    if match is None or "?" in match["rest"]:
        return None
    columns = [name.strip() for name in match["columns"].split(",")]
    key = None
    if match["update"]:
        key = tuple(columns.index(name.strip()) for name in (match["key"] or "").split(",") if name.strip() in columns)
        if not key:
            return None
    return _Insert(match[1], match["row"], match["rest"], key)


@lru_cache(maxsize=4096)
def translated(sql: str) -> bytes:
    """A statement on rows as PostgreSQL writes it: ``$1`` for ``?``, 64-bit casts, no escape character in LIKE."""
    number = 0

    def part(found: re.Match[str]) -> str:
        nonlocal number
        if found.group() != "?":
            return found.group()
        number += 1
        return f"${number}"

    sql = _CAST.sub(lambda found: f"AS {_CASTS[found.group(1)]}", sql)
    return _PARTS.sub(part, _LIKE.sub(r"\1 ESCAPE ''", sql)).encode()


def defined(sql: str) -> bytes:
    """A statement of a migration as PostgreSQL writes it."""
    sql = re.sub(r"\)\s*WITHOUT\s+ROWID\b", ")", sql, flags=re.IGNORECASE)
    if re.match(r"(\s|--[^\n]*\n)*(CREATE\s+TABLE|ALTER\s+TABLE)\b", sql, re.IGNORECASE):
        names = "|".join(_TYPES)
        return _outside(rf"\b({names})\b", lambda found: _TYPES[found.group(1).upper()], sql).encode()
    return translated(sql)


def _outside(pattern: str, replace: Any, sql: str) -> str:
    """Replace what is neither in quotes nor in a comment."""
    parts = re.split(r"('[^']*'|\"[^\"]*\"|--[^\n]*)", sql)
    parts[::2] = [re.sub(pattern, replace, part, flags=re.IGNORECASE) for part in parts[::2]]
    return "".join(parts)


class PostgresTransaction:
    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._cursor = psycopg.RawCursor(connection)

    def execute(self, sql: str, params: Params = ()) -> int:
        return self._run(sql, params).rowcount

    def many(self, sql: str, rows: Iterable[Params]) -> None:
        left = [tuple(row) for row in rows]
        insert = _insert(sql)
        if insert is not None and insert.takes_together(left):
            # One statement of many rows takes a third of the time of as many statements; few sizes, so that the
            # server knows each of them already.
            for size in _TOGETHER:
                while len(left) >= size:
                    self._run(insert.of(size), [value for row in left[:size] for value in row])
                    left = left[size:]
        if left:
            with _clear_values():
                self._cursor.executemany(translated(sql), left)

    def rows(self, sql: str, params: Params = ()) -> list[Row]:
        cursor = self._run(sql, params)
        names = self._names()
        return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]

    def row(self, sql: str, params: Params = ()) -> Row | None:
        values = self._run(sql, params).fetchone()
        return None if values is None else dict(zip(self._names(), values, strict=True))

    def tuples(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        return self._run(sql, params).fetchall()

    def now(self) -> int:
        return int(self.tuples("SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT")[0][0])

    def define(self, sql: str) -> None:
        """Run a statement of a migration."""
        self._control(defined(sql))

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        # One name for all: SQL finds the innermost of a name.
        self._control(b"SAVEPOINT inner_part")
        try:
            yield
        except BaseException:
            if not self._connection.closed:
                self._control(b"ROLLBACK TO inner_part; RELEASE inner_part")
            raise
        self._control(b"RELEASE inner_part")

    def _run(self, sql: str, params: Params) -> psycopg.RawCursor[tuple[Any, ...]]:
        with _clear_values():
            return self._cursor.execute(translated(sql), tuple(params), binary=True)

    def _control(self, sql: bytes) -> None:
        self._cursor.execute(sql, prepare=False)

    def _names(self) -> list[str]:
        return [column.name for column in self._cursor.description or ()]


class PostgresDatabase:
    """A database on a server. A transaction takes one of the connections that are open and idle, or opens one: there
    are as many as transactions at once. One that broke (the server started anew) is not used again.

    Raises:
        Invalid: the URL is malformed, or the database is not one to keep Unicode text in.
        Denied: the server does not let this user in, or make tables.
        Unavailable: the server does not answer, is older than PostgreSQL 14, or a newer Windlass wrote its schema.
    """

    def __init__(self, url: str) -> None:
        self._idle: deque[psycopg.Connection] = deque()
        self._settings = _parsed(url)
        self._secret = str(self._settings.get("password", ""))
        self.name = _shown(self._settings)
        self._local = threading.local()
        # Of this schema alone: another one, or one that was made anew, has another.
        self.identity = self._migrate()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def __del__(self) -> None:
        self.close()  # commands end without closing: the server is told all the same

    @contextmanager
    def write(self) -> Iterator[PostgresTransaction]:
        if getattr(self._local, "writes", False):  # it would wait for itself
            raise Failure("a write transaction was begun within another of the same thread")
        self._local.writes = True
        try:
            # The lock is had before the first statement, which then sees all that the writer before has done.
            with self._transaction(_WRITE) as tx:
                yield tx
        finally:
            self._local.writes = False

    def read(self) -> AbstractContextManager[PostgresTransaction]:
        return self._transaction(_READ)

    def mentions(self, text: str) -> Iterator[tuple[str, str, str]]:
        with self.read() as tx:
            for table, column in tx.tuples(
                "SELECT c.table_name, c.column_name FROM information_schema.columns c"
                " JOIN information_schema.tables t"
                " ON t.table_schema = c.table_schema AND t.table_name = c.table_name AND t.table_type = 'BASE TABLE'"
                " WHERE c.table_schema = current_schema() AND c.data_type = 'text'"
                " ORDER BY c.table_name, c.ordinal_position"
            ):
                found = tx.tuples(f'SELECT "{column}" FROM "{table}" WHERE strpos("{column}", ?) > 0', (text,))
                yield from ((table, column, cell) for (cell,) in found)

    def damage(self) -> list[str]:
        """PostgreSQL has no check of its own for everybody: every row of every table is read, whole."""
        found = []
        with self.read() as tx:
            for (table,) in tx.tuples(
                "SELECT table_name FROM information_schema.tables"
                " WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY table_name"
            ):
                try:
                    with tx.savepoint():
                        tx.execute(f'SELECT SUM(octet_length(CAST(t.* AS TEXT))) FROM "{table}" t')
                except psycopg.InternalError as error:
                    found.append(f"table {table}: {_line(error)}")
        return found

    @contextmanager
    def _transaction(self, begin: bytes) -> Iterator[PostgresTransaction]:
        with self._clear_errors():
            connection = self._begun(begin)
            try:
                try:
                    yield PostgresTransaction(connection)
                except BaseException:
                    with suppress(psycopg.Error):
                        connection.execute(b"ROLLBACK", prepare=False)
                    raise
                if connection.execute(b"COMMIT", prepare=False).statusmessage != "COMMIT":
                    raise Failure("a transaction went on after one of its statements had failed: it was rolled back")
            finally:
                if connection.info.transaction_status == TransactionStatus.IDLE:
                    self._idle.append(connection)
                else:
                    connection.close()

    def _begun(self, begin: bytes) -> psycopg.Connection:
        """A connection on which a transaction has begun; those that broke while they were idle are dropped."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            try:
                connection.execute(begin, prepare=False)
            except psycopg.OperationalError:
                if not connection.closed:  # the lock was not had, for one
                    connection.close()
                    raise
            else:
                return connection
        connection = self._connect()
        try:
            connection.execute(begin, prepare=False)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> psycopg.Connection:
        try:
            connection: psycopg.Connection = psycopg.connect(
                **{"client_encoding": "UTF8", **self._settings}, autocommit=True
            )
        except psycopg.Error as error:
            said = " ".join(str(error).split())  # of each address that was tried
            if self._secret:
                said = said.replace(self._secret, "...")
            # Without its cause: that one has the text as it came.
            raise Unavailable(
                f"the database {self.name} does not answer: {said}",
                hint="check WINDLASS_DATABASE, and that the server is up",
            ) from None
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: psycopg.Connection) -> None:
        version = connection.info.server_version // 10000
        if version < OLDEST:
            raise Unavailable(
                f"the server of {self.name} is PostgreSQL {version}",
                hint=f"Windlass needs PostgreSQL {OLDEST} or newer",
                retryable=False,
            )
        if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
            raise Invalid(f"the database {self.name} has the encoding {encoding}", hint="make it with ENCODING 'UTF8'")
        connection.execute(_SESSION, prepare=False)
        _adapt(connection.adapters)

    def _migrate(self) -> str:
        """Bring the schema to the newest version; two servers that start at once migrate once. Gives its identity."""
        with self._clear_errors():
            with self._transaction(_READ) as tx:
                version, identity = _version(tx)
                if not schema.pending(version):
                    return identity
            with self._transaction(b"BEGIN; SET LOCAL lock_timeout = '10min'") as tx:
                tx.execute(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")
                version, identity = _version(tx)
                todo = schema.pending(version)
                if not identity:
                    tx.execute("CREATE TABLE windlass_schema (version BIGINT NOT NULL, identity TEXT NOT NULL)")
                    tx.execute("INSERT INTO windlass_schema VALUES (0, CAST(gen_random_uuid() AS TEXT))")
                for migration in todo:
                    for statement in migration.statements:
                        tx.define(statement)
                    tx.execute("UPDATE windlass_schema SET version = ?", (migration.number,))
                return identity or _version(tx)[1]

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.IntegrityError:
            raise
        except psycopg.OperationalError as error:
            raise Unavailable(
                f"the database {self.name} does not answer: {_line(error)}",
                hint="check that the server is up and its disk is not full, then retry",
            ) from error
        except errors.InsufficientPrivilege as error:
            raise Denied(
                f"the database {self.name} refuses: {_line(error)}",
                hint="its user must be the owner of the schema, or be granted CREATE on it",
            ) from error
        except psycopg.InternalError as error:  # a page or an index that is not what it was
            raise Corrupt(
                f"the database {self.name} is damaged: {_line(error)}", hint="restore it from a backup"
            ) from error
        except psycopg.Error as error:
            raise Failure(
                f"the database {self.name} does not understand: {_line(error)}", hint="please report this"
            ) from error


@contextmanager
def _clear_values() -> Iterator[None]:
    try:
        yield
    except (psycopg.DataError, errors.ProgramLimitExceeded, OverflowError, UnicodeEncodeError) as error:
        raise Invalid(
            f"the database cannot keep that value: {_line(error)}",
            hint="whole numbers have up to 64 bits, text is of Unicode characters other than NUL",
        ) from error


class _PlainNumbers(NumericBinaryLoader):
    """What PostgreSQL counts exactly, for which Python has Decimal: SUM of whole numbers is whole, AVG is a float."""

    def load(self, data: Buffer) -> Any:
        found: Decimal = super().load(data)
        return int(found) if found.as_tuple().exponent == 0 else float(found)


class _TruthAsNumber(psycopg.adapt.Loader):
    format = psycopg.pq.Format.BINARY

    def load(self, data: Buffer) -> int:
        return int(bytes(data) != b"\x00")


def _adapt(adapters: AdaptersMap) -> None:
    # One size for all whole numbers: a statement is prepared once, not for each size that its parameters had.
    adapters.register_dumper(int, Int8BinaryDumper)
    # As on SQLite, truth is 1 and 0.
    adapters.register_dumper(bool, Int8BinaryDumper)
    adapters.register_loader("bool", _TruthAsNumber)
    adapters.register_loader("numeric", _PlainNumbers)


def _version(tx: PostgresTransaction) -> tuple[int, str]:
    """The schema's version and identity; 0 and none where there is no schema yet."""
    if tx.tuples("SELECT to_regclass('windlass_schema')") == [(None,)]:
        return 0, ""
    ((version, identity),) = tx.tuples("SELECT version, identity FROM windlass_schema")
    return int(version), str(identity)


def _parsed(url: str) -> dict[str, Any]:
    hint = "write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE; in a password, write @ as %40 and / as %2F"
    # What follows the host may not have an @: libpq would then take a part of the password for the host, and say it.
    place = url.partition("://")[2]
    if place.count("@") > 1 or "@" in re.split(r"[/?#]", place, maxsplit=1)[-1] != place:
        raise Invalid("WINDLASS_DATABASE has an @ that is not before the host", hint=hint)
    try:
        found = conninfo_to_dict(url)
    except psycopg.Error:  # whose text has what it could not read, perhaps the password
        raise Invalid("WINDLASS_DATABASE is not a URL of PostgreSQL", hint=hint) from None
    if not re.fullmatch(r"[0-9,]*", str(found.get("port", ""))):  # a part of the password, perhaps
        raise Invalid("the port in WINDLASS_DATABASE is no number", hint=hint)
    return {**_PATIENCE, "application_name": "windlass", **found, "client_encoding": "UTF8"}


def _shown(settings: dict[str, Any]) -> str:
    """Where the database is, without who may enter how."""
    port = f":{settings['port']}" if "port" in settings else ""
    return f"postgresql://{settings.get('host', '')}{port}/{settings.get('dbname', '')}"


def _line(error: Exception) -> str:
    """The first line: the others show the statement."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
