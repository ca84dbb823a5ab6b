"""Queries as sources: what they read, what they may not, and that the same rows are the same bytes."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.capture.sources import parquet, sql, versions
from windlass.capture.sources.attached import shown, without_secrets
from windlass.capture.sources.parameters import parsed, with_dollars
from windlass.domain import digest
from windlass.domain.errors import Denied, Failure, Invalid, NotFound, Unavailable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    (place / "data").mkdir(parents=True)
    (place / ".hidden").mkdir()
    (place / "data" / "a.csv").write_text("x,y\n3,b\n1,\n2,a\n")
    (place / ".hidden" / "k.csv").write_text("k\n1\n")
    (tmp_path / "outside.csv").write_text("k\n1\n")
    with closing(sqlite3.connect(place / "crm.db")) as db:
        db.execute("CREATE TABLE Users (id, name TEXT, score, mixed, data)")
        db.execute("INSERT INTO Users VALUES (1, 'ann', 1, 1, x'00'), (3, NULL, 2.5, 'two', NULL)")
        db.commit()
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "made"
    place.mkdir()
    return place


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / sql.FILE).to_pylist()
    return found


def test_a_query_is_materialised_sorted_with_its_provenance(root: Path, folder: Path) -> None:
    query = "SELECT y, x FROM 'data/a.csv' WHERE x >= :least -- and a comment"
    said = sql.materialise(query, folder, root=root, parameters={"least": 2}, confined=True)
    assert rows(folder) == [{"y": "a", "x": 2}, {"y": "b", "x": 3}]
    assert said.pop("engine").startswith("duckdb ")
    assert said == {
        "kind": "sql", "query": query, "parameters": {"least": 2}, "sources": {},
        "inputs": {"data/a.csv": digest.of_file(root / "data" / "a.csv")},
    }  # fmt: skip
    assert [file.name for file in folder.iterdir()] == [sql.FILE], "no scratch is left"


def test_the_same_rows_are_the_same_bytes_in_whatever_order_the_input_had_them(root: Path, tmp_path: Path) -> None:
    made = []
    for number, order in enumerate([range(200_000), reversed(range(200_000))]):
        pq.write_table(pa.table({"k": (keys := list(order)), "v": [k % 7 / 3 for k in keys]}), root / "data/t.parquet")
        (place := tmp_path / str(number)).mkdir()
        sql.materialise("SELECT k, sum(v) OVER (ORDER BY k) s FROM 'data/t.parquet'", place, root=root, confined=True)
        made.append((place / sql.FILE).read_bytes())
    assert made[0] == made[1]
    described: Any = pq.ParquetFile(tmp_path / "0" / sql.FILE)
    assert described.metadata.num_row_groups == 4
    assert described.metadata.metadata is None, "no writer's metadata"


def test_sqlite_is_attached_by_name_and_typed_by_its_values(root: Path, folder: Path) -> None:
    said = sql.materialise(
        "SELECT * FROM crm.users JOIN 'data/a.csv' ON x = id",
        folder, root=root, sources={"crm": "sqlite:crm.db"}, confined=True,
    )  # fmt: skip
    assert rows(folder) == [
        {"id": 1, "name": "ann", "score": 1.0, "mixed": "1", "data": b"\0", "x": 1, "y": None},
        {"id": 3, "name": None, "score": 2.5, "mixed": "two", "data": None, "x": 3, "y": "b"},
    ]
    assert said["sources"] == {"crm": "crm.db"}
    assert sorted(said["inputs"]) == ["crm.db#users", "data/a.csv"]
    with pytest.raises(NotFound, match=r"has no table 'nope' \(it has: Users\)"):
        sql.materialise("FROM crm.nope", folder, root=root, sources={"crm": "crm.db"}, confined=True)
    with pytest.raises(Invalid, match="cannot be read as SQLite"):
        (root / "no.db").write_text("this is not a database, whatever its name says" * 20)
        sql.materialise("FROM crm.nope", folder, root=root, sources={"crm": "no.db"}, confined=True)


def test_files_are_attached_by_name_too(root: Path, folder: Path) -> None:
    said = sql.materialise("SELECT x FROM events", folder, root=root, sources={"events": "data/*.csv"}, confined=True)
    assert rows(folder) == [{"x": 1}, {"x": 2}, {"x": 3}]
    assert list(said["inputs"]) == ["data/a.csv"]


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO 'data/x.csv'", "SELECT 1; SELECT 2", "", "-- nothing", "INSTALL httpfs", "LOAD httpfs",
        "ATTACH 'data/x.db' AS x", "CREATE TABLE x AS SELECT 1", "SET threads = 4", "PRAGMA threads = 4",
        "WITH x AS (COPY (SELECT 1) TO 'data/x.csv') FROM x",
        "SELECT * FROM query('COPY (SELECT 1) TO ''data/x.csv''')",
        "SELECT 1) TO 'data/x.csv'", "selec 1", "FROM nowhere", "SELECT $missing", "SELECT interval 1 day",
        "EXPORT DATABASE 'data'", "EXPLAIN ANALYZE COPY (SELECT 1) TO 'data/x.csv'",
    ],
)  # fmt: skip
def test_anything_but_one_select_is_refused_and_writes_nothing(root: Path, folder: Path, query: str) -> None:
    before = sorted(root.rglob("*"))
    for confined in (True, False):
        with pytest.raises(Invalid) as caught:
            sql.materialise(query, folder, root=root, confined=confined)
        assert caught.value.hint
        assert "\n" not in caught.value.message
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    "query",
    [
        "FROM '../outside.csv'", "FROM 'data/../../outside.csv'", "FROM '{outside}'", "FROM 'data/link.csv'",
        "FROM '.hidden/k.csv'", "FROM 'data/../.hidden/k.csv'", "FROM read_text('/etc/hostname')",
        "FROM glob('/etc/*')", "FROM read_csv('da' || 'ta/../../outside.csv')", "FROM linked.k",
    ],
)  # fmt: skip
def test_a_confined_query_cannot_leave_the_project(root: Path, folder: Path, query: str) -> None:
    outside = root.parent / "outside.csv"
    (root / "data" / "link.csv").symlink_to(outside)
    (root / "linked").symlink_to(root.parent)
    query = query.replace("{outside}", str(outside)).replace("linked.k", "'linked/outside.csv'")
    with pytest.raises((Denied, Invalid)) as caught:
        sql.materialise(query, folder, root=root, confined=True)
    assert caught.value.hint
    assert not (folder / sql.FILE).exists()


def test_a_query_of_the_owner_may_read_elsewhere(root: Path, folder: Path) -> None:
    outside = root.parent / "outside.csv"
    said = sql.materialise(f"FROM '{outside}'", folder, root=root, confined=False)
    assert said["inputs"] == {str(outside): digest.of_file(outside)}


def test_sources_outside_are_denied_where_the_query_is_confined(root: Path, folder: Path) -> None:
    for url in ["postgresql://h/db", "../x.db", "sqlite:///etc/x.db", "https://h/x.csv", "../o.csv", ".hidden/k.csv"]:
        with pytest.raises(Denied) as caught:
            sql.materialise("FROM s.t", folder, root=root, sources={"s": url}, confined=True)
        assert caught.value.hint
    for sources in [{"a-b": "data/a.csv"}, {"s": "ftp://h/x"}, {"s": ""}]:
        with pytest.raises(Invalid) as wrong:
            sql.materialise("FROM s", folder, root=root, sources=sources, confined=False)
        assert wrong.value.hint
    with pytest.raises(NotFound, match="no variable NOPE"):
        sql.materialise("FROM s", folder, root=root, sources={"s": "${NOPE}.csv"}, confined=False)


def test_no_password_reaches_an_error(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root))  # no extension is installed there
    with pytest.raises(Failure) as caught:
        sql.materialise(
            "FROM pg.t", folder, root=root, confined=False,
            sources={"pg": "postgresql://me:${PW}@127.0.0.1:1/db?password=${PW}"}, environment={"PW": "hunter2"},
        )  # fmt: skip
    assert isinstance(caught.value, Unavailable)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


def test_what_may_be_told_of_a_url() -> None:
    assert shown("postgresql://me:pw@h:5432/db?password=x") == "postgresql://h:5432/db"
    assert shown("data/a.csv") == "data/a.csv"
    assert without_secrets("at postgresql://me:pw@h/db password='a b' x") == "at postgresql://h/db password=*** x"
    assert without_secrets("SELECT key FROM t WHERE x = 1") == "SELECT key FROM t WHERE x = 1"


def test_parameters_are_bound_and_every_one_is_used(root: Path, folder: Path) -> None:
    evil = "' OR 1 = 1; DROP TABLE x --"
    sql.materialise(
        "SELECT :a a, $b b, ':a' c, 1::INT d", folder, root=root, parameters={"a": evil, "b": 1}, confined=True
    )
    assert rows(folder) == [{"a": evil, "b": 1, "c": ":a", "d": 1}]
    for query, given_, word in [("SELECT $a", {}, "a has no value"), ("SELECT 1", {"a": 1}, "no parameter a")]:
        with pytest.raises(Invalid, match=word) as caught:
            sql.materialise(query, folder, root=root, parameters=given_, confined=True)
        assert caught.value.hint


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("x = :a", "x = $a"), ("(:a)", "($a)"), (":a", "$a"), ("x::a", "x::a"), ("':a'", "':a'"), ('":a"', '":a"'),
        ("-- :a\n:a", "-- :a\n$a"), ("/* :a */:a", "/* :a */$a"), ("$$ :a $$", "$$ :a $$"), ("y[1:a]", "y[1:a]"),
        ("{'k':a}", "{'k':a}"), (":b", ":b"), ("'it''s :a'", "'it''s :a'"), (":ab", ":ab"),
    ],
)  # fmt: skip
def test_colons_are_parameters_only_where_nothing_else_is_meant(query: str, expected: str) -> None:
    assert with_dollars(query, {"a": 1}) == expected


def test_parameters_of_a_command_line() -> None:
    texts = ["a=1", "a=-1.5", "a=true", "a=x=y", "a=", "a=007", "a=1e400", "a=2015-01-01"]
    assert [parsed(text)[1] for text in texts] == [1, -1.5, True, "x=y", "", "007", "1e400", "2015-01-01"]
    for text in ["a", "=1", "1a=2", "a b=1"]:
        with pytest.raises(Invalid):
            parsed(text)


def test_what_is_a_query() -> None:
    assert all(map(sql.is_query, ["SELECT 1", " with x as (select 1) from x", "FROM 'a.csv'", "q/a.sql", "select\n1"]))
    assert not any(map(sql.is_query, ["data/acs", "select", "from", "s3://b/p", "selected data"]))


def test_a_statement_may_lie_in_a_file(root: Path) -> None:
    (root / "q.sql").write_text("SELECT 1")
    assert sql.text_of("q.sql", root) == "SELECT 1"
    assert sql.text_of("SELECT 'x.sql'", root) == "SELECT 'x.sql'"
    with pytest.raises(NotFound, match="no file nope"):
        sql.text_of("nope.sql", root)


def test_lakes_tell_their_version(tmp_path: Path) -> None:
    log = tmp_path / "t" / "_delta_log"
    log.mkdir(parents=True)
    for name in ["00000000000000000000.json", "00000000000000000011.json", "00000000000000000010.checkpoint.parquet"]:
        (log / name).write_text("{}")
    assert versions.of_delta(tmp_path / "t") == 11
    assert versions.of_delta(tmp_path) is None
    metadata = tmp_path / "i" / "metadata"
    metadata.mkdir(parents=True)
    for number in (2, 10):
        (metadata / f"v{number}.metadata.json").write_text(json.dumps({"current-snapshot-id": number}))
    assert versions.of_iceberg(tmp_path / "i") == 10
    assert versions.of_iceberg(metadata / "v2.metadata.json") == 2
    assert versions.of_iceberg(tmp_path) is None
    (metadata / "v11.metadata.json").write_text("broken")
    assert versions.of_iceberg(tmp_path / "i") is None


def test_a_file_that_changed_meanwhile_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("a")
    read = versions.digests([file])
    versions.unchanged(read)
    file.write_text("ab")
    with pytest.raises(Unavailable, match="changed while it was read"):
        versions.unchanged(read)
    file.unlink()
    with pytest.raises(Unavailable):
        versions.unchanged(read)


@given(cuts=st.lists(st.integers(0, 9), max_size=12))
def test_how_rows_come_in_batches_does_not_show(cuts: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("parquet")
    table = pa.table({"a": list(range(sum(cuts))), "b": pa.array(["x"] * sum(cuts)).dictionary_encode()})
    batches, at = [], 0
    for cut in cuts:
        batches += table.slice(at, cut).to_batches()
        at += cut
    assert parquet.write(table.schema, batches, place / "cut") == sum(cuts)
    parquet.write(table.schema, table.to_batches(), place / "whole")
    assert (place / "cut").read_bytes() == (place / "whole").read_bytes()
