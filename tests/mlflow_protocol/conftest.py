"""Every test that takes ``server`` runs against both. ``WINDLASS_CONTRACT=mlflow`` (or ``ours``) picks one.

The folder is not called `mlflow`: pytest puts the folder above it on the path, where that name would hide the client.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import STARTS, Server, Wire

KINDS = tuple(os.environ.get("WINDLASS_CONTRACT", "mlflow,ours").split(","))
GROUP = "MLflow's client and its server are in the group 'contract'"


@pytest.fixture(scope="session", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One for the whole session: tests keep apart by names of their own."""
    pytest.importorskip("alembic", reason=GROUP)
    pytest.importorskip("mlflow", reason=GROUP)
    with (
        tempfile.TemporaryDirectory(prefix=f"contract-{request.param}-") as root,
        STARTS[request.param](Path(root).resolve()) as running,
    ):
        yield running


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    wire = Wire(server.url)
    yield wire
    wire.close()


@pytest.fixture(scope="session")
def unique() -> Callable[[str], str]:
    """Names that no other test of this session has."""
    numbers = itertools.count(1)
    return lambda stem: f"{stem} #{next(numbers)}#"


@pytest.fixture
def client(server: Server) -> Any:
    """The real client, with nothing of this process's settings in it."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=server.url, registry_uri=server.url)


@pytest.fixture
def fluent(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module `mlflow`, pointed at the server until the test ends."""
    import mlflow

    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(server.url)
    mlflow.set_registry_uri(server.url)
    yield mlflow
    while mlflow.active_run() is not None:
        mlflow.end_run()
    mlflow.set_tracking_uri(before)
    mlflow.set_registry_uri(before)
    # The module tells the processes that it starts of its experiment; those of other tests shall not hear of it.
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]


@pytest.fixture
def experiment(wire: Wire, unique: Callable[[str], str]) -> str:
    """A new one's id."""
    return str(wire.post("experiments/create", name=unique("experiment"))["experiment_id"])


@pytest.fixture
def run(wire: Wire, experiment: str) -> str:
    """A new one's id."""
    made = wire.post("runs/create", experiment_id=experiment, start_time=1, run_name="first", user_id="ada")
    return str(made["run"]["info"]["run_id"])
