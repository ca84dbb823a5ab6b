"""What only PostgreSQL can do wrong."""

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from postgres_server import Server
from windlass.adapters import postgres as adapter
from windlass.adapters.postgres import PostgresDatabase, defined, translated
from windlass.domain.errors import Corrupt, Denied, Failure, Invalid, Unavailable

INSERT = "INSERT INTO heads (subject, target, seq) VALUES (?, ?, ?)"


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    url = postgres.database()
    yield url
    postgres.drop(url)


def end_backends(postgres: Server) -> None:
    """What a server that starts anew does to its clients."""
    postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'windlass'")


def plain(error: BaseException | None) -> str:
    """All that a traceback would show of an error."""
    shown: list[Any] = []
    while error is not None:
        shown += [error, *error.args, getattr(error, "hint", "")]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return " ".join(map(str, shown))


@pytest.mark.parametrize(
    ("sql", "meant"),
    [
        ("SELECT ?, '?', \"?\", ? -- ?", "SELECT $1, '?', \"?\", $2 -- ?"),
        ("SELECT 'it''s ?', ?", "SELECT 'it''s ?', $1"),
        ("WHERE a LIKE ? AND b NOT LIKE 'x'", "WHERE a LIKE $1 ESCAPE '' AND b NOT LIKE 'x' ESCAPE ''"),
        ("WHERE a LIKE ? ESCAPE '!'", "WHERE a LIKE $1 ESCAPE '!'"),
        ("a LIKE 'it''s' ESCAPE '!' OR b like 'it''s'", "a LIKE 'it''s' ESCAPE '!' OR b like 'it''s' ESCAPE ''"),
        ("WHERE a LIKE ? || '/%' AND b LIKE c.d||?", "WHERE a LIKE $1 || '/%' ESCAPE '' AND b LIKE c.d||$2 ESCAPE ''"),
        ("WHERE LOWER(a) LIKE LOWER(CAST(? AS TEXT)) OR x = ?",
         "WHERE LOWER(a) LIKE LOWER(CAST($1 AS TEXT) COLLATE \"C\") ESCAPE '' OR x = $2"),
        ("WHERE (a LIKE LOWER(?)) AND dislike = 1", "WHERE (a LIKE LOWER($1) ESCAPE '') AND dislike = 1"),
        ("WHERE LOWER(a) LIKE LOWER(?) ESCAPE '!'", "WHERE LOWER(a) LIKE LOWER($1) ESCAPE '!'"),
        ("CAST(? AS TEXT), CAST(a AS INTEGER), CAST(b AS REAL)",
         "CAST($1 AS TEXT) COLLATE \"C\", CAST(a AS BIGINT), CAST(b AS DOUBLE PRECISION)"),
        ("SELECT '-- ?', ?", "SELECT '-- ?', $1"),
    ],
)  # fmt: skip
def test_statements_are_written_for_postgres(sql: str, meant: str) -> None:
    assert translated(sql).decode() == meant


@pytest.mark.parametrize(
    ("sql", "meant"),
    [
        ("CREATE TABLE a (b INTEGER, c TEXT) WITHOUT ROWID", 'CREATE TABLE a (b BIGINT, c TEXT COLLATE "C")'),
        ("-- INTEGER\nCREATE TABLE a (\n  text_of REAL DEFAULT 'TEXT' -- BLOB\n)\nWITHOUT ROWID",
         "-- INTEGER\nCREATE TABLE a (\n  text_of DOUBLE PRECISION DEFAULT 'TEXT' -- BLOB\n)"),
        ("ALTER TABLE a ADD COLUMN b BLOB", "ALTER TABLE a ADD COLUMN b BYTEA"),
        ("INSERT INTO a SELECT 'TEXT', b FROM c", "INSERT INTO a SELECT 'TEXT', b FROM c"),
        ("CREATE TABLE a (b BIGINT, c DOUBLE PRECISION)", "CREATE TABLE a (b BIGINT, c DOUBLE PRECISION)"),
    ],
)  # fmt: skip
def test_migrations_are_written_for_postgres(sql: str, meant: str) -> None:
    assert defined(sql).decode() == meant


def test_connections_that_broke_while_idle_are_opened_anew(url: str, postgres: Server) -> None:
    with closing(PostgresDatabase(url)) as db:
        for number in range(3):
            end_backends(postgres)
            with db.write() as tx:
                tx.execute(INSERT, (str(number), "x", number))
        with db.read() as tx:
            assert tx.tuples("SELECT COUNT(*) FROM heads") == [(3,)]


@pytest.mark.parametrize("ends", ["read", "write", "savepoint", "many"])
def test_a_connection_that_breaks_within_a_transaction_is_unavailable_and_the_next_one_works(
    url: str, postgres: Server, ends: str
) -> None:
    with closing(PostgresDatabase(url)) as db:
        with pytest.raises(Unavailable, match="does not answer"), db.write() as tx:
            tx.execute(INSERT, ("a", "x", 1))
            if ends == "savepoint":
                with tx.savepoint():
                    end_backends(postgres)
                    tx.execute(INSERT, ("b", "x", 1))
            end_backends(postgres)
            if ends == "read":
                tx.rows("SELECT * FROM heads")
            elif ends == "many":
                tx.many(INSERT, [(str(number), "x", 1) for number in range(100)])
            # else: the commit finds out
        with db.write() as tx:
            assert tx.rows("SELECT * FROM heads") == []
            tx.execute(INSERT, ("a", "x", 1))


def test_there_are_as_many_connections_as_transactions_at_once(url: str) -> None:
    with closing(PostgresDatabase(url)) as db:

        def read() -> None:
            with db.read() as tx:
                tx.row("SELECT 1 AS one")

        for _ in range(20):
            thread = threading.Thread(target=read)
            thread.start()
            thread.join()
        with db.read() as tx:
            assert tx.tuples(
                "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'windlass'"
            ) == [(1,)]


def test_who_waits_too_long_for_the_write_lock_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_SESSION", b"SET lock_timeout = '50ms'")
    with closing(PostgresDatabase(url)) as db, closing(PostgresDatabase(url)) as other:
        with db.write() as tx:
            tx.execute(INSERT, ("a", "x", 1))
            with pytest.raises(Unavailable, match="lock timeout") as caught, other.write():
                pass
            assert caught.value.retryable
        with other.write() as tx:
            assert tx.tuples("SELECT subject FROM heads") == [("a",)]


def test_text_with_nul_is_invalid(url: str) -> None:
    with closing(PostgresDatabase(url)) as db:
        for go in (
            lambda tx: tx.execute(INSERT, ("a\0b", "x", 1)),
            lambda tx: tx.many(INSERT, [("a", "\0", 1)]),
            lambda tx: tx.rows("SELECT * FROM heads WHERE subject = ?", ("\0",)),
        ):
            with pytest.raises(Invalid, match="NUL") as caught, db.write() as tx:
                go(tx)
            assert "NUL" in caught.value.hint
        with db.read() as tx:
            assert tx.rows("SELECT * FROM heads") == []


def test_text_too_long_for_an_index_is_invalid(url: str) -> None:
    long = "".join(chr(0x4E00 + number * 7919 % 20000) for number in range(9000))
    with closing(PostgresDatabase(url)) as db, pytest.raises(Invalid, match="index"), db.write() as tx:
        tx.execute(INSERT, (long, "x", 1))


def test_what_is_no_number_is_kept(url: str) -> None:
    with closing(PostgresDatabase(url)) as db, db.write() as tx:
        tx.execute("CREATE TABLE numbers (number DOUBLE PRECISION)")
        tx.many("INSERT INTO numbers VALUES (?)", [(float(each),) for each in ("nan", "inf", "-inf", "-0.0", "1")])
        assert (
            str(tx.tuples("SELECT number FROM numbers ORDER BY number")) == "[(-inf,), (-0.0,), (1.0,), (inf,), (nan,)]"
        )


def test_a_statement_that_is_none_is_our_failure(url: str) -> None:
    with closing(PostgresDatabase(url)) as db:
        with pytest.raises(Failure, match="syntax") as caught, db.read() as tx:
            tx.execute("SELEC 1")
        assert type(caught.value) is Failure
        with pytest.raises(Failure, match="read-only"), db.read() as tx:
            tx.execute(INSERT, ("a", "x", 1))
        with db.read() as tx:
            assert tx.rows("SELECT * FROM heads") == []


def test_a_flipped_bit_is_damage_named_by_table(url: str, postgres: Server) -> None:
    with closing(PostgresDatabase(url)) as db:
        with db.write() as tx:
            tx.many(INSERT, [(str(number), "x" * 50, 1) for number in range(1000)])
        path = Path(str(one(db, "SELECT pg_relation_filepath('heads')")))
    # The server has no page of a copy in memory yet.
    copy = postgres.database(template=name_of(url))
    with psycopg.connect(postgres.url("postgres")) as connection:
        ((oid,),) = connection.execute("SELECT oid FROM pg_database WHERE datname = %s", (name_of(copy),)).fetchall()
    with (postgres.folder / "data" / "base" / str(oid) / path.name).open("r+b") as file:
        file.seek(5000)
        byte = file.read(1)[0]
        file.seek(5000)
        file.write(bytes([byte ^ 1]))
    with closing(PostgresDatabase(copy)) as db:
        (found,) = db.damage()
        assert found.startswith("table heads: invalid page")
        with pytest.raises(Corrupt, match="damaged"), db.read() as tx:
            tx.rows("SELECT * FROM heads")
        with db.read() as tx:
            assert tx.rows("SELECT * FROM ledger") == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cr3t@127.0.0.1:1/d",
        "postgresql://me:s3%40cr3t@127.0.0.1:1/d",
        "postgresql://127.0.0.1:1/d?user=me&password=s3cr3t",
        "postgresql://me:s3cr3t@no-such-host.invalid/d",
        "postgresql://me:s3cr3t@127.0.0.1:1,127.0.0.2:1/d",
    ],
)
def test_a_server_that_does_not_answer_is_unavailable_and_no_password_is_shown(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Unavailable, match="does not answer") as caught:
        PostgresDatabase(url)
    assert "cr3t" not in plain(caught.value) + caplog.text
    assert "WINDLASS_DATABASE" in caught.value.hint


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3@cr3t@host/d",
        "postgresql://me:s3/cr3t@host/d",
        "postgresql://me:s3cr3t@host:cr3t/d",
        "postgresql://me:s3%cr3t@host/d",
        "postgresql://me:s3?cr3t@host/d",
        "postgresql://me:s3#cr3t@host/d",
        "postgresql://me@host/d?nonsense=cr3t",
        "postgresql://me:cr3t@host/d?connect_timeout=cr3t",
        "postgresql://[cr3t",
    ],
)
def test_a_malformed_url_is_invalid_or_unavailable_and_is_not_shown(url: str) -> None:
    with pytest.raises((Invalid, Unavailable)) as caught:
        PostgresDatabase(url)
    assert "cr3t" not in plain(caught.value)
    assert caught.value.hint


def test_a_user_that_may_not_make_tables_is_denied(postgres: Server) -> None:
    url = postgres.database("template1")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE nobody_here LOGIN")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with pytest.raises(Denied, match="permission denied") as caught:
        PostgresDatabase(url.replace("postgres@", "nobody_here@"))
    assert "CREATE" in caught.value.hint


def test_a_database_that_cannot_keep_unicode_is_invalid(postgres: Server) -> None:
    postgres.run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
    with pytest.raises(Invalid, match="LATIN1"):
        PostgresDatabase(postgres.url("latin"))


def test_an_old_server_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "OLDEST", 99)
    with pytest.raises(Unavailable, match="PostgreSQL 1") as caught:
        PostgresDatabase(url)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("configured", "stands"), [("off", "on"), ("local", "local"), ("on", "on"), ("remote_apply", "remote_apply")]
)
def test_an_answered_write_is_on_disk_whatever_the_server_is_told(
    url: str, postgres: Server, configured: str, stands: str
) -> None:
    postgres.run(f"ALTER DATABASE {name_of(url)} SET synchronous_commit = {configured}")
    with closing(PostgresDatabase(url)) as db:
        assert one(db, "SELECT current_setting('synchronous_commit')") == stands


def name_of(url: str) -> str:
    return url.split("/")[3].partition("?")[0]


def one(db: PostgresDatabase, sql: str) -> object:
    with db.read() as tx:
        return tx.tuples(sql)[0][0]


def test_a_schema_of_its_own(postgres: Server) -> None:
    """Text in another schema of the database is nobody's business."""
    url = postgres.database("template1")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA ours")
        connection.execute("CREATE TABLE theirs (secret TEXT)")
        connection.execute("INSERT INTO theirs VALUES ('b3:1')")
    with closing(PostgresDatabase(f"{url}&options=-csearch_path%3Dours")) as db:
        with db.write() as tx:
            tx.execute(INSERT, ("b3:2", "x", 1))
        assert list(db.mentions("b3:")) == [("heads", "subject", "b3:2")]
        assert db.damage() == []
