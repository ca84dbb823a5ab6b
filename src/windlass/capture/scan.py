"""What lies in a folder, by its metadata alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from windlass.domain.errors import Invalid, NotFound

# Of others' making, and about other things than the data.
LEFT_OUT = frozenset({".git", ".windlass", ".DS_Store"})


class Seen(NamedTuple):
    """A file's path in the tree and its metadata (times in ns); an empty folder has a slash at its path's end."""

    path: str
    mode: int
    size: int
    modified: int
    changed: int
    inode: int


def scan(place: Path) -> list[Seen]:
    """Every file below a folder, by path; of a file, itself.

    A link is followed when it leads to a file within the folder.

    Raises:
        NotFound: nothing is there.
        Invalid: it is neither a file nor a folder, or holds a link out of it, a link to a folder, a device or a socket.
        OSError: it cannot be read.
    """
    try:
        found = place.stat()
    except FileNotFoundError:
        raise NotFound(f"no file or folder {place}", hint="check the path") from None
    if stat.S_ISREG(found.st_mode):
        return [_seen(place.name, found)]
    if not stat.S_ISDIR(found.st_mode):
        raise Invalid(f"{place} is neither a file nor a folder", hint="name a file or a folder")
    return list(_walk(str(place), "", place))


def _walk(folder: str, prefix: str, root: Path) -> Iterator[Seen]:
    with os.scandir(folder) as entries:
        # A folder's slash takes part in the order: then this order is that of the whole paths.
        inside = sorted(
            (f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name, entry)
            for entry in entries
            if entry.name not in LEFT_OUT
        )
    if not inside and prefix:
        yield Seen(prefix, stat.S_IFDIR, 0, 0, 0, 0)
    for name, entry in inside:
        if name.endswith("/"):
            yield from _walk(entry.path, prefix + name, root)
        elif entry.is_symlink():
            yield _seen(prefix + name, _target(entry, root))
        else:
            found = entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                raise Invalid(f"{entry.path} is neither a file nor a folder", hint="remove it")
            yield Seen(prefix + name, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _seen(path: str, found: os.stat_result) -> Seen:
    return Seen(path, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def _target(link: os.DirEntry[str], root: Path) -> os.stat_result:
    try:
        target = Path(link.path).resolve(strict=True)
    except (OSError, RuntimeError):  # a loop is the one or the other, by the version of Python
        raise Invalid(f"{link.path} is a link to nothing", hint="remove it, or copy the file in its place") from None
    if not target.is_relative_to(root.resolve()):
        raise Invalid(f"{link.path} is a link out of {root}", hint="copy the file in its place")
    found = target.stat()
    if stat.S_ISDIR(found.st_mode):
        raise Invalid(f"{link.path} is a link to a folder", hint="copy the folder in its place")
    if not stat.S_ISREG(found.st_mode):
        raise Invalid(f"{link.path} is a link to neither a file nor a folder", hint="remove it")
    return found
