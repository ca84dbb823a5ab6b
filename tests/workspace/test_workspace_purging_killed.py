"""A purge killed (SIGKILL) between any two of its statements: nothing half-gone is seen, and the next one ends it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from windlass.domain.ports import Database
from windlass.registry import tracking
from windlass.workspace.operations.storage import CheckStore
from windlass.workspace.operations.storage import verify as verify_store
from windlass.workspace.verification import verify
from windlass.workspace.workspace import open_workspace

CONFIG = """
[project]
name = "p"
[model]
name = "p"
step = "train"
[endpoint]
name = "p"
"""
RUNS, KEPT = 12, 4

# Ends itself before its Nth changing statement.
PURGE = """
import os, signal, sys
from pathlib import Path
from windlass.adapters.postgres import PostgresTransaction
from windlass.adapters.sqlite import SqliteTransaction
from windlass.governance.retention import purging, removing
from windlass.workspace import databases
from windlass.workspace.operations.deletion import PurgeDeleted, purge
from windlass.workspace.workspace import open_workspace

root, left = Path(sys.argv[1]), int(sys.argv[2])
removing.PIECE, purging.ROUND = 25, 3
for kind in (PostgresTransaction, SqliteTransaction):
    def execute(tx, sql, params=(), kind=kind, inner=kind.execute):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(tx, sql, params)
    kind.execute = execute
ws = open_workspace(root)
ws.database = databases.open_database(root.parent / "windlass.db")
print(sum(purge(ws, PurgeDeleted(older_than=0)).counts.values()))
"""


def test_a_purge_that_is_killed_is_ended_by_the_next(tmp_path: Path, open_database: Callable[[], Database]) -> None:
    database = open_database()
    root = tmp_path / "project"
    root.mkdir()
    (root / "windlass.toml").write_text(CONFIG)
    ws = open_workspace(root)
    ws.database = database
    ids = [f"{number:032x}" for number in range(1, RUNS + 1)]
    for number, run in enumerate(ids):
        with ws.objects.batch(), database.write() as tx:
            tracking.create_run(tx, run_id=run, experiment_id="0", name="r", user="ada", at=1)
            points = [("m", float(step), step, step) for step in range(60)]
            tracking.log(tx, run, params={f"p{n}": "v" for n in range(10)}, metrics=points)
            for name in range(5):
                data = f"{number} {name}".encode() * 1000
                tracking.add_artifact(
                    tx, tracking.run_root("0", run), path=f"{name}", digest=ws.objects.put(data), size=len(data)
                )
            if number >= KEPT:
                tx.execute("UPDATE runs SET stage = 'deleted', deleted_at = 1 WHERE run_id = ?", (run,))

    killed, after = 0, 2
    while True:
        done = subprocess.run(
            [sys.executable, "-c", PURGE, str(root), str(after)], capture_output=True, text=True, check=False
        )
        # Each run is whole or not there at all, and what the ledger tells is what is gone.
        with database.read() as tx:
            left = [run for (run,) in tx.tuples("SELECT run_id FROM runs ORDER BY run_id")]
            for run in left:
                found = tracking.find_run(tx, run)
                points = tx.tuples("SELECT COUNT(*) FROM run_metrics WHERE run = ?", (found.number,))
                assert (len(found.params), points) == (10, [(60,)])
                assert len(tracking.list_artifacts(tx, tracking.run_root("0", run))) == 5
            told = [json.loads(row["evidence"]) for row in tx.rows("SELECT evidence FROM ledger WHERE subject='purge'")]
        assert left[:KEPT] == ids[:KEPT]
        assert sum(each["run"] for each in told) == RUNS - len(left)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        killed += 1
        after += 3
    assert killed > 5
    assert left == ids[:KEPT]
    with database.read() as tx:
        for table, count in (("purging", 0), ("run_params", 40), ("run_metrics", 240), ("artifacts", 20)):
            assert tx.tuples(f"SELECT COUNT(*) FROM {table}") == [(count,)]
    assert verify(ws).problems == ()
    assert verify_store(ws, CheckStore()).ok
    with pytest.raises(Exception, match="not found"), database.read() as tx:
        tracking.find_run(tx, ids[-1])
