"""A real gateway before real workers, spoken to in every protocol it speaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

import pytest
from serving_plane import logged, one

from windlass.domain import version
from windlass.domain.routing import Arm, Route, RouteTable
from windlass.serving import admin

ROW = one()


def ask(plane: Any, path: str, body: Any = None, method: str = "", **headers: str) -> tuple[int, Any, dict[str, str]]:
    """Status, body and headers of an answer; ``x_request_id`` stands for the header X-Request-Id."""
    connection = HTTPConnection("127.0.0.1", plane.port, timeout=10)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method or ("GET" if body is None else "POST"), path, data, named)
    answer = connection.getresponse()
    raw = answer.read()
    connection.close()
    found = {name.lower(): value for name, value in answer.getheaders()}
    return answer.status, json.loads(raw) if raw.startswith((b"{", b"[")) else raw.decode(), found


def written(plane: Any) -> list[Any]:
    """What is in the log; the gateway ends for it, which writes all of it."""
    plane.stop()
    return logged(plane.folder)


def tensors(x: float = 0.5, y: int = 1) -> dict[str, Any]:
    return {
        "inputs": [
            {"name": "x", "shape": [1], "datatype": "FP64", "data": [x]},
            {"name": "y", "shape": [1, 1], "datatype": "INT64", "data": [y]},
        ]
    }


@pytest.fixture
def serving(plane: Callable[..., Any]) -> Any:
    gateway = plane("good", "other")
    gateway.route(stable="good", candidate="other")
    return gateway


def test_the_server(serving: Any) -> None:
    for path in ("/v2", "/v2/"):
        status, body, _ = ask(serving, path)
        assert (status, body) == (200, {"name": "windlass", "version": version.VERSION, "extensions": []})
    assert ask(serving, "/v2/health/live")[:2] == (200, {"live": True})
    assert ask(serving, "/v2/health/ready")[:2] == (200, {"live": True, "ready": True})


def test_a_model(serving: Any) -> None:
    status, body, _ = ask(serving, "/v2/models/e")
    assert status == 200
    assert body == {
        "name": "e",
        "versions": ["good", "other"],
        "platform": "windlass",
        "inputs": [
            {"name": "x", "datatype": "FP64", "shape": [-1]},
            {"name": "y", "datatype": "INT64", "shape": [-1]},
        ],
        "outputs": [
            {"name": "predict", "datatype": "INT64", "shape": [-1]},
            {"name": "probability", "datatype": "FP64", "shape": [-1]},
        ],
    }
    assert ask(serving, "/v2/models/e/versions/other")[1] == body
    assert ask(serving, "/v2/models/e/ready")[:2] == (200, {"name": "e", "ready": True})
    assert ask(serving, "/v2/models/e/versions/other/ready")[:2] == (200, {"name": "e", "ready": True})


def test_an_inference_is_answered_as_an_invocation(serving: Any) -> None:
    status, plain, _ = ask(serving, "/endpoints/e/invocations", ROW)
    assert status == 200
    one_tensor = {"id": "42", "inputs": [{"name": "all", "shape": [1, 2], "datatype": "FP32", "data": [[0.5, 1.0]]}]}
    for body in (tensors(), one_tensor):
        status, answer, _ = ask(serving, "/v2/models/e/infer", body)
        assert status == 200
        assert answer["outputs"] == [
            {"name": "predict", "shape": [1], "datatype": "INT64", "data": plain["predictions"]},
            {"name": "probability", "shape": [1], "datatype": "FP64", "data": plain["probabilities"]},
        ]
        assert (answer["model_name"], answer["model_version"]) == ("e", "good")
    assert answer["id"] == "42"
    records = written(serving)
    assert [record.id for record in records][-1] == answer["parameters"]["prediction_id"]
    assert [record.rows for record in records] == [[{"x": 0.5, "y": 1}]] * 3


def test_a_version_answers_itself_and_is_no_evidence(serving: Any) -> None:
    for release in ("good", "other"):
        status, answer, _ = ask(serving, f"/v2/models/e/versions/{release}/infer", tensors())
        assert (status, answer["model_version"]) == (200, release)
    assert [(record.release, record.arm) for record in written(serving)] == [
        ("good", Arm.CHOSEN), ("other", Arm.CHOSEN),
    ]  # fmt: skip


def test_only_the_outputs_that_are_wanted(serving: Any) -> None:
    _, answer, _ = ask(serving, "/v2/models/e/infer", {**tensors(), "outputs": [{"name": "probability"}]})
    assert [each["name"] for each in answer["outputs"]] == ["probability"]


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "said"),
    [
        ("/v2/models/e/infer", {**tensors(), "outputs": [{"name": "logits"}]}, {}, 400, "no output 'logits'"),
        ("/v2/models/e/infer", {"inputs": tensors()["inputs"][:1]}, {}, 400, "lacks the tensor 'y'"),
        ("/v2/models/e/infer", b"no", {}, 400, "not JSON"),
        ("/v2/models/e/infer", ROW, {}, 400, "no inputs"),
        ("/v2/models/e/infer", tensors(), {"content_type": "application/octet-stream"}, 415, "application/json"),
        ("/v2/models/e/infer", tensors(), {"inference_header_content_length": "10"}, 400, "binary"),
        ("/v2/models/e/infer", tensors(), {"windlass_deadline_ms": "soon"}, 400, "Windlass-Deadline-Ms"),
        ("/v2/models/none/infer", tensors(), {}, 404, "no endpoint 'none'"),
        ("/v2/models/e/versions/9/infer", tensors(), {}, 404, "no version '9'"),
        ("/v2/models/none", None, {}, 404, "no endpoint 'none'"),
        ("/v2/models/none/ready", None, {}, 404, "no endpoint 'none'"),
        ("/v2/models/e/infer", None, {}, 405, "use POST"),
        ("/v2/models", None, {}, 404, "nothing at"),
        ("/v2/repository/index", {}, {}, 404, "nothing at"),
    ],
)
def test_errors_are_the_protocols(
    serving: Any, path: str, body: Any, headers: dict[str, str], status: int, said: str
) -> None:
    found, answer, _ = ask(serving, path, body, **headers)
    assert (found, list(answer)) == (status, ["error"])
    assert said in answer["error"]
    assert ask(serving, "/v2/models/e/infer", tensors())[0] == 200


def test_a_model_without_a_worker_is_not_ready(plane: Callable[..., Any]) -> None:
    gateway = plane("good")
    gateway.sockets["gone"] = str(gateway.folder / "gone.sock")
    gateway.route(stable="good", candidate="gone")
    assert ask(gateway, "/v2/health/ready")[0] == 200
    assert ask(gateway, "/v2/models/e/versions/gone/ready")[:2] == (503, {"name": "e", "ready": False})
    status, body, headers = ask(gateway, "/v2/models/e/versions/gone")
    assert (status, headers["retry-after"]) == (503, "1")
    assert "worker" in body["error"]
    gateway.route(stable="gone", timeout_ms=200)
    assert ask(gateway, "/v2/health/ready")[:2] == (503, {"live": True, "ready": False})
    assert ask(gateway, "/v2/models/e/infer", tensors())[0] == 503
    assert ask(gateway, "/endpoints/e/invocations", b"x,y\n1,2", content_type="text/csv")[0] == 503


def test_with_no_endpoint_the_server_is_ready(plane: Callable[..., Any]) -> None:
    gateway = plane("good")
    assert ask(gateway, "/v2/health/ready")[0] == 200
    assert ask(gateway, "/invocations", ROW)[:2] == (400, {"error": {
        "kind": "invalid", "message": "there is no endpoint yet",
        "hint": "name it: /endpoints/NAME/invocations, /invocations?endpoint=NAME, or the header Windlass-Endpoint",
    }})  # fmt: skip


def test_the_first_request_of_all_may_need_the_signature(plane: Callable[..., Any]) -> None:
    gateway = plane("good")
    gateway.route(stable="good")
    assert ask(gateway, "/invocations", {"inputs": [[0.5, 1.0]]})[0] == 200


def test_mlflows_paths(serving: Any) -> None:
    plain = ask(serving, "/endpoints/e/invocations", ROW)[1]
    for path in ("/invocations", "/invocations?endpoint=e"):
        status, answer, _ = ask(serving, path, ROW)
        assert (status, answer["predictions"]) == (200, plain["predictions"])
    for path in ("/ping", "/health"):
        assert ask(serving, path)[0] == 200
    assert ask(serving, "/version")[:2] == (200, version.VERSION)
    assert ask(serving, "/invocations")[0] == 405


def test_which_endpoint_of_several(serving: Any) -> None:
    serving.revision += 1
    sockets = {name: (serving.sockets[name],) for name in ("good", "other")}
    routes = {"e": Route(stable="good"), "f": Route(stable="other")}
    admin.push(serving.admin, RouteTable(revision=serving.revision, routes=routes, sockets=sockets))
    status, body, _ = ask(serving, "/invocations", ROW)
    assert (status, body["error"]["message"]) == (400, "which of 2 endpoints?")
    assert ask(serving, "/invocations?endpoint=f", ROW)[1]["release"] == "other"
    assert ask(serving, "/invocations", ROW, windlass_endpoint="e")[1]["release"] == "good"
    assert ask(serving, "/invocations?endpoint=none", ROW)[0] == 404


def test_csv(serving: Any) -> None:
    plain = ask(serving, "/endpoints/e/invocations", ROW)[1]
    for kind in ("text/csv", "text/csv; charset=utf-8"):
        status, answer, _ = ask(serving, "/endpoints/e/invocations", b"x,y\n0.5,1\n", content_type=kind)
        assert (status, answer["probabilities"]) == (200, plain["probabilities"])
    status, answer, _ = ask(serving, "/endpoints/e/invocations", b"x,y\n0.5,one\n", content_type="text/csv")
    assert status == 400
    assert answer["error"]["message"] == "row 1: column 'y' is 'one', not integer"


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "application/xml", "text/csv; charset=latin-1"])
def test_other_content_types(serving: Any, kind: str) -> None:
    status, answer, _ = ask(serving, "/endpoints/e/invocations", ROW, content_type=kind)
    assert status == 415
    assert "application/json or text/csv" in answer["error"]["hint"]


def test_ids_and_traces_come_back(serving: Any) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    _, answer, headers = ask(serving, "/endpoints/e/invocations", ROW, x_request_id="mine 1", traceparent=trace)
    assert (answer["id"], headers["x-request-id"], headers["traceparent"]) == ("mine 1", "mine 1", trace)
    _, answer, headers = ask(serving, "/v2/models/e/infer", {**tensors(), "id": "42"}, x_request_id="mine 2")
    assert (answer["id"], headers["x-request-id"]) == ("42", "mine 2")
    _, answer, headers = ask(serving, "/endpoints/e/invocations", ROW)
    assert headers["x-request-id"] == answer["id"]
    status, answer, headers = ask(serving, "/endpoints/e/invocations", one(y="a"), x_request_id="mine 4")  # type: ignore[arg-type]
    assert (status, headers["x-request-id"]) == (400, "mine 4")
    status, answer, _ = ask(serving, "/endpoints/e/invocations", ROW, x_request_id="x" * 129)
    assert (status, "X-Request-Id" in answer["error"]["message"]) == (400, True)
    ids = [record.id for record in written(serving)]
    assert (ids[0], ids[1], ids[3]) == ("mine 1", "mine 2", "mine 4")


def test_whoever_does_not_wait_is_told_so(plane: Callable[..., Any]) -> None:
    gateway = plane("good")
    gateway.sockets["gone"] = str(gateway.folder / "gone.sock")
    gateway.route(stable="gone", timeout_ms=60_000)
    # The endpoint would look for its worker for a minute, the user waits for it 100 ms.
    assert ask(gateway, "/endpoints/e/invocations", ROW, windlass_deadline_ms="100")[0] in (503, 504)


def test_a_key_opens_what_tells_of_the_model(plane: Callable[..., Any]) -> None:
    import hashlib

    gateway = plane("good")
    gateway.route(stable="good", keys={hashlib.sha256(b"k").hexdigest(): "test"})
    for path, body in (("/v2/models/e", None), ("/v2/models/e/infer", tensors()), ("/invocations", ROW)):
        status, answer, headers = ask(gateway, path, body)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert isinstance(answer["error"], str) == path.startswith("/v2")
        assert ask(gateway, path, body, authorization="Bearer k")[0] == 200
    assert ask(gateway, "/v2/models/e/ready")[0] == 200
