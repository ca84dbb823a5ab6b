import os
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windlass.domain import digest
from windlass.domain.errors import Corrupt, Invalid, NotFound, Unavailable
from windlass.store.objects import PackedObjects


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(data=st.binary(max_size=3000))
def test_what_is_put_is_what_is_got(objects: PackedObjects, data: bytes) -> None:
    name = objects.put(data)
    assert name == digest.of_bytes(data)
    assert objects.get(name) == data
    assert objects.put(data) == name


def test_a_file_and_its_bytes_are_the_same_object(objects: PackedObjects, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 3_000_000)
    name = objects.put_file(tmp_path / "file")
    assert objects.get(name) == b"x" * 3_000_000
    objects.fetch(name, tmp_path / "out" / "copy")
    assert digest.of_file(tmp_path / "out" / "copy") == name
    assert name in objects.digests()


def test_a_flipped_bit_is_found_on_every_way_out(objects: PackedObjects, tmp_path: Path) -> None:
    name = objects.put(b"the weights of a model")
    path = objects.local / name[3:5] / name[5:]
    path.chmod(0o600)
    path.write_bytes(b"The weights of a model")
    with pytest.raises(Corrupt) as raised:
        objects.get(name)
    assert raised.value.expected == name
    with pytest.raises(Corrupt):
        objects.fetch(name, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_what_is_not_there_is_said_to_be_missing(objects: PackedObjects, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        objects.get(digest.of_bytes(b"never stored"))
    with pytest.raises(NotFound):
        objects.put_file(tmp_path / "nowhere")


def test_a_name_that_is_no_digest_cannot_leave_the_store(objects: PackedObjects) -> None:
    with pytest.raises(Invalid):
        objects.get("b3:../../../etc/passwd")


def test_nothing_half_written_is_visible(objects: PackedObjects) -> None:
    (objects.incoming / "pack-abandoned").write_bytes(b"half")
    (objects.local / "ab").mkdir()
    (objects.local / "ab" / ".new-abandoned").write_bytes(b"half")
    assert list(objects.digests()) == []
    objects.refresh()
    assert list(objects.digests()) == []


def test_a_full_disk_is_a_clear_error_and_leaves_the_store_whole(objects: PackedObjects, tmp_path: Path) -> None:
    kept = objects.put(b"kept")
    with objects.batch() as batch:
        packed = batch.put_many([b"packed" * 100])
    (tmp_path / "large").write_bytes(os.urandom(3 << 20))
    pid = os.fork()
    if pid == 0:  # a limit on files stands for the disk's: it ends a write in the same way
        said = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
            store_of(objects).put_file(tmp_path / "large")
        except Unavailable as error:
            said = 0 if "cannot write to" in error.message and "the store is as it was" in error.hint else 2
        finally:
            os._exit(said)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    objects.refresh()
    assert (objects.get(kept), objects.get(packed[0])) == (b"kept", b"packed" * 100)
    assert sorted(objects.digests()) == sorted([kept, *packed])
    assert list(objects.incoming.iterdir()) == []
    assert objects.get(objects.put_file(tmp_path / "large")) == (tmp_path / "large").read_bytes()


def store_of(objects: PackedObjects) -> PackedObjects:
    """The same store, opened by another process."""
    return PackedObjects(objects.blobs, objects.local)
