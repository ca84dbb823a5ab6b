"""The route table on disk, and what it opens: keys, rules, several workers of one release."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from serving_plane import Load, build, logged, one

from windlass.domain.errors import Invalid
from windlass.domain.routing import Arm, Route, RouteTable, Rule
from windlass.serving import router, routes
from windlass.serving.client import worker_process


def table(revision: int) -> RouteTable:
    return RouteTable(revision=revision, routes={"e": Route(stable="r")}, sockets={"r": (f"/socket-{revision}",)})


def test_a_push_that_comes_late_to_one_gateway_leaves_the_newer_table_of_another(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    routes.save(path, table(2))
    routes.save(path, table(1))
    assert routes.load(path) == table(2)
    routes.save(path, table(3))
    assert routes.load(path) == table(3)


def test_gateways_that_save_at_once_leave_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    threads = [threading.Thread(target=routes.save, args=(path, table(n))) for n in (3, 9, 1, 7, 5, 8, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert routes.load(path) == table(9)
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".part")] == []


@pytest.mark.parametrize(
    ("route", "sockets"),
    [
        (Route(stable="r"), {"r": ()}),
        (Route(stable="r", rules=(Rule(name="t", release="other"),)), {"r": ("/s",)}),
        (Route(stable="r", rules=(Rule(name="t", release="r", share=1.5),)), {"r": ("/s",)}),
        (Route(stable="r", weight=0.5), {"r": ("/s",)}),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(route: Route, sockets: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(Invalid):
        routes.check(RouteTable(revision=1, routes={"e": route}, sockets=sockets))


def test_the_first_rule_that_matches_decides_and_each_user_stays() -> None:
    route = Route(
        stable="a", candidate="b", weight=0.5, salt="s",
        rules=(
            Rule(name="testers", release="b", header="x-tester", value="yes"),
            Rule(name="any", release="c", header="x-any"),
            Rule(name="half", release="d", share=0.5),
        ),
    )  # fmt: skip
    assert router.assign(route, "u", {b"x-tester": b"yes", b"x-any": b""}) == (Arm.CHOSEN, "b")
    assert router.assign(route, "u", {b"x-tester": b"no", b"x-any": b"1"}) == (Arm.CHOSEN, "c")
    users = [f"u{i}" for i in range(2000)]
    given = {user: router.assign(route, user)[1] for user in users}
    assert given == {user: router.assign(route, user)[1] for user in users}
    assert abs(sum(release == "d" for release in given.values()) / 2000 - 0.5) < 0.05
    # Whom the rule leaves out is divided between the arms as if there were none.
    rest = [release for release in given.values() if release != "d"]
    assert abs(rest.count("b") / len(rest) - 0.5) < 0.07


def test_a_tester_gets_the_candidate_and_is_logged_as_chosen(plane: Callable[..., Any], tmp_path: Path) -> None:
    gateway = plane("good", "other")
    rule = Rule(name="testers", release="other", header="x-tester")
    gateway.route(stable="good", candidate="other", weight=0.0, salt="s", rollout="r", rules=(rule,))
    assert ask(gateway.port, {"x-tester": "1"})[1]["release"] == "other"
    assert ask(gateway.port, {})[1]["release"] == "good"
    gateway.stop()
    assert [(each.arm, each.release) for each in logged(tmp_path)] == [(Arm.CHOSEN, "other"), (Arm.STABLE, "good")]


def test_who_names_a_release_is_logged_as_chosen(plane: Callable[..., Any], tmp_path: Path) -> None:
    gateway = plane("good", "other")
    gateway.versions = {"good": "1.0.0", "other": "1.1.0"}
    gateway.route(stable="good", candidate="other", weight=0.0, salt="s", rollout="r")
    assert gateway.ask(None, path="/v2/models/e", method="GET")[1]["versions"] == ["1.0.0", "1.1.0"]
    tensors = [
        {"name": name, "shape": [1], "datatype": kind, "data": [1]} for name, kind in (("x", "FP64"), ("y", "INT64"))
    ]
    for version in ("1.0.0", "1.1.0"):
        status, told = gateway.ask({"inputs": tensors}, path=f"/v2/models/e/versions/{version}/infer")
        assert status == 200, told
    gateway.stop()
    assert [(each.arm, each.release) for each in logged(tmp_path)] == [(Arm.CHOSEN, "good"), (Arm.CHOSEN, "other")]


def test_an_endpoint_with_keys_opens_to_them_alone_and_closes_at_once(plane: Callable[..., Any]) -> None:
    gateway = plane("good")
    keys = {hashlib.sha256(b"wlk_secret").hexdigest(): "a client"}
    gateway.route(stable="good", keys=keys)
    assert ask(gateway.port, {"authorization": "Bearer wlk_secret"})[0] == 200
    assert ask(gateway.port, {"x-api-key": "wlk_secret"})[0] == 200
    for headers in ({}, {"authorization": "Bearer no"}, {"authorization": "Basic wlk_secret"}, {"x-api-key": ""}):
        status, answer = ask(gateway.port, headers)
        assert (status, answer["error"]["kind"]) == (401, "denied")
        assert "wlk_secret" not in str(answer)
    gateway.route(stable="good", keys={})
    assert ask(gateway.port, {"authorization": "Bearer wlk_secret"})[0] == 401
    gateway.route(stable="good")
    assert ask(gateway.port, {})[0] == 200


def test_a_gateway_for_strangers_answers_nobody_without_a_key_and_tells_no_names(plane: Callable[..., Any]) -> None:
    gateway = plane("good", options=("--require-keys",))
    gateway.route(stable="good")
    assert ask(gateway.port, {})[0] == 401
    status, told = gateway.ask(one(), path="/endpoints/other/invocations")
    assert (status, "'e'" in str(told)) == (404, False)
    gateway.route(stable="good", keys={hashlib.sha256(b"wlk_secret").hexdigest(): "a client"})
    assert ask(gateway.port, {})[0] == 401
    assert ask(gateway.port, {"x-api-key": "wlk_secret"})[0] == 200


def test_of_two_workers_one_may_be_killed_under_load(
    plane: Callable[..., Any], packages: dict[str, Path], tmp_path: Path
) -> None:
    gateway = plane()
    paths = [tmp_path / "one.sock", tmp_path / "two.sock"]
    gateway.sockets["pair"] = tuple(map(str, paths))
    with worker_process(packages["good"], paths[0]) as first, worker_process(packages["good"], paths[1]):
        gateway.route(stable="pair")
        with Load(gateway.port, width=8) as load:
            load.more(100)
            first.send_signal(signal.SIGKILL)
            load.more(200)
    assert load.failed == []


def test_a_request_that_ends_workers_is_not_asked_for_ever(
    plane: Callable[..., Any], deadly: Path, tmp_path: Path
) -> None:
    gateway = plane()
    paths = [tmp_path / f"{number}.sock" for number in range(4)]
    gateway.sockets["four"] = tuple(map(str, paths))
    with (
        worker_process(deadly, paths[0]) as a, worker_process(deadly, paths[1]) as b,
        worker_process(deadly, paths[2]) as c, worker_process(deadly, paths[3]) as d,
    ):  # fmt: skip
        gateway.route(stable="four", timeout_ms=5000)
        assert gateway.ask(one(0.5))[0] == 200
        assert gateway.ask(one(2.0))[0] == 503
        assert gateway.ask(one(0.5))[0] == 200
        until = time.monotonic() + 10
        while sum(each.poll() is None for each in (a, b, c, d)) > 2 and time.monotonic() < until:
            time.sleep(0.01)  # a socket closes a little before its process has ended
        assert sum(each.poll() is None for each in (a, b, c, d)) == 2


@pytest.fixture
def deadly(tmp_path: Path) -> Path:
    return build(tmp_path / "deadly", fails="len(x) == 1 and x[0] > 1 and __import__('os')._exit(9)")


def ask(port: int, headers: dict[str, str]) -> tuple[int, Any]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(
        "POST", "/endpoints/e/invocations", json.dumps(one()), {"content-type": "application/json"} | headers
    )
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    return answer.status, found
