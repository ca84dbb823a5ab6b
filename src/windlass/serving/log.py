"""The prediction log: append-only segments of records, one folder an endpoint (``LOG/<endpoint>/000001.log``).

The format is in docs/internals/prediction-log.md. The writer keeps the disk out of the request's path: records are
queued, and a thread writes and fsyncs them; what does not fit into the queue is dropped and counted, never silently.
The reader returns complete records only, and may read while the writer writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import threading
import time
import zlib
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import msgspec

from windlass.domain.errors import Corrupt, Invalid, Unavailable
from windlass.serving.record import Record

FORMAT = 1
HEADER = struct.Struct("<8sII")  # magic, format, zero
MAGIC = b"WNDLLOG\n"
FRAME = struct.Struct("<II")  # length and crc32 of the payload

SEGMENT_BYTES = 64 << 20
QUEUE_BYTES = 64 << 20
QUEUE_RECORDS = 100_000
DRAIN_SECONDS = 0.02
SYNC_SECONDS = 0.05
RETRY_SECONDS = 1.0

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where a reader stands: after ``offset`` bytes of a segment. As text ``segment:offset``."""

    segment: int = 0
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.segment}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        segment, colon, offset = text.partition(":")
        if not (colon and segment.isdecimal() and offset.isdecimal()):
            raise Invalid(f"'{text[:80]}' is not a position in a prediction log", hint="it is written segment:offset")
        return cls(int(segment), int(offset))


START = Position()


class Writer:
    """Appends records to the log in ``folder``; one writer a folder. ``append`` belongs to one thread.

    Raises:
        Unavailable: another writer holds the folder, or it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        queue_bytes: int = QUEUE_BYTES,
        sync_seconds: float = SYNC_SECONDS,
    ) -> None:
        self.folder = folder
        self.written = 0
        self.dropped = 0
        self.error = ""  # why the last write failed; "" while all is well
        self._segment_bytes = segment_bytes
        self._queue_bytes = queue_bytes
        self._sync_seconds = sync_seconds
        self._queue: deque[tuple[Record, int]] = deque()
        self._queued = 0  # bytes ever queued; only the appender writes it
        self._drained = 0  # bytes ever taken; only the thread writes it
        self._lock = _locked(folder)
        # Always a new segment: the last one may end in half a record.
        self._number = max((number for number, _ in segments(folder)), default=0)
        self._file: int | None = None
        self._size = 0
        self._dirty = False
        self._synced_at = 0.0
        self._retry_at = 0.0
        self._wake = threading.Event()  # there may be something to do
        self._hurry = threading.Event()  # somebody waits for it
        self._tickets = 0  # flushes asked for
        self._served = 0  # flushes done
        self._done = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"log {folder.name}", daemon=True)
        self._thread.start()

    def append(self, record: Record, size: int = 512) -> bool:
        """Queue a record; ``size`` is about its size in bytes. False: the queue is full, the record is dropped."""
        if self._queued - self._drained + size > self._queue_bytes or len(self._queue) >= QUEUE_RECORDS:
            self.dropped += 1
            return False
        self._queued += size
        self._queue.append((record, size))
        if not self._wake.is_set():
            self._wake.set()
        return True

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait till all that was appended is on disk (or given up); False if it takes longer than ``timeout``."""
        with self._done:
            self._tickets += 1
            ticket = self._tickets
            self._hurry.set()
            self._wake.set()
            return self._done.wait_for(lambda: self._served >= ticket, timeout)

    def close(self) -> None:
        """Write and sync what is queued, and stop."""
        if self._thread.is_alive():
            self.flush()
            self._stopping = True
            self._hurry.set()
            self._wake.set()
            self._thread.join()
            self._end_segment()
            os.close(self._lock)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait()
            self._wake.clear()
            self._hurry.wait(DRAIN_SECONDS)  # taking what gathers meanwhile at once is cheaper than record by record
            ticket = self._tickets
            self._hurry.clear()
            urgent = ticket > self._served
            if urgent or time.monotonic() >= self._retry_at:
                self._drain()
                self._sync(urgent)
            if self._queue or self._dirty:
                self._wake.set()
            if urgent:
                with self._done:
                    self._served = ticket
                    self._done.notify_all()

    def _drain(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), 1000))]
            self._drained += sum(size for _, size in batch)
            try:
                self._write([record for record, _ in batch])
            except OSError as error:
                # The disk is full or gone. Serving goes on; the loss is counted and shown.
                self.error = f"{error.strerror or error}"
                self.dropped += len(batch)
                self._retry_at = time.monotonic() + RETRY_SECONDS
                self._end_segment()
                return

    def _write(self, records: list[Record]) -> None:
        buffer, count = bytearray(), 0
        for record in records:
            try:
                payload = _ENCODER.encode(record)
            except (OverflowError, TypeError):  # nothing msgpack can hold
                self.dropped += 1
                continue
            buffer += FRAME.pack(len(payload), zlib.crc32(payload))
            buffer += payload
            count += 1
        if self._file is None or self._size >= self._segment_bytes:
            self._begin_segment()
        assert self._file is not None
        view = memoryview(buffer)
        while view:
            view = view[os.write(self._file, view) :]
        self._size += len(buffer)
        self._dirty = True
        self.written += count
        self.error = ""

    def _sync(self, urgent: bool) -> None:
        now = time.monotonic()
        if self._dirty and self._file is not None and (urgent or now - self._synced_at >= self._sync_seconds):
            try:
                os.fsync(self._file)
            except OSError as error:
                self.error = f"{error.strerror or error}"
                self._end_segment()
            self._dirty = False
            self._synced_at = now

    def _begin_segment(self) -> None:
        self._end_segment()
        self._number += 1
        path = self.folder / f"{self._number:06d}.log"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.write(self._file, HEADER.pack(MAGIC, FORMAT, 0))
        self._size = HEADER.size
        _sync_folder(self.folder)

    def _end_segment(self) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)
        self._file = None
        self._dirty = False


def end(folder: Path) -> Position:
    """The position after all that is in the log now."""
    known = segments(folder)
    if not known:
        return START
    number, path = known[-1]
    with path.open("rb") as file:
        data = memoryview(file.read())
    at = HEADER.size
    while at + FRAME.size <= len(data):
        length, _ = FRAME.unpack_from(data, at)
        if at + FRAME.size + length > len(data):
            break
        at += FRAME.size + length
    return Position(number, at) if len(data) >= HEADER.size else Position(number, 0)


def read(
    folder: Path, after: Position = START, limit: int | None = None, until: Position | None = None
) -> tuple[list[Record], Position]:
    """The complete records after a position, at most about ``limit``, and the position after the last of them.

    ``until`` is a position that an earlier read gave: nothing after it is read.

    A torn tail is left alone: of the newest segment it may be a write under way, of an older one a crash.

    Raises:
        Corrupt: a segment is of no known format, or a whole record in it is damaged.
    """
    records: list[Record] = []
    # Listed before read: a segment that has a successor by now is finished, and all of it will be seen.
    for number, path in segments(folder):
        if number < after.segment or (until is not None and number > until.segment):
            continue
        offset = after.offset if number == after.segment else 0
        try:
            last = until.offset if until is not None and number == until.segment else None
            offset = _read_segment(path, offset, records, limit, last)
        except FileNotFoundError:
            continue  # expired meanwhile
        after = Position(number, offset)
        if limit is not None and len(records) >= limit:
            break
    return records, after


def segments(folder: Path) -> list[tuple[int, Path]]:
    """The segments of a log, by number, in order."""
    try:
        paths = [path for path in folder.iterdir() if re.fullmatch(r"\d{6,}\.log", path.name)]
    except FileNotFoundError:
        return []
    return sorted((int(path.stem), path) for path in paths)


def _read_segment(path: Path, offset: int, records: list[Record], limit: int | None, last: int | None) -> int:
    """Add the segment's records after ``offset``; returns the offset after the last whole one."""
    with path.open("rb") as file:
        if offset < HEADER.size:
            header = file.read(HEADER.size)
            if len(header) < HEADER.size:
                return 0
            if HEADER.unpack(header)[:2] != (MAGIC, FORMAT):
                raise Corrupt(
                    f"{path} is no prediction log of format {FORMAT}",
                    hint="move it out of the folder, or read it with the Windlass that wrote it",
                )
            offset = HEADER.size
        file.seek(offset)
        data = memoryview(file.read() if last is None else file.read(max(0, last - offset)))
    at, end = 0, len(data)
    while at + FRAME.size <= end and (limit is None or len(records) < limit):
        length, crc = FRAME.unpack_from(data, at)
        start, stop = at + FRAME.size, at + FRAME.size + length
        if stop > end:
            break
        payload = data[start:stop]
        if zlib.crc32(payload) != crc:
            if stop == end or not any(data[start:]):
                break  # written in part, or the file grew and its bytes did not arrive: torn
            raise _damaged(path, offset + at)
        try:
            records.append(_DECODER.decode(payload))
        except msgspec.MsgspecError:
            raise _damaged(path, offset + at) from None
        at = stop
    return offset + at


def _damaged(path: Path, offset: int) -> Corrupt:
    return Corrupt(
        f"{path}: the record at byte {offset} is damaged",
        hint="the records before it are whole; restore the segment from a copy, or move it away to go on without it",
    )


def _locked(folder: Path) -> int:
    """A handle that holds the folder's lock till it is closed, or the process dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot write to {folder}: {error.strerror}", hint="check the disk and its rights") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise Unavailable(f"another process writes the prediction log in {folder}", hint="stop it first") from None
    return handle


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
