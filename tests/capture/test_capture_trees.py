"""Trees: a folder as one digest, and back."""

from __future__ import annotations

import os
import random
import socket
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.capture import folders, trees
from windlass.domain import digest
from windlass.domain.errors import Conflict, Corrupt, Failure, Invalid, NotFound, Unavailable
from windlass.store.objects import PackedObjects
from windlass.workspace.stores import local_store

# The tree {"a.txt": b"one\n", "empty/", "sub/b.sh": b"#!/bin/sh\n" (executable)} in format 2, for ever.
GOLDEN = "b3:6a497249287467dc18b99e43551c551fc0b40f94c002c766c173259878648356"
GOLDEN_BYTES = (
    b'{"entries":[["a.txt",4,"b3:e0e63aa4c8e1ed796cb104d8a074e553c99fff18d140e886667013ef2780ae23",false],'
    b'["empty/",0,"",false],'
    b'["sub/b.sh",10,"b3:bc1f407a11c9377c8b9b13f956b279c8462775105eb958fc9ae3c40de87cc96e",true]],'
    b'"format":2,"kind":"tree"}'
)


def random_bytes(size: int) -> bytes:
    """So many that the file is cut into chunks."""
    return random.Random(size).randbytes(size)


names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..", ".git", ".windlass", ".DS_Store")
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
contents = st.tuples(st.one_of(st.binary(max_size=200), st.integers(1 << 20, 3 << 20).map(random_bytes)), st.booleans())


def without_clashes(files: dict[str, tuple[bytes, bool]]) -> dict[str, tuple[bytes, bool]]:
    """No file stands where another's folder must be."""
    folders = {str(parent) for path in files for parent in Path(path).parents}
    return {path: content for path, content in files.items() if path not in folders}


contained = st.dictionaries(paths, contents, min_size=1, max_size=8).map(without_clashes)


def write(folder: Path, files: dict[str, tuple[bytes, bool]]) -> None:
    for path, (content, executable) in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o755 if executable else 0o644)


def written(folder: Path) -> dict[str, tuple[bytes, bool]]:
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
        for path in folder.rglob("*")
        if path.is_file()
    }


@settings(max_examples=60, deadline=None)
@given(files=contained)
def test_any_folder_comes_back_as_it_was(files: dict[str, tuple[bytes, bool]]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        objects = local_store(place / "objects")
        write(place / "in", files)
        name = folders.store(objects, place / "in")
        folders.checkout(objects, name, place / "out")
        assert written(place / "out") == files
        assert folders.store(objects, place / "out") == name
        assert {entry.path for entry in trees.manifest(objects, name).entries} == set(files)


@settings(max_examples=30, deadline=None)
@given(files=contained, data=st.data())
def test_the_digest_depends_on_neither_place_nor_order(
    files: dict[str, tuple[bytes, bool]], data: st.DataObject
) -> None:
    shuffled = dict(data.draw(st.permutations(list(files.items()))))
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        objects = local_store(place / "objects")
        write(place / "one", files)
        write(place / "two", shuffled)
        assert folders.store(objects, place / "one") == folders.store(objects, place / "two")
        plain = {path: content for path, (content, executable) in shuffled.items() if not executable}
        if len(plain) == len(files):
            assert trees.store_files(objects, plain) == folders.store(objects, place / "one")


def forge(objects: PackedObjects, *files: tuple[str, int]) -> str:
    """A tree that nothing checked: every file has the one byte x, whatever size is said."""
    entries = [[path, size, objects.put(b"x"), False] for path, size in files]
    return objects.put(digest.canonical({"format": 2, "kind": "tree", "entries": entries}))


def test_the_format_is_the_golden_one(objects: PackedObjects, tmp_path: Path) -> None:
    write(tmp_path / "in", {"sub/b.sh": (b"#!/bin/sh\n", True), "a.txt": (b"one\n", False), ".git/x": (b"", False)})
    (tmp_path / "in" / "empty").mkdir()
    assert folders.store(objects, tmp_path / "in") == GOLDEN
    assert objects.get(GOLDEN) == GOLDEN_BYTES
    assert trees.store_files(objects, {"b": b"2", "a": b"1"}) == trees.store_files(objects, {"a": b"1", "b": b"2"})


def test_one_file_is_a_tree_of_one_entry(objects: PackedObjects, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"a\n1\n")
    tree = trees.manifest(objects, folders.store(objects, tmp_path / "rows.csv"))
    assert [(entry.path, entry.size) for entry in tree.entries] == [("rows.csv", 4)]
    assert trees.read(objects, tree.digest, "rows.csv") == b"a\n1\n"
    with pytest.raises(NotFound):
        trees.read(objects, tree.digest, "other.csv")


def test_a_tree_without_files_can_be_stored_by_its_bytes_only(objects: PackedObjects, tmp_path: Path) -> None:
    assert trees.manifest(objects, trees.store_files(objects, {})).entries == ()
    (tmp_path / "empty").mkdir()
    with pytest.raises(Invalid, match="has no files"):
        folders.store(objects, tmp_path / "empty")
    with pytest.raises(NotFound, match="no file or folder"):
        folders.store(objects, tmp_path / "nowhere")


def test_links_are_followed_within_the_folder_and_refused_beyond_it(objects: PackedObjects, tmp_path: Path) -> None:
    inside, secret = tmp_path / "in", tmp_path / "secret"
    write(inside, {"a": (b"1", False)})
    secret.write_text("s")
    link = inside / "link"
    link.symlink_to("a")
    assert {entry.path for entry in trees.manifest(objects, folders.store(objects, inside)).entries} == {"a", "link"}
    for target, said in [("../secret", "out of"), (str(secret), "out of"), ("gone", "nothing"), ("link", "nothing")]:
        link.unlink()
        link.symlink_to(target)
        with pytest.raises(Invalid, match=said):
            folders.store(objects, inside)
    link.unlink()
    (inside / "sub").mkdir()
    link.symlink_to("sub")
    with pytest.raises(Invalid, match="link to a folder"):
        folders.store(objects, inside)


def test_what_is_neither_file_nor_folder_is_refused(
    objects: PackedObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in" / "pipe")
    with pytest.raises(Invalid, match="neither"):
        folders.store(objects, tmp_path / "in")
    (tmp_path / "in" / "pipe").unlink()
    monkeypatch.chdir(tmp_path / "in")  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(Invalid, match="neither"):
            folders.store(objects, tmp_path / "in")
    with pytest.raises(Invalid, match="neither"):
        folders.store(objects, Path("/dev/null"))


def test_a_name_that_is_no_text_is_refused(objects: PackedObjects, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = os.path.join(os.fsencode(tmp_path / "in"), b"not\xfftext")  # noqa: PTH118 - bytes are no Path
    os.close(os.open(path, os.O_CREAT))
    with pytest.raises(Invalid, match="is not text"):
        folders.store(objects, tmp_path / "in")


@pytest.mark.parametrize("size", [1, 2 << 20])
def test_a_file_that_changes_while_it_is_read_is_read_again_or_refused(
    objects: PackedObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    write(tmp_path / "in", {"a": (bytes(size), False)})
    times, fstat = 2, os.fstat

    def written_to_after_each_look(handle: int) -> os.stat_result:
        nonlocal times
        found = fstat(handle)
        if times and Path(f"/proc/self/fd/{handle}").readlink().name == "a":
            times -= 1
            with (tmp_path / "in" / "a").open("ab") as file:
                file.write(b"more")
        return found

    monkeypatch.setattr(os, "fstat", written_to_after_each_look)
    tree = folders.store(objects, tmp_path / "in")
    assert trees.read(objects, tree, "a") == bytes(size) + b"moremore"
    times = 100
    with pytest.raises(Unavailable, match="keeps changing"):
        folders.store(objects, tmp_path / "in")


@pytest.mark.parametrize(
    "path", ["../out", "/etc/passwd", "a/../../out", "", ".", "a//b", "./a", "a\0b", "..", "\udcff"]
)
def test_no_path_leads_out_of_a_tree(objects: PackedObjects, tmp_path: Path, path: str) -> None:
    with pytest.raises(Invalid):
        trees.store_files(objects, {path: b"x"})
    if path.isprintable():
        forged = forge(objects, (path, 1))
        with pytest.raises(Invalid):
            folders.checkout(objects, forged, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("clash", [["a", "a"], ["a", "a/b"], ["a/b/c", "a/b"], ["a/", "a/b"], ["a", "a/"]])
def test_two_entries_at_one_place_are_no_tree(objects: PackedObjects, tmp_path: Path, clash: list[str]) -> None:
    forged = forge(objects, *((path, 1) for path in clash))
    with pytest.raises(Invalid, match="two entries at one place"):
        trees.manifest(objects, forged)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"kind":"tree","format":1,"entries":[]}', b'{"kind":"tree","format":3}']
)
def test_another_object_is_no_tree(objects: PackedObjects, content: bytes) -> None:
    with pytest.raises(Invalid, match="not a tree"):
        trees.manifest(objects, objects.put(content))


def test_a_checkout_is_whole_or_not_at_all(objects: PackedObjects, tmp_path: Path) -> None:
    tree = trees.store_files(objects, {"a": b"1", "b/c": b"2"})
    damaged = objects.local / digest.of_bytes(b"2")[3:5] / digest.of_bytes(b"2")[5:]
    damaged.chmod(0o644)
    damaged.write_bytes(b"3")
    with pytest.raises(Corrupt):
        folders.checkout(objects, tree, tmp_path / "place" / "out")
    assert list((tmp_path / "place").iterdir()) == []
    damaged.unlink()
    with pytest.raises(NotFound):
        folders.checkout(objects, tree, tmp_path / "place" / "out")
    assert list((tmp_path / "place").iterdir()) == []


def test_a_size_that_is_not_the_files_is_damage(objects: PackedObjects, tmp_path: Path) -> None:
    forged = forge(objects, ("a", 7))
    with pytest.raises(Corrupt, match="another size"):
        folders.checkout(objects, forged, tmp_path / "out")


def test_a_checkout_never_mixes_with_what_is_there(objects: PackedObjects, tmp_path: Path) -> None:
    tree = trees.store_files(objects, {"a": b"1"})
    empty, full, file, link = (tmp_path / name for name in ("empty", "full", "file", "link"))
    empty.mkdir()
    full.mkdir()
    (full / "mine").write_text("mine")
    file.write_text("mine")
    link.symlink_to(empty)
    folders.checkout(objects, tree, empty)
    assert (empty / "a").read_bytes() == b"1"
    for taken in (full, file, link, empty):
        with pytest.raises(Conflict, match="there already"):
            folders.checkout(objects, tree, taken)
    with pytest.raises(Failure):
        folders.checkout(objects, tree, file / "below")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "full", "link", "objects"]
    assert [path.name for path in full.iterdir()] == ["mine"]


def test_a_read_only_checkout_keeps_who_may_execute(objects: PackedObjects, tmp_path: Path) -> None:
    write(tmp_path / "in", {"run": (b"", True), "read": (b"", False)})
    tree = folders.store(objects, tmp_path / "in")
    folders.checkout(objects, tree, tmp_path / "out", read_only=True)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()}
    assert modes == {"run": 0o555, "read": 0o444}
