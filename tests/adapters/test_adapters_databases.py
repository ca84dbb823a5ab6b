"""What the capabilities rely on, of each database in turn."""

import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from postgres_server import Server
from windlass.adapters import schema
from windlass.domain.errors import Failure, Invalid, Unavailable
from windlass.domain.ports import Database, Transaction
from windlass.workspace import databases

INSERT = "INSERT INTO heads (subject, target, seq) VALUES (?, ?, ?)"
Open = Callable[[], Database]


def subjects(tx: Transaction) -> list[str]:
    return [row["subject"] for row in tx.rows("SELECT subject FROM heads ORDER BY subject")]


def kept(db: Database) -> list[str]:
    with db.read() as tx:
        return subjects(tx)


def test_what_is_committed_is_there_for_everybody(database: Database, open_database: Open) -> None:
    with database.write() as tx:
        assert tx.execute(INSERT, ("a", "x", 1)) == 1
        tx.many(INSERT, ((each, "y", 2) for each in "bc"))
        assert tx.execute("UPDATE heads SET seq = 3 WHERE target = ?", ("y",)) == 2
        assert tx.execute("DELETE FROM heads WHERE target = ?", ("z",)) == 0
    with open_database().read() as tx:
        assert tx.row("SELECT * FROM heads WHERE subject = ?", ("b",)) == {"subject": "b", "target": "y", "seq": 3}
        assert tx.row("SELECT * FROM heads WHERE subject = ?", ("?",)) is None
        assert tx.tuples("SELECT subject, seq FROM heads ORDER BY subject") == [("a", 1), ("b", 3), ("c", 3)]
        assert tx.rows("SELECT * FROM heads WHERE seq = ?", (4,)) == []


def test_many_of_nothing_is_nothing(database: Database) -> None:
    with database.write() as tx:
        tx.many(INSERT, [])
    assert kept(database) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_undoes_the_transaction(database: Database, error: type[BaseException]) -> None:
    with pytest.raises(error), database.write() as tx:
        tx.execute(INSERT, ("a", "x", 1))
        raise error
    assert kept(database) == []
    with database.write() as tx:
        tx.execute(INSERT, ("b", "x", 1))
    assert kept(database) == ["b"]


def test_a_broken_constraint_is_told_as_such_and_undoes_the_transaction(database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)unique") as caught, database.write() as tx:
        tx.execute(INSERT, ("a", "x", 1))
        tx.execute(INSERT, ("a", "y", 2))
    assert type(caught.value).__mro__[1].__name__ in ("IntegrityError", "DatabaseError")
    assert kept(database) == []


def test_a_savepoint_undoes_what_happened_inside_alone(database: Database) -> None:
    with database.write() as tx:
        tx.execute(INSERT, ("before", "x", 1))
        with pytest.raises(ValueError, match="outer"), tx.savepoint():
            tx.execute(INSERT, ("outer", "x", 1))
            with tx.savepoint():
                tx.execute(INSERT, ("inner that stood", "x", 1))
            raise ValueError("outer")
        with tx.savepoint():
            tx.execute(INSERT, ("stays", "x", 1))
            with pytest.raises(ValueError, match="inner"), tx.savepoint():
                tx.execute(INSERT, ("inner", "x", 1))
                raise ValueError("inner")
        with pytest.raises(Exception, match=r"(?i)unique"), tx.savepoint():
            tx.execute(INSERT, ("before", "again", 1))  # the engine's own error, too
        tx.execute(INSERT, ("behind", "x", 1))
    assert kept(database) == ["before", "behind", "stays"]


def test_a_writer_keeps_others_out_from_its_start(database: Database, open_database: Open) -> None:
    """What a transaction read stands until it writes: the ledger's chain needs it."""
    other, began, order = open_database(), threading.Event(), list[str]()

    def follow() -> None:
        began.wait()
        with other.write() as tx:
            order.append(f"second saw {subjects(tx)}")

    thread = threading.Thread(target=follow)
    thread.start()
    with database.write() as tx:
        assert subjects(tx) == []
        began.set()
        time.sleep(0.1)
        tx.execute(INSERT, ("a", "x", 1))
        order.append("first")
    thread.join()
    assert order == ["first", "second saw ['a']"]


def test_writers_at_once_count_without_a_gap(database: Database) -> None:
    def count() -> None:
        for _ in range(10):
            with database.write() as tx:
                last = tx.row("SELECT MAX(seq) AS seq FROM heads")
                number = (last["seq"] if last and last["seq"] else 0) + 1
                tx.execute(INSERT, (str(number), "x", number))

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as tx:
        assert tx.tuples("SELECT COUNT(*), MIN(seq), MAX(seq) FROM heads") == [(60, 1, 60)]


def test_a_reader_keeps_its_view_and_waits_for_nobody(database: Database, open_database: Open) -> None:
    other = open_database()
    with other.read() as reading:
        assert subjects(reading) == []
        with database.write() as tx:
            tx.execute(INSERT, ("a", "x", 1))
            assert subjects(reading) == []
        assert subjects(reading) == []
    assert kept(other) == ["a"]


def test_a_write_within_a_write_is_an_error_and_no_deadlock(database: Database) -> None:
    with pytest.raises(Failure), database.write() as tx:
        tx.execute(INSERT, ("a", "x", 1))
        with database.write() as inner:
            inner.execute(INSERT, ("b", "x", 1))
    assert kept(database) == []


def test_after_closing_it_opens_anew(database: Database) -> None:
    database.close()
    assert kept(database) == []


@pytest.mark.parametrize(
    "text", ["", "ß ﷽ 漢字 🧗‍♀️", "e\u0301 is not é", "\\ ' \" % _ ? $1 %s -- ; /*", "\r\n\t\x01\x7f", "x" * 3_000_000]
)
def test_text_comes_back_as_it_was(database: Database, text: str) -> None:
    with database.write() as tx:
        tx.execute(INSERT, ("a", text, 1))
    with database.read() as tx:
        assert tx.tuples("SELECT subject, target FROM heads WHERE target = ?", (text,)) == [("a", text)]


def test_statements_may_have_question_marks_in_quotes(database: Database) -> None:
    with database.read() as tx:
        assert tx.tuples("SELECT 'why?' || CAST(? AS TEXT) AS \"a ? b\" -- or not?", ("!",)) == [("why?!",)]


def test_text_sorts_and_compares_by_code_point(database: Database) -> None:
    words = ["B", "a", "Z", "é", "z", "_", "", "10", "9", "ä", "Ω"]
    with database.write() as tx:
        tx.many(INSERT, [(word, "x", 1) for word in words])
        assert subjects(tx) == sorted(words)
        assert {word for (word,) in tx.tuples("SELECT subject FROM heads WHERE subject > 'Z'")} == {
            word for word in words if word > "Z"
        }


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("Ab%", ["Abc"]),
        ("ab%", ["abc", "ab\\c"]),
        ("a_c", ["abc"]),
        ("%\\%", ["ab\\c"]),
        ("ab\\c", ["ab\\c"]),
        ("É%", ["Éa"]),
        ("%\\", []),
    ],
)
def test_like_sees_case_and_has_no_escape_character(database: Database, pattern: str, found: list[str]) -> None:
    with database.write() as tx:
        tx.many(INSERT, [(word, "x", 1) for word in ("abc", "Abc", "ab\\c", "Éa", "éa")])
        assert tx.tuples("SELECT subject FROM heads WHERE subject LIKE ? ORDER BY subject DESC", (pattern,)) == [
            (each,) for each in sorted(found, reverse=True)
        ]


def test_like_takes_an_escape_character_that_it_is_given(database: Database) -> None:
    with database.write() as tx:
        tx.many(INSERT, [(word, "x", 1) for word in ("a_c", "abc")])
        assert tx.tuples("SELECT subject FROM heads WHERE subject LIKE ? ESCAPE '!'", ("a!_c",)) == [("a_c",)]
        assert tx.tuples("SELECT subject FROM heads WHERE subject NOT LIKE 'a_c'") == []
        assert tx.tuples("SELECT subject FROM heads WHERE subject LIKE ? || '%' AND seq = ?", ("ab", 1)) == [("abc",)]
        assert tx.tuples("SELECT subject FROM heads WHERE LOWER(subject) LIKE LOWER(?)", ("AB%",)) == [("abc",)]


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**63 - 1, -(2**63), True, False])
def test_whole_numbers_come_back_as_they_were(database: Database, number: int) -> None:
    with database.write() as tx:
        tx.execute(INSERT, ("a", "x", number))
        ((back,),) = tx.tuples("SELECT seq FROM heads WHERE seq = ?", (number,))
    assert (back, type(back)) == (int(number), int)


@pytest.mark.parametrize("number", [0.1, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), 3.0])
def test_floats_come_back_bit_by_bit(database: Database, number: float) -> None:
    with database.write() as tx:
        tx.execute("CREATE TABLE numbers (number DOUBLE PRECISION)" if is_postgres(database) else FLOATS)
        tx.execute("INSERT INTO numbers VALUES (?)", (number,))
        ((back,),) = tx.tuples("SELECT number FROM numbers")
    assert back.hex() == number.hex()


FLOATS = "CREATE TABLE numbers (number REAL)"


def is_postgres(db: Database) -> bool:
    return type(db).__name__ == "PostgresDatabase"


def test_sums_means_and_truths_are_plain_numbers(database: Database) -> None:
    with database.write() as tx:
        tx.many(INSERT, [("a", "x", 1), ("b", "x", 2), ("c", "x", 6)])
        row = tx.row(
            "SELECT SUM(seq) AS total, AVG(seq) AS mean, COUNT(*) AS n, SUM(seq) > 8 AS large,"
            " CAST(SUM(seq) AS INTEGER) / 2 AS half, SUM(seq) * 0.5 AS product FROM heads"
        )
    assert row == {"total": 9, "mean": 3.0, "n": 3, "large": 1, "half": 4, "product": 4.5}
    assert {name: type(value) for name, value in row.items()} == {
        "total": int, "mean": float, "n": int, "large": int, "half": int, "product": float,
    }  # fmt: skip


def test_nothing_and_bytes_come_back(database: Database) -> None:
    with database.write() as tx:
        tx.execute("CREATE TABLE bytes_kept (b BYTEA)" if is_postgres(database) else "CREATE TABLE bytes_kept (b BLOB)")
        tx.many("INSERT INTO bytes_kept VALUES (?)", [(b"\x00\xff",), (None,)])
        assert tx.tuples("SELECT b FROM bytes_kept WHERE b IS NOT NULL") == [(b"\x00\xff",)]
        tx.execute(INSERT, ("a", None, 1))
        assert tx.tuples("SELECT target FROM heads") == [(None,)]


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**40])
@pytest.mark.parametrize("many", [False, True])
def test_a_number_beyond_64_bits_is_invalid(database: Database, value: int, many: bool) -> None:
    with pytest.raises(Invalid, match="cannot keep"), database.write() as tx:
        if many:
            tx.many(INSERT, [("a", "x", 1), ("b", "x", value)])
        else:
            tx.execute(INSERT, ("a", "x", value))
    assert kept(database) == []


def test_text_that_is_no_unicode_is_invalid(database: Database) -> None:
    for text in ("\ud800", "a\udcffb"):
        with pytest.raises(Invalid, match="cannot keep"), database.write() as tx:
            tx.execute(INSERT, (text, "x", 1))
        with pytest.raises(Invalid, match="cannot keep"), database.read() as tx:
            tx.rows("SELECT * FROM heads WHERE subject = ?", (text,))
    assert kept(database) == []


def test_more_parameters_than_most_statements_have(database: Database) -> None:
    with database.write() as tx:
        tx.many(INSERT, [(str(number), "x", number) for number in range(3000)])
        marks = ", ".join("?" * 2000)
        found = tx.tuples(f"SELECT COUNT(*) FROM heads WHERE seq IN ({marks})", list(range(1000, 3000)))
    assert found == [(2000,)]


def test_every_mention_of_a_text_is_found(database: Database) -> None:
    with database.write() as tx:
        tx.many(INSERT, [("a b3:1", "b3:2", 1), ("c", None, 2), ("d", "B3:", 3), ("e", "b3_", 4)])
        tx.execute("INSERT INTO lineage (child, parent, relation) VALUES ('x', 'of b3:3', 'r')")
    assert sorted(database.mentions("b3:")) == [
        ("heads", "subject", "a b3:1"), ("heads", "target", "b3:2"), ("lineage", "parent", "of b3:3"),
    ]  # fmt: skip
    assert list(database.mentions("nowhere")) == []


def test_a_sound_database_has_no_damage(database: Database) -> None:
    with database.write() as tx:
        tx.many(INSERT, [(str(number), "x" * number, number) for number in range(200)])
    assert database.damage() == []


def test_an_error_after_which_all_goes_on_is_not_committed_unseen(database: Database) -> None:
    """PostgreSQL undoes all of it: then leaving says so. SQLite undoes the statement alone."""
    try:
        with database.write() as tx:
            tx.execute(INSERT, ("a", "x", 1))
            with pytest.raises(Exception, match=r"(?i)unique"):
                tx.execute(INSERT, ("a", "x", 1))
    except Failure:
        assert kept(database) == []
    else:
        assert kept(database) == ["a"]


# The schema.


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place where no Windlass has been; open_database opens it."""
    server = request.getfixturevalue("postgres") if request.param == "postgres" else None
    url = server.database("template1") if server else ""
    monkeypatch.setenv(databases.VARIABLE, url)
    yield tmp_path / "windlass.db"
    if server:
        server.drop(url)


def open_and_write(asked: tuple[str, int]) -> tuple[int, int]:
    path, number = asked
    with closing(databases.open_database(Path(path))) as db:
        with db.write() as tx:
            tx.execute(INSERT, (str(number), "x", number))
        with db.read() as tx:
            ((experiments,),) = tx.tuples("SELECT COUNT(*) FROM experiments WHERE id = 0")
    return number, int(experiments)


def test_processes_that_start_at_once_migrate_once(empty: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        asked = [(str(empty), number) for number in range(6)]
        assert pool.map(open_and_write, asked, chunksize=1) == [(number, 1) for number in range(6)]
    with closing(databases.open_database(empty)) as db:
        assert len(kept(db)) == 6


def test_threads_that_start_at_once_migrate_once(empty: Path) -> None:
    gate, inside = threading.Barrier(4), list[tuple[int, int]]()

    def enter(number: int) -> None:
        gate.wait()
        inside.append(open_and_write((str(empty), number)))

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(inside) == [(number, 1) for number in range(4)]


def set_version(db: Database, version: int) -> None:
    with db.write() as tx:
        if is_postgres(db):
            tx.execute("UPDATE windlass_schema SET version = ?", (version,))
        else:
            tx.execute(f"PRAGMA user_version = {version}")


def test_a_newer_schema_is_refused(database: Database, open_database: Open) -> None:
    set_version(database, 9999)
    with pytest.raises(Unavailable, match="newer") as caught:
        open_database()
    assert not caught.value.retryable


@pytest.mark.parametrize("before", [0, 1, len(schema.migrations()) - 1])
def test_any_earlier_schema_is_brought_forward(empty: Path, before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    all_of_them = schema.migrations()
    earlier = all_of_them[: before or 1]
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: earlier)
        databases.open_database(empty).close()
    with closing(databases.open_database(empty)) as db, db.read() as tx:
        assert tx.rows("SELECT * FROM environment_files") == []


def test_a_migration_that_fails_leaves_nothing(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = schema.migrations()[0]
    broken = schema.Migration(2, ("CREATE TABLE half (a INTEGER)", "CREATE TABLE half (a INTEGER)"))
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: (first, broken))
        with pytest.raises(Failure):
            databases.open_database(empty)
    with closing(databases.open_database(empty)) as db:
        with pytest.raises(Failure), db.read() as tx:
            tx.rows("SELECT * FROM half")
        assert kept(db) == []


def test_what_a_migration_may_say_means_the_same(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables without row ids, moved, renamed and grown; each of the types."""
    released = schema.migrations()
    more = schema.Migration(
        released[-1].number + 1,
        (
            "-- An INTEGER in a comment, or TEXT.\nCREATE TABLE old (\n    id INTEGER PRIMARY KEY,\n"
            "    word TEXT NOT NULL, number REAL, bytes BLOB, said TEXT NOT NULL DEFAULT 'REAL TEXT?'\n)",
            "INSERT INTO old (id, word, number) VALUES (5000000000, 'b', 0.1), (1, 'a', 2)",
            "CREATE TABLE fresh (\n    word TEXT NOT NULL, id INTEGER NOT NULL, number REAL,\n"
            "    PRIMARY KEY (word, id)\n) WITHOUT ROWID",
            "INSERT INTO fresh (word, id, number) SELECT word, CAST(id AS INTEGER), number FROM old WHERE word <> '?'",
            "ALTER TABLE fresh ADD COLUMN note TEXT NOT NULL DEFAULT ''",
            "ALTER TABLE old RENAME TO older",
            "DROP TABLE older",
            "ALTER TABLE fresh RENAME TO old",
            "CREATE INDEX old_number ON old (number, word)",
        ),
    )
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: (*released, more))
        with closing(databases.open_database(empty)) as db, db.write() as tx:
            tx.execute("INSERT INTO old (word, id, note) VALUES ('Z', ?, 'n')", (2**62,))
            assert tx.tuples("SELECT * FROM old ORDER BY word") == [
                ("Z", 2**62, None, "n"), ("a", 1, 2.0, ""), ("b", 5000000000, 0.1, ""),
            ]  # fmt: skip


# Which database.


@pytest.mark.parametrize("url", ["mysql://me:secret@h/d", "postgres://me:secret@h/d", "windlass.db", "secret"])
def test_an_unknown_database_is_invalid(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(databases.VARIABLE, url)
    with pytest.raises(Invalid, match="postgresql://") as caught:
        databases.open_database(tmp_path / "w.db")
    assert "secret" not in str(caught.value) + caught.value.hint
    assert "SQLite" in caught.value.hint


def test_without_the_extra_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(databases.VARIABLE, "postgresql://h/d")
    monkeypatch.setitem(sys.modules, "windlass.adapters.postgres", None)
    with pytest.raises(Unavailable, match="postgres") as caught:
        databases.open_database(tmp_path / "w.db")
    assert "windlass[postgres]" in caught.value.hint


def test_an_empty_variable_is_the_projects_own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(databases.VARIABLE, "")
    databases.open_database(tmp_path / "w.db").close()
    assert (tmp_path / "w.db").exists()


def test_a_project_stays_with_its_database(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another one, everything in its store would look like garbage."""
    url, other = postgres.database(), postgres.database("template1")
    monkeypatch.setenv(databases.VARIABLE, url)
    file = tmp_path / "new" / "windlass.db"
    for _ in range(2):
        databases.open_database(file).close()
    assert [each.name for each in file.parent.iterdir()] == ["database"]
    monkeypatch.setenv(databases.VARIABLE, other)
    with pytest.raises(Invalid, match="not the database") as caught:
        databases.open_database(file)
    assert "delete" in caught.value.hint
    monkeypatch.setenv(databases.VARIABLE, "")
    with pytest.raises(Invalid, match="on a server"):
        databases.open_database(file)
    assert not file.exists()
    databases.open_database(tmp_path / "windlass.db").close()
    monkeypatch.setenv(databases.VARIABLE, url)
    with pytest.raises(Invalid, match="is the file"):
        databases.open_database(tmp_path / "windlass.db")
    for each in (url, other):
        postgres.drop(each)


HOLD = """
import sys, time
from pathlib import Path
from windlass.workspace.databases import open_database
with open_database(Path(sys.argv[1])).write() as tx:
    tx.execute("INSERT INTO heads (subject, target, seq) VALUES ('half', 'x', 1)")
    print("in", flush=True)
    time.sleep(600)
"""


def test_a_writer_that_is_killed_leaves_neither_its_rows_nor_its_lock(database: Database, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "windlass.db")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    process.kill()
    process.wait()
    process.stdout.close()
    with database.write() as tx:
        assert subjects(tx) == []
        tx.execute(INSERT, ("whole", "x", 1))
    assert kept(database) == ["whole"]


@pytest.mark.parametrize("count", [1, 9, 10, 61, 1234])
def test_many_rows_are_the_same_as_one_after_another(database: Database, count: int) -> None:
    upsert = (
        "INSERT INTO heads (subject, target, seq) VALUES (?, ?, ?)"
        " ON CONFLICT (subject) DO UPDATE SET target = excluded.target, seq = excluded.seq"
    )
    with database.write() as tx:
        tx.many(upsert, [(f"s{n}", None if n % 3 else "é", n) for n in range(count)])
        # The same subject again and again, in one call: the last one stands.
        tx.many(upsert, [(f"s{n % 7}", "x", 10**12 + n) for n in range(count)])
        tx.many("INSERT INTO heads (subject, target, seq) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", [
            (f"s{n}", "never", 0) for n in range(count)
        ])  # fmt: skip
        found = dict(tx.tuples("SELECT subject, seq FROM heads"))
    assert len(found) == max(count, min(count, 7))
    for n in range(count):
        last = max(m for m in range(count) if m % 7 == n) if n < 7 else None
        assert found[f"s{n}"] == (n if last is None else 10**12 + last)
