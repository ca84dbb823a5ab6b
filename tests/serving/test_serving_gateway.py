"""The data plane with real processes: answers, faults, swaps, and what is logged of them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving_plane import Load, logged, one

from windlass.domain.errors import Conflict, Invalid
from windlass.domain.routing import Arm, Route, RouteTable
from windlass.serving import admin
from windlass.serving.client import worker_process
from windlass.serving.record import Prediction, Shadow


def test_the_four_forms_are_answered_alike(plane: Callable[..., Any]) -> None:
    gateway = plane("good")
    gateway.route(stable="good")
    bodies = (
        one(),
        {"dataframe_split": {"columns": ["x", "y"], "data": [[0.5, 1]]}},
        {"inputs": {"x": [0.5], "y": [1]}},
        {"instances": [{"x": 0.5, "y": 1}]},
    )
    answers = [gateway.ask(body) for body in bodies]
    assert {status for status, _ in answers} == {200}
    assert len({(a["predictions"][0], a["probabilities"][0], a["release"]) for _, a in answers}) == 1
    assert len({a["id"] for _, a in answers}) == 4


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"not json", 400, "JSON"),
        (b"[]", 400, "JSON"),
        ({"rows": []}, 400, "no rows"),
        ({"dataframe_records": []}, 400, "no rows"),
        ({"dataframe_records": [{"x": 1.0}]}, 400, "lacks the column 'y'"),
        ({"dataframe_records": [{"x": 1.0, "y": 1, "z": 2}]}, 400, "unknown column 'z'"),
        ({"dataframe_records": [{"x": None, "y": 1}]}, 400, "'x' is null"),
        ({"dataframe_records": [{"x": "one", "y": 1}]}, 400, "'x' is str"),
        ({"dataframe_records": [{"x": 1.0, "y": 1.5}]}, 400, "'y' is float"),
        ({"dataframe_records": [{"x": 1.0, "y": True}]}, 400, "'y' is bool"),
        ({"dataframe_records": [{"x": [1], "y": 1}]}, 400, "single value"),
        ({"dataframe_records": [{"x": 1.0, "y": 1 << 70}]}, 400, ""),
        ({"dataframe_split": {"columns": [1, 2], "data": [[1, 2]]}}, 400, "distinct names"),
        ({"dataframe_split": {"columns": [[1]], "data": [[1]]}}, 400, "distinct names"),
        ({"dataframe_split": {"columns": ["x" * 500_000], "data": [[1]] * 1000}}, 400, "too much"),
        (b"{" + b" " * (1 << 20) + b"}", 413, "bytes"),
    ],
)
def test_bad_requests_get_their_error_and_harm_nobody(serving_plane: Any, body: Any, status: int, word: str) -> None:
    found, answer = serving_plane.ask(body)
    assert found == status
    assert word in answer["error"]["message"]
    assert serving_plane.ask(one())[0] == 200


@pytest.fixture
def serving_plane(plane: Callable[..., Any]) -> Any:
    gateway = plane("good")
    gateway.route(stable="good")
    return gateway


def test_other_paths(serving_plane: Any) -> None:
    assert serving_plane.ask(None, path="/health", method="GET")[0] == 200
    assert serving_plane.ask(None, path="/ready", method="GET")[0] == 200
    assert serving_plane.ask(None, path="/health", method="HEAD") == (200, "")
    assert serving_plane.ask(None, path="/nothing", method="GET")[0] == 404
    assert serving_plane.ask(None, path="/endpoints/e/invocations", method="GET")[0] == 405
    assert serving_plane.ask(one(), path="/endpoints/other/invocations")[0] == 404
    serving_plane.ask(one())
    status, text = serving_plane.ask(None, path="/metrics", method="GET")
    assert status == 200
    assert 'windlass_requests_total{endpoint="e",release="good",arm="stable",status="200"} 1' in text


def test_a_failing_candidate_harms_no_user_and_is_held_against_it(plane: Callable[..., Any], tmp_path: Path) -> None:
    gateway = plane("good", "raises")
    gateway.route(stable="good", candidate="raises", weight=1.0, salt="s", rollout="r")
    answers = [gateway.ask(one(x), user=f"u{i}") for i, x in enumerate((0.5, 2.0, 3.0))]
    assert [status for status, _ in answers] == [200, 200, 200]
    assert [answer["release"] for _, answer in answers] == ["raises", "good", "good"]
    gateway.stop()
    found = logged(tmp_path)
    assert [(each.arm, each.release, each.status, each.user_status) for each in found] == [
        (Arm.CANDIDATE, "raises", 200, 200), (Arm.CANDIDATE, "raises", 500, 200), (Arm.CANDIDATE, "raises", 500, 200),
    ]  # fmt: skip
    assert "no reference group" in found[1].error
    assert found[1].answered_by == "good"
    assert found[0].rollout == "r"


def test_rows_that_both_releases_refuse_are_the_users_fault(plane: Callable[..., Any], tmp_path: Path) -> None:
    gateway = plane("good", "other")
    gateway.route(stable="good", candidate="other", weight=1.0, salt="s", rollout="r")
    assert gateway.ask({"dataframe_records": [{"x": 1.0}]})[0] == 400
    gateway.stop()
    (record,) = logged(tmp_path)
    assert (record.status, record.user_status) == (400, 400)


def test_users_stay_with_their_release(plane: Callable[..., Any]) -> None:
    gateway = plane("good", "other")
    gateway.route(stable="good", candidate="other", weight=0.5, salt="s", rollout="r")
    users = [f"u{i}" for i in range(60)]
    first = {user: gateway.ask(one(), user=user)[1]["release"] for user in users}
    assert {user: gateway.ask(one(), user=user)[1]["release"] for user in users} == first
    assert set(first.values()) == {"good", "other"}


def test_a_shadow_is_asked_what_users_ask_and_answers_nobody(plane: Callable[..., Any], tmp_path: Path) -> None:
    gateway = plane("good", "raises")
    gateway.route(stable="good", candidate="raises", shadow=True, salt="s", rollout="r")
    for i in range(20):
        status, answer = gateway.ask(one(i / 8), user=f"u{i}")
        assert (status, answer["release"]) == (200, "good")
    gateway.stop()
    found = logged(tmp_path)
    predictions = {each.id: each for each in found if isinstance(each, Prediction)}
    shadows = {each.id: each for each in found if isinstance(each, Shadow)}
    assert predictions.keys() == shadows.keys()
    assert len(shadows) == 20
    assert {each.status for each in shadows.values()} == {200, 500}
    assert all(shadows[i].user == predictions[i].user for i in shadows)


def test_a_candidate_that_is_killed_under_load_costs_no_request(
    plane: Callable[..., Any], packages: dict[str, Path], tmp_path: Path
) -> None:
    gateway = plane("good")
    gateway.sockets["mortal"] = str(tmp_path / "mortal.sock")
    with worker_process(packages["other"], tmp_path / "mortal.sock") as mortal:
        gateway.route(stable="good", candidate="mortal", weight=0.5, salt="s", rollout="r")
        with Load(gateway.port) as load:
            load.more(100)
            mortal.send_signal(signal.SIGKILL)
            load.more(200)
    assert load.failed == []
    gateway.stop()
    assert any(each.status == 503 and each.user_status == 200 for each in logged(tmp_path))


def test_a_stable_worker_that_is_killed_and_started_again_costs_no_request(
    plane: Callable[..., Any], packages: dict[str, Path], tmp_path: Path
) -> None:
    gateway = plane()
    path = tmp_path / "mortal.sock"
    gateway.sockets["mortal"] = str(path)
    # More patience than a start of Python and sklearn takes: what is shown is that nobody fails, not how fast.
    gateway.route(stable="mortal", timeout_ms=30_000)
    with worker_process(packages["good"], path) as first, Load(gateway.port, timeout=40) as load:
        load.more(50)
        first.send_signal(signal.SIGKILL)
        first.wait()
        with worker_process(packages["good"], path):
            load.more(100)
            load.stop()
    assert load.failed == []
    sent = load.sent
    gateway.stop()
    found = logged(tmp_path)
    assert len({each.id for each in found}) == len(found) == sent


def test_swaps_under_load_cost_no_request(plane: Callable[..., Any]) -> None:
    gateway = plane("good", "other")
    gateway.route(stable="good")
    with Load(gateway.port, width=8) as load:
        for _ in range(5):
            gateway.route(stable="good", candidate="other", weight=1.0, salt="s", rollout="r")
            load.more(40)
            gateway.route(stable="other")
            load.more(40)
            gateway.route(stable="good")
            load.more(40)
    assert load.failed == []


def test_a_restart_serves_by_the_last_routes_without_anybody_pushing(plane: Callable[..., Any]) -> None:
    gateway = plane("good")
    gateway.route(stable="good")
    assert gateway.gateway is not None
    gateway.gateway.kill()
    gateway.gateway.wait()
    gateway.gateway.stdin.close()
    gateway.gateway.stdout.close()
    gateway.start()
    assert gateway.ask(one())[0] == 200
    assert admin.state(gateway.admin)["revision"] == 1


def test_an_older_table_and_another_one_of_the_same_revision_are_refused(plane: Callable[..., Any]) -> None:
    gateway = plane("good", "other")
    gateway.route(stable="good")
    gateway.route(stable="other")
    sockets = {name: (gateway.sockets[name],) for name in ("good", "other")}
    for revision in (1, 2):
        with pytest.raises(Conflict):
            admin.push(
                gateway.admin, RouteTable(revision=revision, routes={"e": Route(stable="good")}, sockets=sockets)
            )
    same = RouteTable(revision=2, routes={"e": Route(stable="other")}, sockets=sockets)
    assert admin.push(gateway.admin, same) == 2
    with pytest.raises(Invalid, match="no worker"):
        admin.push(gateway.admin, RouteTable(revision=3, routes={"e": Route(stable="nobody")}, sockets=sockets))
    assert gateway.ask(one())[1]["release"] == "other"


def test_pipelined_requests_are_answered_in_their_order(serving_plane: Any) -> None:
    def request(x: float) -> bytes:
        body = json.dumps(one(x)).encode()
        return b"POST /endpoints/e/invocations HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)

    with socket.create_connection(("127.0.0.1", serving_plane.port), timeout=10) as connection:
        connection.sendall(b"".join(request(x) for x in (-3.0, 3.0, -3.0)) + request(3.0)[:-5])
        time.sleep(0.05)
        connection.sendall(request(3.0)[-5:])
        received = b""
        while received.count(b'"predictions"') < 4:
            received += connection.recv(65536)
    assert [part[:3] for part in received.split(b'"predictions":')[1:]] == [b"[0]", b"[1]", b"[0]", b"[1]"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GARBAGE\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5000, b"431"),
        (b"POST /endpoints/e/invocations HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", b"400"),
        (b"POST /endpoints/e/invocations HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", b"400"),
    ],
)
def test_what_is_not_http_is_refused_and_closed(serving_plane: Any, sent: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", serving_plane.port), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    assert received.startswith(b"HTTP/1.1 " + status)
    assert serving_plane.ask(one())[0] == 200


def test_a_log_that_cannot_be_written_stops_nobody(plane: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file where the folder should be")
    gateway = plane("good")
    gateway.route(stable="good")
    assert gateway.ask(one())[0] == 200
    state = admin.state(gateway.admin)
    assert state["log"]["dropped"] == 1
    assert state["log"]["error"]


def test_a_port_in_use_is_one_line_and_code_5(serving_plane: Any, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "windlass.serving.gateway", "--routes", str(tmp_path / "r"), "--socket",
         str(tmp_path / "s"), "--log", str(tmp_path / "l"), "--port", str(serving_plane.port)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 5
    assert str(serving_plane.port) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gateway_ends_with_who_started_it(serving_plane: Any) -> None:
    serving_plane.gateway.stdin.close()
    assert serving_plane.gateway.wait(20) == 0
    serving_plane.gateway.stdout.close()
    serving_plane.gateway = None
