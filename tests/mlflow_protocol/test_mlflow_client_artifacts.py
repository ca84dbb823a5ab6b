"""Artifacts, with the real client and as bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from servers import Server, Wire

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own

FILES = "/api/2.0/mlflow-artifacts/artifacts"
BIG = 20 * 1024 * 1024


@pytest.fixture
def root(experiment: str, run: str) -> str:
    return f"{FILES}/{experiment}/{run}/artifacts"


def test_files_and_folders_there_and_back(client: Any, run: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("hello")
    (source / "sub" / "é b.bin").write_bytes(bytes(range(256)))
    client.log_artifact(run, str(source / "a.txt"))
    client.log_artifact(run, str(source / "a.txt"), "reports/daily")
    client.log_artifacts(run, str(source), "all")
    client.log_text(run, "text", "notes/t.txt")
    client.log_dict(run, {"a": [1]}, "notes/d.json")
    assert sorted(f.path for f in client.list_artifacts(run)) == ["a.txt", "all", "notes", "reports"]
    assert {(f.path, f.is_dir, f.file_size) for f in client.list_artifacts(run, "all")} == {
        ("all/a.txt", False, 5), ("all/sub", True, None)
    }  # fmt: skip
    assert [f.path for f in client.list_artifacts(run, "all/sub")] == ["all/sub/é b.bin"]
    assert client.list_artifacts(run, "nobody") == []
    target = tmp_path / "target"
    target.mkdir()
    folder = Path(client.download_artifacts(run, "all", str(target)))
    assert (folder / "sub" / "é b.bin").read_bytes() == bytes(range(256))
    assert Path(client.download_artifacts(run, "notes/t.txt", str(target))).read_text() == "text"
    whole = Path(client.download_artifacts(run, "", str(tmp_path / "whole")))
    assert (whole / "reports" / "daily" / "a.txt").read_text() == "hello"


def test_a_file_is_replaced(client: Any, fluent: Any, run: str) -> None:
    for text in ("first", "second"):
        client.log_text(run, text, "a.txt")
    assert fluent.artifacts.load_text(f"{client.get_run(run).info.artifact_uri}/a.txt") == "second"


def test_a_large_file(client: Any, run: str, tmp_path: Path) -> None:
    block = hashlib.sha256(b"block").digest() * 1024
    source = tmp_path / "big.bin"
    source.write_bytes(b"".join(bytes([number % 251]) + block[1:] for number in range(BIG // len(block))))
    client.log_artifact(run, str(source))
    assert client.list_artifacts(run)[0].file_size == BIG
    (tmp_path / "back").mkdir()
    back = Path(client.download_artifacts(run, "big.bin", str(tmp_path / "back")))
    assert hashlib.sha256(back.read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()


@pytest.mark.parametrize(
    ("wanted", "body", "content_range"),
    [("bytes=2-4", b"234", "bytes 2-4/10"), ("bytes=7-", b"789", "bytes 7-9/10"), ("bytes=-2", b"89", "bytes 8-9/10"),
     ("bytes=0-99", b"0123456789", "bytes 0-9/10")],
)  # fmt: skip
def test_ranges(wire: Wire, root: str, wanted: str, body: bytes, content_range: str) -> None:
    wire.send("PUT", f"{root}/ten", b"0123456789")
    part = wire.send("GET", f"{root}/ten", headers={"range": wanted})
    assert (part.status, part.body, part.headers["content-range"]) == (206, body, content_range)


def test_a_range_beyond_the_end(wire: Wire, root: str) -> None:
    wire.send("PUT", f"{root}/ten", b"0123456789")
    assert wire.send("GET", f"{root}/ten", headers={"range": "bytes=100-200"}).status == 416


def test_a_download_is_no_page(wire: Wire, root: str) -> None:
    wire.send("PUT", f"{root}/page.html", b"<script>alert(1)</script>")
    answer = wire.send("GET", f"{root}/page.html")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-length"] == "25"


@pytest.mark.parametrize(
    "path", ["..%2f..%2fx", "%2e%2e/x", "../../../../x", "%252e%252e/x", "a/%2e%2e/%2e%2e/x", "..%252fx"]
)
@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_no_way_out(wire: Wire, root: str, method: str, path: str) -> None:
    answer = wire.send(method, f"{root}/{path}", b"x" if method == "PUT" else None)
    assert answer.error == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("path", ["../x", "/etc", "%2e%2e/x", "a/../../x"])
def test_no_list_of_what_is_outside(wire: Wire, run: str, path: str) -> None:
    assert wire.call("GET", "artifacts/list", run_id=run, path=path).error == (400, "INVALID_PARAMETER_VALUE")
    assert wire.call("GET", FILES, path=path).error == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("path", ["a%5C..%5Cb", "x;y", "c:%5Cx"])
def test_letters_that_some_readers_take_for_more(server: Server, wire: Wire, root: str, path: str) -> None:
    assert wire.send("PUT", f"{root}/{path}", b"x").status in ((400,) if server.ours else (200, 400))


def test_what_is_not_there(wire: Wire, root: str, run: str) -> None:
    assert wire.send("GET", f"{root}/nobody").error == (404, "RESOURCE_DOES_NOT_EXIST")
    assert wire.call("GET", "artifacts/list", run_id="0" * 32).error == (404, "RESOURCE_DOES_NOT_EXIST")
    assert wire.call("GET", "artifacts/list").error == (400, "INVALID_PARAMETER_VALUE")
    assert "files" not in wire.get("artifacts/list", run_id=run)


def test_deleted(wire: Wire, root: str, run: str) -> None:
    wire.send("PUT", f"{root}/a.txt", b"x")
    wire.send("PUT", f"{root}/d/b.txt", b"x")
    for path in ("a.txt", "d", "a.txt"):
        assert wire.send("DELETE", f"{root}/{path}").status == 200
    assert "files" not in wire.get("artifacts/list", run_id=run)
