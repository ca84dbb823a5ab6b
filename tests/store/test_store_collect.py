"""Garbage: what nothing refers to goes, what something refers to stays, whoever works beside."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from windlass.adapters.files import FileBlobs
from windlass.domain.errors import NotFound, Unavailable
from windlass.store import check, collect, objects
from windlass.store.collect import Collected
from windlass.store.objects import PackedObjects

HOUR = 3600_000_000


class Clock:
    now = 1_000_000

    def __call__(self) -> int:
        self.now += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> PackedObjects:
    return PackedObjects(FileBlobs(tmp_path / "store"), tmp_path / "store", clock)


def put(store: PackedObjects, *many: bytes) -> list[str]:
    with store.batch() as batch:
        return batch.put_many(many)


def gc(store: PackedObjects, *live: str, grace: int = 0, dry_run: bool = False) -> Collected:
    return collect.collect(store, lambda: {objects.raw(name) for name in live}, grace=grace, dry_run=dry_run)


def test_garbage_waits_for_the_grace_period(store: PackedObjects, clock: Clock) -> None:
    kept, dead = put(store, b"kept", b"dead")
    alone = store.put(b"dead too, by itself")
    assert gc(store, kept, grace=HOUR).quarantined == 2
    assert store.get(dead) == b"dead"
    clock.now += HOUR // 2
    assert gc(store, kept, grace=HOUR).deleted == 0
    clock.now += HOUR
    done = gc(store, kept, grace=HOUR)
    assert (done.deleted, done.quarantined, done.live) == (2, 0, 1)
    assert store.get(kept) == b"kept"
    for name in (dead, alone):
        assert not store.has(name)
        with pytest.raises(NotFound):
            store.get(name)


def test_a_dry_run_changes_nothing_and_tells_the_truth(store: PackedObjects, clock: Clock) -> None:
    kept, dead = put(store, b"kept" * 100, os.urandom(1000))
    told = gc(store, kept, dry_run=True)
    assert (told.deleted, told.deleted_bytes, told.live) == (1, 1000, 1)
    assert store.get(dead)
    assert store.index.quarantined() == {}
    done = gc(store, kept)
    assert (done.deleted, done.deleted_bytes, done.live) == (told.deleted, told.deleted_bytes, told.live)


@pytest.mark.parametrize("again", ["put", "batch", "keep"])
def test_what_is_stored_again_leaves_the_quarantine(store: PackedObjects, clock: Clock, again: str) -> None:
    [name] = put(store, b"wanted again")
    gc(store, grace=HOUR)
    assert objects.raw(name) in store.index.quarantined()
    if again == "put":
        store.put(b"wanted again")
    else:
        with store.batch() as batch:
            assert batch.keep([name]) == {name} if again == "keep" else batch.put(b"wanted again") == name
    assert store.index.quarantined() == {}
    clock.now += 2 * HOUR
    assert gc(store, grace=HOUR).deleted == 0
    assert store.get(name) == b"wanted again"


def test_a_writer_at_work_is_waited_for(store: PackedObjects, clock: Clock) -> None:
    [name] = put(store, b"counted on")
    with store.batch() as batch:
        assert batch.keep([name]) == {name}
        clock.now += HOUR
        done = gc(store)
        assert (done.deleted, done.waiting_for) == (0, "a writer is at work")
        assert batch.put(b"counted on") == name
    assert gc(store, name).deleted == 0
    assert store.get(name) == b"counted on"
    assert gc(store).deleted == 1


def test_a_large_object_lives_and_dies_with_all_its_chunks(store: PackedObjects, tmp_path: Path) -> None:
    content = random.Random(4).randbytes(3 << 20)
    (tmp_path / "large").write_bytes(content)
    name = store.put_file(tmp_path / "large")
    assert gc(store, name).deleted == 0
    assert store.get(name) == content
    assert gc(store).deleted > 10
    assert list(store.digests()) == []


def test_packs_that_lost_much_are_written_anew_and_give_their_room_back(store: PackedObjects) -> None:
    many = [os.urandom(1000) for _ in range(100)]
    names = put(store, *many)
    before = sum(store.index.packs().values())
    done = gc(store, *names[:10])
    assert done.packs_rewritten == 1
    after = sum(size for _, size in store.blobs.ls("packs"))
    assert after < before / 5
    assert done.freed_bytes == before - after
    assert dict(store.many(names[:10])) == dict(zip(names[:10], many[:10], strict=True))
    assert check.check(store).damaged == {}


def test_a_reader_that_looked_before_a_pack_was_written_anew_still_reads(store: PackedObjects) -> None:
    names = put(store, *(os.urandom(1000) for _ in range(20)))
    place = store.index.place(objects.raw(names[0]))
    assert place is not None
    gc(store, names[0])
    assert len(store.body(place)) == 1000


def test_a_lost_index_is_built_again_from_the_packs(store: PackedObjects, tmp_path: Path) -> None:
    names = put(store, *(os.urandom(1000) for _ in range(20)))
    store.index.close()
    for path in (tmp_path / "store").glob("index.db*"):
        path.unlink()
    again = PackedObjects(FileBlobs(tmp_path / "store"), tmp_path / "store")
    assert sorted(again.digests()) == sorted(names)


def test_only_one_collects_at_a_time(store: PackedObjects) -> None:
    def mark() -> set[bytes]:
        with pytest.raises(Unavailable, match="another process collects"):
            gc(store)
        return set()

    collect.collect(store, mark, grace=0, dry_run=False)


def test_what_a_dead_writer_left_is_removed(store: PackedObjects, processes: Callable[[str], list[int]]) -> None:
    dead = next(pid for pid in range(4_000_000, 4_100_000) if not Path(f"/proc/{pid}").exists())
    ours = store.incoming / f"pack-{os.getpid()}-x"
    for path in (store.incoming / f"pack-{dead}-x", store.incoming / f"blob-{dead}-y", ours):
        path.write_bytes(b"half")
    (store.local / "writers").mkdir()
    (store.local / "writers" / "5-abc").touch()
    gc(store)
    assert list(store.incoming.iterdir()) == [ours]
    assert list((store.local / "writers").iterdir()) == []


class Stores(RuleBasedStateMachine):
    """Any order of writing, referring, forgetting and collecting: what is referred to can always be read."""

    @initialize(seed=st.integers(0, 1 << 30))
    def begin(self, seed: int) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.store = PackedObjects(FileBlobs(Path(self.folder.name)), Path(self.folder.name), self.clock)
        self.referred: dict[str, bytes] = {}

    @rule(many=st.lists(st.integers(0, 30), min_size=1, max_size=8), how=st.sampled_from(["put", "batch"]))
    def write(self, many: list[int], how: str) -> None:
        contents = [b"%d" % each * 50 for each in many]
        names = [self.store.put(each) for each in contents] if how == "put" else put(self.store, *contents)
        self.referred |= dict(zip(names, contents, strict=True))

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        for name in data.draw(
            st.lists(st.sampled_from(sorted(self.referred)), max_size=5) if self.referred else st.just([])
        ):
            self.referred.pop(name, None)

    @rule(grace=st.sampled_from([0, 10, HOUR]))
    def collect(self, grace: int) -> None:
        gc(self.store, *self.referred, grace=grace)

    @rule()
    def wait(self) -> None:
        self.clock.now += HOUR

    @rule()
    def open_again(self) -> None:
        self.store.index.close()
        self.store = PackedObjects(FileBlobs(Path(self.folder.name)), Path(self.folder.name), self.clock)

    @invariant()
    def what_is_referred_to_is_there(self) -> None:
        if hasattr(self, "store"):
            assert dict(self.store.many(list(self.referred))) == self.referred

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.index.close()
            self.folder.cleanup()


TestStores = Stores.TestCase
TestStores.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
