"""Two servers of MLflow's protocol as processes of their own, MLflow's (the oracle) and ours, and HTTP to ask them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

START_SECONDS = 120.0
"""MLflow's server imports for seconds on a busy machine."""
STOP_SECONDS = 20.0
API = "/api/2.0/mlflow/"

# One process answers, no background jobs, nothing is reported to anybody, and no setting of ours leaks in.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ENABLE_ASSISTANT": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


class Server(msgspec.Struct, frozen=True):
    kind: str
    url: str
    root: Path

    @property
    def ours(self) -> bool:
        return self.kind == "ours"


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        """The status and MLflow's error code; what is no JSON, or no object, has none."""
        try:
            said = self.json()
        except ValueError:
            return self.status, ""
        return self.status, str(said.get("error_code", "")) if isinstance(said, dict) else ""


class Wire:
    """Raw HTTP to one server over one connection: what goes out is what the test wrote."""

    def __init__(self, url: str) -> None:
        self.netloc = urlsplit(url).netloc
        self.connection = http.client.HTTPConnection(self.netloc, timeout=60)

    def close(self) -> None:
        self.connection.close()

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        given = {"host": self.netloc, "accept": "*/*", **(headers or {})}
        if body is not None:
            given = {"content-type": "application/json", "content-length": str(len(body)), **given}
        for attempt in (0, 1):
            try:
                self.connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
                for name, value in given.items():
                    self.connection.putheader(name, value)
                self.connection.endheaders(body)
                response = self.connection.getresponse()
                got = {name.lower(): value for name, value in response.getheaders()}
                return Answer(response.status, got, response.read())
            except (http.client.RemoteDisconnected, http.client.CannotSendRequest, BrokenPipeError, ConnectionError):
                # A kept connection that the server has ended between two requests.
                self.connection.close()
                if attempt:
                    raise
        raise AssertionError("unreachable")

    def call(self, method: str, call: str, /, **fields: Any) -> Answer:
        """One call of the protocol by its short name: fields go in the body, or for GET in the query."""
        path = call if call.startswith("/") else API + call
        if method == "GET":
            return self.send("GET", f"{path}?{urlencode(fields, doseq=True)}" if fields else path)
        return self.send(method, path, json.dumps(fields).encode())

    def get(self, call: str, /, **fields: Any) -> Any:
        return self.good("GET", call, **fields)

    def post(self, call: str, /, **fields: Any) -> Any:
        return self.good("POST", call, **fields)

    def good(self, method: str, call: str, /, **fields: Any) -> Any:
        answer = self.call(method, call, **fields)
        assert answer.status == 200, (method, call, fields, answer.status, answer.body[:500])
        return answer.json()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "WINDLASS_"))}
    return {**kept, **QUIET, "PYTHONUNBUFFERED": "1"}


@contextmanager
def _process(command: list[str], root: Path, log: Path, *, heard: bool) -> Iterator[subprocess.Popen[bytes]]:
    """Its stdout is a pipe only if it is ``heard``: an unread pipe fills, and then the server stands still."""
    with log.open("wb") as written:
        process = subprocess.Popen(
            command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if heard else written, stderr=written,
            env=_environment(), start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _await_health(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        wire = Wire(url)
        try:
            if wire.send("GET", "/health").status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass  # not yet
        finally:
            wire.close()
        time.sleep(0.1)
    raise AssertionError(f"it does not start: {log.read_text(errors='replace')[-4000:]}")


@contextmanager
def mlflow_server(root: Path) -> Iterator[Server]:
    """MLflow's own, over SQLite, its artifacts proxied: what `mlflow server` starts with one worker."""
    root.mkdir(parents=True, exist_ok=True)
    port, log = _free_port(), root / "server.log"
    database = f"sqlite:///{root / 'mlflow.db'}"
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", database, "--artifacts-destination", str(root / "artifacts"),
    ]  # fmt: skip
    with _process(command, root, log, heard=False) as process:
        url = f"http://127.0.0.1:{port}"
        _await_health(url, process, log)
        yield Server("mlflow", url, root)


@contextmanager
def our_server(root: Path) -> Iterator[Server]:
    """The control process over a project of its own: the registry, its policies and its loops are all there."""
    root.mkdir(parents=True, exist_ok=True)
    log = root / "server.log"
    command = [sys.executable, "-m", "windlass.server.control", "--project", str(root), "--port", "0"]
    with _process(command, root, log, heard=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text(errors="replace")[-4000:]
        url = f"http://127.0.0.1:{json.loads(line)['port']}"
        _await_health(url, process, log)
        yield Server("ours", url, root)


STARTS: dict[str, Callable[[Path], Any]] = {"mlflow": mlflow_server, "ours": our_server}
