"""Processes killed at random moments: nothing finished is lost, nothing half-done is visible.

Each round starts one process that is killed (SIGKILL) and, most times, another that works beside it. After each round
every byte of the store is checked. WINDLASS_KILLS sets how many kills there are.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from windlass.adapters.sqlite import SqliteDatabase
from windlass.capture import data, folders, sharing
from windlass.capture.data import Snapshot
from windlass.capture.statcache import StatCache
from windlass.domain import clock
from windlass.domain.errors import Failure
from windlass.store import check, collect
from windlass.store.objects import PackedObjects
from windlass.workspace import collecting
from windlass.workspace.stores import local_store

KILLS = int(os.environ.get("WINDLASS_KILLS", "80"))

Contents = dict[str, bytes]


class Place:
    """A project's store and database, a folder of data that changes, and a remote; opened anew by each process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.source = root / "source"

    def database(self) -> SqliteDatabase:
        return SqliteDatabase(self.root / "home" / "windlass.db")

    def store(self) -> PackedObjects:
        return local_store(self.root / "home" / "objects")

    def remote(self) -> PackedObjects:
        return local_store(self.root / "remote")

    def add(self) -> None:
        cache = StatCache(self.root / "home" / "cache")
        data.add(self.database(), self.store(), name="d", path=self.source, actor="a", now=clock.now, cache=cache)

    def checkout(self) -> None:
        db, store = self.database(), self.store()
        with db.read() as tx:
            latest = data.log(tx, store, "d")[-1]
        folders.checkout(store, latest.tree, self.root / "out" / str(latest.version))

    def gc(self) -> None:
        db, store = self.database(), self.store()
        with db.write() as tx:
            for old in data.log(tx, store, "d")[:-6]:
                data.remove(tx, old, reason="old", actor="a", at=1)
        collect.collect(store, lambda: collecting.referred(db, store), grace=0, dry_run=False)

    def push(self) -> None:
        db, store = self.database(), self.store()
        with db.read() as tx:
            wanted = data.log(tx, store, "d")[-2:]
        sharing.push(db, store, self.remote(), wanted)


def change(source: Path, rng: random.Random) -> None:
    """Some files new, some changed, some gone; one of them large."""
    source.mkdir(exist_ok=True)
    for _ in range(rng.randrange(1, 25)):
        path = source / f"{rng.randrange(8)}" / f"f{rng.randrange(40)}"
        path.parent.mkdir(exist_ok=True)
        size = rng.randrange(20_000)
        path.write_bytes(rng.randbytes(size) if rng.random() < 0.8 else b"text\n" * (size // 5))
    large = source / "large.bin"
    content = bytearray(large.read_bytes() if large.exists() else rng.randbytes(3 << 20))
    at = rng.randrange(len(content))
    content[at:at] = rng.randbytes(100)
    large.write_bytes(content)
    files = [path for path in source.rglob("f*") if path.is_file()]
    if len(files) > 100:
        rng.choice(files).unlink()


def contents(folder: Path) -> Contents:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def forked(work: Callable[[], None]) -> int:
    """Run something in a process of its own that shares nothing with this one; returns its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except Failure as failure:
            os.write(2, f"{failure.kind}: {failure.message}\n".encode())
            code = 3 if failure.kind in ("conflict", "unavailable") else 1
        except BaseException:  # noqa: BLE001 - told, and then the process ends
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def whole(db: SqliteDatabase, store: PackedObjects) -> None:
    """Every byte of a store is right, and all that the database needs is there."""
    found = check.check(store)
    assert found.damaged == {}
    assert found.unreadable == {}
    assert collecting.missing(db, store, found.intact)[1] == []


def snapshots(db: SqliteDatabase, store: PackedObjects) -> dict[int, Snapshot]:
    with db.read() as tx:
        return {each.version: each for each in data.log(tx, store, "d")}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    yield found
    # What is read-only for its owner is no obstacle to pytest's own cleaning, but many files are to its speed.
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_kills_at_random_moments_lose_nothing_and_leave_nothing_half(place: Place) -> None:
    rng = random.Random(3)
    known: dict[str, Contents] = {}  # tree -> what it has to hold
    change(place.source, rng)
    place.add()
    works = {"add": place.add, "checkout": place.checkout, "gc": place.gc, "push": place.push}
    took = dict.fromkeys(works, 0.1)
    killed = dict.fromkeys(works, 0)
    number = 0
    while sum(killed.values()) < KILLS:
        number += 1
        assert number < 4 * KILLS, "processes end before they can be killed"
        name = list(works)[number % len(works)]
        change(place.source, rng)
        expected = contents(place.source)
        beside = rng.choice([None, "gc", "add", "push"])
        before = snapshots(place.database(), place.store())
        began = time.monotonic()
        victim = forked(works[name])
        other = forked(works[beside]) if beside else None
        if number % 8 >= 4:
            time.sleep(rng.random() * took[name])
            os.kill(victim, signal.SIGKILL)
        else:
            # Early moments are the dangerous ones of short works: half of all kills come within 30 ms.
            time.sleep(rng.random() * 0.03)
            os.kill(victim, signal.SIGKILL)
        code, finished = ended(victim), time.monotonic()
        assert code in (0, 3, -signal.SIGKILL), f"{name} ended with {code}"
        killed[name] += code == -signal.SIGKILL
        if other is not None:
            assert ended(other) in (0, 3), f"{beside} beside a killed {name}"
        if code == 0:
            took[name] = finished - began

        db, store = place.database(), place.store()
        whole(db, store)
        after = snapshots(db, store)
        for version, snapshot in after.items():
            if version not in before:
                assert known.setdefault(snapshot.tree, expected) == expected
        if not {"gc"} & {name, beside}:
            assert before.items() <= after.items()
        assert max(after) >= max(before)
        for out in (place.root / "out").glob("[0-9]*"):
            tree = next((each.tree for each in (before | after).values() if str(each.version) == out.name), None)
            if tree in known:
                assert contents(out) == known[tree], "a checkout is whole or not there"
            shutil.rmtree(out)
        if (place.root / "remote").is_dir():
            remote = place.remote()
            found = check.check(remote)
            assert found.damaged == {}
            for _, _, record in sharing._listed(remote):
                assert remote.has(record), "a name without its record"
        store.index.close()
        db.close()
    assert min(killed.values()) > KILLS / 10

    # What killed processes left behind goes with the next collection, and every snapshot can still be read.
    place.gc()
    db, store = place.database(), place.store()
    whole(db, store)
    assert [path.name for path in (store.local / "incoming").iterdir()] == []
    for version, snapshot in snapshots(db, store).items():
        folders.checkout(store, snapshot.tree, place.root / "last" / str(version))
        if snapshot.tree in known:
            assert contents(place.root / "last" / str(version)) == known[snapshot.tree]
    # The remote's names lead to whole snapshots: another project can pull them all.
    other_db = SqliteDatabase(place.root / "other" / "windlass.db")
    other = local_store(place.root / "other" / "objects")
    place.push()
    sharing.pull(other_db, other, place.remote(), [], actor="b", now=clock.now)
    whole(other_db, other)
