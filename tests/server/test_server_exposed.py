"""A server beyond the loopback, with real processes: refused until there is a token; then for who has one."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from windlass.workspace import databases


def windlass(folder: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "windlass", "--project", str(folder), *args], capture_output=True, text=True,
        check=False, env=os.environ | {databases.VARIABLE: "", "WINDLASS_ACTOR": "root"} | environment, timeout=60,
    )  # fmt: skip


@contextmanager
def control(folder: Path, *args: str) -> Iterator[dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "windlass.server.control", "--project", str(folder), "--port", "0", *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {databases.VARIABLE: ""},
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    try:
        line = process.stdout.readline()
        yield json.loads(line) if line else {"said": process.stderr.read(), "code": process.wait(20)}
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    assert windlass(tmp_path, "init", str(tmp_path), "--name", "exposed").returncode == 0
    return tmp_path


def status(port: int, path: str, **headers: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status


def test_beyond_the_loopback_a_server_needs_a_token_and_a_name(project: Path) -> None:
    with control(project, "--host", "0.0.0.0") as refused:
        assert refused["code"] == 5 and "windlass token create" in refused["said"], refused
    up = windlass(project, "up", "--host", "0.0.0.0", "--gateway-port", "0", "--control-port", "0")
    assert up.returncode != 0 and "windlass token create" in up.stderr and "Traceback" not in up.stderr
    made = windlass(project, "token", "create", "ada")
    token = made.stdout.strip()
    assert token.startswith("wl_") and "shown this once" in made.stderr
    assert token not in windlass(project, "token", "ls").stdout
    with control(project, "--host", "0.0.0.0", "--allow-host", "models.example.com") as address:
        port = address["port"]
        bearer = {"authorization": f"Bearer {token}"}
        assert status(port, "/health") == 200
        assert status(port, "/docs") == 401
        assert status(port, "/docs", **bearer) == 200
        assert status(port, "/docs", **bearer, host="models.example.com") == 200
        assert status(port, "/docs", **bearer, host="MODELS.example.com:443") == 200
        assert status(port, "/docs", **bearer, host="evil.example") == 403
        assert status(port, "/docs", **bearer, host="x.models.example.com") == 403
        page = {"host": "models.example.com", "origin": "https://models.example.com"}
        assert status(port, "/docs", **bearer, **page) == 200
        assert status(port, "/docs", **bearer, **page | {"origin": "https://evil.example"}) == 403
        assert json.loads(windlass(project, "token", "revoke", "ada", "--json").stdout)["revoked"]
        until = time.monotonic() + 20
        while status(port, "/docs", **bearer) != 401:
            assert time.monotonic() < until
        assert status(port, "/docs") == 401
    with control(project, "--host", "0.0.0.0") as refused:
        assert refused["code"] == 5


def test_the_command_line_and_mlflows_client_send_their_tokens(project: Path) -> None:
    token = windlass(project, "token", "create", "ada").stdout.strip()
    with control(project) as address:
        url = f"http://127.0.0.1:{address['port']}"
        refused = windlass(project, "models", "--json", WINDLASS_URL=url)
        assert refused.returncode != 0 and "WINDLASS_TOKEN" in refused.stderr and "Traceback" not in refused.stderr
        assert windlass(project, "models", "--json", WINDLASS_URL=url, WINDLASS_TOKEN=token).stdout.strip() == "[]"
        wrong = windlass(project, "models", WINDLASS_URL=url, WINDLASS_TOKEN="wl_ü")
        assert wrong.returncode != 0 and "Traceback" not in wrong.stderr
        made = windlass(project, "token", "create", "bob", "--json", WINDLASS_URL=url, WINDLASS_TOKEN=token)
        assert json.loads(made.stdout)["name"] == "bob"
        if importlib.util.find_spec("mlflow") is None:
            pytest.skip("needs mlflow (dependency group `contract`)")
        script = "import mlflow; mlflow.start_run(); mlflow.log_metric('m', 1); print(mlflow.active_run().info.run_id)"
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_TRACKING_URI": url}
        done = {
            name: subprocess.run(
                [sys.executable, "-c", script], env=os.environ | quiet | given, capture_output=True, text=True,
                cwd=project, check=False, timeout=60,
            )
            for name, given in {
                "bearer": {"MLFLOW_TRACKING_TOKEN": token},
                "basic": {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": token},
                "nothing": {},
            }.items()
        }  # fmt: skip
        assert [done[name].returncode for name in ("bearer", "basic")] == [0, 0], done
        assert done["nothing"].returncode != 0 and "no token" in done["nothing"].stderr


def test_beyond_the_loopback_a_gateway_needs_tls(project: Path) -> None:
    ports = ("--gateway-port", "0", "--control-port", "0")
    up = windlass(project, "up", "--gateway-host", "0.0.0.0", *ports)
    assert up.returncode != 0 and "gateway.tls_certificate" in up.stderr and "Traceback" not in up.stderr
