"""The files of a registered version: nobody changes them through the API, and who changed them on disk is found out."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.domain.errors import Corrupt
from windlass.domain.ports import Database
from windlass.registry.models import Version
from windlass.server.tracking import tracking_server
from windlass.workspace import adopting, packages, verification
from windlass.workspace.layout import Layout
from windlass.workspace.workspace import Workspace

Ask = Callable[..., Any]
API = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
MPU = "/api/2.0/mlflow-artifacts/mpu"
SMALL, LARGE = 5_000, 9_000_000


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
def base(url: str, ask: Ask) -> str:
    """The path of a run's artifacts: a model in ``a/model``, and a file beside it."""
    made = ask(url, "POST", f"{API}/runs/create", b'{"experiment_id": "0", "start_time": "7", "run_name": "r"}').json()
    path = f"{FILES}/0/{made['run']['info']['run_id']}/artifacts"
    for name in ("a/model/weights", "a/model/code/x.py", "a/model2/weights", "notes"):
        assert ask(url, "PUT", f"{path}/{name}", name.encode()).status == 200
    return path


def run_of(base: str) -> str:
    return base.split("/")[-2]


def register(ws: Workspace, base: str, path: str) -> Version:
    source = f"runs:/{run_of(base)}" + (f"/{path}" if path else "/")
    return adopting.register(ws, model="m", source=source, actor="ada", create=True)


def refused(reply: Any) -> bool:
    return bool(reply.status >= 400 and "never change" in reply.json()["message"])


def test_the_files_of_a_registered_folder_never_change(workspace: Workspace, url: str, base: str, ask: Ask) -> None:
    register(workspace, base, "a/model")
    for path in ("a/model/weights", "a/model/new", "a/model/code/x.py", "a/model/deep/er/new", "a/model"):
        assert refused(ask(url, "PUT", f"{base}/{path}", b"other")), path
    for path in ("a/model/weights", "a/model/code", "a/model", "a", ""):
        assert refused(ask(url, "DELETE", f"{base}/{path}".rstrip("/"))), path
    assert ask(url, "GET", f"{base}/a/model/weights").body == b"a/model/weights"
    # What lies beside it is as free as before, however alike the names are.
    assert ask(url, "PUT", f"{base}/a/model2/weights", b"new").status == 200
    assert ask(url, "PUT", f"{base}/A/model/weights", b"new").status == 200
    assert ask(url, "DELETE", f"{base}/a/model2").status == 200
    assert ask(url, "DELETE", f"{base}/notes").status == 200


@pytest.mark.parametrize("name", ["a_model", "a%25model"])
def test_a_name_is_no_pattern(workspace: Workspace, url: str, base: str, ask: Ask, name: str) -> None:
    put = ask(url, "PUT", f"{base}/{name}/weights", b"x")
    if put.status != 200:  # a percent sign is in no path at all
        assert put.status == 400
        return
    register(workspace, base, name)
    assert ask(url, "PUT", f"{base}/axmodel/weights", b"x").status == 200


def test_of_a_whole_run_that_is_registered_nothing_changes(workspace: Workspace, url: str, base: str, ask: Ask) -> None:
    register(workspace, base, "")
    for path in ("notes", "new", "a/model/weights", "a/new"):
        assert refused(ask(url, "PUT", f"{base}/{path}", b"other")), path
    for path in ("notes", "a", "a/model2/weights", ""):
        assert refused(ask(url, "DELETE", f"{base}/{path}".rstrip("/"))), path


def test_an_upload_in_parts_that_began_before_does_not_end_after(
    workspace: Workspace, url: str, base: str, ask: Ask
) -> None:
    where = f"0/{run_of(base)}/artifacts/a/model"
    asked = json.dumps({"path": "weights", "num_parts": 1}).encode()
    begun = ask(url, "POST", f"{MPU}/create/{where}", asked).json()
    part = begun["credentials"][0]["url"].partition("/api/")[2]
    assert ask(url, "PUT", f"/api/{part}", b"other").status == 200
    register(workspace, base, "a/model")
    done = ask(
        url, "POST", f"{MPU}/complete/{where}",
        json.dumps({"path": "weights", "upload_id": begun["upload_id"], "parts": []}).encode(),
    )  # fmt: skip
    assert refused(done)
    assert refused(ask(url, "POST", f"{MPU}/create/{where}", asked))
    assert ask(url, "GET", f"{base}/a/model/weights").body == b"a/model/weights"


def test_the_files_of_a_deleted_version_are_kept_too(workspace: Workspace, url: str, base: str, ask: Ask) -> None:
    version = register(workspace, base, "a/model")
    deleted = ask(url, "DELETE", f"{API}/model-versions/delete", b'{"name": "m", "version": "1"}')
    assert deleted.status == 200, deleted.body
    assert refused(ask(url, "DELETE", f"{base}/a")), version.reference


def flip_a_byte(ws: Workspace, digest: str, size: int) -> None:
    """Of a file's bytes in the store: in an object of its own, or in the pack that it was cut into."""
    alone = ws.layout.objects / digest[3:5] / digest[5:]
    packs = sorted((ws.layout.objects / "packs").glob("*"), key=lambda path: path.stat().st_size)
    victim, at = (alone, -1) if size == SMALL else (packs[-1], packs[-1].stat().st_size // 2)
    victim.chmod(0o644)
    content = bytearray(victim.read_bytes())
    content[at] ^= 1
    victim.write_bytes(content)


def downloaded(url: str, path: str, headers: dict[str, str], ask: Ask) -> tuple[int, bytes]:
    """The status, and what came of the body before it broke off."""
    try:
        reply = ask(url, "GET", path, None, headers)
    except http.client.IncompleteRead as broken:
        return 0, bytes(broken.partial)
    except (ConnectionError, http.client.HTTPException):
        return 0, b""
    return reply.status, reply.body


@pytest.mark.sqlite_only
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_who_tampers_with_a_registered_file_is_found_out(
    workspace: Workspace, url: str, base: str, ask: Ask, size: int
) -> None:
    content = random.Random(7).randbytes(size)
    assert ask(url, "PUT", f"{base}/b/model/model.pkl", content).status == 200
    version = register(workspace, base, "b/model")
    path = f"{base}/b/model/model.pkl"
    etag = ask(url, "GET", path).headers["etag"].strip('"')
    assert ask(url, "GET", path).body == content
    assert verification.verify(workspace).ok

    flip_a_byte(workspace, etag, size)

    status, body = downloaded(url, path, {}, ask)
    assert status != 200
    assert (status == 0 and content.startswith(body) and len(body) < size) or status >= 500
    for first in range(0, size, size // 4):
        last = min(first + size // 4, size) - 1
        status, body = downloaded(url, path, {"range": f"bytes={first}-{last}"}, ask)
        if status == 206:  # a range that the damage does not touch
            assert body == content[first : last + 1]
        elif status == 0:
            assert content[first:].startswith(body)
    problems = verification.verify(workspace).problems
    assert any("b3:" in each.where or "version/m@1.0.0" in each.where for each in problems)
    with pytest.raises(Corrupt):
        packages.laid_out(workspace, version.package)
    assert not any(workspace.layout.packages.iterdir())
