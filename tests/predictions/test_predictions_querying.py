"""Asking the log: the same rows wherever they lie, and no way out for hostile SQL."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from test_predictions_parquet import DAY, ONE, TWO, prediction, shadow

from windlass.cli.root import root
from windlass.domain.clock import text_of
from windlass.domain.errors import Denied, Failure, Invalid, NotFound, Unavailable
from windlass.domain.routing import Arm
from windlass.predictions import converting, querying
from windlass.serving.log import Writer
from windlass.serving.record import Record
from windlass.workspace.operations import predictions
from windlass.workspace.operations.predictions import Found, QueryPredictions
from windlass.workspace.workspace import Workspace, open_workspace

CONFIG = '[project]\nname = "p"\n[model]\nname = "m"\n[endpoint]\nname = "e"\n'
NOW = 20_000 * DAY


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    (tmp_path / "windlass.toml").write_text(CONFIG)
    made = open_workspace(tmp_path)
    made.now = lambda: NOW
    with made.database.write() as tx:
        for release, reference in ((ONE, "m@1.0.0"), (TWO, "m@1.1.0")):
            tx.execute(
                "INSERT INTO releases (id, endpoint, reference, package, at) VALUES (?, 'e', ?, 'b3:p', 1)",
                (release, reference),
            )
    return made


def write(ws: Workspace, *records: Record, name: str = "gateway-0") -> None:
    with Writer(ws.layout.predictions / "e", name) as writer:
        for record in records:
            assert writer.append(record)


def put_away(ws: Workspace) -> None:
    converting.convert(ws.layout.predictions / "e", ws.layout.parquet / "e", now=time.time_ns() // 1000)


def ask(ws: Workspace, **said: Any) -> Found:
    return predictions.query(ws, QueryPredictions(**said))


def fill(ws: Workspace) -> None:
    """Some of it in Parquet and some in the log; of one answer the shadow came late, and in the log."""
    candidate = {"release": TWO, "arm": Arm.CANDIDATE, "answered_by": TWO}
    write(ws, *(prediction(n, at=NOW - 3 * DAY + n) for n in range(10)), shadow(0), prediction(20, at=NOW - DAY))
    write(ws, *(prediction(n, at=NOW - 2 * DAY + n, **candidate) for n in range(30, 34)), shadow(1))
    write(ws, prediction(40, at=NOW - 5, rows=[{"x": 2.5, "new": True}]), name="gateway-1")
    put_away(ws)
    write(ws, shadow(20), prediction(50, at=NOW - 1, status=503, user_status=503, answers=None, answered_by=""))


def test_a_summary_counts_requests_by_release_arm_and_status(ws: Workspace) -> None:
    fill(ws)
    found = ask(ws)
    assert found.columns == ("release", "arm", "status", "requests", "rows", "users", "p50_ms", "p99_ms")
    assert [row[:6] for row in found.rows] == [
        (ONE, "stable", 200, 12, 12, 12), (TWO, "candidate", 200, 4, 4, 4), (ONE, "stable", 503, 1, 1, 1),
    ]  # fmt: skip


def test_rows_are_the_same_before_and_after_they_are_put_away(ws: Workspace) -> None:
    fill(ws)
    before = ask(ws, where="true", limit=1000)
    assert len(before.rows) == 17 and not before.truncated
    for _ in range(2):
        write(ws, prediction(1000, at=NOW + DAY))
        put_away(ws)
    after = ask(ws, where="id <> 'p1000'", limit=1000)
    assert after.rows == before.rows and after.columns == before.columns
    shadowed = {row[0]: row[-2] for row in after.rows if row[after.columns.index("shadow_release")]}
    assert shadowed == {"p0": 0, "p1": 0, "p20": 0}  # two of them came with another segment


def test_inputs_have_their_types_over_all_releases(ws: Workspace) -> None:
    fill(ws)
    found = ask(ws, sql="SELECT sum(inputs.x) AS s, max(inputs.new) AS n, typeof(any_value(inputs.x)) FROM predictions")
    assert found.rows == ((sum(range(10)) + 20 + 30 + 31 + 32 + 33 + 2.5 + 50, True, "DOUBLE"),)


@pytest.mark.parametrize(
    ("said", "ids"),
    [
        ({"since": "1h"}, {"p40", "p50"}),
        ({"since": "1d", "until": "1s"}, {"p20"}),
        ({"since": text_of(NOW - 2 * DAY), "until": text_of(NOW - DAY)}, {"p30", "p31", "p32", "p33"}),
        ({"release": "m@1.1.0"}, {"p30", "p31", "p32", "p33"}),
        ({"release": "222222"}, {"p30", "p31", "p32", "p33"}),
        ({"arm": "candidate"}, {"p30", "p31", "p32", "p33"}),
        ({"arm": "chosen"}, set()),
        ({"where": "status >= 500"}, {"p50"}),
        ({"where": "inputs.name = 'n7' -- and a comment"}, {"p7"}),
    ],
)
def test_rows_of_an_interval_a_release_an_arm(ws: Workspace, said: dict[str, Any], ids: set[str]) -> None:
    fill(ws)
    assert {row[0] for row in ask(ws, **{"where": "true", **said}).rows} == ids


def test_a_limit_is_said(ws: Workspace) -> None:
    fill(ws)
    found = ask(ws, where="true", limit=5)
    assert len(found.rows) == 5 and found.truncated
    for limit in (0, -1, 10_001):
        with pytest.raises(Invalid, match="limit"):
            ask(ws, limit=limit)


@pytest.mark.parametrize(
    ("said", "kind", "word"),
    [
        ({"endpoint": "other"}, NotFound, "no predictions"),
        ({"endpoint": "../e"}, Invalid, "endpoint name"),
        ({"release": "m@9.9.9"}, NotFound, "no release"),
        ({"arm": "left"}, Invalid, "no arm"),
        ({"since": "yesterday"}, Invalid, "not a time"),
        ({"sql": "SELECT 1", "where": "true"}, Invalid, "both"),
        ({"sql": "SELECT nothing FROM predictions"}, Invalid, "nothing"),
        ({"sql": "SELEC"}, Invalid, "syntax"),
        ({"sql": ""}, Invalid, "one SELECT"),
        ({"where": "true) --"}, Invalid, "syntax"),
        ({"sql": "SELECT CAST(id AS INTEGER) FROM predictions"}, Invalid, "[Cc]onver"),
        ({"sql": "SELECT repeat('x', 100000000) FROM predictions"}, Invalid, "too large"),
    ],
)
def test_bad_questions_are_refused_in_words(
    ws: Workspace, said: dict[str, Any], kind: type[Failure], word: str
) -> None:
    fill(ws)
    with pytest.raises(kind, match=word) as refused:
        ask(ws, **said)
    assert refused.value.hint


HOSTILE = [
    "COPY (SELECT * FROM predictions) TO '{out}/stolen.csv'",
    "COPY predictions TO '{out}/stolen.parquet' (FORMAT parquet)",
    "EXPORT DATABASE '{out}/stolen'",
    "ATTACH '{out}/stolen.db'",
    "ATTACH '{db}' AS db (TYPE sqlite)",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "PRAGMA database_list",
    "CREATE TABLE stolen AS FROM predictions",
    "DROP VIEW predictions",
    "DELETE FROM live_predictions",
    "SELECT 1; COPY (SELECT 1) TO '{out}/stolen.csv'",
    "CALL pragma_version()",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd.csv'",
    "SELECT * FROM read_text('{db}')",
    "SELECT * FROM read_blob('{key}')",
    "SELECT * FROM read_parquet('{parquet}')",
    "SELECT * FROM read_json('https://127.0.0.1:1/x.json')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sqlite_scan('{db}', 'ledger')",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{out}/stolen.csv''')",
    "SELECT getenv('HOME')",
    "SELECT * FROM connection",
    "SELECT * FROM pairs",
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_hostile_sql_reads_no_file_and_writes_none(ws: Workspace, tmp_path: Path, sql: str) -> None:
    fill(ws)
    out = tmp_path / "out"
    out.mkdir()
    places = {
        "out": out, "db": ws.layout.database, "key": ws.layout.home / "predictions.key",
        "parquet": next(ws.layout.parquet.rglob("part-*.parquet")),
    }  # fmt: skip
    kept = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises((Invalid, Denied, Unavailable)):
        ask(ws, sql=sql.format(**places))
    assert sorted(path for path in tmp_path.rglob("*")) == kept


def test_a_query_that_does_not_end_is_ended(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(ws)
    monkeypatch.setattr(querying, "SECONDS", 0.3)
    with pytest.raises(Failure, match="longer than"):
        ask(ws, sql="SELECT count(*) FROM range(100000000000) a, range(1000) b WHERE a.range * b.range % 7 = 8")


def run(*words: str) -> Any:
    return CliRunner().invoke(root, list(words), catch_exceptions=False)


def test_the_command_prints_tables_json_csv_and_writes_parquet(ws: Workspace, tmp_path: Path) -> None:
    fill(ws)
    project = ("--project", str(ws.layout.root), "predictions", "e")
    assert "REQUESTS" in run(*project).output
    found = json.loads(run(*project, "--where", "id = 'p40'", "--json").output)
    row = dict(zip(found["columns"], found["rows"][0], strict=True))
    assert row["inputs"]["x"] == 2.5 and row["asked_at"] == text_of(NOW - 5)
    lines = list(
        csv.reader(io.StringIO(run(*project, "--sql", "SELECT id FROM predictions ORDER BY id", "--csv").output))
    )
    assert len(lines) == 18 and lines[:2] == [["id"], ["p0"]]
    out = tmp_path / "all.parquet"
    assert f"17 rows in {out}" in run(*project, "--where", "true", "--out", str(out)).output
    assert pq.read_table(out).num_rows == 17
    assert "the first 3" in run(*project, "--where", "true", "--limit", "3").output


def test_out_is_for_the_folder_itself(ws: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDLASS_URL", "http://127.0.0.1:1")
    with pytest.raises(Invalid, match="on the server"):
        run("--project", str(ws.layout.root), "predictions", "--out", str(tmp_path / "x.parquet"))
    assert not (tmp_path / "x.parquet").exists()
