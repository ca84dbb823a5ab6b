"""Trees: a folder as one digest, and back."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.adapters.files import FileObjectStore
from windlass.capture import trees
from windlass.domain import digest
from windlass.domain.errors import Conflict, Corrupt, Failure, Invalid, NotFound, Unavailable

# The tree {"a.txt": b"one\n", "sub/b.sh": b"#!/bin/sh\n" (executable)} in format 1, for ever.
GOLDEN = "b3:45bb21a26e0abe895a18c570c5e74a6fdee305ca7b6f271f620c0fcee8011299"
GOLDEN_BYTES = (
    b'{"entries":[{"digest":"b3:e0e63aa4c8e1ed796cb104d8a074e553c99fff18d140e886667013ef2780ae23",'
    b'"executable":false,"path":"a.txt","size":4},'
    b'{"digest":"b3:bc1f407a11c9377c8b9b13f956b279c8462775105eb958fc9ae3c40de87cc96e",'
    b'"executable":true,"path":"sub/b.sh","size":10}],"format":1,"kind":"tree"}'
)

names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="/\\\0"), min_size=1, max_size=12).filter(
    lambda name: not name.startswith(".")
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
contents = st.tuples(st.binary(max_size=200), st.booleans())


def without_clashes(files: dict[str, tuple[bytes, bool]]) -> dict[str, tuple[bytes, bool]]:
    """No file stands where another's folder must be."""
    folders = {str(parent) for path in files for parent in Path(path).parents}
    return {path: content for path, content in files.items() if path not in folders}


folders = st.dictionaries(paths, contents, min_size=1, max_size=8).map(without_clashes)


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
@given(files=folders)
def test_any_folder_comes_back_as_it_was(files: dict[str, tuple[bytes, bool]]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        objects = FileObjectStore(place / "objects")
        write(place / "in", files)
        name = trees.store(objects, place / "in")
        trees.checkout(objects, name, place / "out")
        assert written(place / "out") == files
        assert trees.store(objects, place / "out") == name
        assert {entry.path for entry in trees.manifest(objects, name).entries} == set(files)


@settings(max_examples=30, deadline=None)
@given(files=folders, data=st.data())
def test_the_digest_depends_on_neither_place_nor_order(
    files: dict[str, tuple[bytes, bool]], data: st.DataObject
) -> None:
    shuffled = dict(data.draw(st.permutations(list(files.items()))))
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        objects = FileObjectStore(place / "objects")
        write(place / "one", files)
        write(place / "two", shuffled)
        assert trees.store(objects, place / "one") == trees.store(objects, place / "two")
        plain = {path: content for path, (content, executable) in shuffled.items() if not executable}
        if len(plain) == len(files):
            assert trees.store_files(objects, plain) == trees.store(objects, place / "one")


def test_the_format_is_the_golden_one(objects: FileObjectStore, tmp_path: Path) -> None:
    write(tmp_path / "in", {"sub/b.sh": (b"#!/bin/sh\n", True), "a.txt": (b"one\n", False), ".skipped": (b"", False)})
    assert trees.store(objects, tmp_path / "in") == GOLDEN
    assert objects.get(GOLDEN) == GOLDEN_BYTES
    assert trees.store_files(objects, {"b": b"2", "a": b"1"}) == trees.store_files(objects, {"a": b"1", "b": b"2"})


def test_one_file_is_a_tree_of_one_entry(objects: FileObjectStore, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"a\n1\n")
    tree = trees.manifest(objects, trees.store(objects, tmp_path / "rows.csv"))
    assert [(entry.path, entry.size) for entry in tree.entries] == [("rows.csv", 4)]
    assert trees.read(objects, tree.digest, "rows.csv") == b"a\n1\n"
    with pytest.raises(NotFound):
        trees.read(objects, tree.digest, "other.csv")


def test_a_tree_without_files_can_be_stored_by_its_bytes_only(objects: FileObjectStore, tmp_path: Path) -> None:
    assert trees.manifest(objects, trees.store_files(objects, {})).entries == ()
    (tmp_path / "empty").mkdir()
    with pytest.raises(Invalid, match="has no files"):
        trees.store(objects, tmp_path / "empty")
    with pytest.raises(NotFound, match="no file or folder"):
        trees.store(objects, tmp_path / "nowhere")


def test_links_are_followed_within_the_folder_and_refused_beyond_it(objects: FileObjectStore, tmp_path: Path) -> None:
    inside, secret = tmp_path / "in", tmp_path / "secret"
    write(inside, {"a": (b"1", False)})
    secret.write_text("s")
    link = inside / "link"
    link.symlink_to("a")
    assert {entry.path for entry in trees.manifest(objects, trees.store(objects, inside)).entries} == {"a", "link"}
    for target, said in [("../secret", "out of"), (str(secret), "out of"), ("gone", "nothing"), ("link", "nothing")]:
        link.unlink()
        link.symlink_to(target)
        with pytest.raises(Invalid, match=said):
            trees.store(objects, inside)
    link.unlink()
    (inside / "sub").mkdir()
    link.symlink_to("sub")
    with pytest.raises(Invalid, match="link to a folder"):
        trees.store(objects, inside)


def test_what_is_neither_file_nor_folder_is_refused(
    objects: FileObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in" / "pipe")
    with pytest.raises(Invalid, match="neither"):
        trees.store(objects, tmp_path / "in")
    (tmp_path / "in" / "pipe").unlink()
    monkeypatch.chdir(tmp_path / "in")  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        with pytest.raises(Invalid, match="neither"):
            trees.store(objects, tmp_path / "in")
    with pytest.raises(Invalid, match="neither"):
        trees.store(objects, Path("/dev/null"))


@pytest.mark.parametrize("name", [b"back\\slash", b"not\xfftext"])
def test_a_name_that_cannot_be_written_everywhere_is_refused(
    objects: FileObjectStore, tmp_path: Path, name: bytes
) -> None:
    (tmp_path / "in").mkdir()
    with open(os.path.join(os.fsencode(tmp_path / "in"), name), "wb"):  # noqa: PTH118, PTH123 - bytes are no Path
        pass
    with pytest.raises(Invalid, match="not a path within a tree"):
        trees.store(objects, tmp_path / "in")


class Written(FileObjectStore):
    """A store in whose presence files are written to while they are read: as often as ``times`` says."""

    times = 0

    def put_file(self, path: Path) -> str:
        name = super().put_file(path)
        if self.times:
            self.times -= 1
            with path.open("ab") as file:
                file.write(b"more")
        return name


def test_a_file_that_changes_while_it_is_read_is_read_again_or_refused(tmp_path: Path) -> None:
    objects = Written(tmp_path / "objects")
    write(tmp_path / "in", {"a": (b"1", False)})
    objects.times = 2
    tree = trees.store(objects, tmp_path / "in")
    assert trees.read(objects, tree, "a") == b"1moremore"
    objects.times = 100
    with pytest.raises(Unavailable, match="keeps changing"):
        trees.store(objects, tmp_path / "in")


@pytest.mark.parametrize(
    "path", ["../out", "/etc/passwd", "a/../../out", "", ".", "a//b", "a/", "./a", "a\0b", "..", "a\\b", "\udcff"]
)
def test_no_path_leads_out_of_a_tree(objects: FileObjectStore, tmp_path: Path, path: str) -> None:
    with pytest.raises(Invalid):
        trees.store_files(objects, {path: b"x"})
    if path.isprintable():
        entry = {"path": path, "size": 1, "digest": objects.put(b"x"), "executable": False}
        forged = objects.put(digest.canonical({"format": 1, "kind": "tree", "entries": [entry]}))
        with pytest.raises(Invalid):
            trees.checkout(objects, forged, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("clash", [["a", "a"], ["a", "a/b"], ["a/b/c", "a/b"]])
def test_two_entries_at_one_place_are_no_tree(objects: FileObjectStore, tmp_path: Path, clash: list[str]) -> None:
    entries = [{"path": path, "size": 1, "digest": objects.put(b"x"), "executable": False} for path in clash]
    forged = objects.put(digest.canonical({"format": 1, "kind": "tree", "entries": entries}))
    with pytest.raises(Invalid, match="two entries at one place"):
        trees.manifest(objects, forged)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"kind":"tree","format":2,"entries":[]}', b'{"kind":"tree","format":1}']
)
def test_another_object_is_no_tree(objects: FileObjectStore, content: bytes) -> None:
    with pytest.raises(Invalid, match="not a tree"):
        trees.manifest(objects, objects.put(content))


def test_a_checkout_is_whole_or_not_at_all(objects: FileObjectStore, tmp_path: Path) -> None:
    tree = trees.store_files(objects, {"a": b"1", "b/c": b"2"})
    damaged = objects.root / digest.of_bytes(b"2")[3:5] / digest.of_bytes(b"2")[5:]
    damaged.chmod(0o644)
    damaged.write_bytes(b"3")
    with pytest.raises(Corrupt):
        trees.checkout(objects, tree, tmp_path / "place" / "out")
    assert list((tmp_path / "place").iterdir()) == []
    damaged.unlink()
    with pytest.raises(NotFound):
        trees.checkout(objects, tree, tmp_path / "place" / "out")
    assert list((tmp_path / "place").iterdir()) == []


def test_a_size_that_is_not_the_files_is_damage(objects: FileObjectStore, tmp_path: Path) -> None:
    entry = {"path": "a", "size": 7, "digest": objects.put(b"x"), "executable": False}
    forged = objects.put(digest.canonical({"format": 1, "kind": "tree", "entries": [entry]}))
    with pytest.raises(Corrupt, match="another size"):
        trees.checkout(objects, forged, tmp_path / "out")


def test_a_checkout_never_mixes_with_what_is_there(objects: FileObjectStore, tmp_path: Path) -> None:
    tree = trees.store_files(objects, {"a": b"1"})
    empty, full, file, link = (tmp_path / name for name in ("empty", "full", "file", "link"))
    empty.mkdir()
    full.mkdir()
    (full / "mine").write_text("mine")
    file.write_text("mine")
    link.symlink_to(empty)
    trees.checkout(objects, tree, empty)
    assert (empty / "a").read_bytes() == b"1"
    for taken in (full, file, link, empty):
        with pytest.raises(Conflict, match="there already"):
            trees.checkout(objects, tree, taken)
    with pytest.raises(Failure):
        trees.checkout(objects, tree, file / "below")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "full", "link", "objects"]
    assert [path.name for path in full.iterdir()] == ["mine"]


def test_a_read_only_checkout_keeps_who_may_execute(objects: FileObjectStore, tmp_path: Path) -> None:
    write(tmp_path / "in", {"run": (b"", True), "read": (b"", False)})
    tree = trees.store(objects, tmp_path / "in")
    trees.checkout(objects, tree, tmp_path / "out", read_only=True)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()}
    assert modes == {"run": 0o555, "read": 0o444}
