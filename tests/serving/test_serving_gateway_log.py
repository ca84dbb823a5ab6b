"""What real gateways log, and what they answer when they cannot."""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import pytest

from windlass.domain.errors import Unavailable
from windlass.domain.routing import LogPolicy, Route, RouteTable
from windlass.serving import admin, routes
from windlass.serving.log import Writer, read, writers
from windlass.serving.record import Prediction

TINY = 40  # bytes: a segment's header, and no record


def one(x: float = 0.5, y: int = 1) -> dict[str, Any]:
    return {"dataframe_records": [{"x": x, "y": y}]}


def answered(plane: Any) -> list[Prediction]:
    return [each for each in read(plane.folder / "log" / "e")[0] if isinstance(each, Prediction)]


class FullDisk:
    """Files of the gateway cannot grow beyond a few bytes, until ``free`` is called: the kernel refuses its writes."""

    def __init__(self, plane: Any) -> None:
        self._pid = plane.gateway.pid
        self._before = resource.prlimit(self._pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (TINY, self._before[1]))

    def free(self) -> None:
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, self._before)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def said(plane: Any) -> dict[str, Any]:
    found: dict[str, Any] = admin.state(plane.admin)["log"]["endpoints"]["e"]
    return found


def test_two_gateways_log_at_the_same_time(plane: Callable[..., Any]) -> None:
    first = plane("good")
    first.route(stable="good")
    with tempfile.TemporaryDirectory() as short:
        command = [
            sys.executable, "-P", "-m", "windlass.serving.gateway", "--routes", str(first.folder / "routes.json"),
            "--socket", f"{short}/second.sock", "--log", str(first.folder / "log"), "--port", "0", "--stdin-watch",
            "--name", "gateway-1",
        ]  # fmt: skip
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as second:
            assert second.stdout is not None and second.stdin is not None
            port, ids = json.loads(second.stdout.readline())["port"], set[str]()
            for number in range(20):
                ids.add(first.ask(one())[1]["id"])
                connection = HTTPConnection("127.0.0.1", port, timeout=10)
                connection.request("POST", "/endpoints/e/invocations", json.dumps(one(number)).encode(), {
                    "content-type": "application/json"
                })  # fmt: skip
                ids.add(json.loads(connection.getresponse().read())["id"])
                connection.close()
            second.stdin.close()
            assert second.wait(20) == 0
    first.stop()
    assert list(writers(first.folder / "log" / "e")) == ["gateway-0", "gateway-1"]
    found = answered(first)
    assert len(found) == 40 and {each.id for each in found} == ids
    assert [each.at for each in found] == sorted(each.at for each in found)


def test_a_synced_answer_is_in_the_log_when_it_arrives(plane: Callable[..., Any]) -> None:
    gateway = plane("good")
    gateway.route(stable="good", log=LogPolicy(sync="always"))
    for count in range(1, 15):
        status, answer = gateway.ask(one())
        assert status == 200
        found = answered(gateway)
        assert len(found) == count and answer["id"] in {each.id for each in found}


def test_what_the_policy_withholds_never_reaches_the_disk(plane: Callable[..., Any]) -> None:
    gateway = plane("good")
    gateway.route(stable="good", log=LogPolicy(drop=("x",), hash=("y",)))
    assert gateway.ask(one(0.123454321, 3))[0] == 200
    assert gateway.ask({"dataframe_records": [{"X": 0.123454321, "y": 3}]})[0] == 400
    gateway.stop()
    (found,) = [each for each in answered(gateway) if each.answers]
    assert found.withheld == ("x", "y") and list(found.rows[0]) == ["y"] and len(str(found.rows[0]["y"])) == 32
    assert (gateway.folder / "log.key").stat().st_mode & 0o777 == 0o600
    raw = b"".join(path.read_bytes() for path in (gateway.folder / "log").rglob("*.log"))
    assert raw and b"0.123454321" not in raw and struct.pack(">d", 0.123454321) not in raw and b'"X"' not in raw


def test_a_full_disk_costs_records_and_no_answer(plane: Callable[..., Any]) -> None:
    gateway = plane("good")
    gateway.route(stable="good")
    disk = FullDisk(gateway)
    assert [gateway.ask(one())[0] for _ in range(30)] == [200] * 30
    until(lambda: said(gateway)["dropped"] == 30)
    assert said(gateway)["error"] and said(gateway)["lost_at"]
    assert "windlass_predictions_unlogged 30" in gateway.ask(None, path="/metrics", method="GET")[1]
    disk.free()
    until(lambda: not said(gateway)["error"])  # with nobody asking
    assert gateway.ask(one())[0] == 200
    gateway.stop()
    assert len(answered(gateway)) == 1


def test_where_nothing_may_be_lost_a_full_disk_refuses(plane: Callable[..., Any]) -> None:
    gateway = plane("good")
    gateway.route(stable="good", log=LogPolicy(when_full="refuse", queue_bytes=1 << 20))
    assert gateway.ask(one())[0] == 200
    gateway.route(stable="good", log=LogPolicy(when_full="refuse", queue_bytes=5 * 512 + 300))
    disk = FullDisk(gateway)
    statuses = [gateway.ask(one())[0] for _ in range(20)]
    given = statuses.count(200)
    assert set(statuses) == {200, 503} and given < 10
    status, answer = gateway.ask(one())
    assert status == 503 and "cannot be logged" in answer["error"]["message"]
    disk.free()
    until(lambda: not said(gateway)["error"])
    assert gateway.ask(one())[0] == 200
    gateway.stop()
    assert len(answered(gateway)) == given + 2  # whoever was answered is in it


def test_synced_or_refused(plane: Callable[..., Any]) -> None:
    gateway = plane("good")
    gateway.route(stable="good", log=LogPolicy(sync="always", when_full="refuse"))
    disk = FullDisk(gateway)
    assert {gateway.ask(one())[0] for _ in range(5)} == {503}
    disk.free()
    until(lambda: not said(gateway)["error"])
    assert gateway.ask(one())[0] == 200
    gateway.route(stable="good", log=LogPolicy(sync="always"))
    disk = FullDisk(gateway)
    until(lambda: gateway.ask(one())[0] == 200 and bool(said(gateway)["error"]))  # shed: answered all the same
    disk.free()


def test_routes_that_a_full_disk_does_not_take_are_served_and_not_acknowledged(plane: Callable[..., Any]) -> None:
    gateway = plane("good", "other")
    gateway.route(stable="good")
    disk = FullDisk(gateway)
    with pytest.raises(Unavailable, match="cannot write"):
        gateway.route(stable="other")
    assert gateway.ask(one())[1]["release"] == "other"
    sockets = {name: (gateway.sockets[name],) for name in ("good", "other")}
    same = RouteTable(revision=2, routes={"e": Route(stable="other")}, sockets=sockets)
    with pytest.raises(Unavailable, match="cannot write"):
        admin.push(gateway.admin, same)
    disk.free()
    assert admin.push(gateway.admin, same) == 2
    assert routes.load(gateway.folder / "routes.json") == same


def test_a_log_that_somebody_else_held_is_opened_when_it_is_free(plane: Callable[..., Any]) -> None:
    gateway = plane("good")
    with Writer(gateway.folder / "log" / "e"):
        gateway.route(stable="good")
        assert gateway.ask(one())[0] == 200
        assert "another process" in said(gateway)["error"]
    until(lambda: not said(gateway)["error"])
    gateway.ask(one())
    gateway.stop()
    assert len(answered(gateway)) == 1
