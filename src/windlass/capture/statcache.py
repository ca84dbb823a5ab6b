"""What was read already: a folder's metadata when it was last stored, with the digests that its files had.

A file whose metadata is as it was is not read again, by Git's rule: unless it changed so shortly before it was read
that another change could have left the same times ("racy"). Such a file is never trusted.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from blake3 import blake3

from windlass.capture.scan import Seen
from windlass.domain import digest

_SECOND = 1_000_000_000


class Remembered(msgspec.Struct, frozen=True):
    """``scan`` is the encoded metadata, ``digests`` 32 bytes for each of its files, ``tree`` what they made."""

    tree: str
    scan: bytes
    digests: bytes
    format: int = 1

    def files(self) -> dict[Seen, str]:
        """Metadata -> digest, of the files that may be trusted."""
        seen = msgspec.msgpack.decode(self.scan, type=list[Seen])
        names = self.digests.hex()
        return {
            each: digest.PREFIX + names[at : at + 64]
            for at, each in zip(range(0, len(names), 64), seen, strict=True)
            if each.inode
        }


class StatCache:
    """Kept in ``folder``, a file for each place that was stored. Lost or damaged, it costs time and nothing else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, place: Path) -> Remembered | None:
        """What is remembered of a place."""
        try:
            data = self._path(place).read_bytes()
            if blake3(data[32:]).digest() == data[:32]:
                found = msgspec.msgpack.decode(data[32:], type=Remembered)
                return found if found.format == 1 else None
        except (OSError, msgspec.DecodeError):
            pass
        return None

    def save(self, place: Path, began: int, tree: str, seen: Sequence[Seen], digests: Sequence[str]) -> None:
        """Remember a place whose reading began when the file system's clock said ``began`` (ns)."""
        trusted = [each if is_trusted(each, began) else Seen(each.path, 0, 0, 0, 0, 0) for each in seen]
        remembered = Remembered(tree=tree, scan=encoded(trusted), digests=_bytes(digests))
        data = msgspec.msgpack.encode(remembered)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".new-", dir=self._folder)
            with os.fdopen(handle, "wb") as file:
                file.write(blake3(data).digest())
                file.write(data)
            Path(name).replace(self._path(place))
        except OSError:
            return  # the next time reads all files: slow, and right

    def clock(self) -> int:
        """What the file system's clock says (ns): it is coarser than the processor's, and files' times are by it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".clock-", dir=self._folder)
        try:
            return os.fstat(handle).st_mtime_ns
        finally:
            os.close(handle)
            Path(name).unlink(missing_ok=True)

    def _path(self, place: Path) -> Path:
        where = f"{place.resolve()}\0{place.stat().st_dev}"
        return self._folder / blake3(os.fsencode(where)).hexdigest(16)


def _bytes(digests: Sequence[str]) -> bytes:
    return bytes.fromhex("".join(each[len(digest.PREFIX) :] or "0" * 64 for each in digests))


def encoded(seen: Sequence[Seen]) -> bytes:
    """Metadata as bytes: equal if and only if it is."""
    return msgspec.msgpack.encode(seen)


def is_trusted(seen: Seen, began: int) -> bool:
    """Whether any change after ``began`` (ns) would show in a file's times."""
    if seen.path.endswith("/"):
        return True
    newest = max(seen.modified, seen.changed)
    # Whole seconds: a file system that knows no finer time, or FAT with two of them.
    return newest < began - (2 * _SECOND if newest % _SECOND == 0 else 0)
