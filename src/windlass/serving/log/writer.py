"""Writing the log: records are queued, and a thread encodes, writes and syncs them.

What does not fit into the queue, or cannot be written, is counted: never lost silently. By policy it is shed, or kept
waiting and its senders refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from windlass.domain.errors import Failure, Invalid, Unavailable
from windlass.domain.routing import LogPolicy
from windlass.serving.log import redacting
from windlass.serving.log.position import WRITER
from windlass.serving.log.segments import FORMAT, FRAME, HEADER, MAGIC, segments
from windlass.serving.record import Record

FIRST_WRITER = "gateway-0"
SEGMENT_BYTES = 64 << 20
SEGMENT_SECONDS = 3600.0  # so that what is little is finished too, and can be rotated
QUEUE_RECORDS = 100_000
BATCH = 1000
DRAIN_SECONDS = 0.02
SYNC_SECONDS = 0.05
RETRY_SECONDS = 1.0

Done = Callable[[bool], None]
# A record, its size, who waits for it, and the policy it is kept by if that changes or holds anything back.
_Entry = tuple[Record, int, Done | None, LogPolicy | None]

_ENCODER = msgspec.msgpack.Encoder()


class Writer:
    """Appends records to the segments in ``folder/name``; one writer a name. ``append`` belongs to one thread.

    ``key`` is the file of the project's key for hashed columns; by default it lies beside the folder of all logs.

    Raises:
        Invalid: the name is none for a folder.
        Unavailable: another writer has the name, or its folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        name: str = FIRST_WRITER,
        *,
        policy: LogPolicy | None = None,
        key: Path | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        segment_seconds: float = SEGMENT_SECONDS,
        sync_seconds: float = SYNC_SECONDS,
    ) -> None:
        if not WRITER.fullmatch(name):
            raise Invalid(f"'{name[:80]}' is no name for a writer", hint="use letters, digits, dots and dashes")
        self.folder = folder / name
        self.written = 0
        self.lost_at = 0  # us since the epoch, when a record was last lost
        self.error = ""  # why the last write failed; "" while all is well
        self.follow(policy)
        self._key_file, self._key = key or folder.parent.with_name(f"{folder.parent.name}.key"), b""
        self._segment_bytes, self._segment_seconds = segment_bytes, segment_seconds
        self._sync_seconds = sync_seconds
        self._queue: deque[_Entry] = deque()
        self._queued = 0  # bytes ever queued; only the appender writes it
        self._drained = 0  # bytes ever taken; only the thread writes it
        self._turned_away = 0  # records; only the appender writes it
        self._lost = 0  # records; only the thread writes it
        self._lock = _locked(self.folder)
        # Always a new segment: the last one may end in half a record.
        self._number = max((each.number for each in segments(self.folder)), default=0)
        self._file: int | None = None
        self._size = 0
        self._whole = 0  # records in the segment
        self._began = 0.0
        self._unsynced: list[Done] = []  # who waits for what was written and not synced
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

    @property
    def dropped(self) -> int:
        """How many records were lost, or refused."""
        return self._turned_away + self._lost

    def follow(self, policy: LogPolicy | None) -> None:
        """Keep what is appended from now on by ``policy``; by the appender's thread."""
        policy = policy or LogPolicy()
        self._queue_bytes = policy.queue_bytes
        self._policy = None if redacting.changes_nothing(policy) and policy.when_full == "shed" else policy

    def append(self, record: Record, size: int = 512, done: Done | None = None) -> bool:
        """Queue a record; ``size`` is about its size in bytes. False: it cannot be taken, and is counted as lost.

        ``done``, if it was taken, is called by the writer's thread: with True when it is on disk to stay, with False
        when it was lost after all.
        """
        if self._queued - self._drained + size > self._queue_bytes or len(self._queue) >= QUEUE_RECORDS:
            return self._turn_away()
        if done is not None and self.error and time.monotonic() < self._retry_at:
            return self._turn_away()  # it would only wait to be told so
        self._queued += size
        self._queue.append((record, size, done, self._policy))
        if done is not None:
            self._hurry.set()
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
            self._lose(list(self._queue))
            self._queue.clear()
            self._end_segment()
            os.close(self._lock)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _turn_away(self) -> bool:
        self._turned_away += 1
        self.lost_at = _now()
        return False

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait()
            self._wake.clear()
            self._hurry.wait(DRAIN_SECONDS)  # taking what gathers meanwhile at once is cheaper than record by record
            ticket = self._tickets
            self._hurry.clear()
            urgent = ticket > self._served
            if urgent or time.monotonic() >= self._retry_at:
                if self.error and not self._queue:
                    self._probe()
                self._drain()
                self._sync(urgent)
            if self._queue or self._dirty or self.error:
                self._wake.set()
            if urgent:
                with self._done:
                    self._served = ticket
                    self._done.notify_all()

    def _drain(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH))]
            self._drained += sum(entry[1] for entry in batch)
            if not self._write(batch):
                return

    def _write(self, batch: list[_Entry]) -> bool:
        """Write a batch as far as it goes; False if it did not go all the way."""
        buffer, entries, ends = bytearray(), list[_Entry](), list[int]()
        for index, entry in enumerate(batch):
            record, _, _, policy = entry
            try:
                payload = _ENCODER.encode(record if policy is None else self._redacted(record, policy))
            except (OverflowError, TypeError):  # nothing msgpack can hold
                self._lose([entry])
                continue
            except Failure as failure:  # what cannot be hashed is not kept at all
                self._fail(failure.message, [*entries, *batch[index:]])
                return False
            buffer += FRAME.pack(len(payload), zlib.crc32(payload))
            buffer += payload
            entries.append(entry)
            ends.append(len(buffer))
        wrote, failed = 0, ""
        try:
            if self._file is None or self._size >= self._segment_bytes or self._is_old():
                self._begin_segment()
            assert self._file is not None
            view = memoryview(buffer)
            while wrote < len(buffer):
                wrote += os.write(self._file, view[wrote:])
        except OSError as error:
            failed = error.strerror or str(error)
        whole = bisect_right(ends, wrote)
        self._size += wrote
        self._whole += whole
        self._dirty = self._dirty or wrote > 0
        self.written += whole
        self._unsynced += [entry[2] for entry in entries[:whole] if entry[2] is not None]
        if failed:
            self._fail(failed, entries[whole:])
            return False
        self.error = ""
        return True

    def _redacted(self, record: Record, policy: LogPolicy) -> Record:
        if policy.hash and not self._key:
            self._key = redacting.key_at(self._key_file)
        return redacting.redacted(record, policy, self._key)

    def _fail(self, why: str, unwritten: list[_Entry]) -> None:
        """The disk is full or gone. Serving goes on; what is lost is counted and shown."""
        self.error = why
        self._retry_at = time.monotonic() + RETRY_SECONDS
        # Who is to be refused rather than lost waits, till the queue is full; who waits for the disk is told at once.
        waiting = [entry for entry in unwritten if _may_wait(entry)]
        self._lose([entry for entry in unwritten if not _may_wait(entry)])
        self._queue.extendleft(reversed(waiting))
        self._drained -= sum(entry[1] for entry in waiting)
        self._sync(urgent=True)
        self._end_segment()

    def _lose(self, entries: list[_Entry]) -> None:
        if entries:
            self._lost += len(entries)
            self.lost_at = _now()
        for _, _, done, _ in entries:
            if done is not None:
                done(False)

    def _probe(self) -> None:
        """See whether writing works again, though there is nothing to write."""
        try:
            self._begin_segment()
            self.error = ""
        except OSError as error:
            self._fail(error.strerror or str(error), [])

    def _is_old(self) -> bool:
        return self._whole > 0 and time.monotonic() - self._began > self._segment_seconds

    def _sync(self, urgent: bool) -> None:
        now = time.monotonic()
        if self._file is None or not (self._dirty or self._unsynced):
            return
        if not (urgent or self._unsynced or now - self._synced_at >= self._sync_seconds):
            return
        waiting, self._unsynced = self._unsynced, []
        self._dirty = False
        self._synced_at = now
        is_safe = True
        try:
            os.fsync(self._file)
        except OSError as error:
            # What was written may be lost, or not; the next records go to another segment.
            is_safe, self.error, self.lost_at = False, error.strerror or str(error), _now()
            self._end_segment()
        for done in waiting:
            done(is_safe)

    def _begin_segment(self) -> None:
        self._sync(urgent=True)
        self._end_segment()
        path = self.folder / f"{self._number + 1:06d}.log"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._number += 1
        self._size = self._whole = 0
        self._began = time.monotonic()
        self._size = os.write(self._file, HEADER.pack(MAGIC, FORMAT, 0))
        _sync_folder(self.folder)

    def _end_segment(self) -> None:
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)
        self._file = None
        self._dirty = False
        if not self._whole:  # a disk that stays full would leave one such file a second
            with contextlib.suppress(OSError):
                (self.folder / f"{self._number:06d}.log").unlink()
                self._number -= 1


def _may_wait(entry: _Entry) -> bool:
    _, _, done, policy = entry
    return done is None and policy is not None and policy.when_full == "refuse"


def _now() -> int:
    return time.time_ns() // 1000


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
