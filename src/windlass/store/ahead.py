"""Reading ahead: a file is read and hashed by one thread while another cuts and stores what was read."""

from __future__ import annotations

import threading
from queue import Empty, Full, Queue

from blake3 import blake3

from windlass.domain.ports import Readable

_BLOCK = 4 << 20
_BLOCKS = 4


class Ahead:
    """A stream to ``readinto``; ``digest`` is of all that was read, once it ended."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._hasher = blake3()
        self._blocks: Queue[memoryview | BaseException | None] = Queue(_BLOCKS)
        self._stopped = threading.Event()
        self._current = memoryview(b"")
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="windlass-read", daemon=True)

    def __enter__(self) -> Ahead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            # It may be waiting for room.
            try:
                self._blocks.get(timeout=0.05)
            except Empty:
                continue
        self._thread.join()

    def readinto(self, into: memoryview) -> int:
        if not self._current and not self._ended:
            block = self._blocks.get()
            if isinstance(block, BaseException):
                raise block
            self._ended = block is None
            self._current = block if block is not None else memoryview(b"")
        count = min(len(into), len(self._current))
        into[:count] = self._current[:count]
        self._current = self._current[count:]
        return count

    def digest(self) -> bytes:
        self._thread.join()
        return self._hasher.digest()

    def _read(self) -> None:
        try:
            while not self._stopped.is_set():
                block = memoryview(bytearray(_BLOCK))
                count = self._source.readinto(block) or 0
                if not count:
                    break
                self._hasher.update(block[:count])
                self._pass(block[:count])
            self._pass(None)
        except BaseException as error:  # noqa: BLE001 - raised where it is read
            self._pass(error)

    def _pass(self, block: memoryview | BaseException | None) -> None:
        while not self._stopped.is_set():
            try:
                self._blocks.put(block, timeout=0.05)
                return
            except Full:
                continue
