"""The blobs port on local files.

A file gets its name only after its bytes are on disk (write, fsync, rename, fsync of the folder), so that a crash
leaves no half blob under a name. Why not obstore's local store: it does not fsync (docs/decisions/0002).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from windlass.domain.errors import Invalid, NotFound, Unavailable


class FileBlobs:
    """Blobs below ``root``; a name's folders are folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, data: bytes) -> None:
        final = self._path(name)
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f"blob-{os.getpid()}-", dir=self._incoming)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                Path(temporary).chmod(0o444)
                Path(temporary).replace(final)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
            _sync(final.parent)
        except OSError as error:
            raise self._failed("write to", error) from error

    def adopt(self, name: str, file: Path) -> None:
        final = self._path(name)
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            file.chmod(0o444)
            with file.open("rb") as written:
                os.fsync(written.fileno())
            file.replace(final)
            _sync(final.parent)
        except OSError as error:
            raise self._failed("write to", error) from error

    def get(self, name: str) -> bytes:
        try:
            return self._path(name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise _missing(name) from None
        except OSError as error:
            raise self._failed("read from", error) from error

    def read(self, name: str, start: int, length: int) -> bytes:
        try:
            handle = os.open(self._path(name), os.O_RDONLY)
            try:
                return os.pread(handle, length, start)
            finally:
                os.close(handle)
        except (FileNotFoundError, NotADirectoryError):
            raise _missing(name) from None
        except OSError as error:
            raise self._failed("read from", error) from error

    def size(self, name: str) -> int | None:
        try:
            return self._path(name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._failed("read from", error) from error

    def ls(self, prefix: str) -> Iterator[tuple[str, int]]:
        folder = self._path(prefix) if prefix else self.root
        for place, folders, names in os.walk(folder):
            folders.sort()
            for name in sorted(names):
                if not name.startswith("."):
                    path = Path(place, name)
                    try:
                        yield path.relative_to(self.root).as_posix(), path.stat().st_size
                    except FileNotFoundError:
                        continue  # deleted while we looked

    def delete(self, name: str) -> None:
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise self._failed("delete from", error) from error

    def _path(self, name: str) -> Path:
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise Invalid(f"{name[:80]!r} is not the name of a blob")
        return self.root / name

    def _failed(self, doing: str, error: OSError) -> Unavailable:
        return Unavailable(f"cannot {doing} {self.root}: {error.strerror}", hint="check the disk")


def _missing(name: str) -> NotFound:
    return NotFound(f"there is no {name}")


def _sync(folder: Path) -> None:
    """A rename is on disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
