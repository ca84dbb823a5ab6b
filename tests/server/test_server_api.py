"""The HTTP API over a project: operations as routes, errors as statuses, every route behind the guard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

import windlass.workspace.operations.models
import windlass.workspace.operations.predictions  # noqa: F401 - likewise
from windlass.domain.ports import Database
from windlass.domain.routing import Arm
from windlass.server import api, app
from windlass.server.mlflow.app import CALLS
from windlass.serving.log import Writer
from windlass.serving.record import Prediction
from windlass.workspace.layout import Layout
from windlass.workspace.operation import OPERATIONS
from windlass.workspace.workspace import Workspace

Ask = Callable[..., Any]


@pytest.fixture
def workspace(tmp_path: Path, database: Database) -> Workspace:
    found = Workspace(Layout(tmp_path), actor="ada", now=lambda: 1_700_000_000_000_000, remote=True)
    found.database = database
    return found


@pytest.fixture
def url(workspace: Workspace, serve: Callable[[object], str]) -> str:
    return serve(app.build(workspace, max_body=10_000))


def test_an_operation_answers_a_post_and_one_that_only_reads_a_get_too(url: str, ask: Ask) -> None:
    assert ask(url, "POST", "/api/v1/model.list", b"{}").body == b"[]"
    assert ask(url, "POST", "/api/v1/model.list", b"").body == b"[]"
    assert ask(url, "GET", "/api/v1/model.list?model=employment").body == b"[]"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("POST", "/api/v1/model.show", b'{"reference": "none@1.0.0"}', 404, "not_found"),
        ("GET", "/api/v1/model.show?reference=none@1.0.0", None, 404, "not_found"),
        ("GET", "/api/v1/model.show?reference=../x", None, 422, "invalid"),
        ("GET", "/api/v1/model.show", None, 422, "invalid"),
        ("POST", "/api/v1/model.show", b"{", 422, "invalid"),
        ("POST", "/api/v1/model.show", b'{"reference": 5}', 422, "invalid"),
        ("POST", "/api/v1/model.show", b'{"reference": "a", "more": 1}', 422, "invalid"),
        ("POST", "/api/v1/model.list", b'{"model": "' + b"x" * 20_000 + b'"}', 413, "invalid"),
        ("POST", "/api/v1/nothing.at.all", b"{}", 404, "not_found"),
        ("DELETE", "/api/v1/model.list", None, 405, "invalid"),
        ("GET", "/nowhere", None, 404, "not_found"),
        ("POST", "/docs", b"{}", 405, "invalid"),
    ],
)
def test_an_error_has_its_status_and_says_what_to_do_next(
    url: str, ask: Ask, method: str, path: str, body: bytes | None, status: int, kind: str
) -> None:
    reply = ask(url, method, path, body)
    assert (reply.status, reply.json()["error"]["kind"]) == (status, kind), reply.body
    assert reply.json()["error"]["message"] and reply.json()["error"]["hint"]


def test_a_body_that_does_not_say_it_is_json_is_refused(url: str, ask: Ask) -> None:
    reply = ask(url, "POST", "/api/v1/model.list", b"{}", {"content-type": "text/plain"})
    assert (reply.status, reply.json()["error"]["kind"]) == (422, "invalid")


def test_what_changes_something_is_not_done_by_a_get(url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    from windlass.workspace.operation import Operation
    from windlass.workspace.operations.models import ListModels

    done: list[str] = []
    change = Operation("test.change", "Change.", False, ListModels, str, lambda ws, _: done.append(ws.actor) or "ok")
    monkeypatch.setitem(OPERATIONS, "test.change", change)
    refused = ask(url, "GET", "/api/v1/test.change")
    assert (refused.status, refused.headers["allow"], done) == (405, "POST", [])
    assert ask(url, "POST", "/api/v1/test.change").json() == "ok"
    assert done == ["ada"]


def test_a_fault_of_ours_shows_nothing_of_its_inside(
    url: str, ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from windlass.workspace.operation import Operation
    from windlass.workspace.operations.models import ListModels

    def fail(_: object, __: object) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setitem(OPERATIONS, "test.fault", Operation("test.fault", "Fail.", True, ListModels, str, fail))
    reply = ask(url, "POST", "/api/v1/test.fault")
    assert (reply.status, reply.json()["error"]["kind"]) == (500, "failure")
    assert b"secret" not in reply.body
    assert "secret inside" in caplog.text


def test_the_document_the_page_and_the_probes_answer(url: str, ask: Ask) -> None:
    document = ask(url, "GET", "/openapi.json").json()
    assert {f"/api/v1/{name}" for name in OPERATIONS} == set(document["paths"])
    page = ask(url, "GET", "/docs")
    assert page.status == 200 and "default-src 'none'" in page.headers["content-security-policy"]
    assert ask(url, "GET", "/").headers["location"] == "/docs"
    assert ask(url, "GET", "/health").body == b"OK"
    assert ask(url, "GET", "/ready").json() == {"status": "ready"}


def test_no_route_answers_another_host_or_a_page_of_another_origin(workspace: Workspace, url: str, ask: Ask) -> None:
    """CVE-2026-0545, CVE-2026-27482: the whole table of routes is walked, by every method."""
    listed = [route for route in api.routes(workspace) if isinstance(route, Route)]
    pages = [(m, each.path.replace("{name}", "model.list")) for each in listed for m in each.methods or {"GET"}]
    calls = [(method, f"/api/2.0/mlflow/{name.replace('{', '').replace('}', '')}") for method, name in CALLS]
    files = [(method, "/api/2.0/mlflow-artifacts/artifacts/0/x/artifacts/a") for method in ("GET", "PUT", "DELETE")]
    assert len(pages) > 8 and len(calls) > 30
    for method, path in [*pages, *calls, *files, ("GET", "/version"), ("GET", "/"), ("DELETE", "/api/2.0/x")]:
        assert ask(url, method, path, headers={"host": "evil.example"}).status == 403, (method, path)
        assert ask(url, method, path, headers={"origin": "http://evil.example"}).status == 403, (method, path)


def test_mlflows_protocol_is_served_beside_the_api(url: str, ask: Ask) -> None:
    found = ask(url, "GET", "/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default").json()
    assert found["experiment"]["experiment_id"] == "0"


def test_predictions_are_asked_over_http_as_in_the_folder(workspace: Workspace, url: str, ask: Ask) -> None:
    record = Prediction(
        id="p1", at=1_600_000_000_000_000, endpoint="e", revision=1, rollout=None, release="b3:r", arm=Arm.STABLE,
        user="u", rows=[{"x": 1.5}], answers=[{"prediction": 1}], status=200, user_status=200, error="",
        latency_us=2000, answered_by="b3:r",
    )  # fmt: skip
    with Writer(workspace.layout.predictions / "e") as writer:
        writer.append(record)
    found = ask(url, "POST", "/api/v1/predictions.query", b'{"endpoint": "e"}')
    assert found.status == 200 and b'["b3:r","stable",200,1,1,1,2.0,2.0]' in found.body
    body = b'{"endpoint": "e", "sql": "SELECT asked_at, inputs FROM predictions"}'
    found = ask(url, "POST", "/api/v1/predictions.query", body)
    assert b'[["2020-09-13T12:26:40Z",{"x":1.5}]]' in found.body
    for sql in (b"FROM read_text('/etc/passwd')", b"COPY predictions TO '/tmp/stolen.csv'"):
        refused = ask(url, "POST", "/api/v1/predictions.query", b'{"endpoint": "e", "sql": "' + sql + b'"}')
        assert refused.status in (403, 422) and b"root:" not in refused.body
