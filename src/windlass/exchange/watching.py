"""A file whose reading is watched."""

from __future__ import annotations

from windlass.domain.ports import Readable
from windlass.domain.progress import Meter
from windlass.exchange.content import File


class Watched:
    """Tells the meter of a file how much of it was read."""

    def __init__(self, stream: Readable, meter: Meter, file: File) -> None:
        self._stream, self._meter, self._file = stream, meter, file
        self._read = 0

    def readinto(self, into: memoryview, /) -> int:
        count = self._stream.readinto(into) or 0
        self._read += count
        if self._file.size:
            self._meter(self._file.path, self._read, self._file.size)
        return count
