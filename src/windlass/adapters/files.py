"""The object store port on local files: ``objects/ab/cdef…``, one file an object.

A file gets its name only after its bytes are on disk (write, fsync, link, fsync of the folder), so that a crash
leaves no half object under a digest. Why not obstore's local store: it does not fsync (docs/decisions).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3

from windlass.domain import digest
from windlass.domain.errors import Corrupt, NotFound, Unavailable

_BLOCK = 1 << 20


class FileObjectStore:
    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes) -> str:
        name = digest.of_bytes(data)
        if not self.has(name):
            handle, path = self._temporary()
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self._publish(path, name)
        return name

    def put_file(self, path: Path) -> str:
        # Hashed while it is copied: the digest is of the bytes stored, whatever happens to the source meanwhile.
        hasher = blake3()
        handle, copy = self._temporary()
        try:
            with os.fdopen(handle, "wb") as target, path.open("rb") as source:
                while block := source.read(_BLOCK):
                    hasher.update(block)
                    target.write(block)
                target.flush()
                os.fsync(target.fileno())
        except OSError as error:
            copy.unlink(missing_ok=True)
            if isinstance(error, FileNotFoundError):
                raise NotFound(f"no file {path}") from None
            raise Unavailable(f"cannot store {path}: {error.strerror}", hint="check the disk") from error
        name = digest.PREFIX + hasher.hexdigest()
        self._publish(copy, name)
        return name

    def get(self, name: str) -> bytes:
        try:
            data = self._path(name).read_bytes()
        except FileNotFoundError:
            raise _missing(name) from None
        _check(name, digest.of_bytes(data))
        return data

    def fetch(self, name: str, destination: Path) -> None:
        hasher = blake3()
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial = destination.with_name(f".{destination.name}.{os.getpid()}.part")
        try:
            with self._path(name).open("rb") as source, partial.open("wb") as target:
                while block := source.read(_BLOCK):
                    hasher.update(block)
                    target.write(block)
            _check(name, digest.PREFIX + hasher.hexdigest())
            partial.replace(destination)
        except FileNotFoundError:
            raise _missing(name) from None
        finally:
            partial.unlink(missing_ok=True)

    def has(self, name: str) -> bool:
        return self._path(name).exists()

    def digests(self) -> Iterator[str]:
        for folder in sorted(self.root.glob("[0-9a-f][0-9a-f]")):
            for file in sorted(folder.iterdir()):
                yield digest.PREFIX + folder.name + file.name

    def _path(self, name: str) -> Path:
        text = digest.checked(name)[len(digest.PREFIX) :]
        return self.root / text[:2] / text[2:]

    def _temporary(self) -> tuple[int, Path]:
        try:
            handle, path = tempfile.mkstemp(dir=self._incoming)
        except OSError as error:
            raise Unavailable(f"cannot write to {self.root}: {error.strerror}", hint="check the disk") from error
        return handle, Path(path)

    def _publish(self, temporary: Path, name: str) -> None:
        final = self._path(name)
        if final.exists():
            temporary.unlink()
            return
        temporary.chmod(0o444)
        final.parent.mkdir(exist_ok=True)
        temporary.replace(final)
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _check(expected: str, actual: str) -> None:
    if expected != actual:
        raise Corrupt(
            f"object {digest.short(expected)} is damaged: its bytes are those of {digest.short(actual)}",
            hint="run `windlass verify` for all that is damaged, then restore the object from a copy",
            expected=expected,
            actual=actual,
        )


def _missing(name: str) -> NotFound:
    return NotFound(f"no object {digest.short(name)} in the store", hint="run `windlass verify`")
