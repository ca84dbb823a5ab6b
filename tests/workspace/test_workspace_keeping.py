"""The control process looks after the log: alerts by what a real gateway says, Parquet, and what may go."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest

from windlass.domain.clock import now
from windlass.domain.ports import Database
from windlass.domain.routing import Arm, Route, RouteTable
from windlass.monitoring import alerts
from windlass.monitoring.alerts import Losses
from windlass.predictions import converting
from windlass.serving import admin
from windlass.serving.log import Writer, end, segments
from windlass.serving.record import Prediction
from windlass.workspace import keeping
from windlass.workspace.workspace import Workspace, open_workspace

CONFIG = '[project]\nname = "p"\n[model]\nname = "m"\n[endpoint]\nname = "e"\n'


@pytest.fixture
def ws(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "windlass.toml").write_text(CONFIG)
    made = open_workspace(tmp_path)
    made.database, made.now = database, now
    return made


@pytest.fixture
def gateway(ws: Workspace) -> Iterator[tuple[int, int]]:
    """A gateway whose only release has no worker: every request is answered, and logged, as a failure."""
    socket = ws.layout.socket("gateway")
    command = [
        sys.executable, "-P", "-m", "windlass.serving.gateway", "--routes", str(ws.layout.root / "routes.json"),
        "--socket", str(socket), "--log", str(ws.layout.predictions), "--port", "0", "--stdin-watch",
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        port = json.loads(process.stdout.readline())["port"]
        routes = {"e": Route(stable="b3:none", timeout_ms=30)}
        admin.push(socket, RouteTable(revision=1, routes=routes, sockets={"b3:none": (str(socket.parent / "no"),)}))
        yield process.pid, port
        process.stdin.close()
        process.wait(20)


def ask(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    body = json.dumps({"dataframe_records": [{"x": 1}]}).encode()
    connection.request("POST", "/endpoints/e/invocations", body, {"content-type": "application/json"})
    status = connection.getresponse().status
    connection.close()
    return status


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def raised(ws: Workspace) -> list[str]:
    keeping.watch(ws)
    with ws.database.read() as tx:
        return [alert.state for alert in alerts.ls(tx, "e") if alert.column == alerts.LOST]


def unlogged(ws: Workspace) -> int:
    return keeping.losses_of(ws)["e"].dropped


def test_a_full_disk_is_an_alert_until_it_is_not_full_any_more(ws: Workspace, gateway: tuple[int, int]) -> None:
    pid, port = gateway
    assert ask(port) == 503 and raised(ws) == []
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (40, before[1]))
    until(lambda: ask(port) == 503 and unlogged(ws) > 2)
    assert raised(ws) == ["firing"] and raised(ws) == ["firing"]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    until(lambda: not keeping.losses_of(ws)["e"].error)
    assert raised(ws) == ["firing"]  # it has only just lost some
    assert raised(replace_now(ws, alerts.QUIET)) == ["resolved"]
    with ws.database.read() as tx:
        (alert,) = alerts.ls(tx, "e")
    assert "answers not logged: File too large" in alert.detail


def replace_now(ws: Workspace, ahead: int) -> Workspace:
    later = replace(ws, now=lambda: now() + ahead)
    later.database = ws.database
    return later


def test_without_a_gateway_nothing_is_said(ws: Workspace) -> None:
    assert keeping.losses_of(ws) == {} and raised(ws) == []


def write(ws: Workspace, count: int) -> None:
    """So many segments of a record each."""
    for number in range(count):
        with Writer(ws.layout.predictions / "e") as writer:
            writer.append(
                Prediction(
                    id=f"p{number}", at=number, endpoint="e", revision=1, rollout=None, release="b3:r", arm=Arm.STABLE,
                    user="u", rows=[{"x": 1}], answers=[{"prediction": 1}], status=200, user_status=200, error="",
                    latency_us=1, answered_by="b3:r",
                )
            )  # fmt: skip


def left(ws: Workspace) -> list[int]:
    keeping.put_away(ws, 30)
    return [segment.number for segment in segments(ws.layout.predictions / "e" / "gateway-0")]


def test_what_is_old_goes_when_no_reader_needs_it(ws: Workspace) -> None:
    write(ws, 3)
    folder = ws.layout.predictions / "e"
    after = str(end(folder))
    assert left(ws) == [1, 2, 3]
    assert len(converting.notes(ws.layout.parquet / "e")) == 2
    for segment in segments(folder / "gateway-0")[:2]:
        os.utime(segment.path, (1, 1))

    def reads(table: str, **said: object) -> None:
        columns, holes = ", ".join(said), ", ".join("?" for _ in said)
        with ws.database.write() as tx:
            tx.execute(f"INSERT INTO {table} ({columns}) VALUES ({holes})", tuple(said.values()))

    reads("monitors", endpoint="e", position="0:0")
    assert left(ws) == [1, 2, 3]
    reads(
        "alerts",
        endpoint="e",
        column_name="x",
        state="firing",
        since=1,
        clean=0,
        release="r",
        position="0:0",
        detail="",
    )
    reads("alerts", endpoint="e", column_name=alerts.LOST, state="firing", since=1, clean=0, release="", position="",
          detail="")  # fmt: skip
    with ws.database.write() as tx:
        tx.execute("UPDATE monitors SET position = ?", (after,))
    assert left(ws) == [1, 2, 3]
    reads("rollouts", id="r", endpoint="e", strategy="canary", policy="{}", candidate="b3:r", stable=None,
          state="running", phase=0, salt="r", reason="", verdict="", revision=0, position=after, phase_position="0:0",
          evidence="{}", started_at=1)  # fmt: skip
    with ws.database.write() as tx:
        tx.execute("UPDATE alerts SET state = 'resolved'")
    assert left(ws) == [1, 2, 3]
    with ws.database.write() as tx:
        tx.execute("UPDATE rollouts SET state = 'promoted'")
    assert left(ws) == [3]
    assert len(list(ws.layout.parquet.rglob("part-*.parquet"))) == 2


def test_what_gateways_lost_adds_up() -> None:
    fine, full = Losses(error="", dropped=1, lost_at=5), Losses(error="full", dropped=3, lost_at=4)
    assert alerts.together(fine, full) == alerts.together(full, fine) == Losses(error="full", dropped=4, lost_at=5)
