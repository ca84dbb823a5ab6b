"""Small real packages, workers and a gateway."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from serving_plane import build

from windlass.domain.routing import Route, RouteTable
from windlass.serving import admin
from windlass.serving.client import worker_process


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("packages")
    return {
        "good": build(root / "good"),
        "other": build(root / "other", shift=0.3),
        "raises": build(root / "raises", fails="len(x) == 1 and x[0] > 1"),
    }


@dataclass
class Plane:
    """A gateway with workers, and the means to talk to it."""

    folder: Path
    sockets: dict[str, Any]  # a worker's socket, or several
    port: int = 0
    gateway: subprocess.Popen[bytes] | None = None
    revision: int = 0
    versions: dict[str, str] = field(default_factory=dict)  # of releases
    options: tuple[str, ...] = ()  # of the gateway's command line

    def start(self) -> None:
        self.gateway = subprocess.Popen(
            [sys.executable, "-P", "-m", "windlass.serving.gateway", "--routes", str(self.folder / "routes.json"),
             "--socket", str(self.admin), "--log", str(self.folder / "log"), "--port", str(self.port), "--stdin-watch",
             *self.options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.gateway.stdout is not None
        self.port = json.loads(self.gateway.stdout.readline())["port"]

    def stop(self) -> None:
        if self.gateway is not None:
            self.gateway.terminate()
            self.gateway.wait(20)
            for pipe in (self.gateway.stdin, self.gateway.stdout):
                assert pipe is not None
                pipe.close()
            self.gateway = None

    @property
    def admin(self) -> Path:
        return Path(self.sockets["admin"])

    def route(self, **route: Any) -> int:
        self.revision += 1
        workers = {
            name: socket if isinstance(socket, tuple) else (socket,)
            for name, socket in self.sockets.items()
            if name != "admin"
        }
        routes = {"e": Route(**route)}
        return admin.push(
            self.admin, RouteTable(revision=self.revision, routes=routes, sockets=workers, versions=self.versions)
        )

    def ask(
        self, body: Any, user: str = "", path: str = "/endpoints/e/invocations", method: str = "POST"
    ) -> tuple[int, Any]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {"content-type": "application/json"} | ({"windlass-user": user} if user else {})
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        raw = answer.read()
        connection.close()
        return answer.status, json.loads(raw) if raw.startswith(b"{") else raw.decode()


@pytest.fixture(scope="session")
def workers(packages: dict[str, Path]) -> Iterator[Callable[[str], str]]:
    """The socket of a worker that all tests share; started when it is first asked for."""
    with tempfile.TemporaryDirectory() as short, ExitStack() as stack:
        sockets: dict[str, str] = {}

        def socket_of(name: str) -> str:
            if name not in sockets:
                sockets[name] = f"{short}/{name}.sock"
                stack.enter_context(worker_process(packages[name], Path(sockets[name])))
            return sockets[name]

        yield socket_of


@pytest.fixture
def plane(tmp_path: Path, workers: Callable[[str], str]) -> Iterator[Callable[..., Plane]]:
    """Start a gateway beside the workers of the named packages."""
    with tempfile.TemporaryDirectory() as short, ExitStack() as stack:

        def start(*names: str, options: tuple[str, ...] = ()) -> Plane:
            sockets = {name: workers(name) for name in names} | {"admin": f"{short}/admin.sock"}
            made = Plane(tmp_path, sockets, options=options)
            made.start()
            stack.callback(made.stop)
            return made

        yield start
