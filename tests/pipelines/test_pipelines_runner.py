"""Runs with real processes: cached, retried, cut off, resumed, rebuilt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from windlass.domain.errors import Failure
from windlass.pipelines import runs
from windlass.registry import tracking
from windlass.registry.tracking import runs as tracked
from windlass.server.tracking import step_tracking
from windlass.workspace.layout import Layout
from windlass.workspace.workspace import Workspace


def states(run: runs.Run) -> dict[str, str]:
    return {step.name: step.state.value for step in run.steps}


def test_a_second_run_does_nothing_and_says_why(project: Callable[..., Any]) -> None:
    made = project()
    first, second = made.run(), made.run()
    assert states(first) == {"prepare": "done", "train": "done", "evaluate": "done"}
    assert first.metrics == {"score": 6.5}
    assert states(second) == {"prepare": "cached", "train": "cached", "evaluate": "cached"}
    assert second.steps[0].cause == f"nothing changed since run {first.id[:8]}"
    assert second.metrics == first.metrics
    assert runs.table(made.objects, second, "prepare/test").num_rows == 3
    with made.db.read() as tx:
        assert [run.id for run in runs.ls(tx, 10)] == [second.id, first.id]
        assert runs.find(tx, first.id[:10]) == first
        tracked = tracking.find_run(tx, first.id)
    assert {name: metric.value for name, metric in tracked.metrics.items()} == {"score": 6.5}


def test_only_what_depends_on_a_change_runs_again(project: Callable[..., Any]) -> None:
    made = project()
    made.run()
    made.write("unrelated.py", "x = 1\n")
    assert set(states(made.run()).values()) == {"cached"}
    made.write("deep.py", "def value(table):\n    return 100.0\n")
    again = made.run()
    assert states(again) == {"prepare": "cached", "train": "done", "evaluate": "done"}
    assert again.steps[1].cause == "deep.py changed"
    assert again.code.dirty
    assert made.run({"seed": 4}).steps[1].cause == "seed changed"
    assert set(states(made.run({"seed": 4}, environment="b3:" + "f" * 64)).values()) == {"done"}


FLAKY = """
from pathlib import Path
from windlass import step

@step(retries=2, backoff_seconds=0.01)
def train(rows: Path):
    marker = Path({marker!r})
    count = len(marker.read_text()) if marker.exists() else 0
    marker.write_text("x" * (count + 1))
    if count < {failures}:
        raise ConnectionError("not yet")
    return {{"count": count + 1}}
"""


def test_a_step_is_tried_again_with_back_off(project: Callable[..., Any], tmp_path: Path) -> None:
    made = project(FLAKY.format(marker=str(tmp_path / "marker"), failures=2))
    (step,) = made.run().steps
    assert (step.state, step.attempts) == ("done", 3)
    assert any("ConnectionError: not yet; again in 0.01 s" in line for line in made.said)
    assert any("again in 0.02 s" in line for line in made.said)


def test_a_step_that_keeps_failing_fails_the_run_which_resumes_there(
    project: Callable[..., Any], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    pipeline = FLAKY.format(marker=str(marker), failures=3).replace("rows: Path", "first") + (
        "\n@step\ndef first(rows: Path):\n    return 1\n\n@step\ndef last(train):\n    return 2\n"
    )
    made = project(pipeline)
    with pytest.raises(Failure, match="step 'train' failed: ConnectionError: not yet") as failure:
        made.run()
    assert "train.log" in failure.value.hint
    with made.db.read() as tx:
        failed = runs.find(tx)
    assert states(failed) == {"first": "done", "train": "failed", "last": "skipped"}
    assert failed.status == "failed"
    assert states(made.run()) == {"first": "cached", "train": "done", "last": "done"}


@pytest.mark.sqlite_only
def test_a_step_that_takes_too_long_is_ended_with_all_that_it_started(
    project: Callable[..., Any], tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    made = project(
        "import subprocess, time\nfrom pathlib import Path\nfrom windlass import step\n\n"
        "@step(timeout_seconds=1.5)\ndef train(rows: Path):\n"
        f"    child = subprocess.Popen(['sleep', '600'])\n    Path({str(pid)!r}).write_text(str(child.pid))\n"
        "    time.sleep(600)\n"
    )
    with pytest.raises(Failure, match=r"did not end within 1\.5 s"):
        made.run()
    child = Path(f"/proc/{pid.read_text()}/stat")
    assert not child.exists() or " Z " in child.read_text()


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from conftest import Project
from windlass.store.objects import PackedObjects
from windlass.workspace.stores import local_store
from windlass.workspace.databases import open_database
place = Path(sys.argv[1])
Project(place / "project", open_database(place / "windlass.db"), local_store(place / "objects")).run()
"""


def test_killed_in_the_second_step_the_next_run_goes_on_from_there(
    project: Callable[..., Any], tmp_path: Path, processes: Callable[[str], list[int]]
) -> None:
    started = tmp_path / "started"
    made = project(
        "import time\nfrom pathlib import Path\nfrom windlass import step\n\n"
        "@step\ndef first(rows: Path):\n    return 1\n\n"
        "@step\ndef second(first):\n"
        f"    marker = Path({str(started)!r})\n"
        "    if not marker.exists():\n        marker.touch()\n        time.sleep(600)\n"
        "    return first + 1\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path), "x", str(Path(__file__).parent)], start_new_session=True
    )
    deadline = time.monotonic() + 30
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for orphan in processes(str(tmp_path)):
        os.kill(orphan, signal.SIGKILL)
    assert states(made.run()) == {"first": "cached", "second": "done"}


def test_a_command_is_a_step_and_leaves_files(project: Callable[..., Any]) -> None:
    made = project()
    made.write(
        "script.py",
        "import os, pathlib\nout = pathlib.Path(os.environ['WINDLASS_OUTPUT'])\n"
        "rows = pathlib.Path(os.environ['WINDLASS_DATA_ROWS'])\n"
        "(out / 'names.txt').write_text(','.join(p.name for p in rows.iterdir()))\n",
    )
    config = {"commands": {"legacy": _command(["python", "script.py"], ("rows",))}}
    run = made.run(config)
    assert states(run)["legacy"] == "done"
    assert states(made.run(config))["legacy"] == "cached"
    with made.db.read() as tx:
        artifact = tracking.find_artifact(tx, f"1/{run.id}/artifacts", "legacy/names.txt")
    assert made.objects.get(artifact.digest) == b"rows.parquet"


def test_a_script_that_calls_mlflow_is_a_legal_step_as_it_is(project: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="the real MLflow client is in the group 'contract'")
    made = project()
    workspace = Workspace(Layout(tmp_path / "tracked"), actor="dana")
    workspace.database, workspace.store = made.db, made.objects
    made.write(
        "train.py",
        "import mlflow\nwith mlflow.start_run():\n    mlflow.log_param('depth', 3)\n"
        "    mlflow.log_metric('loss', 0.25)\n",
    )
    run = made.run(
        {"commands": {"legacy": _command(["python", "train.py"], ())}},
        tracking=step_tracking(workspace),
    )
    assert states(run)["legacy"] == "done"
    with made.db.read() as tx:
        own = tracking.find_run(tx, run.id)
        logged = [each for each in tracked.read(tx, [1, 2]) if each.run_id != own.run_id]
    assert [{name: metric.value for name, metric in each.metrics.items()} for each in logged] == [{"loss": 0.25}]


def _command(run: list[str], needs: tuple[str, ...]) -> Any:
    from windlass.pipelines.config import CommandConfig

    return CommandConfig(run=run, needs=needs)
