"""A script with `mlflow.autolog()` and nothing of Windlass in it becomes a registered, gated, released endpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

CENSUS = Path(__file__).parents[2] / "examples" / "employment" / "data" / "acs_ma_employment_2015.parquet"
CONFIG = """
[project]
name = "census"
[data.held-out]
path = "held-out.parquet"
target = "employed"
[data.seen]
path = "seen.parquet"
target = "employed"
[model]
name = "census"
[gates]
evaluation = "dataset:held-out"
training = "dataset:seen"
target = "employed"
positive = 1
approvals = 1
[gates.metrics]
accuracy = { min = 0.6 }
[endpoint]
name = "census"
"""
SCRIPT = """
import mlflow
import pandas as pd
from sklearn.linear_model import LogisticRegression

mlflow.set_experiment("census")
mlflow.sklearn.autolog(log_input_examples=True, registered_model_name="census")
rows = pd.read_parquet("seen.parquet")
with mlflow.start_run():
    LogisticRegression(max_iter=300, random_state=3).fit(rows.drop(columns=["employed"]), rows["employed"])
"""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "GIT_PYTHON_REFRESH": "quiet"}


def windlass(project: Path, *args: str, actor: str = "ada") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "windlass", "--project", str(project), *args],
        capture_output=True, text=True, check=False, timeout=200, env=os.environ | {"WINDLASS_ACTOR": actor},
    )  # fmt: skip


def asked(project: Path, *args: str, actor: str = "ada") -> Any:
    done = windlass(project, *args, "--json", actor=actor)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def up(project: Path) -> Iterator[dict[str, Any]]:
    """`windlass up` for as long as the block lasts: what it said when it was ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "windlass", "--project", str(project), "up",
         "--gateway-port", "0", "--control-port", "0", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | {"WINDLASS_ACTOR": "server"},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("census")
    rows = pq.read_table(CENSUS).drop_columns(["year"])
    pq.write_table(rows.slice(0, 4000), folder / "seen.parquet")
    pq.write_table(rows.slice(4000, 2000), folder / "held-out.parquet")
    (folder / "windlass.toml").write_text(CONFIG)
    (folder / "train.py").write_text(SCRIPT)
    for name in ("held-out", "seen"):
        asked(folder, "data", "add", "--name", name)
    return folder


def test_a_script_that_knows_only_mlflow_ends_as_a_released_endpoint(project: Path) -> None:
    with up(project) as started:
        trained = subprocess.run(
            [sys.executable, "train.py"], cwd=project, capture_output=True, text=True, check=False, timeout=200,
            env=os.environ | QUIET | {"MLFLOW_TRACKING_URI": started["control_url"]},
        )  # fmt: skip
        assert trained.returncode == 0, trained.stderr[-3000:]
        [version] = asked(project, "models")
        assert (version["model"], version["semver"], version["number"]) == ("census", "1.0.0", 1)
        assert version["package"].startswith("b3:") and version["origin"]["data"]

        early = windlass(project, "release", "census@1.0.0")
        assert early.returncode == 3 and "has no gate report" in early.stderr
        gate = asked(project, "gate", "census@1.0.0")
        assert gate["verdict"] == "pass", gate["results"]
        early = windlass(project, "release", "census@1.0.0")
        assert early.returncode == 3 and "lacks 1 approval" in early.stderr
        asked(project, "approve", "census@1.0.0", actor="bob")
        asked(project, "release", "census@1.0.0")

        [row] = pq.read_table(project / "held-out.parquet").drop_columns(["employed"]).slice(0, 1).to_pylist()
        answer = _predicted(f"{started['gateway_url']}/endpoints/census/invocations", row)
        assert answer["predictions"][0] in (0, 1) and 0 <= answer["probabilities"][0] <= 1

    lineage = asked(project, "lineage", "census@1.0.0")
    above = {edge["parent"].partition("/")[0] for edge in lineage["up"]}
    below = {edge["child"].partition("/")[0] for edge in lineage["down"]}
    assert {"run", "logged-model", "dataset", "object", "environment", "commit"} <= above
    assert {"release", "endpoint", "predictions", "approval"} <= below
    measured = asked(project, "lineage", "held-out@1")
    assert {edge["relation"] for edge in measured["down"]} >= {"measured on", "cleared by"}
    assert measured["models"] == []
    told = windlass(project, "lineage", "census@1.0.0").stdout
    assert "gate report of census@1.0.0: pass" in told and "approval by bob of census@1.0.0" in told
    history = asked(project, "history", "census")
    assert history[-1]["reference"] == "census@1.0.0"
    assert windlass(project, "verify").returncode == 0


def _predicted(url: str, row: dict[str, Any]) -> Any:
    until = time.monotonic() + 60
    while True:
        request = urllib.request.Request(
            url, json.dumps({"dataframe_records": [row]}).encode(), {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return json.load(reply)
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)
