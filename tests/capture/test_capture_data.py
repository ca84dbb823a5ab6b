"""Datasets and their snapshots."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import asdict
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windlass.adapters.sqlite import SqliteDatabase
from windlass.capture import data, folders, trees
from windlass.capture.data import Snapshot
from windlass.capture.statcache import StatCache
from windlass.domain import ledger
from windlass.domain.errors import Failure, Invalid, NotFound
from windlass.domain.names import Reference
from windlass.domain.ports import Database
from windlass.store import check, collect
from windlass.store.objects import PackedObjects
from windlass.workspace import collecting
from windlass.workspace.stores import local_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "acs"
    place.mkdir()
    pq.write_table(pa.table({"age": [1, 2, 3], "employed": [True, False, True]}), place / "2015.parquet")
    return place


def add(db: Database, objects: PackedObjects, path: Path, name: str = "acs") -> tuple[Snapshot, bool]:
    return data.add(db, objects, name=name, path=path, target="employed", actor="ada", now=lambda: 7)


def test_a_dataset_is_versioned_with_its_schema_and_recorded(
    database: Database, objects: PackedObjects, folder: Path
) -> None:
    snapshot, new = add(database, objects, folder)
    assert new
    assert (snapshot.reference, snapshot.files, snapshot.rows, snapshot.target) == ("acs@1", 1, 3, "employed")
    assert snapshot.columns == (("age", "int64"), ("employed", "bool"))
    with database.read() as tx:
        entries = ledger.entries(tx)
        assert [(entry.subject, entry.actor, entry.at) for entry in entries] == [("snapshot/acs@1", "ada", 7)]
        record = ledger.head(tx, "snapshot/acs@1")
        assert record is not None
        assert json.loads(objects.get(record))["tree"] == snapshot.tree
        assert entries[0].evidence == {"tree": snapshot.tree}
        assert data.find(tx, objects, Reference.parse("acs")) == snapshot
        assert data.find(tx, objects, Reference.parse("acs@1")) == snapshot
    assert msgspec.convert(msgspec.to_builtins(snapshot), Snapshot) == snapshot


def test_unchanged_data_keeps_its_version_and_old_data_again_is_a_new_one(
    database: Database, objects: PackedObjects, folder: Path
) -> None:
    first, _ = add(database, objects, folder)
    assert add(database, objects, folder) == (first, False)
    (folder / "note.txt").write_text("2016 is added")
    second, new = add(database, objects, folder)
    assert (second.version, new) == (2, True)
    assert second.tree != first.tree
    (folder / "note.txt").unlink()
    third, new = add(database, objects, folder)
    assert (third.version, new) == (3, True)
    assert third.tree == first.tree
    other, _ = add(database, objects, folder, name="again")
    assert (other.reference, other.tree) == ("again@1", first.tree)
    with database.read() as tx:
        assert [each.reference for each in data.ls(tx, objects)] == ["acs@3", "again@1"]
        assert [each.version for each in data.log(tx, objects, "acs")] == [1, 2, 3]


def test_tables_are_counted_together_and_other_files_are_no_tables(
    database: Database, objects: PackedObjects, tmp_path: Path
) -> None:
    place = tmp_path / "mixed"
    place.mkdir()
    (place / "a.csv").write_text("age,name\n1,x\n2,y\n")
    (place / "b.csv").write_text("age,town\n3,z\n")
    (place / "picture.png").write_bytes(b"\x89PNG")
    snapshot, _ = add(database, objects, place)
    assert snapshot.rows == 3
    assert dict(snapshot.columns) == {"age": "int64", "name": "string", "town": "string"}
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("a")
    plain, _ = add(database, objects, tmp_path / "text", name="text")
    assert (plain.rows, plain.columns) == (None, ())
    with pytest.raises(Invalid, match="cannot be read as a table"):
        add(database, objects, _file(tmp_path / "broken.parquet", b"PAR1" + b"\0" * 50 + b"\x10\0\0\0PAR1"))
    with pytest.raises(Invalid, match="cannot be read as a table"):
        add(database, objects, _file(tmp_path / "ragged.csv", b"a,b\n1\n2,3,4\n"))


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_what_differs_is_told_by_file_row_and_column(database: Database, objects: PackedObjects, folder: Path) -> None:
    old, _ = add(database, objects, folder)
    pq.write_table(pa.table({"age": [1, 2], "sex": ["f", "m"]}), folder / "2015.parquet")
    (folder / "new.txt").write_text("new")
    new, _ = add(database, objects, folder)
    assert asdict(data.diff(objects, old, new)) == {
        "added": ("new.txt",), "removed": (), "changed": ("2015.parquet",), "rows_before": 3, "rows_after": 2,
        "columns_added": ("sex",), "columns_removed": ("employed",),
        "tables": ({
            "path": "2015.parquet", "rows_before": 3, "rows_after": 2, "rows_added": 0, "rows_removed": 1,
            "columns_added": ("sex",), "columns_removed": ("employed",), "columns_retyped": (),
        },),
        "profiles": ("age: mean 2 -> 1.5, no longer 3",),
    }  # fmt: skip
    assert data.diff(objects, new, old).removed == ("new.txt",)
    assert data.diff(objects, new, new).changed == ()


def test_a_snapshot_is_checked_out_read_only(
    database: Database, objects: PackedObjects, folder: Path, tmp_path: Path
) -> None:
    snapshot, _ = add(database, objects, folder)
    data.checkout(objects, snapshot, tmp_path / "out")
    out = tmp_path / "out" / "2015.parquet"
    assert out.read_bytes() == (folder / "2015.parquet").read_bytes()
    assert out.stat().st_mode & 0o777 == 0o444


def test_bad_input_is_one_clear_error(database: Database, objects: PackedObjects, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    cases: list[tuple[str, Path, type[Failure]]] = [
        ("acs", tmp_path / "nowhere", NotFound),
        ("acs", tmp_path / "empty", Invalid),
        ("../acs", tmp_path, Invalid),
    ]
    for name, path, kind in cases:
        with pytest.raises(kind) as caught:
            add(database, objects, path, name=name)
        assert caught.value.hint
    with database.read() as tx:
        for text, wrong in [("acs", NotFound), ("acs@1", NotFound), ("acs@one", Invalid), ("acs@" + "9" * 30, Invalid)]:
            with pytest.raises(wrong) as caught:
                data.find(tx, objects, Reference.parse(text))
            assert caught.value.hint
        with pytest.raises(NotFound):
            data.log(tx, objects, "acs")
        assert data.ls(tx, objects) == []
        assert ledger.entries(tx) == []


ADD = """
    import sys, time
    from pathlib import Path
    from windlass.workspace.stores import local_store
    from windlass.adapters.sqlite import SqliteDatabase
    from windlass.capture import data

    home, path, holds = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "holds"

    def now():  # asked for the time in the middle of the transaction that makes the snapshot
        print("in the transaction", flush=True)
        time.sleep(60 if holds else 0)
        return 1

    db = SqliteDatabase(home / "windlass.db")
    objects = local_store(home / "objects")
    print(data.add(db, objects, name="acs", path=path, actor="ada", now=now)[0].reference, flush=True)
"""


def start(home: Path, path: Path, *, holds: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(ADD), str(home), str(path), "holds" if holds else "goes on"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def many(place: Path, count: int) -> Path:
    place.mkdir()
    for number in range(count):
        (place / f"{number}.bin").write_bytes(os.urandom(2000))
    return place


@pytest.mark.parametrize("moment", ["in the transaction"])
def test_an_add_that_is_killed_leaves_no_half_snapshot_and_loses_no_whole_one(
    tmp_path: Path, moment: int | str
) -> None:
    home = tmp_path / "home"
    objects = local_store(home / "objects")
    db = SqliteDatabase(home / "windlass.db")
    finished, _ = add(db, objects, many(tmp_path / "before", 3))
    stored = len(list(objects.digests()))
    path = many(tmp_path / "data", 150)
    process = start(home, path, holds=True)
    try:
        if isinstance(moment, int):
            until = time.monotonic() + 30
            while len(list(objects.digests())) < stored + moment and time.monotonic() < until:
                time.sleep(0.001)
            assert len(list(objects.digests())) >= stored + moment
        else:
            assert process.stdout is not None
            assert process.stdout.readline() == "in the transaction\n"
        assert process.poll() is None, "it must be alive to be killed in the middle"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with db.read() as tx:
        assert [each.reference for each in data.log(tx, objects, "acs")] == ["acs@1"]
        ledger.verify(ledger.entries(tx), {"snapshot/acs@1": ledger.head(tx, "snapshot/acs@1")})
    for name in objects.digests():
        objects.get(name)  # every object that is visible is whole
    folders.checkout(objects, finished.tree, tmp_path / "out")
    again, new = add(db, objects, path)
    assert (again.reference, new, again.files) == ("acs@2", True, 150)
    folders.checkout(objects, again.tree, tmp_path / "again")
    db.close()


def test_two_processes_that_add_at_once_make_two_versions(tmp_path: Path) -> None:
    home = tmp_path / "home"
    processes = [start(home, many(tmp_path / name, 40)) for name in ("one", "two")]
    ended = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert [(errors, code) for _, errors, code in ended] == [("", 0)] * 2
    assert sorted(said.splitlines()[-1] for said, _, _ in ended) == ["acs@1", "acs@2"]
    db, objects = SqliteDatabase(home / "windlass.db"), local_store(home / "objects")
    with db.read() as tx:
        assert [each.files for each in data.log(tx, objects, "acs")] == [40, 40]
    db.close()


def test_pyarrow_is_loaded_only_for_tables(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    script = textwrap.dedent(ADD) + "\nassert 'pyarrow' not in sys.modules and 'numpy' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "home"), str(tmp_path / "a.txt"), ""], check=True)


def test_data_that_was_removed_is_stored_again_even_when_its_files_are_unchanged(
    database: Database, objects: PackedObjects, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    old = time.time() - 100  # so that the cache trusts what it has seen
    for number in range(5):
        _file(place / f"{number}", b"%d" % number)
        os.utime(place / f"{number}", (old, old))
    cache = StatCache(tmp_path / "cache")
    first, _ = data.add(database, objects, name="acs", path=place, actor="ada", now=lambda: 1, cache=cache)
    with database.write() as tx:
        data.remove(tx, first, reason="gone", actor="ada", at=2)
    for _ in range(2):
        collect.collect(objects, lambda: collecting.referred(database, objects), grace=0, dry_run=False)
    again, created = data.add(database, objects, name="acs", path=place, actor="ada", now=lambda: 3, cache=cache)
    assert (created, again.version, again.tree) == (True, 2, first.tree)
    assert check.check(objects).damaged == {}
    assert trees.read(objects, again.tree, "3") == b"3"
