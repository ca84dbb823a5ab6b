"""The last 2.x client, from an environment of its own, and a model served by `mlflow models serve`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from servers import QUIET, Server, Wire

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own

WANTED = ("mlflow-skinny>=2.22,<3", "numpy", "pandas", "scikit-learn")
SERVE_SECONDS = 120.0


@pytest.fixture(scope="session")
def older_python(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment with the last 2.x client: made once, kept beside pytest's cache."""
    if shutil.which("uv") is None:
        pytest.skip("uv makes the older client's environment")
    assert pytestconfig.cache is not None
    folder, elsewhere = pytestconfig.cache.mkdir("mlflow-2"), tmp_path_factory.mktemp("elsewhere")
    python, complete = folder / "environment" / "bin" / "python", folder / "complete"
    if not complete.exists():
        shutil.rmtree(folder / "environment", ignore_errors=True)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        for command in (
            ["uv", "venv", "--quiet", "--python", version, str(folder / "environment")],
            ["uv", "pip", "install", "--quiet", "--python", str(python), *WANTED],
        ):
            # Elsewhere: in this project's folder, its own constraints would hold.
            made = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=600, check=False)
            assert made.returncode == 0, made.stderr
        complete.touch()
    return str(python)


def test_the_last_client_of_2(server: Server, older_python: str, unique: Callable[[str], str], tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    script = Path(__file__).with_name("older_client.py")
    ran = subprocess.run(
        [older_python, "-W", "ignore", str(script), server.url, unique("older")], cwd=tmp_path, timeout=200,
        env={**environment, "GIT_PYTHON_REFRESH": "quiet"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    saw = json.loads(ran.stdout.splitlines()[-1])
    assert saw.pop("version").startswith("2.")
    assert saw.pop("experiment")[1] == "é"
    assert len(saw.pop("models")) == 1
    assert saw == {
        "run": ["FINISHED", {"depth": "3", "kind": "tree", "p": "1"}, {"loss": 0.25, "b": 1.0}, "1", False],
        "history": ["0.5", "nan", "0.25"], "inputs": ["ds"], "parent": True, "found": ["child"],
        "artifacts": ["model", "notes"], "text": "hello", "version of model": [1, "Staging", "yes", True],
        "latest": [1], "predicts": True, "versions": [1], "there and back": 100_000, "deleted": ["child"],
        "errors": [
            "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_DOES_NOT_EXIST",
            "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "INVALID_PARAMETER_VALUE",
        ],
    }  # fmt: skip


def test_models_serve(server: Server, fluent: Any, client: Any, unique: Callable[[str], str], tmp_path: Path) -> None:
    import numpy as np
    from sklearn.linear_model import LinearRegression

    rows = np.arange(20.0).reshape(10, 2)
    name = unique("served").replace(" ", "-").replace("#", "")
    fluent.set_experiment(name)
    with fluent.start_run():
        fluent.sklearn.log_model(
            LinearRegression().fit(rows, rows @ [1.0, 2.0]), name="model", registered_model_name=name,
            pip_requirements=["scikit-learn"], serialization_format="cloudpickle",
        )  # fmt: skip
    client.set_registered_model_alias(name, "m", "1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"models:/{name}@m", "--env-manager", "local"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"], cwd=tmp_path, stdout=log,
            stderr=log, env={**os.environ, **QUIET, "MLFLOW_TRACKING_URI": server.url}, start_new_session=True,
        )  # fmt: skip
        try:
            wire = Wire(f"http://127.0.0.1:{port}")
            until = time.monotonic() + SERVE_SECONDS
            while time.monotonic() < until:
                assert process.poll() is None, (tmp_path / "log").read_text()[-3000:]
                with suppress(OSError):
                    if wire.send("GET", "/ping").status == 200:
                        break
                time.sleep(0.2)
            answer = wire.send("POST", "/invocations", json.dumps({"inputs": [[0.0, 1.0], [2.0, 3.0]]}).encode())
            wire.close()
            assert answer.status == 200, answer.body
            assert np.allclose(answer.json()["predictions"], [2.0, 8.0])
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            process.wait(30)
