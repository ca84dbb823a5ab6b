"""Objects of an S3-compatible store, against a real server on the loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from windlass.capture.sources import objects
from windlass.domain.errors import Failure, Invalid, NotFound, Unavailable


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test-secret",
        }
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def bucket(environment: dict[str, str], request: pytest.FixtureRequest) -> Any:
    """An empty bucket of the test's own, and what puts into it."""
    from obstore.store import S3Store

    name = f"b{abs(hash(request.node.name))}"
    store = S3Store(
        name,
        config={
            "access_key_id": "test", "secret_access_key": "test", "region": "us-east-1",
            "endpoint": environment["AWS_ENDPOINT_URL"], "virtual_hosted_style_request": "false",
        },
        client_options={"allow_http": True},
    )  # fmt: skip
    _signed(environment, name)
    return name, store


def _signed(environment: dict[str, str], path: str, body: bytes = b"") -> None:
    import urllib.request

    call = urllib.request.Request(f"{environment['AWS_ENDPOINT_URL']}/{path}", data=body, method="PUT")
    # The server checks no signature, but tells by its form which service is meant.
    call.add_header("authorization", "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/s3/aws4_request, Signature=x")
    call.add_header("content-type", "application/xml")
    urllib.request.urlopen(call).close()


def test_what_lies_below_a_prefix_is_downloaded_with_its_etags(
    bucket: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    name, store = bucket
    big = os.urandom(5_000_000)
    for path, content in [
        ("a/x.csv", b"x\n1\n"),
        ("a/b/y.bin", big),
        ("ab.csv", b"z"),
        ("a/empty", b""),
        ("a/.crc/z", b""),
    ]:
        store.put(path, content)
    lines: list[str] = []
    said = objects.materialise(f"s3://{name}/a", tmp_path, environment=environment, progress=lines.append)
    files = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"x.csv": b"x\n1\n", "b/y.bin": big, "empty": b""}
    assert (said["kind"], said["url"], said["count"]) == ("s3", f"s3://{name}/a", 3)
    assert said["objects"]["x.csv"] == {"etag": store.head("a/x.csv")["e_tag"], "version": None, "size": 4}
    assert len(lines) == 3
    assert "test-secret" not in str(said)


def test_one_object_and_a_whole_bucket_are_sources_too(
    bucket: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    name, store = bucket
    store.put("a/x.csv", b"x")
    store.put("y.csv", b"y")
    for url, found in [("a/x.csv", ["x.csv"]), ("", ["a/x.csv", "y.csv"]), ("a/", ["x.csv"])]:
        folder = tmp_path / str(len(url))
        folder.mkdir()
        said = objects.materialise(f"s3://{name}/{url}", folder, environment=environment)
        assert sorted(said["objects"]) == found


def test_the_versions_of_objects_are_recorded_where_a_bucket_keeps_them(
    bucket: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    name, store = bucket
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    _signed(environment, f"{name}?versioning", body)
    store.put("x.csv", b"1")
    said = objects.materialise(f"s3://{name}/x.csv", tmp_path, environment=environment)
    assert said["objects"]["x.csv"]["version"] == store.head("x.csv")["version"]
    assert said["objects"]["x.csv"]["version"]


def test_an_object_that_changes_after_it_was_listed_is_told(
    bucket: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    name, store = bucket
    store.put("a/1.csv", b"one")
    store.put("a/2.csv", b"two")

    def interfere(line: str) -> None:
        if "2.csv" in line:
            store.put("a/2.csv", b"six")

    with pytest.raises(Unavailable, match=r"a/2\.csv changed while it was read"):
        objects.materialise(f"s3://{name}/a", tmp_path, environment=environment, progress=interfere)


def test_bad_input_is_one_clear_error(bucket: Any, environment: dict[str, str], tmp_path: Path) -> None:
    name, store = bucket
    store.put("x", b"1")
    nobody = {"AWS_ENDPOINT_URL": environment["AWS_ENDPOINT_URL"]}
    nowhere = {**environment, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    cases: list[tuple[str, dict[str, str], type[Failure]]] = [
        ("s3://", environment, Invalid),
        ("s3://me:pw@bucket/x", environment, Invalid),
        (f"s3://{name}/nothing", environment, NotFound),
        ("s3://no-such-bucket/x", environment, NotFound),
        (f"s3://{name}/x", nobody, Unavailable),
        (f"s3://{name}/x", nowhere, Unavailable),
    ]
    for url, given, kind in cases:
        with pytest.raises(kind) as caught:
            objects.materialise(url, tmp_path, environment=given)
        assert caught.value.hint
        assert "test-secret" not in caught.value.message
        assert "pw" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["a/../../x", "a//x", "a/./x", "a/b\\c", "a/\0"])
def test_an_object_named_to_leave_the_folder_is_refused(path: str) -> None:
    with pytest.raises(Invalid, match="no path"):
        objects._below(path, "a")


def test_without_obstore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(objects, "find_spec", lambda _: None)
    with pytest.raises(Unavailable) as caught:
        objects.materialise("s3://b/x", tmp_path, environment={})
    assert "windlass[s3]" in caught.value.hint
