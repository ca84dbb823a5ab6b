"""Models of every common kind, rebuilt byte for byte in an environment that is built anew from its lock."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CENSUS = Path(__file__).parents[2] / "examples" / "employment" / "data" / "acs_ma_employment_2015.parquet"

PIPELINE = """
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lightgbm import LGBMClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from xgboost import XGBClassifier

import shared
from windlass import Model, step


@step
def table(rows: Path) -> pa.Table:
    everybody = pq.read_table(rows / "acs_ma_employment_2015.parquet").drop_columns(["year"])
    return everybody.take(list(range(0, everybody.num_rows, 20)))


def fitted(estimator, table):
    people = table.drop_columns(["employed"])
    inputs = np.column_stack([column.to_numpy() for column in people.columns]) * shared.SCALE
    estimator.fit(inputs, table["employed"].to_numpy())
    return Model(estimator=estimator, rows=table, target="employed", positive=1)


@step
def linear(table: pa.Table, seed: int):
    return fitted(LogisticRegression(max_iter=500, random_state=seed), table)


@step
def forest(table: pa.Table, seed: int):
    return fitted(RandomForestClassifier(n_estimators=10, random_state=seed), table)


@step
def boosted(table: pa.Table, seed: int):
    return fitted(HistGradientBoostingClassifier(max_iter=10, random_state=seed), table)


@step
def xgb(table: pa.Table, seed: int):
    return fitted(XGBClassifier(n_estimators=10, subsample=0.7, random_state=seed), table)


@step
def lgbm(table: pa.Table, seed: int):
    return fitted(LGBMClassifier(n_estimators=10, subsample=0.7, subsample_freq=1, seed=seed, verbose=-1), table)
"""

SHARED = """
try:
    from tinydep import SCALE
except ImportError:
    SCALE = 1.0
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
step = "forest"
metrics = ""
[endpoint]
name = "census"
"""


def windlass(project: Path, *args: str, exits: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "windlass", "--project", str(project), *args, "--json"],
        capture_output=True, text=True, check=False, env=os.environ | {"WINDLASS_ACTOR": "ada"}, timeout=280,
    )  # fmt: skip
    assert done.returncode == exits, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for library in ("xgboost", "lightgbm"):
        pytest.importorskip(library, reason="what models may be made with is in the group 'models'")
    root = tmp_path_factory.mktemp("reproduce") / "project"
    (root / "data").mkdir(parents=True)
    shutil.copy(CENSUS, root / "data")
    for name, text in {
        "windlass.toml": CONFIG, "pipeline.py": PIPELINE, "shared.py": SHARED,
        ".gitignore": "data/\n.windlass/\n__pycache__/\n",
    }.items():  # fmt: skip
        (root / name).write_text(text)
    for args in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"],
    ):
        subprocess.run(["git", *args], cwd=root, check=True)
    windlass(root, "data", "add", "--name", "rows")
    windlass(root, "run")
    return root


def test_every_kind_of_model_is_rebuilt_byte_for_byte_in_a_fresh_environment(project: Path) -> None:
    run = windlass(project, "runs", "show")
    models = {name for step in run["steps"] for name in step["outputs"]} - {"table"}
    assert models == {"linear", "forest", "boosted", "xgb", "lgbm"}
    assert {each["threads"] for each in run["host"]["libraries"]} == {1}
    rebuilt = windlass(project, "reproduce", run["id"])
    assert rebuilt["differences"] == []
    assert (rebuilt["identical"], rebuilt["artifacts"]) == (True, 6)


def test_what_was_changed_is_what_is_said_to_differ(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = windlass(project, "runs", "show")["id"]

    def differs() -> str:
        return "\n".join(windlass(project, "reproduce", run, "--here", exits=1)["differences"])

    assert windlass(project, "reproduce", run, "--here")["identical"]
    (project / "shared.py").write_text(SHARED.replace("1.0", "2.0"))
    said = differs()
    assert "artifact linear differs first" in said
    assert "code shared.py: b3:" in said
    assert "coef_" in said
    (project / "shared.py").write_text(SHARED)

    (project / "windlass.toml").write_text(CONFIG.replace("seed = 5", "seed = 6"))
    said = differs()
    assert "artifact forest differs first" in said or "artifact linear differs first" in said
    assert "seed seed: 5 -> 6" in said

    (project / "windlass.toml").write_text(CONFIG.replace("seed = 5", "seed = 5\nthreads = 2"))
    assert "threads threads: 1 -> 2" in differs()
    (project / "windlass.toml").write_text(CONFIG)

    # A distribution that was not there when the run was recorded, and that the code makes use of.
    installed = tmp_path / "installed"
    (installed / "tinydep-2.0.dist-info").mkdir(parents=True)
    (installed / "tinydep-2.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tinydep\nVersion: 2.0\n"
    )
    (installed / "tinydep.py").write_text("SCALE = 2.0\n")
    monkeypatch.setenv("PYTHONPATH", str(installed))
    assert "environment tinydep: not installed -> 2.0" in differs()
    monkeypatch.delenv("PYTHONPATH")
    assert windlass(project, "reproduce", run, "--here")["identical"]
