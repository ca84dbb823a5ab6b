"""Folders to trees, and trees to folders."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import stat
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from windlass.capture import linked, statcache, trees
from windlass.capture.scan import Seen, scan
from windlass.capture.statcache import StatCache
from windlass.capture.trees import Entry, Tree
from windlass.domain import digest
from windlass.domain.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from windlass.domain.ports import Batch, ObjectReader, ObjectStore
from windlass.domain.progress import Meter, unwatched
from windlass.store.sessions import is_alive

# Files below this size are read at once and stored many together.
SMALL = 1 << 20
_TOGETHER = 8 << 20
_READS = 3  # how often a file is read again when it changes under the reader
# The file system's clock ticks every 10 ms at most: two changes between ticks leave the same time.
_TICK_NS = 20_000_000
_PARTIAL = ".windlass-checkout-"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ADDING, _WRITING = "adding", "writing"
_WRITERS = 2
_TOGETHER_WRITTEN = 100
_BEHIND = 8  # groups that are read ahead of what is written


def store(objects: ObjectStore, place: Path, *, meter: Meter = unwatched) -> str:
    """Store a folder (or one file, as a tree of one entry); returns the tree's digest. Raises as ``store_in``."""
    with objects.batch() as batch:
        return store_in(batch, place, meter=meter)


def store_in(
    objects: Batch, place: Path, *, cache: StatCache | None = None, current: str = "", meter: Meter = unwatched
) -> str:
    """Store a folder (or one file); returns the tree's digest. Files that ``cache`` knows unchanged are not read.

    ``current`` is a tree that something refers to: when nothing changed since, it is the answer without a further look.

    Left out is what lies in folders named .git and .windlass. Symbolic links are followed only within the folder.

    Raises:
        NotFound: nothing is there.
        Invalid: it is empty, or holds a link out of it, a device or a socket.
        Unavailable: a file keeps changing while it is read, or cannot be read.
    """
    try:
        began = cache.clock() if cache else 0
        seen = scan(place)
        if not seen:
            raise Invalid(f"{place} has no files", hint="put files there first")
        remembered = cache.load(place) if cache else None
        if remembered is not None and remembered.tree == current and remembered.scan == statcache.encoded(seen):
            return current
        known = remembered.files() if remembered is not None else {}
        folder = place if place.is_dir() else place.parent
        return _store_changed(objects, folder, seen, known, cache, place, began, meter)
    except OSError as error:
        where = error.filename or place
        raise Unavailable(f"cannot read {where}: {error.strerror}", hint="check that it may be read") from None


def _store_changed(
    objects: Batch,
    folder: Path,
    seen: list[Seen],
    known: dict[Seen, str],
    cache: StatCache | None,
    place: Path,
    began: int,
    meter: Meter,
) -> str:
    for each in seen:
        trees.checked(each.path)
    if known:
        there = objects.keep([known[each] for each in seen if each in known])
        known = {each: found for each, found in known.items() if found in there}
    digests = [known.get(each, "") for each in seen]
    pending = [at for at, found in enumerate(digests) if not found and not seen[at].path.endswith("/")]
    total = sum(seen[at].size for at in pending)
    done = 0
    for group in _groups(seen, pending):
        if len(group) == 1 and seen[group[0]].size >= SMALL:
            at = group[0]
            seen[at], digests[at] = _large(objects, folder, seen[at], partial(_advance, meter, done, total))
        else:
            read = [_small(folder, seen[at]) for at in group]
            names = objects.put_many([data for _, data in read])
            for at, (now, _), name in zip(group, read, names, strict=True):
                seen[at], digests[at] = now, name
        done += sum(seen[at].size for at in group)
        meter(_ADDING, done, total)
    entries = [
        Entry(each.path, each.size, name, bool(name) and bool(each.mode & stat.S_IXUSR))
        for each, name in zip(seen, digests, strict=True)
    ]
    tree = trees.put(objects, entries)
    if cache:
        objects.flush()
        cache.save(place, began, tree, seen, digests)
    return tree


def _groups(seen: Sequence[Seen], pending: Sequence[int]) -> Iterator[list[int]]:
    """Which files are read together: small ones up to a limit, a large one alone."""
    group: list[int] = []
    size = 0
    for at in pending:
        if seen[at].size >= SMALL:
            yield [at]
            continue
        group.append(at)
        size += seen[at].size
        if size >= _TOGETHER or len(group) >= 1000:
            yield group
            group, size = [], 0
    if group:
        yield group


def _small(folder: Path, seen: Seen) -> tuple[Seen, bytes]:
    """A file's bytes, and its metadata when they were read."""
    path = f"{folder}/{seen.path}"
    for _ in range(_READS):
        # O_NONBLOCK: what is a file by its metadata may be a pipe by now, which would wait for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            before = os.fstat(handle)
            _let_tick(before)
            data = os.read(handle, before.st_size + 1)
            after = os.fstat(handle)
        finally:
            os.close(handle)
        if len(data) == before.st_size and _is_same(before, after):
            return _of(seen.path, before), data
    raise _changing(path)


def _large(objects: Batch, folder: Path, seen: Seen, advance: Callable[[int], None]) -> tuple[Seen, str]:
    path = folder / seen.path
    for _ in range(_READS):
        with io.FileIO(path, opener=_without_waiting) as file:
            before = os.fstat(file.fileno())
            _let_tick(before)
            name = objects.put_stream(_Counted(file, advance))
            after = os.fstat(file.fileno())
        if _is_same(before, after):
            return _of(seen.path, before), name
    raise _changing(str(path))


class _Counted:
    """A file that tells how much of it was read."""

    def __init__(self, file: io.RawIOBase, advance: Callable[[int], None]) -> None:
        self._file = file
        self._advance = advance
        self._read = 0

    def readinto(self, into: memoryview, /) -> int:
        count = self._file.readinto(into) or 0
        self._read += count
        self._advance(self._read)
        return count


def _advance(meter: Meter, before: int, total: int, read: int) -> None:
    meter(_ADDING, before + read, total)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _let_tick(found: os.stat_result) -> None:
    """Wait until a change from now on would show in the file's time: a file written just now is the one at risk."""
    if found.st_mtime_ns > time.time_ns() - _TICK_NS:
        time.sleep(_TICK_NS / 1e9)


def _is_same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ino) == (after.st_size, after.st_mtime_ns, after.st_ino)


def _of(path: str, found: os.stat_result) -> Seen:
    return Seen(path, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _changing(path: str) -> Unavailable:
    return Unavailable(f"{path} keeps changing while it is read", hint="try again when its writer has finished")


def checkout(
    objects: ObjectReader,
    tree: str,
    destination: Path,
    *,
    read_only: bool = False,
    only: str = "",
    links: Path | None = None,
    meter: Meter = unwatched,
) -> Tree:
    """Write a tree to ``destination``, whole or not at all; every byte is checked on the way.

    With ``links`` every file is a read-only hard link to its one copy in that folder, which is filled as needed.

    ``only`` is a glob: files whose path fits it (``*`` crosses folders, as in ``*.parquet`` or ``2016/*``).

    Raises:
        Conflict: something is there already.
        NotFound, Corrupt: an object is missing or damaged; also NotFound when nothing fits ``only``.
    """
    found = matching(objects, tree, only)
    with whole(destination) as partial_folder:
        if links is None:
            write(objects, found, partial_folder, read_only=read_only, meter=meter)
        else:
            linked.write(objects, found, partial_folder, links, meter=meter)
    return found


def matching(objects: ObjectReader, tree: str, only: str) -> Tree:
    """The part of a tree that a glob names; the whole without one.

    Raises:
        NotFound: nothing fits.
    """
    if not only:
        return trees.manifest(objects, tree)
    literal = re.split(r"[*?\[]", only, maxsplit=1)[0]
    found = trees.manifest(objects, tree, under=literal)
    kept = tuple(entry for entry in found.entries if fnmatchcase(entry.path, only))
    if not kept:
        raise NotFound(f"no file of the snapshot fits '{only}'", hint="quote the pattern: '2016/*' or '*.parquet'")
    return Tree(digest=tree, entries=kept)


def write(objects: ObjectReader, tree: Tree, folder: Path, *, read_only: bool, meter: Meter = unwatched) -> None:
    """Write a tree's files below an empty folder."""
    total = tree.size
    done = 0
    make_folders(folder, tree)
    small: dict[str, list[Entry]] = {}
    large: list[Entry] = []
    for entry in tree.files:
        if entry.size < SMALL:
            small.setdefault(entry.digest, []).append(entry)
        else:
            large.append(entry)
    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="windlass-write") as pool:
        # The file system takes most of the time, and can take it twice at once.
        written: deque[Future[int]] = deque()
        group: list[tuple[Entry, bytes]] = []
        for name, data in objects.many(list(small)):
            group += [(entry, data) for entry in small[name]]
            if len(group) >= _TOGETHER_WRITTEN:
                written.append(pool.submit(_write_small, folder, tree, group, read_only))
                group = []
                if len(written) > _BEHIND:
                    done += written.popleft().result()
                    meter(_WRITING, done, total)
        written.append(pool.submit(_write_small, folder, tree, group, read_only))
        done += sum(each.result() for each in written)
        meter(_WRITING, done, total)
    for entry in large:
        target = folder / entry.path
        objects.fetch(entry.digest, target, mode=_mode(entry, read_only))
        if target.stat().st_size != entry.size:
            raise _other_size(tree, entry)
        done += entry.size
        meter(_WRITING, done, total)


def _write_small(folder: Path, tree: Tree, group: list[tuple[Entry, bytes]], read_only: bool) -> int:
    """Write files that do not exist yet; returns their bytes."""
    size = 0
    for entry, data in group:
        if len(data) != entry.size:
            raise _other_size(tree, entry)
        handle = os.open(f"{folder}/{entry.path}", _NEW, _mode(entry, read_only))
        try:
            _write_all(handle, data)
        finally:
            os.close(handle)
        size += entry.size
    return size


def make_folders(folder: Path, tree: Tree) -> None:
    needed = {entry.path.rpartition("/")[0] for entry in tree.entries} - {""}
    for each in sorted(needed):
        os.makedirs(f"{folder}/{each}", exist_ok=True)  # noqa: PTH103 - a hundred thousand paths are slow as objects


def _write_all(handle: int, data: bytes) -> None:
    written = os.write(handle, data)
    while written < len(data):
        written += os.write(handle, memoryview(data)[written:])


def _mode(entry: Entry, read_only: bool) -> int:
    return (0o555 if entry.executable else 0o444) | (0 if read_only else 0o200)


def _other_size(tree: Tree, entry: Entry) -> Corrupt:
    return Corrupt(f"{entry.path} in tree {digest.short(tree.digest)} has another size than its entry says")


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
        _remove_left_behind(destination.parent)
        filled = Path(tempfile.mkdtemp(prefix=f"{_PARTIAL}{os.getpid()}-", dir=destination.parent))
    except OSError as error:
        raise Unavailable(f"cannot write {destination}: {error.strerror}", hint="check the path") from None
    try:
        yield filled
        filled.chmod(0o755)
        # Renaming over an empty folder works, over anything else it fails: nothing is ever mixed.
        filled.rename(destination)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise _taken(destination) from None
        raise Unavailable(f"cannot write {destination}: {error.strerror}", hint="check the disk") from None
    finally:
        shutil.rmtree(filled, ignore_errors=True)


def _remove_left_behind(parent: Path) -> None:
    """What a killed process had begun."""
    for each in parent.glob(f"{_PARTIAL}*"):
        pid = each.name.removeprefix(_PARTIAL).partition("-")[0]
        if pid.isdecimal() and not is_alive(int(pid)):
            shutil.rmtree(each, ignore_errors=True)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and next(path.iterdir(), None) is None


def _taken(destination: Path) -> Conflict:
    return Conflict(f"{destination} is there already and not empty", hint="give a new folder")
