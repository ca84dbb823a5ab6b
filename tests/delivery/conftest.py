"""A world for the controller: a real database, a real log, and a gateway's admin socket that acknowledges."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from windlass.adapters.sqlite import SqliteDatabase
from windlass.delivery import releases, workers
from windlass.delivery.controller import Controller
from windlass.delivery.releases import Clearance
from windlass.delivery.rollouts import Rollout
from windlass.delivery.strategy import RolloutPolicy
from windlass.domain import digest
from windlass.domain.clock import SECOND
from windlass.domain.ports import Database
from windlass.domain.release import Release
from windlass.domain.routing import Arm, RouteTable
from windlass.serving import log, router
from windlass.serving.record import Prediction, Record, Shadow
from windlass.store.objects import PackedObjects
from windlass.workspace.stores import local_store


class Acknowledger:
    """The admin socket of a gateway that takes every table: the protocol of ``serving.admin``, and nothing else."""

    def __init__(self, path: Path) -> None:
        self.table = RouteTable(revision=0)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                received = b""
                while (data := connection.recv(65536)) and not (received := received + data).endswith(b"\n"):
                    pass
                if not received.endswith(b"\n"):
                    continue  # who asked was killed
                pushed = msgspec.convert(json.loads(received)["table"], RouteTable)
                if pushed.revision >= self.table.revision:
                    self.table = pushed
                connection.sendall(json.dumps({"ok": True, "revision": self.table.revision}).encode() + b"\n")

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@dataclass
class World:
    db: Database
    objects: PackedObjects
    folder: Path
    gateway: Acknowledger
    time: int = 1_000 * SECOND
    users: int = 0
    writer: log.Writer | None = None
    made: list[Rollout] = field(default_factory=list)
    logs: dict[str, dict[str, Any]] = field(default_factory=dict)  # what versions say the log is to keep
    timeouts: dict[str, int] = field(default_factory=dict)
    rollback: dict[str, Any] = field(default_factory=dict)

    def now(self) -> int:
        self.time += 1000
        return self.time

    def controller(self, holder: str = "one") -> Controller:
        return Controller(
            self.db, gateway_socket=self.folder / "gateway.sock", predictions=self.folder / "log", holder=holder,
            now=self.now, lease_now=lambda tx: self.now(),
        )  # fmt: skip

    def bundle(self, version: str) -> Release:
        log = {"log": self.logs[version]} if version in self.logs else {}
        return Release(
            endpoint="e", model="m", version=version, package=digest.of(version), environment=digest.of("env"),
            gate_report=digest.of(f"report {version}"), serving={"timeout_ms": self.timeouts.get(version, 500), **log},
            rollback=self.rollback,
        )  # fmt: skip

    def clearance(self, bundle: Release) -> Clearance:
        return Clearance(
            reference=f"{bundle.model}@{bundle.version}", package=bundle.package, gate_report=bundle.gate_report,
            approvals=("alex",),
        )  # fmt: skip

    def release(self, version: str, **options: Any) -> Rollout:
        bundle = self.bundle(version)
        rollout = releases.release(
            self.db, self.objects, release=bundle,
            **{
                "clearance": self.clearance(bundle), "policy": RolloutPolicy(), "actor": "dana", "reason": "a test",
                "now": self.now, "socket": lambda release: self.folder / f"{release[3:9]}.sock",
                "position": str(log.end(self.folder / "log" / "e")), "new_id": lambda: f"r{len(self.made)}x",
                **options,
            },
        )  # fmt: skip
        self.made.append(rollout)
        return rollout

    def ready(self, version: str, state: str = "ready", error: str = "") -> None:
        with self.db.write() as tx:
            workers.report(tx, self.bundle(version).id, state=state, pid=1, restarts=0, error=error, at=self.now())

    def first(self, version: str = "1.0.0") -> Controller:
        """An endpoint that serves a first release."""
        controller = self.controller()
        self.release(version)
        controller.tick()
        self.ready(version)
        controller.tick()
        return controller

    def ask(self, count: int, *, fails: Any = lambda number: False) -> None:
        """Users ask as the gateway's newest table has it; the candidate fails where ``fails`` says."""
        if self.writer is None:
            self.writer = log.Writer(self.folder / "log" / "e")
        table = self.gateway.table
        route = table.routes["e"]
        for _ in range(count):
            self.users += 1
            user = f"user-{self.users}"
            arm, _ = router.assign(route, user)
            candidate = arm is Arm.CANDIDATE
            failed = candidate and fails(self.users)
            self.append(
                Prediction(
                    id=f"{self.users}", at=self.now(), endpoint="e", revision=table.revision, rollout=route.rollout,
                    release=(route.candidate or "") if candidate else route.stable, arm=arm, user=user, rows=[{"x": 1}],
                    answers=[{"prediction": 1}], status=500 if failed else 200, user_status=200, error="",
                    latency_us=900, answered_by=route.stable,
                )
            )  # fmt: skip
            if route.shadow:
                self.append(
                    Shadow(
                        id=f"{self.users}", at=self.now(), endpoint="e", rollout=route.rollout,
                        release=route.candidate or "", user=user, status=500 if fails(self.users) else 200,
                        answers=None, error="", latency_us=900,
                    )
                )  # fmt: skip
        assert self.writer.flush()

    def close(self) -> None:
        self.gateway.close()
        if self.writer is not None:
            self.writer.close()

    def append(self, record: Record) -> None:
        assert self.writer is not None
        assert self.writer.append(record)


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[[], World]]:
    """Worlds of their own, as many as a test of generated histories needs, on SQLite."""
    made: list[World] = []
    first = tmp_path / "first.db"
    SqliteDatabase(first).close()

    def make() -> World:
        for old in made:
            end(old)
        made.clear()
        folder = tmp_path / "w"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy(first, folder / "windlass.db")
        objects = local_store(folder / "objects")
        made.append(
            World(SqliteDatabase(folder / "windlass.db"), objects, folder, Acknowledger(folder / "gateway.sock"))
        )
        return made[0]

    def end(old: World) -> None:
        old.close()
        old.db.close()

    yield make
    for old in made:
        end(old)


@pytest.fixture
def world(tmp_path: Path, database: Database, objects: PackedObjects) -> Iterator[World]:
    gateway = Acknowledger(tmp_path / "gateway.sock")
    made = World(database, objects, tmp_path, gateway)
    yield made
    made.close()
