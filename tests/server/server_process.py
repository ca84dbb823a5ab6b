"""A server process for tests that mean it harm, and a run in it that must stay as it is."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from windlass.workspace import databases

API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
ANSWER_SECONDS = 30  # no answer takes longer; the slow clients of these tests hold on for longer


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Target:
    """A server process of its own, and a run in it that must stay as it is."""

    port: int
    pid: int
    folder: Path
    run: str
    token: str = ""

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)) as connection:
            connection.putrequest(method, path, skip_accept_encoding=True)
            given = {"content-type": "application/json", **(headers or {})}
            if self.token:
                given = {"authorization": f"Bearer {self.token}", **given}
            if body is not None:
                given = {"content-length": str(len(body)), **given}
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders()
            with suppress(BrokenPipeError, ConnectionResetError):  # refused before it was sent
                if body:
                    connection.send(body)
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def call(self, name: str, /, **fields: Any) -> Reply:
        return self.ask("POST", f"{API}/{name}", json.dumps(fields).encode())

    def raw(self, data: bytes) -> bytes:
        """Send bytes as they are; what comes back until the server ends the connection, or nothing more comes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS) as client:
            with suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(data)
            client.settimeout(1)
            found = b""
            with suppress(TimeoutError, ConnectionResetError):
                while part := client.recv(65536):
                    found += part
            return found

    @property
    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    @property
    def files(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def peak(self) -> int:
        """The most memory that it ever had, in bytes."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found.group(1)) << 10

    def known(self) -> Any:
        run = self.ask("GET", f"{API}/runs/get?run_id={self.run}").json()
        files = self.ask("GET", f"{API}/artifacts/list?run_id={self.run}").json()
        return run, files, self.ask("GET", f"{FILES}/0/{self.run}/artifacts/folder/a.txt").body


@contextmanager
def server_process(folder: Path, **environment: str) -> Iterator[Target]:
    """The control process on ``folder``; in the end, its log (``folder``/log) tells of no fault of its own."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "windlass.server.control", "--project", str(folder), "--port", "0",
             "--stdin-watch"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            env=os.environ | {databases.VARIABLE: ""} | environment,
        )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        made = Target(ready["port"], ready["pid"], folder, "")
        run = made.call("runs/create", experiment_id="0", run_name="known").json()["run"]["info"]["run_id"]
        made.call("runs/log-batch", run_id=run, params=[{"key": "depth", "value": "3"}],
                  metrics=[{"key": "loss", "value": 0.5, "timestamp": 1, "step": 1}])  # fmt: skip
        made.ask("PUT", f"{FILES}/0/{run}/artifacts/folder/a.txt", b"hello")
        yield replace(made, run=run)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdin.close()
        process.stdout.close()
    said = (folder / "log").read_text()
    assert "Traceback" not in said, said[-4000:]
