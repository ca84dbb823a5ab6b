"""Windlass' data plane for the serving benchmark: a gateway process and worker processes, on a package."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sessions
from firing import LENGTH
from measuring import Failed, remove
from servers import Served, Server, await_answer, split

from windlass.domain.routing import Route, RouteTable
from windlass.serving import admin
from windlass.serving.client import WorkerClient, worker_command
from windlass.serving.record import Row
from windlass.serving.wire import Ask, frame

NAME, ENDPOINT = "windlass", "e"
STABLE, CANDIDATE = "stable", "candidate"
WEIGHT = 0.25
ALONE = Route(stable=STABLE)
CANARY = Route(stable=STABLE, candidate=CANDIDATE, weight=WEIGHT, salt="bench", rollout="bench")
SHADOW = Route(stable=STABLE, candidate=CANDIDATE, shadow=True, salt="bench", rollout="bench")


@dataclass
class Plane:
    """A gateway and, by release, the sockets of its workers. Each process is a session of its own."""

    python: Path
    env: dict[str, str]
    folder: Path
    short: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="wb-")))  # sockets' paths must be short
    sockets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    port: int = 0
    revision: int = 0

    def worker(self, release: str, package: Path) -> float:
        """Start a worker for a release; returns the seconds from its start to its first answer."""
        socket = self.short / f"{release}.sock"
        row = json.loads((package / "golden.json").read_text())["rows"][0]
        os.sync()
        began = time.perf_counter()
        with WorkerClient(socket) as client:
            self._start(f"worker {release}", worker_command(package, socket, str(self.python)))
            client.answer([row])
            seconds = time.perf_counter() - began
        self.sockets[release] = (str(socket),)
        return seconds

    def end_worker(self, release: str) -> None:
        sessions.end(self.processes.pop(f"worker {release}"))
        del self.sockets[release]

    def gateway(self) -> float:
        """Start the gateway; returns the seconds until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        words = [
            str(self.python), "-P", "-m", "windlass.serving.gateway", "--routes", str(self.folder / "routes.json"),
            "--socket", str(self.short / "admin"), "--log", str(self.folder / "log"), "--port", "0", "--stdin-watch",
        ]  # fmt: skip
        began = time.perf_counter()
        self.port = json.loads(self._start("gateway", words))["port"]
        return time.perf_counter() - began

    def route(self, route: Route) -> None:
        self.revision += 1
        admin.push(
            self.short / "admin", RouteTable(revision=self.revision, routes={ENDPOINT: route}, sockets=self.sockets)
        )

    def state(self) -> dict[str, Any]:
        return admin.state(self.short / "admin")

    def server(self, served: Served, name: str = NAME) -> Server:
        """As the peers are: requests of one row each, each of a user of its own."""
        return Server(
            name, self.port, list(self.processes.values()), f"/endpoints/{ENDPOINT}/invocations", split, _positive,
            served, headers=lambda at: f"windlass-user: user-{at}\r\n",
        )  # fmt: skip

    def check_log(self, at_least: int) -> None:
        """Raises Failed where the prediction log lost something or has less than was answered."""
        log = self.state()["log"]
        if log["dropped"] or log["error"] or log["written"] < at_least:
            raise Failed(f"the prediction log has {log['written']} of {at_least} answers: {log}")

    def end(self) -> None:
        for process in reversed(list(self.processes.values())):
            sessions.end(process)
        self.processes.clear()
        remove(self.short)

    def _start(self, name: str, words: list[str]) -> bytes:
        self.folder.mkdir(parents=True, exist_ok=True)
        said = self.folder / f"{name}.log"
        with said.open("ab") as log:
            process = subprocess.Popen(
                words, cwd=self.folder, env=self.env, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self.processes[name] = process
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise Failed(f"{NAME}'s {name} did not start: {said.read_text(errors='replace')[-1500:]}")
        return line


def start(python: Path, served: Served, folder: Path, env: dict[str, str], package: str = "package") -> Plane:
    """A gateway before a stable release and a candidate of the same model; 25 % of users get the candidate."""
    plane = Plane(python, env, folder)
    try:
        for release in (STABLE, CANDIDATE):
            plane.worker(release, served.folder / package)
        plane.gateway()
        plane.route(CANARY)
        await_answer(plane.server(served), time.perf_counter())
    except BaseException:
        plane.end()
        raise
    return plane


def frames(served: Served, path: Path) -> Path:
    """The same rows as a worker is asked on its socket, for ``firing.py``."""
    rows: list[Row] = [dict(zip(served.columns, row, strict=True)) for row in served.data]
    asked = [frame(Ask(1, [row])) for row in rows]
    path.write_bytes(b"".join(LENGTH.pack(len(each)) + each for each in asked))
    return path


def _positive(answer: Any) -> float:
    return float(answer["probabilities"][0])
