"""Writing packs: objects go to a file that gets its name when it is full and on disk, while the next is filled."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from windlass.domain.errors import Unavailable
from windlass.domain.ports import Blobs
from windlass.store import pack
from windlass.store.pack import Form, Record

# Makes a pack known: its name, size in bytes, and records.
Publish = Callable[[str, int, Iterable[Record]], None]
_BEHIND = 2  # packs on their way to the disk: more would only pile up


class Writer:
    """``pending`` has what is not yet in the index. Not for several threads at once."""

    def __init__(self, blobs: Blobs, publish: Publish, incoming: Path, folder: str) -> None:
        self._blobs = blobs
        self._made = publish
        self._incoming = incoming
        self._folder = folder
        self._open: _Open | None = None
        self._finishing: list[tuple[_Open, Future[None]]] = []
        self._pool: ThreadPoolExecutor | None = None
        self.pending: dict[bytes, Record] = {}

    def add(self, key: bytes, data: bytes | memoryview) -> None:
        """Store an object that is not there yet."""
        body, form = pack.encode(data)
        self.append(key, body, len(data), form)

    def add_listed(self, key: bytes, root: bytes, size: int) -> None:
        """Store an object whose chunks and list are stored."""
        self.append(key, root, size, Form.LISTED)

    def read(self, key: bytes) -> bytes | None:
        """A pending object's bytes; None if it is in the index by now."""
        record = self.pending.get(key)
        if record is None:
            return None
        filled = [self._open, *(each for each, _ in self._finishing)]
        holder = next((each for each in filled if each and key in each.records), None)
        if holder is None or record.form == Form.LISTED:
            self.flush()
            return None
        return bytes(pack.decode(holder.read(record), record.form, record.size))

    def flush(self) -> None:
        """On return everything added is durable and in the index."""
        if self._open is not None:
            self._finish(self._open)
        while self._finishing:
            self._settle()

    def close(self) -> None:
        """Leave out what was not flushed."""
        for _, done in self._finishing:
            done.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None
        for each in [self._open, *(each for each, _ in self._finishing)]:
            if each is not None:
                each.discard()
        self._open, self._finishing = None, []
        self.pending.clear()

    def append(self, key: bytes, body: bytes | memoryview, size: int, form: Form) -> None:
        """Store an object by its body."""
        try:
            if self._open is None:
                self._open = _Open(self._incoming)
            self.pending[key] = self._open.append(key, body, size, form)
        except OSError as error:
            raise _failed(self._incoming, error) from error
        if self._open.size >= pack.FULL:
            self._finish(self._open)

    def _finish(self, full: _Open) -> None:
        self._open = None
        if len(self._finishing) >= _BEHIND:
            self._settle()
        if self._pool is None:
            # One thread: packs become visible in the order in which they were filled, chunks before their lists.
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="windlass-pack")
        self._finishing.append((full, self._pool.submit(self._publish, full)))

    def _settle(self) -> None:
        full, done = self._finishing[0]
        done.result()
        self._finishing.pop(0)
        for key in full.records:
            self.pending.pop(key, None)

    def _publish(self, full: _Open) -> None:
        try:
            full.end()
            name = f"{self._folder}/{secrets.token_hex(16)}"
            self._blobs.adopt(name, full.path)
        except OSError as error:
            raise _failed(self._incoming, error) from error
        self._made(name, full.size, full.records.values())
        full.discard()


class _Open:
    """A pack that is being filled."""

    def __init__(self, folder: Path) -> None:
        handle, name = tempfile.mkstemp(prefix=f"pack-{os.getpid()}-", dir=folder)
        self.path = Path(name)
        self._file: BinaryIO = os.fdopen(handle, "w+b", buffering=1 << 20)
        self.size = 0
        self.records: dict[bytes, Record] = {}

    def append(self, key: bytes, body: bytes | memoryview, size: int, form: Form) -> Record:
        record = Record(key, self.size, len(body), size, form)
        self._file.write(body)
        self.records[key] = record
        self.size += len(body)
        return record

    def read(self, record: Record) -> bytes:
        if not self._file.closed:
            self._file.flush()
            return os.pread(self._file.fileno(), record.stored, record.offset)
        with self.path.open("rb") as file:
            file.seek(record.offset)
            return file.read(record.stored)

    def end(self) -> None:
        ending = pack.footer(self.records.values())
        self._file.write(ending)
        self.size += len(ending)
        self._file.flush()
        os.fsync(self._file.fileno())

    def discard(self) -> None:
        """Close, and remove the file if nobody adopted it."""
        with suppress(OSError):  # a full disk says so once more
            self._file.close()
        self.path.unlink(missing_ok=True)


def _failed(folder: Path, error: OSError) -> Unavailable:
    return Unavailable(f"cannot write to {folder}: {error.strerror}", hint="check the disk; the store is as it was")
