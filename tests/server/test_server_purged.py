"""What MLflow's clients see of what was purged: nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.domain.ports import Database
from windlass.server.tracking import tracking_server
from windlass.workspace.layout import Layout
from windlass.workspace.operations.deletion import PurgeDeleted, purge
from windlass.workspace.workspace import Workspace

Ask = Callable[..., Any]
API = "/api/2.0/mlflow"
CONFIG = """
[project]
name = "p"
[model]
name = "p"
step = "train"
[endpoint]
name = "p"
"""


@pytest.fixture
def workspace(tmp_path: Path, database: Database) -> Workspace:
    (tmp_path / "windlass.toml").write_text(CONFIG)
    found = Workspace(Layout(tmp_path), actor="ada")
    found.database = database
    return found


@pytest.fixture
def url(workspace: Workspace) -> Iterator[str]:
    with tracking_server(workspace) as url:
        yield url


def post(ask: Ask, url: str, call: str, **fields: Any) -> Any:
    return ask(url, "POST", f"{API}/{call}", json.dumps(fields).encode())


def made(ask: Ask, url: str, experiment: str, name: str) -> str:
    answer = post(ask, url, "runs/create", experiment_id=experiment, start_time=7, run_name=name)
    run = str(answer.json()["run"]["info"]["run_id"])
    post(ask, url, "runs/log-metric", run_id=run, key="loss", value=0.5, timestamp=1)
    path = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/file"
    assert ask(url, "PUT", path, b"content of " + name.encode()).status == 200
    return run


def names(ask: Ask, url: str, experiment: str) -> list[str]:
    page = post(ask, url, "runs/search", experiment_ids=[experiment], run_view_type="ALL").json()
    return [run["info"]["run_name"] for run in page.get("runs", [])]


def test_a_purged_run_does_not_exist_and_the_next_is_not_taken_for_it(workspace: Workspace, url: str, ask: Ask) -> None:
    experiment = post(ask, url, "experiments/create", name="e").json()["experiment_id"]
    first, second = made(ask, url, experiment, "first"), made(ask, url, experiment, "second")
    post(ask, url, "runs/delete", run_id=second)
    assert names(ask, url, experiment) == ["second", "first"] or names(ask, url, experiment) == ["first", "second"]
    assert purge(workspace, PurgeDeleted(older_than=0)).counts == {"run": 1}

    gone = ask(url, "GET", f"{API}/runs/get?run_id={second}")
    assert (gone.status, gone.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    for call in ("runs/restore", "runs/delete"):
        assert post(ask, url, call, run_id=second).json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    files = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}"
    assert ask(url, "GET", f"{files}/{second}/artifacts/file").status == 404
    assert ask(url, "GET", f"{files}/{first}/artifacts/file").body == b"content of first"
    third = made(ask, url, experiment, "third")
    post(ask, url, "runs/delete", run_id=third)
    assert set(names(ask, url, experiment)) == {"first", "third"}


def test_the_name_of_a_purged_experiment_is_free_again_and_its_id_is_not(
    workspace: Workspace, url: str, ask: Ask
) -> None:
    experiment = post(ask, url, "experiments/create", name="e").json()["experiment_id"]
    made(ask, url, experiment, "first")
    post(ask, url, "experiments/delete", experiment_id=experiment)
    assert post(ask, url, "experiments/create", name="e").json()["error_code"] == "RESOURCE_ALREADY_EXISTS"
    assert purge(workspace, PurgeDeleted(older_than=0)).counts == {"run": 1, "experiment": 1}
    answer = ask(url, "GET", f"{API}/experiments/get?experiment_id={experiment}")
    assert answer.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    again = post(ask, url, "experiments/create", name="e").json()["experiment_id"]
    assert int(again) > int(experiment)
