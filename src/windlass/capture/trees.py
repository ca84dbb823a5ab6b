"""Trees: a folder's files as one digest. Only the format; ``folders`` makes trees of folders, and folders of trees.

A tree is a Merkle tree of pages. A page is canonical JSON in the store; format 2 (docs/internals/trees.md):

    {"entries":[["a/b.txt",4,"b3:...",false],...],"format":2,"kind":"tree"}
    {"format":2,"kind":"tree","pages":[["a/b.txt","b3:...",64,12345],...]}

An entry is path, size, digest, executable; an empty folder is its path with a slash, no size, no digest. A page of
pages says of each the first path, digest, entries and bytes. Pages end where the digest of a path says so: versions of
a tree share every page in which nothing changed. The same files are the same tree, wherever they lay and whenever
written.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import msgspec
from blake3 import blake3

from windlass.domain import digest
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.ports import ObjectReader, ObjectWriter

FORMAT = 2
_KIND = "tree"
_LONGEST = 1024
_DEEPEST = 8


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One file, or an empty folder (its path ends with a slash). ``path`` is relative, with forward slashes."""

    path: str
    size: int
    digest: str
    executable: bool = False

    @property
    def is_folder(self) -> bool:
        return self.path.endswith("/")


class Page(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A page within a page: the first path in it, its digest, how many entries it stands for, and their bytes."""

    first: str
    digest: str
    entries: int
    size: int


class _Plain(msgspec.Struct, frozen=True):
    kind: str
    format: int
    entries: tuple[Entry, ...] = ()
    pages: tuple[Page, ...] = ()


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """A tree with every entry, in the order of their paths."""

    digest: str
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(entry.size for entry in self.entries)

    @property
    def files(self) -> tuple[Entry, ...]:
        """The entries that are files."""
        return tuple(entry for entry in self.entries if not entry.is_folder)


def put(objects: ObjectWriter, entries: Sequence[Entry]) -> str:
    """Store a tree of entries, in any order; returns its digest.

    Raises:
        Invalid: a path that no tree can have, or two entries at one place.
    """
    ordered = sorted(entries, key=lambda entry: entry.path)
    _refuse_unfit(ordered)
    leaves = [
        (group[0].path, len(group), sum(entry.size for entry in group), _leaf(group))
        for group in _grouped(ordered, lambda entry: entry.path)
    ]
    if len(leaves) <= 1:
        return objects.put(leaves[0][3] if leaves else _leaf(()))
    return _put_pages(objects, leaves)


def store_files(objects: ObjectWriter, files: Mapping[str, bytes]) -> str:
    """Store files given by their bytes; returns the tree's digest."""
    return put(objects, [Entry(path, len(data), objects.put(data)) for path, data in files.items()])


def manifest(objects: ObjectReader, tree: str, *, under: str = "") -> Tree:
    """What a tree lists; with ``under``, only pages that may have paths with that beginning are read.

    Raises:
        NotFound, Corrupt: as the store.
        Invalid: the object is no tree, or names a path that leaves it.
    """
    entries = tuple(entry for page in _leaves(objects, tree, under) for entry in page)
    _refuse_unfit(entries)
    if any(entry.size or entry.digest if entry.is_folder else not digest.is_one(entry.digest) for entry in entries):
        raise Invalid(f"tree {digest.short(tree)} has a file without a digest, or a folder with one")
    if under:
        entries = tuple(entry for entry in entries if entry.path.startswith(under))
    return Tree(digest=tree, entries=entries)


def pages_of(objects: ObjectReader, tree: str) -> Iterator[tuple[str, list[str]]]:
    """Every page of a tree with the digests of the files in it (none in a page of pages), the root first."""
    pending = [tree]
    while pending:
        name = pending.pop()
        files, pages = parts(name, objects.get(name))
        yield name, files
        pending += pages


def parts(name: str, data: bytes) -> tuple[list[str], list[str]]:
    """What a page needs: the digests of its files, and of the pages below it.

    Raises:
        Invalid: it is no page.
    """
    page = _page(data, name, 0)
    return [entry.digest for entry in page.entries if not entry.is_folder], [each.digest for each in page.pages]


def find(objects: ObjectReader, tree: str, path: str) -> Entry:
    """The entry of one file.

    Raises:
        NotFound: the tree has no such file.
    """
    name = tree
    for depth in range(_DEEPEST + 1):
        page = _page(objects.get(name), name, depth)
        if not page.pages:
            found = next((entry for entry in page.entries if entry.path == path and not entry.is_folder), None)
            if found is None:
                break
            digest.checked(found.digest)
            return found
        at = bisect_right([each.first for each in page.pages], path) - 1
        name = page.pages[max(at, 0)].digest
    raise NotFound(f"no file {path} in tree {digest.short(tree)}")


def read(objects: ObjectReader, tree: str, path: str) -> bytes:
    """One file of a tree. Raises NotFound if it has none of that path."""
    return objects.get(find(objects, tree, path).digest)


def is_tree(data: bytes) -> bool:
    """Whether an object is a page of a tree."""
    return data.startswith((b'{"entries":[', b'{"format":2,"kind":"tree"')) and data.endswith(b"}")


def _leaves(objects: ObjectReader, tree: str, under: str) -> Iterator[tuple[Entry, ...]]:
    """The entries of the pages that may have paths which begin with ``under``, in order."""
    current = [_page(objects.get(tree), tree, 0)]
    for depth in range(1, _DEEPEST + 1):
        if not any(page.pages for page in current):
            break
        wanted = [page for node in current for page in _within(node.pages, under)]
        found = dict(objects.many([page.digest for page in wanted]))
        current = [_page(found[page.digest], page.digest, depth) for page in wanted]
    for page in current:
        yield page.entries


def _within(pages: tuple[Page, ...], under: str) -> tuple[Page, ...]:
    if not under:
        return pages
    after = under + "\U0010ffff"
    kept = [page for page, following in pairwise(pages) if page.first <= after and following.first >= under]
    return (*kept, *(page for page in pages[-1:] if page.first <= after))


_decoder = msgspec.json.Decoder(_Plain)


def _page(data: bytes, name: str, depth: int) -> _Plain:
    try:
        page = _decoder.decode(data)
        if page.kind == _KIND and page.format == FORMAT and depth <= _DEEPEST and not (page.entries and page.pages):
            return page
    except msgspec.DecodeError:
        pass
    raise Invalid(f"object {digest.short(name)} is not a tree of format {FORMAT}") from None


def _put_pages(objects: ObjectWriter, nodes: list[tuple[str, int, int, bytes]]) -> str:
    """Store pages, given as (first path, entries, bytes, page), and the pages above them; returns the root's digest."""
    while True:
        names = _put_many(objects, [node[3] for node in nodes])
        pages = [Page(first, name, count, size) for (first, count, size, _), name in zip(nodes, names, strict=True)]
        if len(pages) == 1:
            return pages[0].digest
        nodes = [
            (group[0].first, sum(each.entries for each in group), sum(each.size for each in group), _inner(group))
            for group in _grouped(pages, lambda page: page.digest)
        ]


def _put_many(objects: ObjectWriter, many: list[bytes]) -> list[str]:
    put_many = getattr(objects, "put_many", None)
    return put_many(many) if put_many else [objects.put(each) for each in many]


def _leaf(entries: Sequence[Entry]) -> bytes:
    return msgspec.json.encode({"entries": entries, "format": FORMAT, "kind": _KIND})


def _inner(pages: Sequence[Page]) -> bytes:
    return msgspec.json.encode({"format": FORMAT, "kind": _KIND, "pages": pages})


T = TypeVar("T")


def _grouped(items: Iterable[T], key: Callable[[T], str]) -> Iterator[list[T]]:
    """A page ends after an item whose key says so, one in 64."""
    group: list[T] = []
    for item in items:
        group.append(item)
        if blake3(key(item).encode()).digest(1)[0] < 4 or len(group) >= _LONGEST:
            yield group
            group = []
    if group:
        yield group


def _refuse_unfit(ordered: Sequence[Any]) -> None:
    """A path that leaves the tree, a path twice, or a file where another path needs a folder: none can be written."""
    paths = [entry.path for entry in ordered]
    known = set(paths)
    folders: set[str] = set()
    for path in paths:
        checked(path)
        above = path.rstrip("/").rpartition("/")[0]
        while above and above not in folders:
            folders.add(above)
            above = above.rpartition("/")[0]
    clash = next((folder for folder in folders if folder in known or f"{folder}/" in known), None)
    twice = len(known) < len(paths) or any(path.endswith("/") and path[:-1] in known for path in paths)
    if twice or clash:
        raise Invalid(f"the tree has two entries at one place{f': {clash}' if clash else ''}")


def checked(path: str) -> str:
    """A path that a tree may have; a slash at its end marks an empty folder.

    Raises:
        Invalid: it is none: absolute, leaving the tree, or not text.
    """
    parts = path.removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in path or (os.sep != "/" and os.sep in path):
        raise Invalid(f"{path[:80]!r} is not a path within a tree", hint="rename it")
    if not path.isascii() and any("\ud800" <= character <= "\udfff" for character in path):
        # Bytes that are no text reach Python as lone surrogates, which no encoder takes.
        raise Invalid(f"{path[:80]!r} is not text", hint="rename it: a name has to be Unicode")
    return path
