"""A training script that knows only mlflow, with the real client, against our server."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from windlass.domain.ports import Database
from windlass.registry import tracking
from windlass.registry.tracking import runs
from windlass.server.tracking import step_tracking, tracking_server
from windlass.workspace.layout import Layout
from windlass.workspace.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, database: Database) -> Workspace:
    found = Workspace(Layout(tmp_path), actor="ada")
    found.database = database
    return found


SCRIPT = """
import json, math, pathlib, sys
import mlflow

mlflow.set_experiment("employment")
with mlflow.start_run(run_name="first", tags={"team": "labour"}) as run:
    mlflow.log_params({"depth": 3, "rate": 0.1})
    mlflow.log_param("kind", "tree")
    for step in range(3):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    mlflow.log_metrics({"accuracy": 0.9, "odd": math.nan})
    mlflow.set_tag("note", "hello")
    pathlib.Path("report.txt").write_text("all is well")
    mlflow.log_artifact("report.txt", "reports")
with mlflow.start_run() as second:
    mlflow.log_metric("accuracy", 0.5)
failed = None
try:
    with mlflow.start_run() as third:
        raise RuntimeError
except RuntimeError:
    failed = mlflow.get_run(third.info.run_id).info.status

client = mlflow.MlflowClient()
got = mlflow.get_run(run.info.run_id)
try:
    client.log_param(run.info.run_id, "depth", 4)
except mlflow.MlflowException as error:
    changed = error.error_code
json.dump({
    "run": run.info.run_id,
    "status": got.info.status,
    "name": got.info.run_name,
    "ended": got.info.end_time >= got.info.start_time,
    "params": got.data.params,
    "accuracy": got.data.metrics["accuracy"],
    "odd": math.isnan(got.data.metrics["odd"]),
    "tags": {k: v for k, v in got.data.tags.items() if not k.startswith("mlflow.")},
    "history": [[m.step, m.value] for m in client.get_metric_history(run.info.run_id, "loss")],
    "artifacts": [[f.path, f.is_dir, f.file_size] for f in client.list_artifacts(run.info.run_id, "reports")],
    "content": pathlib.Path(client.download_artifacts(run.info.run_id, "reports/report.txt")).read_text(),
    "text": mlflow.artifacts.load_text(got.info.artifact_uri + "/reports/report.txt"),
    "found": [r.info.run_id for r in client.search_runs(["1"], "metrics.accuracy > 0.8 and params.kind = 'tree'")],
    "best": [r.data.metrics["accuracy"] for r in mlflow.search_runs(
        experiment_names=["employment"], order_by=["metrics.accuracy ASC"], output_format="list")
        if "accuracy" in r.data.metrics],
    "experiments": sorted(e.name for e in client.search_experiments()),
    "failed": failed,
    "changed": changed,
}, sys.stdout)
"""


needs_mlflow = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="needs mlflow (dependency group `contract`)"
)


def run_script(code: str, folder: Path, **environment: str) -> str:
    """What a training script prints, in a process of its own."""
    (folder / "train.py").write_text(code)
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    done = subprocess.run(
        [sys.executable, "train.py"], env={**os.environ, **quiet, **environment}, cwd=folder, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@needs_mlflow
def test_a_script_that_knows_only_mlflow_is_tracked(workspace: Workspace, tmp_path: Path) -> None:
    with tracking_server(workspace) as url:
        printed = run_script(SCRIPT, tmp_path, MLFLOW_TRACKING_URI=url)
    said = json.loads(printed[printed.index('{"run"') :])
    run = said.pop("run")
    assert said == {
        "status": "FINISHED",
        "name": "first",
        "ended": True,
        "params": {"depth": "3", "rate": "0.1", "kind": "tree"},
        "accuracy": 0.9,
        "odd": True,
        "tags": {"team": "labour", "note": "hello"},
        "history": [[0, 1.0], [1, 0.5], [2, 1 / 3]],
        "artifacts": [["reports/report.txt", False, 11]],
        "content": "all is well",
        "text": "all is well",
        "found": [run],
        "best": [0.5, 0.9],
        "experiments": ["Default", "employment"],
        "failed": "FAILED",
        "changed": "INVALID_PARAMETER_VALUE",
    }
    with workspace.database.read() as tx:
        kept = tracking.find_artifact(tx, tracking.run_root("1", run), "reports/report.txt")
    assert workspace.objects.get(kept.digest) == b"all is well"


@needs_mlflow
def test_a_script_run_as_a_step_logs_beneath_its_pipelines_run(workspace: Workspace, tmp_path: Path) -> None:
    parent = "a" * 32
    with workspace.database.write() as tx:
        experiment = tracking.create_experiment(tx, name="pipeline", at=1)
        tracking.create_run(tx, run_id=parent, experiment_id=experiment, name="p", user="ada", at=1)
    with step_tracking(workspace)(parent) as environment:
        run_script("import mlflow\nmlflow.log_metric('m', 1.0)\n", tmp_path, **environment)
    with workspace.database.read() as tx:
        [child] = [run for run in runs.read(tx, [1, 2]) if run.run_id != parent]
    assert (child.tags["mlflow.parentRunId"], child.metrics["m"].value, child.status) == (parent, 1.0, "FINISHED")


def test_the_server_is_gone_when_its_block_ends(workspace: Workspace) -> None:
    from windlass.server import binding

    with tracking_server(workspace) as url:
        port = int(url.rpartition(":")[2])
    binding.listen("127.0.0.1", port).close()
