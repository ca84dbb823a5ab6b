"""MLflow's protocol as bytes: forms, errors, and what may not pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.domain.errors import KINDS
from windlass.domain.ports import Database
from windlass.governance.retention import holds
from windlass.server.mlflow import errors
from windlass.server.tracking import tracking_server
from windlass.workspace.layout import Layout
from windlass.workspace.workspace import Workspace

Ask = Callable[..., Any]
API = "/api/2.0/mlflow"


@pytest.fixture
def workspace(tmp_path: Path, database: Database) -> Workspace:
    found = Workspace(Layout(tmp_path), actor="ada", now=lambda: 1_700_000_000_000_000)
    found.database = database
    return found


@pytest.fixture
def url(workspace: Workspace) -> Iterator[str]:
    with tracking_server(workspace) as url:
        yield url


@pytest.fixture
def run(url: str, ask: Ask) -> str:
    made = ask(url, "POST", f"{API}/runs/create", b'{"experiment_id": "0", "start_time": "7", "run_name": "r"}')
    assert made.status == 200, made.body
    return str(made.json()["run"]["info"]["run_id"])


def post(ask: Ask, url: str, call: str, **fields: Any) -> Any:
    return ask(url, "POST", f"{API}/{call}", json.dumps(fields).encode())


def test_a_run_has_the_form_that_clients_expect(url: str, run: str, ask: Ask) -> None:
    post(ask, url, "runs/log-parameter", run_id=run, key="depth", value="3")
    post(ask, url, "runs/log-metric", run_id=run, key="loss", value=0.5, timestamp="9", step="2")
    post(ask, url, "runs/set-tag", run_uuid=run, key="team", value="a")
    updated = post(ask, url, "runs/update", run_id=run, status="FINISHED", end_time=11)
    assert updated.json()["run_info"]["status"] == "FINISHED"
    found = ask(url, "GET", f"/ajax-api/2.0/mlflow/runs/get?run_id={run}").json()["run"]
    assert found["info"] == {
        "run_id": run, "run_uuid": run, "run_name": "r", "experiment_id": "0", "user_id": "", "status": "FINISHED",
        "start_time": 7, "end_time": 11, "artifact_uri": f"mlflow-artifacts:/0/{run}/artifacts",
        "lifecycle_stage": "active",
    }  # fmt: skip
    assert found["data"]["params"] == [{"key": "depth", "value": "3"}]
    assert found["data"]["metrics"] == [{"key": "loss", "value": 0.5, "timestamp": 9, "step": 2}]


@pytest.mark.parametrize("written", ["NaN", '"NaN"', "Infinity", '"Infinity"', "-Infinity", '"-Infinity"'])
def test_values_that_json_has_no_number_for_come_back_as_proto3_has_them(
    url: str, run: str, ask: Ask, written: str
) -> None:
    body = f'{{"run_id": "{run}", "metrics": [{{"key": "m", "value": {written}, "timestamp": 1}}]}}'
    assert ask(url, "POST", f"{API}/runs/log-batch", body.encode()).status == 200
    [point] = ask(url, "GET", f"{API}/metrics/get-history?run_id={run}&metric_key=m").json()["metrics"]
    assert point["value"] == written.strip('"')


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", f"{API}/experiments/get-by-name?experiment_name=no", None, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", f"{API}/experiments/get?experiment_id=77", None, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", f"{API}/runs/get?run_id={'0' * 32}", None, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", f"{API}/runs/get", None, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{API}/experiments/create", b'{"name": "Default"}', 400, "RESOURCE_ALREADY_EXISTS"),
        ("POST", f"{API}/experiments/create", b"{}", 400, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{API}/experiments/create", b'{"name": 5}', 400, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{API}/experiments/create", b"{", 400, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{API}/experiments/create", b"\xff\xfe", 400, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{API}/experiments/create", b"[" * 100_000, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{API}/experiments/create", b"[]", 400, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{API}/runs/search", b'{"filter": "params.a LIKE 5"}', 400, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{API}/runs/search", b'{"page_token": "x"}', 400, "INVALID_PARAMETER_VALUE"),
        ("POST", f"{API}/runs/search", b'{"max_results": 0}', 400, "INVALID_PARAMETER_VALUE"),
        ("GET", f"{API}/experiments/create", None, 405, "BAD_REQUEST"),
        ("POST", "/api/3.0/mlflow/traces", b"{}", 501, "NOT_IMPLEMENTED"),
        ("GET", "/api/2.0/nothing", None, 404, "ENDPOINT_NOT_FOUND"),
        ("POST", "/api/2.0mlflow/experiments/search-datasets", b"{}", 400, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_an_error_has_mlflows_form_and_status(
    url: str, ask: Ask, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    reply = ask(url, method, path, body)
    assert (reply.status, reply.json()["error_code"]) == (status, code), reply.body
    assert reply.json()["message"]


def test_a_call_that_is_not_served_says_so(url: str, ask: Ask) -> None:
    assert "not supported by Windlass" in ask(url, "GET", "/api/2.0/mlflow/traces/x").json()["message"]


def test_every_kind_of_error_has_a_code_of_mlflows() -> None:
    assert set(KINDS.values()) <= set(errors.CODES)
    for kind in KINDS.values():
        assert errors.described(kind("x"))[1] >= 400


def test_a_batch_is_whole_or_nothing(url: str, run: str, ask: Ask) -> None:
    post(ask, url, "runs/log-batch", run_id=run, params=[{"key": "a", "value": "1"}])
    metrics = [{"key": "m", "value": 1, "timestamp": 1}]
    refused = post(ask, url, "runs/log-batch", run_id=run, params=[{"key": "a", "value": "2"}], metrics=metrics)
    assert refused.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    twice = [{"key": "b", "value": "1"}, {"key": "b", "value": "2"}]
    assert post(ask, url, "runs/log-batch", run_id=run, params=twice).status == 400
    assert post(ask, url, "runs/log-batch", run_id=run, metrics=metrics * 1001).status == 400
    assert ask(url, "GET", f"{API}/runs/get?run_id={run}").json()["run"]["data"].get("metrics") is None


def test_a_page_ends_where_the_next_begins(url: str, run: str, ask: Ask) -> None:
    for step in range(5):
        post(ask, url, "runs/log-metric", run_id=run, key="m", value=step, timestamp=step, step=step)
    seen, token = [], ""
    while True:
        query = f"run_id={run}&metric_key=m&max_results=2&page_token={token}"
        page = ask(url, "GET", f"{API}/metrics/get-history?{query}").json()
        seen += [point["step"] for point in page["metrics"]]
        token = page.get("next_page_token", "")
        if not token:
            break
    assert seen == [0, 1, 2, 3, 4]


def test_an_artifact_comes_back_as_it_was_sent_and_not_as_a_page(url: str, run: str, ask: Ask) -> None:
    base = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts"
    assert ask(url, "PUT", f"{base}/a%20b/x.html", b"<script>", {"content-type": "text/html"}).status == 200
    got = ask(url, "GET", f"{base}/a%20b/x.html")
    assert (got.status, got.body) == (200, b"<script>")
    assert got.headers["content-disposition"].startswith("attachment")
    assert got.headers["x-content-type-options"] == "nosniff"
    listed = ask(url, "GET", f"/api/2.0/mlflow-artifacts/artifacts?path=0/{run}/artifacts/a%20b").json()
    assert listed == {"files": [{"path": "x.html", "is_dir": False, "file_size": 8}]}
    assert ask(url, "GET", f"{API}/artifacts/list?run_id={run}").json()["files"] == [{"path": "a b", "is_dir": True}]
    assert ask(url, "PUT", f"{base}/empty", b"").status == 200
    assert ask(url, "GET", f"{base}/empty").body == b""


def test_an_artifact_may_be_larger_than_a_request_may_otherwise_be(url: str, run: str, ask: Ask) -> None:
    block = b"x" * (1 << 20)
    path = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/large"
    assert ask(url, "PUT", path, iter([block] * 17)).status == 200
    assert len(ask(url, "GET", path).body) == 17 << 20
    assert ask(url, "POST", f"{API}/runs/log-batch", iter([block] * 17)).status == 413


@pytest.mark.sqlite_only
@pytest.mark.parametrize(
    "path",
    [
        "../secret", "..%2fsecret", "%2e%2e/secret", "%252e%252e/secret", "..%5csecret", "a/..%2f..%2fb", "/etc/passwd",
        "%2fetc%2fpasswd", "a%00b", "a;b", "C:/x", "", "a//b",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_path_that_leaves_the_run_is_refused_however_it_is_written(
    url: str, run: str, ask: Ask, method: str, path: str
) -> None:
    reply = ask(url, method, f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/{path}", b"x")
    assert (reply.status, reply.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_an_artifact_is_found_only_in_its_own_runs_experiment(url: str, run: str, ask: Ask) -> None:
    assert ask(url, "PUT", f"/api/2.0/mlflow-artifacts/artifacts/1/{run}/artifacts/a", b"x").status == 404
    assert ask(url, "PUT", "/api/2.0/mlflow-artifacts/artifacts/elsewhere/a", b"x").status == 400
    assert ask(url, "GET", f"/api/2.0/mlflow-artifacts/artifacts?path=1/{run}/artifacts").json() == {}
    assert ask(url, "PUT", f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a", b"x").status == 200
    assert ask(url, "DELETE", f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a").status == 200
    assert ask(url, "GET", f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a").status == 404


def test_a_damaged_artifact_is_not_given_out(url: str, run: str, ask: Ask, workspace: Workspace) -> None:
    path = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a"
    ask(url, "PUT", path, b"true")
    [stored] = [file for file in workspace.store.local.glob("[0-9a-f][0-9a-f]/*") if file.read_bytes() == b"true"]
    stored.chmod(0o644)
    stored.write_bytes(b"fake")
    reply = ask(url, "GET", path)
    assert (reply.status, reply.json()["error_code"]) == (500, "INTERNAL_ERROR")


def test_a_page_of_another_site_is_refused_in_mlflows_form(url: str, ask: Ask) -> None:
    reply = ask(url, "POST", f"{API}/runs/search", b"{}", {"origin": "https://evil.example"})
    assert (reply.status, reply.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_runs_are_paged_newest_first_with_and_without_a_filter(url: str, ask: Ask) -> None:
    experiment = post(ask, url, "experiments/create", name="paged").json()["experiment_id"]
    for at in range(5):
        post(ask, url, "runs/create", experiment_id=experiment, start_time=at, tags=[{"key": "k", "value": "v"}])
    for text in ("", "tags.k = 'v'"):
        seen, token = [], ""
        while True:
            page = post(
                ask, url, "runs/search", experiment_ids=[experiment], filter=text, max_results=2, page_token=token
            ).json()
            seen += [run["info"]["start_time"] for run in page["runs"]]
            token = page.get("next_page_token", "")
            if not token:
                break
        assert seen == [4, 3, 2, 1, 0]


def test_what_is_held_is_neither_overwritten_nor_removed(url: str, run: str, ask: Ask, workspace: Workspace) -> None:
    base = f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts"
    assert ask(url, "PUT", f"{base}/a", b"true").status == 200
    with workspace.database.write() as tx:
        holds.hold(tx, f"run/{run}", actor="eve", reason="case 7", at=1)
    for method in ("PUT", "DELETE"):
        reply = ask(url, method, f"{base}/a", b"fake")
        assert (reply.status, reply.json()["error_code"]) == (500, "INVALID_STATE")
    assert ask(url, "PUT", f"{base}/b", b"more").status == 200
    assert ask(url, "GET", f"{base}/a").body == b"true"
