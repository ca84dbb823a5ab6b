"""What goes wrong between two servers, and what a hostile one would like to go wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from exchange_contents import RUN, fill, project
from faulty import between, serving

from windlass.domain.errors import Denied, Failure, Invalid, Unavailable
from windlass.exchange import rest
from windlass.registry.tracking import runs
from windlass.server.tracking import tracking_server
from windlass.workspace.operations.exchange import Exchanged, ImportMlflow, import_mlflow
from windlass.workspace.workspace import Workspace

CONFIG = '[project]\nname = "here"\n[model]\nname = "m"\n[endpoint]\nname = "e"\n'


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    there = project(tmp_path / "there")
    fill(there)
    with tracking_server(there) as found:
        yield found


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    return project(tmp_path / "here", config=CONFIG)


def imported(ws: Workspace, url: str, **how: object) -> Exchanged:
    return import_mlflow(ws, ImportMlflow(uri=url, **how))  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", ["503", "429", "500", "drop", "cut", "late"])
def test_a_server_that_fails_now_and_then_is_asked_again(here: Workspace, url: str, fault: str) -> None:
    with between(url, lambda _m, _p, seen: fault if seen % 3 == 1 else "") as spoilt:
        done = imported(here, spoilt)
        assert done.problems == ()
        assert done.runs == 5
        assert imported(here, spoilt, verify=True).different == 0


def test_a_large_download_that_is_cut_again_and_again_ends_whole(here: Workspace, url: str) -> None:
    cuts = iter(["cut", "cut", "503", "drop", ""])

    def spoil(_method: str, path: str, _seen: int) -> str:
        return next(cuts, "") if "weights.bin" in path else ""

    with between(url, spoil) as spoilt:
        assert imported(here, spoilt).problems == ()
        assert imported(here, spoilt, verify=True).different == 0


def test_a_server_that_went_away_is_told_and_the_next_import_goes_on(here: Workspace, url: str) -> None:
    gone = True

    def spoil(_method: str, _path: str, seen: int) -> str:
        return "drop" if gone and seen > 20 else ""

    with between(url, spoil) as spoilt:
        with pytest.raises(Unavailable):
            imported(here, spoilt)
        gone = False
        assert imported(here, spoilt).problems == ()
        assert imported(here, spoilt, verify=True).different == 0


@pytest.mark.parametrize("at", [5, 17, 33, 52])
def test_killed_at_any_request_it_goes_on_and_nothing_is_lost_or_doubled(here: Workspace, url: str, at: int) -> None:
    running: list[subprocess.Popen[bytes]] = []

    def spoil(_method: str, _path: str, seen: int) -> str:
        if seen == at and running:
            running[0].kill()
            running[0].wait()
        return ""

    here.database.close()
    with between(url, spoil) as spoilt:
        command = [sys.executable, "-m", "windlass", "--project", str(here.layout.root), "import", "mlflow", spoilt]
        environment = {name: value for name, value in os.environ.items() if name != "WINDLASS_DATABASE"}
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        _, told = running[0].communicate()
        assert running[0].returncode in (-signal.SIGKILL, 0), told
        assert imported(here, spoilt).problems == ()
        assert imported(here, spoilt, verify=True).different == 0
    with here.database.read() as tx:
        counted = {
            table: tx.tuples(f"SELECT COUNT(*) FROM {table}")[0][0]
            for table in ("runs", "run_models", "run_datasets", "logged_models", "model_versions", "artifacts")
        }
    assert counted == {
        "runs": 5, "run_models": 2, "run_datasets": 3, "logged_models": 1, "model_versions": 3, "artifacts": 6
    }  # fmt: skip


def test_the_credentials_are_sent_and_never_shown(
    here: Workspace, url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    seen = []

    class Refusing(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.headers.get("authorization"))
            self.send_response(401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with serving(Refusing) as refusing:
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret")
        with pytest.raises(Denied) as told:
            imported(here, refusing)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "p4ss")
        with pytest.raises(Denied):
            imported(here, refusing)
    assert seen == ["Bearer s3cret", "Basic YWRhOnA0c3M="]
    assert "s3cret" not in f"{told.value!r} {told.value.hint} {capfd.readouterr()}"
    with pytest.raises(Invalid, match="password") as told_too:
        imported(here, "http://ada:p4ss@127.0.0.1:1")
    assert "p4ss" not in repr(told_too.value)


@pytest.mark.parametrize(
    "uri", ["http://", "http://a b:x", "http://h:99999", "ftp://h/x", "s3://b/x", "sqlite:///m.db", "", "/no/such", "."]
)
def test_what_is_no_source_is_said_to_be_none(here: Workspace, uri: str) -> None:
    with pytest.raises(Failure) as told:
        imported(here, uri)
    assert told.value.hint


def test_over_http_nothing_is_fetched_and_no_folder_outside_is_read(here: Workspace, url: str, tmp_path: Path) -> None:
    here.remote = True
    with pytest.raises(Denied):
        imported(here, url)
    with pytest.raises(Denied):
        imported(here, str(tmp_path))


class Hostile(BaseHTTPRequestHandler):
    """Answers as a test's table says: the last part of a call to what it gives."""

    protocol_version = "HTTP/1.1"
    answers: dict[str, Any]

    def _any(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        parts = urlsplit(self.path)
        call = parts.path.removeprefix("/api/2.0/mlflow/")
        found = self.answers.get(call, {})
        if callable(found):
            found = found(parse_qs(parts.query))
        data = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = _any  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


def hostile(**answers: Any) -> type[Hostile]:
    usual = {
        "experiments/search": {"experiments": [{"experiment_id": "7", "name": "x"}]},
        "runs/search": {"runs": [RUN_MESSAGE]},
        "runs/get": {"run": RUN_MESSAGE},
    }
    return type(
        "Answering", (Hostile,), {"answers": {**usual, **{k.replace("__", "/"): v for k, v in answers.items()}}}
    )


RUN_MESSAGE: dict[str, Any] = {
    "info": {
        "run_id": RUN.format(1), "experiment_id": "7", "status": "FINISHED", "start_time": 1, "end_time": 2,
        "artifact_uri": f"mlflow-artifacts:/7/{RUN.format(1)}/artifacts",
    },
    "data": {"metrics": [{"key": "m", "value": 1, "timestamp": 1, "step": 0}]},
}  # fmt: skip


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", ".", "", "a/b", "a\\..\\b", "%2e%2e/x", "a;b", "x\0y"],
)
def test_paths_that_lead_elsewhere_are_refused(here: Workspace, path: str) -> None:
    def files(query: dict[str, list[str]]) -> Any:
        return {"files": [{"path": path, "is_dir": False, "file_size": 1}]}

    with serving(hostile(artifacts__list=files)) as url:
        done = imported(here, url)
    assert any(RUN.format(1) in each.subject for each in done.problems)
    with here.database.read() as tx:
        assert tx.row("SELECT COUNT(*) AS n FROM artifacts") == {"n": 0}


def test_a_folder_that_is_in_itself_for_ever_is_left(here: Workspace) -> None:
    def files(query: dict[str, list[str]]) -> Any:
        above = query.get("path", [""])[0]
        return {"files": [{"path": f"{above}/d" if above else "d", "is_dir": True}]}

    with serving(hostile(artifacts__list=files)) as url:
        done = imported(here, url)
    assert "never ends" in done.problems[0].what


@pytest.mark.parametrize("call", ["experiments/search", "runs/search", "metrics/get-history", "artifacts/list"])
@pytest.mark.parametrize("same", [True, False])
def test_pages_that_never_end_are_left(here: Workspace, call: str, same: bool) -> None:
    count = 0

    def endless(_query: dict[str, list[str]]) -> Any:
        nonlocal count
        count += 1
        assert count < 100
        page: dict[str, Any] = {"next_page_token": "t" if same else str(count)}
        if call == "experiments/search":
            page["experiments"] = [{"experiment_id": "7", "name": "x"}]
        if call == "runs/search":
            page["runs"] = [RUN_MESSAGE]
        if call == "metrics/get-history":
            page["metrics"] = [{"key": "m", "value": "NaN", "timestamp": 1, "step": 0}]
        return page

    handler = hostile()
    handler.answers[call] = endless
    with serving(handler) as url:
        try:
            told = [each.what for each in imported(here, url).problems]
        except Failure as failure:
            told = [failure.message]
    assert any("never end" in each for each in told)


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>", b"[]", b'{"runs": 7}', b'{"runs": [{"info": {"run_id": 5}}]}', b"\xff", b"[" * 100_000,
        b'{"runs": [{"info": {"run_id": "x", "experiment_id": "9"}}]}',
        b'{"runs": [{"info": {"run_id": "../../x", "experiment_id": "7"}}]}',
        b'{"runs": [{"info": {"run_id": "x", "experiment_id": "7"}, "data": {"metrics": [{"key": 1}]}}]}',
    ],
)  # fmt: skip
def test_answers_that_are_not_mlflows_are_told(here: Workspace, answer: bytes) -> None:
    with serving(hostile(runs__search=answer)) as url:
        assert len(imported(here, url).problems) == 1
    with here.database.read() as tx:
        assert tx.row("SELECT COUNT(*) AS n FROM runs") == {"n": 0}


def test_a_run_that_turns_into_another_is_refused(here: Workspace) -> None:
    other = {**RUN_MESSAGE, "info": {**RUN_MESSAGE["info"], "run_id": RUN.format(2)}}
    with serving(hostile(runs__get={"run": other})) as url:
        assert "another" in imported(here, url).problems[0].what
    with here.database.read() as tx, pytest.raises(Failure):
        runs.find_run(tx, RUN.format(2))


def test_a_redirect_is_not_followed(here: Workspace) -> None:
    asked = []

    class Leading(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with serving(Leading) as url, pytest.raises(Invalid, match="redirect"):
        imported(here, url)
    assert len(asked) == 1
