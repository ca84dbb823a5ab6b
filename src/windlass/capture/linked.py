"""Checkouts by hard links: files that many checkouts share, read-only, in a folder of the same file system."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from windlass.capture.trees import Entry, Tree
from windlass.domain import digest
from windlass.domain.errors import Invalid
from windlass.domain.ports import ObjectReader
from windlass.domain.progress import Meter

_READ_ONLY, _EXECUTABLE = 0o444, 0o555


def write(objects: ObjectReader, tree: Tree, folder: Path, cache: Path, *, meter: Meter) -> None:
    """Link a tree's files below an empty folder. What the cache lacks, or was changed in it, is written there first.

    Raises:
        Invalid: the file system of ``folder`` is another one than the cache's, or knows no links.
    """
    total, done = tree.size, 0
    for entry in tree.entries:
        target = folder / entry.path
        if entry.is_folder:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        kept = _kept(objects, entry, cache)
        try:
            os.link(kept, target)
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                raise Invalid(
                    f"{folder.parent} cannot hold links to {cache}: {error.strerror}", hint="check out without --links"
                ) from None
            raise
        done += entry.size
        meter("linking", done, total)


def _kept(objects: ObjectReader, entry: Entry, cache: Path) -> Path:
    name = entry.digest.removeprefix(digest.PREFIX)
    mode = _EXECUTABLE if entry.executable else _READ_ONLY
    path = cache / name[:2] / f"{name[2:]}{'x' if entry.executable else ''}"
    # Whoever owns a link can make it writable and change what all share: a changed one is not handed on.
    if path.exists() and digest.of_file(path) == entry.digest:
        return path
    path.unlink(missing_ok=True)
    objects.fetch(entry.digest, path, mode=mode)
    path.chmod(mode)
    return path
