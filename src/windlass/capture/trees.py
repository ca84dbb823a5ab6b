"""Trees: a folder as one digest, and back.

A tree is a canonical JSON object in the store that lists every file by path, size, digest and whether it can be
executed. The same files are the same tree, wherever they lay and whenever they were written. Format 1:

    {"entries":[{"digest":"b3:...","executable":false,"path":"a/b.txt","size":4},...],"format":1,"kind":"tree"}

with the entries by path, no path twice, and none that leaves the tree.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from windlass.domain import digest
from windlass.domain.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from windlass.domain.ports import ObjectStore

FORMAT = 1
_READS = 3  # how often a file is read again when it changes under the reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file; ``path`` is relative, with forward slashes."""

    path: str
    size: int
    digest: str
    executable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    digest: str
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes in all files."""
        return sum(entry.size for entry in self.entries)


def store(objects: ObjectStore, folder: Path) -> str:
    """Store a folder (or one file, as a tree of one entry); returns the tree's digest.

    Names that begin with a dot are left out. Symbolic links are followed only within the folder.

    Raises:
        NotFound: nothing is there.
        Invalid: it is empty, or holds a link out of it, a device or a socket.
        Unavailable: a file keeps changing while it is read.
    """
    try:
        if not folder.exists():
            raise NotFound(f"no file or folder {folder}", hint="check the path")
        if not folder.is_file() and not folder.is_dir():
            raise Invalid(f"{folder} is neither a file nor a folder", hint="name a file or a folder")
        files = {folder.name: folder} if folder.is_file() else dict(_files(folder))
        if not files:
            raise Invalid(f"{folder} has no files", hint="names that begin with a dot do not count")
        return _put(objects, [_entry(objects, path, file) for path, file in files.items()])
    except OSError as error:
        where = error.filename or folder
        raise Unavailable(f"cannot read {where}: {error.strerror}", hint="check that it may be read") from None


def store_files(objects: ObjectStore, files: Mapping[str, bytes]) -> str:
    """Store files given by their bytes; returns the tree's digest."""
    return _put(
        objects,
        [
            Entry(path=_checked(path), size=len(data), digest=objects.put(data), executable=False)
            for path, data in files.items()
        ],
    )


def manifest(objects: ObjectStore, tree: str) -> Tree:
    """What a tree lists.

    Raises:
        NotFound, Corrupt: as the store.
        Invalid: the object is no tree, or names a path that leaves it.
    """
    try:
        plain = json.loads(objects.get(tree))
        if plain["kind"] != "tree" or plain["format"] != FORMAT:
            raise ValueError(plain["kind"])
        entries = tuple(
            Entry(
                path=_checked(each["path"]),
                size=int(each["size"]),
                digest=digest.checked(each["digest"]),
                executable=bool(each["executable"]),
            )
            for each in plain["entries"]
        )
    except (ValueError, KeyError, TypeError):
        raise Invalid(f"object {digest.short(tree)} is not a tree of format {FORMAT}") from None
    _refuse_clashes([entry.path for entry in entries])
    return Tree(digest=tree, entries=entries)


def read(objects: ObjectStore, tree: str, path: str) -> bytes:
    """One file of a tree.

    Raises:
        NotFound: the tree has no such file.
    """
    for entry in manifest(objects, tree).entries:
        if entry.path == path:
            return objects.get(entry.digest)
    raise NotFound(f"no file {path} in tree {digest.short(tree)}")


def checkout(objects: ObjectStore, tree: str, destination: Path, *, read_only: bool = False) -> Tree:
    """Write a tree to ``destination``, whole or not at all; every byte is checked on the way.

    Raises:
        Conflict: something is there already.
        NotFound, Corrupt: an object is missing or damaged.
    """
    found = manifest(objects, tree)
    with whole(destination) as partial:
        for entry in found.entries:
            target = partial / entry.path
            objects.fetch(entry.digest, target)
            if target.stat().st_size != entry.size:
                raise Corrupt(f"{entry.path} in tree {digest.short(tree)} has another size than its entry says")
            target.chmod((0o555 if entry.executable else 0o444) | (0 if read_only else 0o200))
    return found


@contextmanager
def whole(destination: Path) -> Iterator[Path]:
    """A folder to fill that becomes ``destination`` on leaving, or, on an error, is gone.

    Raises:
        Conflict: something is at ``destination`` already.
        Unavailable: it cannot be written.
    """
    destination = destination.absolute()
    try:
        # Looked at first, so that nobody waits in vain; decided by the rename, which cannot race.
        if destination.is_symlink() or (destination.exists() and not _is_empty_folder(destination)):
            raise _taken(destination)
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".checkout-", dir=destination.parent))
    except OSError as error:
        raise Unavailable(f"cannot write {destination}: {error.strerror}", hint="check the path") from None
    try:
        yield partial
        partial.chmod(0o755)
        # Renaming over an empty folder works, over anything else it fails: nothing is ever mixed.
        partial.rename(destination)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise _taken(destination) from None
        raise Unavailable(f"cannot write {destination}: {error.strerror}", hint="check the disk") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None


def _taken(destination: Path) -> Conflict:
    return Conflict(f"{destination} is there already and not empty", hint="give a new folder")


def _put(objects: ObjectStore, entries: list[Entry]) -> str:
    ordered = sorted(entries, key=lambda entry: entry.path)
    _refuse_clashes([entry.path for entry in ordered])
    return objects.put(digest.canonical({"format": FORMAT, "kind": "tree", "entries": ordered}))


def _refuse_clashes(paths: list[str]) -> None:
    """A path twice, or a file where another path needs a folder, cannot be written out again."""
    known = set(paths)
    twice = len(known) < len(paths)
    nested = next((path for path in paths if any(str(up) in known for up in PurePosixPath(path).parents)), None)
    if twice or nested:
        raise Invalid(f"the tree has two entries at one place{f': {nested}' if nested else ''}")


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every regular file below ``folder`` with its path in the tree, in no order."""
    root = folder.resolve()

    def refuse(error: OSError) -> None:
        raise error  # os.walk would leave an unreadable folder out, and its digest would be of other data

    for place, folders, names in os.walk(root, followlinks=False, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in [*folders, *names]:
            path = Path(place) / name
            if name.startswith(".") or (name in folders and not path.is_symlink()):
                continue
            if path.is_symlink() and not _target(path).is_relative_to(root):
                raise Invalid(f"{path} is a link out of {folder}", hint="copy the file in its place")
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise Invalid(f"{path} is a link to a folder", hint="copy the folder in its place")
            if not stat.S_ISREG(mode):
                raise Invalid(f"{path} is neither a file nor a folder", hint="remove it")
            yield path.relative_to(root).as_posix(), path


def _target(link: Path) -> Path:
    try:
        return link.resolve(strict=True)
    except (OSError, RuntimeError):  # a loop is the one or the other, by the version of Python
        raise Invalid(f"{link} is a link to nothing", hint="remove it, or copy the file in its place") from None


def _entry(objects: ObjectStore, path: str, file: Path) -> Entry:
    for _ in range(_READS):
        before = file.stat()
        name = objects.put_file(file)
        after = file.stat()
        if (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino):
            executable = bool(before.st_mode & stat.S_IXUSR)
            return Entry(path=_checked(path), size=before.st_size, digest=name, executable=executable)
    raise Unavailable(f"{file} keeps changing while it is read", hint="try again when its writer has finished")


def _checked(path: str) -> str:
    parts = PurePosixPath(path).parts
    legal = bool(parts) and path == "/".join(parts) and not path.startswith("/")
    if not legal or ".." in parts or "\0" in path or "\\" in path or not _is_text(path):
        raise Invalid(f"{path[:80]!r} is not a path within a tree", hint="rename it: text, without a backslash")
    return path


def _is_text(path: str) -> bool:
    """Whether a name is Unicode: bytes that are not reach Python as lone surrogates, which no encoder takes."""
    return not any("\ud800" <= character <= "\udfff" for character in path)
