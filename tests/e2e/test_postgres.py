"""A project whose database is a server: the command line and `windlass up` with WINDLASS_DATABASE."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postgres_server import Server

CENSUS = Path(__file__).parents[2] / "examples" / "employment" / "data" / "acs_ma_employment_2015.parquet"

PIPELINE = """
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression

from windlass import Model, step


@step
def table(rows: Path) -> pa.Table:
    everybody = pq.read_table(rows / "acs_ma_employment_2015.parquet").drop_columns(["year"])
    return everybody.take(list(range(0, everybody.num_rows, 20)))


@step
def linear(table: pa.Table, seed: int):
    people = table.drop_columns(["employed"])
    inputs = np.column_stack([column.to_numpy() for column in people.columns])
    model = LogisticRegression(max_iter=300, random_state=seed).fit(inputs, table["employed"].to_numpy())
    return Model(estimator=model, rows=table, target="employed", positive=1)
"""

CONFIG = """
[project]
name = "census"
[data.rows]
path = "data"
target = "employed"
[pipeline]
seed = 5
[model]
name = "census"
step = "linear"
metrics = ""
[endpoint]
name = "census"
"""


@pytest.fixture(scope="module")
def url(postgres: Server) -> Iterator[str]:
    url = postgres.database("template1")
    yield url
    postgres.drop(url)


def start(project: Path, url: str, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "windlass", "--project", str(project), *args, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"WINDLASS_ACTOR": "ada", "WINDLASS_DATABASE": url},
    )  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, url: str) -> Path:
    root = tmp_path_factory.mktemp("postgres") / "census"
    windlass(root.parent, url, "init", str(root))
    (root / "data").mkdir(exist_ok=True)
    shutil.copy(CENSUS, root / "data")
    (root / "windlass.toml").write_text(CONFIG)
    (root / "pipeline.py").write_text(PIPELINE)
    return root


def windlass(project: Path, url: str, *args: str, exits: int = 0) -> Any:
    process = start(project, url, *args)
    out, said = process.communicate(timeout=120)
    assert process.returncode == exits, said
    assert "Traceback" not in said
    return json.loads(out) if exits == 0 else said


def test_from_data_to_a_version_with_its_lineage_and_nothing_in_a_file(project: Path, url: str) -> None:
    assert windlass(project, url, "data", "add", "--name", "rows")["snapshot"]["version"] == 1
    run = windlass(project, url, "run")
    assert {step["state"] for step in windlass(project, url, "run")["steps"]} == {"cached"}
    assert windlass(project, url, "register", run["id"])["version"]["semver"] == "1.0.0"
    parents = {edge["parent"] for edge in windlass(project, url, "lineage", "census@1.0.0")["up"]}
    assert {"snapshot/rows@1", f"run/{run['id']}"} <= parents
    assert windlass(project, url, "data", "gc", "--grace", "0s")
    assert windlass(project, url, "verify")["problems"] == []
    assert not (project / ".windlass" / "windlass.db").exists()


def test_up_and_what_it_starts_use_it(project: Path, url: str) -> None:
    server = start(project, url, "up", "--gateway-port", "0", "--control-port", "0")
    try:
        assert server.stdout is not None
        control = json.loads(server.stdout.readline())["control_url"]
        request = urllib.request.Request(f"{control}/api/v1/data.list", data=b"{}")
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=20) as response:
            assert [each["name"] for each in json.load(response)] == ["rows"]
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert not (project / ".windlass" / "windlass.db").exists()


def test_a_server_that_is_gone_is_one_clear_line_without_the_password(project: Path) -> None:
    said = windlass(project, "postgresql://me:s3cr3t@127.0.0.1:1/d", "status", exits=5)
    assert "WINDLASS_DATABASE" in said
    assert "s3cr3t" not in said


def test_without_the_variable_nothing_is_collected_as_garbage(project: Path) -> None:
    said = windlass(project, "", "data", "gc", "--grace", "0s", exits=2)
    assert "set WINDLASS_DATABASE" in said


@pytest.mark.parametrize("other", ["mysql://me:s3cr3t@h/d", "postgresql://me:s3@cr3t@h/d"])
def test_what_is_no_database_is_bad_input(project: Path, other: str) -> None:
    said = windlass(project, other, "status", exits=2)
    assert "postgresql://USER:PASSWORD@HOST" in said
    assert "cr3t" not in said
