"""A project that is up: real gateways, workers and control process on small packages, and users who keep asking."""

from __future__ import annotations

import http.client
import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from windlass.delivery import history, releases, rollouts, routing, workers
from windlass.delivery.releases import Clearance
from windlass.delivery.rollouts import Rollout
from windlass.delivery.strategy import RolloutPolicy
from windlass.domain import clock, digest, ledger
from windlass.domain.errors import Failure
from windlass.domain.release import Release
from windlass.serving import log
from windlass.workspace.layout import Layout
from windlass.workspace.workspace import Workspace

# Packages are named by the folder that they lie in, so that no store is needed between them and the workers.
PROGRAM = """
import json, pathlib, sys
from windlass.server import supervisor
from windlass.workspace.layout import Layout

root = pathlib.Path(sys.argv[1])
stop = supervisor.stop_on_signals()
supervisor.supervise(
    Layout(root), gateway_port=0, control_port=0, gateway_processes=int(sys.argv[2]), stop=stop,
    ready=lambda gateway, control: print(gateway, control, flush=True),
    prepare=lambda wanted: (json.loads((root / "packages.json").read_text())[wanted.package], sys.executable),
)
"""
ACTOR = "sam"


def eventually(holds: Callable[[], Any], seconds: float = 60.0) -> Any:
    until = time.monotonic() + seconds
    while True:
        with suppress(OSError, ValueError, KeyError, Failure):
            if found := holds():
                return found
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.02)


class Project:
    """What is up, and what its database says."""

    def __init__(self, root: Path, gateways: int) -> None:
        self.root, self.layout, self._gateways = root, Layout(root), gateways
        (root / "packages.json").write_text("{}")
        self.workspace = Workspace(self.layout, actor=ACTOR)
        self.start()

    def start(self) -> None:
        """Bring everything up, afresh if it was up before."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(self.root), str(self._gateways)], text=True, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.gateway, self.control = self.process.stdout.readline().split()

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=60)

    def release(
        self, package: Path, version: str, endpoint: str = "e", *, policy: RolloutPolicy | None = None, **serving: Any
    ) -> Rollout:
        """Roll a package out."""
        known = json.loads((self.root / "packages.json").read_text())
        name = digest.of(str(package))
        (self.root / "packages.json").write_text(json.dumps({**known, name: str(package)}))
        bundle = Release(
            endpoint=endpoint, model="m", version=version, package=name, environment=digest.of("here"),
            gate_report=digest.of(f"report of {version}"), serving={"timeout_ms": 5000, **serving},
        )  # fmt: skip
        clearance = Clearance(
            reference=f"m@{version}", package=name, gate_report=bundle.gate_report, approvals=("alex",)
        )
        return releases.release(
            self.workspace.database, self.workspace.objects, release=bundle, clearance=clearance,
            policy=policy or RolloutPolicy(), actor=ACTOR, reason="a test", now=clock.now,
            socket=self.layout.worker_socket, position=str(log.end(self.layout.predictions / endpoint)),
            new_id=lambda: secrets.token_hex(8),
        )  # fmt: skip

    def ended(self, rollout: Rollout, seconds: float = 60.0) -> Rollout:
        """The rollout, once it has, and every gateway knows."""

        def found() -> Rollout | None:
            with self.workspace.database.read() as tx:
                now, settled = rollouts.find(tx, rollout.id), routing.current(tx).settled
            return now if now.ended_at is not None and settled else None

        ended: Rollout = eventually(found, seconds)
        return ended

    def workers(self) -> list[workers.WorkerStanding]:
        with self.workspace.database.read() as tx:
            return workers.standing(tx)

    def ready(self, endpoint: str = "e") -> list[int]:
        """The processes of the workers of what the endpoint serves that are ready."""
        with self.workspace.database.read() as tx:
            serving = {each.endpoint: each.release for each in history.live(tx)}[endpoint]
        return [each.pid for each in self.workers() if each.release == serving and each.state == "ready" and each.pid]

    def address(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.layout.address.read_text())
        return found

    def verified(self) -> int:
        """How many entries the ledger has, none of them touched."""
        with self.workspace.database.read() as tx:
            heads = {row["subject"]: row["target"] for row in tx.rows("SELECT subject, target FROM heads")}
            return ledger.verify(ledger.entries(tx), heads)


@dataclass
class Users:
    """Some who ask one thing after another, and what they got."""

    url: str
    x: float
    names: Callable[[int], str] = "user-{}".format
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    again: int = 0  # connections that were dropped, and the request sent once more
    ids: list[str] = field(default_factory=list)  # of what was answered
    _ended: threading.Event = field(default_factory=threading.Event)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _asked: int = 0

    def run(self) -> None:
        parts = urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=20)
        while not self._ended.is_set():
            with self._guard:
                self._asked += 1
                user = self.names(self._asked)
            for attempt in range(2):
                try:
                    status, said = self._ask(connection, parts.path, user)
                except (OSError, http.client.HTTPException) as error:
                    connection.close()
                    status, said = 0, f"{type(error).__name__}: {error}"
                    if attempt == 0:
                        with self._guard:
                            self.again += 1
                        continue
                break
            with self._guard:
                self.answered += status == 200
                if status == 200:
                    self.ids.append(json.loads(said)["id"])
                else:
                    self.failures.append(f"{status} {said}")
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, path: str, user: str) -> tuple[int, str]:
        body = json.dumps({"inputs": {"x": [self.x], "y": [1]}})
        connection.request("POST", path, body, {"content-type": "application/json", "windlass-user": user})
        response = connection.getresponse()
        return response.status, response.read().decode()

    def more(self, count: int) -> None:
        """Wait until so many more were answered."""
        until = self.answered + count
        eventually(lambda: self.answered >= until or self.failures)


@contextmanager
def users(
    project: Project,
    endpoint: str = "e",
    *,
    x: float = 1.0,
    count: int = 6,
    names: Callable[[int], str] = "user-{}".format,
) -> Iterator[Users]:
    """Users who ask for as long as the block lasts; ``names`` says who asks the nth time."""
    made = Users(f"{project.gateway}/endpoints/{endpoint}/invocations", x, names)
    threads = [threading.Thread(target=made.run) for _ in range(count)]
    for each in threads:
        each.start()
    try:
        made.more(50)
        yield made
        made.more(50)
    finally:
        made._ended.set()
        for each in threads:
            each.join()
