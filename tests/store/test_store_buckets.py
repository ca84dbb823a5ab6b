"""A store in a bucket: the same blobs as on files, through a real client and a server that speaks S3."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from windlass.adapters.buckets import open_bucket
from windlass.adapters.files import FileBlobs
from windlass.adapters.sqlite import SqliteDatabase
from windlass.capture import data, folders, sharing
from windlass.domain import clock
from windlass.domain.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from windlass.domain.ports import Blobs
from windlass.store import check, objects
from windlass.store.objects import PackedObjects
from windlass.workspace.stores import local_store


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    import urllib.request

    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    name = f"b{abs(hash(request.node.name))}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")).close()
    return f"s3://{name}/some/prefix"


@pytest.fixture(params=["files", "bucket"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    if request.param == "files":
        return FileBlobs(tmp_path / "blobs")
    return open_bucket(request.getfixturevalue("bucket"))


def test_blobs_are_kept_under_their_names(blobs: Blobs, tmp_path: Path) -> None:
    blobs.put("a/one", b"1")
    blobs.put("a/one", b"one")
    (tmp_path / "file").write_bytes(b"0123456789" * 100_000)
    blobs.adopt("packs/two", tmp_path / "file")
    assert not (tmp_path / "file").exists()
    assert blobs.get("a/one") == b"one"
    assert blobs.read("packs/two", 999_995, 100) == b"56789"
    assert blobs.read("packs/two", 5, 10) == b"5678901234"
    assert (blobs.size("packs/two"), blobs.size("none")) == (1_000_000, None)
    assert dict(blobs.ls("packs")) == {"packs/two": 1_000_000}
    assert dict(blobs.ls("pack")) == {}
    blobs.delete("a/one")
    blobs.delete("a/one")
    with pytest.raises(NotFound):
        blobs.get("a/one")
    with pytest.raises(NotFound):
        blobs.read("a/one", 0, 1)


def test_a_store_works_on_any_blobs(blobs: Blobs, tmp_path: Path) -> None:
    store = PackedObjects(blobs, tmp_path / "local")
    content = random.Random(5).randbytes(3 << 20)
    (tmp_path / "large").write_bytes(content)
    with store.batch() as batch:
        names = batch.put_many([b"one", b"two" * 1000])
        names.append(batch.put_file(tmp_path / "large"))
    elsewhere = PackedObjects(blobs, tmp_path / "another machine")
    assert elsewhere.get(names[1]) == b"two" * 1000
    assert elsewhere.get(names[2]) == content
    assert check.check(elsewhere).damaged == {}


def add(place: Path, content: dict[str, bytes]) -> tuple[SqliteDatabase, PackedObjects]:
    db, store = SqliteDatabase(place / "windlass.db"), local_store(place / "objects")
    for name, each in content.items():
        (place / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "source" / name).write_bytes(each)
    data.add(db, store, name="d", path=place / "source", actor="ada", now=clock.now)
    return db, store


def latest(db: SqliteDatabase, store: PackedObjects) -> data.Snapshot:
    with db.read() as tx:
        return data.log(tx, store, "d")[-1]


def test_what_is_pushed_can_be_pulled_elsewhere(bucket: str, tmp_path: Path) -> None:
    large = random.Random(6).randbytes(3 << 20)
    db, store = add(tmp_path / "here", {"a": b"1", "sub/large": large})
    remote = PackedObjects(open_bucket(bucket), tmp_path / "cache")
    first = sharing.push(db, store, remote, [latest(db, store)])
    assert first.snapshots == ("d@1",)
    add(tmp_path / "here", {"a": b"2"})
    second = sharing.push(db, store, remote, [latest(db, store)])
    assert (second.snapshots, second.objects) == (("d@2",), 3)  # the file, the tree, the record
    assert sharing.push(db, store, remote, [latest(db, store)]).objects == 0

    other_db, other = SqliteDatabase(tmp_path / "there" / "windlass.db"), local_store(tmp_path / "there" / "objects")
    there = PackedObjects(open_bucket(bucket), tmp_path / "another cache")
    pulled = sharing.pull(other_db, other, there, [], actor="bob", now=clock.now)
    assert pulled.snapshots == ("d@1", "d@2")
    folders.checkout(other, latest(other_db, other).tree, tmp_path / "out")
    assert (tmp_path / "out" / "sub" / "large").read_bytes() == large
    assert sharing.pull(other_db, other, there, ["d"], actor="bob", now=clock.now).snapshots == ()
    with pytest.raises(NotFound, match="no dataset 'x'"):
        sharing.pull(other_db, other, there, ["x"], actor="bob", now=clock.now)


def test_two_snapshots_of_one_name_are_a_conflict_and_neither_is_lost(tmp_path: Path) -> None:
    db, store = add(tmp_path / "one", {"a": b"1"})
    other_db, other = add(tmp_path / "two", {"a": b"2"})
    remote = local_store(tmp_path / "remote")
    sharing.push(db, store, remote, [latest(db, store)])
    with pytest.raises(Conflict, match="another snapshot there"):
        sharing.push(other_db, other, remote, [latest(other_db, other)])
    with pytest.raises(Conflict, match="another snapshot there"):
        sharing.pull(other_db, other, remote, [], actor="bob", now=clock.now)
    assert trees_read(other, latest(other_db, other).tree) == b"2"


def trees_read(store: PackedObjects, tree: str) -> bytes:
    from windlass.capture import trees

    return trees.read(store, tree, "a")


def test_damage_is_repaired_from_a_remote(tmp_path: Path) -> None:
    large = random.Random(7).randbytes(3 << 20)
    db, store = add(tmp_path / "here", {"a": b"1" * 1000, "b": b"2" * 1000, "large": large})
    remote = local_store(tmp_path / "remote")
    sharing.push(db, store, remote, [latest(db, store)])
    for path in (tmp_path / "here" / "objects" / "packs").iterdir():
        content = bytearray(path.read_bytes())
        content[10] ^= 1
        content[len(content) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)
    damaged = check.check(store).damaged
    assert damaged
    with pytest.raises(Corrupt):
        folders.checkout(store, latest(db, store).tree, tmp_path / "out")
    mended, missing = check.repair(store, damaged, remote)
    assert (mended, missing) == (len(damaged), [])
    assert check.check(store).damaged == {}
    folders.checkout(store, latest(db, store).tree, tmp_path / "out")
    assert (tmp_path / "out" / "large").read_bytes() == large
    assert check.repair(store, [objects.raw("b3:" + "0" * 64)], remote) == (0, [bytes(32)])


def test_a_bucket_that_does_not_answer_is_said_so_without_the_secret(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable) as raised:
        list(open_bucket("s3://no-such-bucket/x").ls("packs"))
    assert "very-secret" not in str(raised.value) + raised.value.hint
    with pytest.raises(Invalid, match="not the URL"):
        open_bucket("ftp://somewhere/x")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(Unavailable, match="no credentials"):
        open_bucket("s3://no-such-bucket/x")
