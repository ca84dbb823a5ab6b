"""Who asks: every route needs a token once there is one, and what is done is done by whom it names."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from windlass.domain import ledger
from windlass.domain.ports import Database
from windlass.governance import tokens
from windlass.server import api, app
from windlass.server.mlflow.app import CALLS
from windlass.server.tokens import token_of
from windlass.server.tracking import step_tracking, tracking_server
from windlass.workspace.layout import Layout
from windlass.workspace.workspace import Workspace

Ask = Callable[..., Any]


@pytest.fixture
def workspace(tmp_path: Path, database: Database) -> Workspace:
    found = Workspace(Layout(tmp_path), actor="server", remote=True)
    found.database = database
    return found


def make(database: Database, name: str = "ada") -> str:
    return tokens.create(database, name=name, actor="root", now=lambda: 5, entropy=secrets.token_bytes)[0]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def every_call(workspace: Workspace) -> list[tuple[str, str]]:
    listed = [route for route in api.routes(workspace) if isinstance(route, Route)]
    pages = [(m, each.path.replace("{name}", "model.list")) for each in listed for m in each.methods or {"GET"}]
    calls = [(method, f"/api/2.0/mlflow/{name.replace('{', '').replace('}', '')}") for method, name in CALLS]
    files = [(method, "/api/2.0/mlflow-artifacts/artifacts/0/x/artifacts/a") for method in ("GET", "PUT", "DELETE")]
    parts = [(method, f"/api/2.0/mlflow-artifacts/parts/{'a' * 48}/1") for method in ("GET", "POST", "DELETE")]
    odd = [
        ("PUT", f"/api/2.0/mlflow-artifacts/parts/{'a' * 48}/1/../../../artifacts/0/x/artifacts/a"),
        ("PUT", f"/api/2.0/mlflow-artifacts/parts/{'a' * 47}/1"),
        ("GET", "/health/"), ("GET", "/health/../docs"), ("GET", "//health"), ("GET", "/HEALTH"),
        ("GET", "/health%2f..%2fdocs"), ("GET", "/version"), ("GET", "/"), ("GET", "/nowhere"), ("OPTIONS", "/docs"),
        ("DELETE", "/api/2.0/x"), ("GET", "/ajax-api/2.0/mlflow/experiments/search"), ("TRACE", "/docs"),
    ]  # fmt: skip
    found = [*pages, *calls, *files, *parts, *odd]
    return [(method, path) for method, path in found if path != "/health"]


@pytest.mark.sqlite_only  # of routes: it waits for each unknown token
def test_cve_2026_0545_no_route_and_no_method_answers_without_a_token(
    workspace: Workspace, database: Database, serve: Callable[[object], str], ask: Ask
) -> None:
    token = make(database)
    url = serve(app.build(workspace))
    listed = every_call(workspace)
    assert len(listed) > 60
    for method, path in listed:
        for headers in ({}, bearer("wl_guess"), basic("ada", "guess"), {"authorization": token}):
            reply = ask(url, method, path, headers=headers)
            assert (reply.status, reply.headers.get("www-authenticate", "")[:6]) == (401, "Bearer"), (method, path)
    assert ask(url, "GET", "/health").status == 200
    assert ask(url, "GET", "/ready", headers=bearer(token)).status == 200


def test_the_refusal_has_the_form_of_the_protocol_that_was_spoken(
    workspace: Workspace, database: Database, serve: Callable[[object], str], ask: Ask
) -> None:
    make(database)
    url = serve(app.build(workspace))
    assert ask(url, "POST", "/api/2.0/mlflow/experiments/search", b"{}").json()["error_code"] == "UNAUTHENTICATED"
    refused = ask(url, "POST", "/api/v1/model.list", b"{}").json()["error"]
    assert refused["kind"] == "denied" and "WINDLASS_TOKEN" in refused["hint"]


def test_a_token_is_taken_as_bearer_and_as_the_password_of_basic(
    workspace: Workspace, database: Database, serve: Callable[[object], str], ask: Ask
) -> None:
    token = make(database)
    url = serve(app.build(workspace))
    for headers in (bearer(token), {"authorization": f"bearer  {token} "}, basic("ada", token), basic("", token)):
        assert ask(url, "GET", "/openapi.json", headers=headers).status == 200, headers


def test_a_part_of_an_upload_needs_no_token_but_the_secret_of_its_path(
    workspace: Workspace, database: Database, serve: Callable[[object], str], ask: Ask
) -> None:
    token = make(database)
    url = serve(app.build(workspace))
    run = ask(url, "POST", "/api/2.0/mlflow/runs/create", b'{"experiment_id": "0"}', bearer(token)).json()["run"]
    folder = f"0/{run['info']['run_id']}/artifacts"
    begun = ask(
        url, "POST", f"/api/2.0/mlflow-artifacts/mpu/create/{folder}", b'{"path": "a", "num_parts": 1}', bearer(token)
    ).json()
    part = begun["credentials"][0]["url"].removeprefix(url)
    assert ask(url, "PUT", part, b"hello").status == 200
    assert ask(url, "GET", part).status == 401
    assert ask(url, "PUT", part.replace(begun["upload_id"], "0" * 48), b"hello").status == 404
    assert ask(url, "PUT", f"/api/2.0/mlflow-artifacts/artifacts/{folder}/b", b"hello").status == 401


def test_what_is_done_is_done_by_the_person_and_tokens_are_made_by_known_people_alone(
    workspace: Workspace, database: Database, serve: Callable[[object], str], ask: Ask
) -> None:
    url = serve(app.build(workspace))
    refused = ask(url, "POST", "/api/v1/token.create", b'{"name": "eve"}')
    assert (refused.status, refused.json()["error"]["kind"]) == (403, "denied")
    token = make(database)
    wait_for(lambda: ask(url, "POST", "/api/v1/token.create", b'{"name": "eve"}').status == 401)
    made = ask(url, "POST", "/api/v1/token.create", b'{"name": "bob"}', bearer(token)).json()
    assert ask(url, "GET", "/api/v1/token.list", headers=bearer(made["token"])).status == 200
    assert ask(url, "POST", "/api/v1/token.revoke", b'{"name": "ada"}', bearer(made["token"])).status == 200
    with database.read() as tx:
        done = [(each.action, each.subject, each.actor) for each in ledger.entries(tx)]
    assert done == [
        ("create", "token/ada", "root"), ("create", "token/bob", "ada"), ("revoke", "token/ada", "bob"),
    ]  # fmt: skip


def test_a_revoked_token_is_refused_and_the_last_one_revoked_opens_nothing(
    workspace: Workspace, database: Database, serve: Callable[[object], str], ask: Ask
) -> None:
    token = make(database)
    url = serve(app.build(workspace))
    assert ask(url, "GET", "/ready", headers=bearer(token)).status == 200
    tokens.revoke(database, name="ada", actor="root", reason="", now=lambda: 6)
    wait_for(lambda: ask(url, "GET", "/ready", headers=bearer(token)).status == 401)
    assert ask(url, "GET", "/ready").status == 401
    anew = make(database)
    wait_for(lambda: ask(url, "GET", "/ready", headers=bearer(anew)).status == 200)


def test_the_last_use_is_noted(
    workspace: Workspace, database: Database, serve: Callable[[object], str], ask: Ask
) -> None:
    token = make(database)
    url = serve(app.build(workspace))
    assert ask(url, "GET", "/ready", headers=bearer(token)).status == 200

    def used() -> bool:
        with database.read() as tx:
            return tokens.ls(tx)[0].used is not None

    wait_for(used)


def test_without_any_token_nobody_is_asked(workspace: Workspace, serve: Callable[[object], str], ask: Ask) -> None:
    url = serve(app.build(workspace))
    assert ask(url, "GET", "/ready").status == 200
    assert ask(url, "GET", "/ready", headers=bearer("another-servers")).status == 200


def test_a_steps_own_server_knows_its_run_alone(workspace: Workspace, ask: Ask) -> None:
    with step_tracking(workspace)("none") as environment:
        url, token = environment["MLFLOW_TRACKING_URI"], environment["MLFLOW_TRACKING_TOKEN"]
        assert ask(url, "GET", "/version").status == 401
        assert ask(url, "GET", "/version", headers=bearer(token)).status == 200
        assert ask(url, "GET", "/version", headers=basic("x", environment["MLFLOW_TRACKING_PASSWORD"])).status == 200
    with tracking_server(workspace) as url:
        assert ask(url, "GET", "/version").status == 200


@pytest.mark.parametrize(
    ("given", "token"),
    [
        ([b"Bearer a"], "a"),
        ([b"BEARER  a "], "a"),
        ([b"Basic " + base64.b64encode(b"u:p:q")], "p:q"),
        ([b"Bearer"], None),
        ([b"Bearer "], None),
        ([b"Basic !"], None),
        ([b"Basic " + base64.b64encode(b"\xff:x")], None),
        ([b"Basic " + base64.b64encode(b"nothing")], None),
        ([b"Digest a"], None),
        ([b"Bearer " + b"x" * 2000], None),
        ([b"Bearer a", b"Bearer a"], None),
        ([], None),
    ],
)
def test_the_token_of_a_header(given: list[bytes], token: str | None) -> None:
    assert token_of(given) == token


def wait_for(reached: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.05)
