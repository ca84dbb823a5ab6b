"""An object in chunks as a file: only the chunks that are read are fetched."""

from __future__ import annotations

import io
from bisect import bisect_right
from typing import TYPE_CHECKING

from windlass.store import chunks

if TYPE_CHECKING:
    from windlass.store.objects import PackedObjects


class ObjectFile(io.RawIOBase):
    """``fetched`` is how many bytes were taken from the store so far."""

    def __init__(self, store: PackedObjects, root: bytes, size: int) -> None:
        super().__init__()
        self._store = store
        self._root = root
        self._size = size
        self._position = 0
        self._starts: list[int] = []
        self._pieces: list[chunks.Piece] = []
        self._cached: tuple[int, bytes] = (-1, b"")
        self.fetched = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning of a file")
        self._position = base + offset
        return self._position

    def readinto(self, into: object) -> int:
        target = memoryview(into).cast("B")  # type: ignore[arg-type]
        done = 0
        while done < len(target) and self._position < self._size:
            start, data = self._chunk()
            part = data[self._position - start : self._position - start + len(target) - done]
            target[done : done + len(part)] = part
            done += len(part)
            self._position += len(part)
        return done

    def _chunk(self) -> tuple[int, bytes]:
        """The chunk at the position, with its offset."""
        start, data = self._cached
        if start <= self._position < start + len(data):
            return self._cached
        if not self._starts:
            # The list is small beside the file: 40 bytes a chunk.
            for offset, piece in chunks.pieces(self._root, self._store.whole):
                self._starts.append(offset)
                self._pieces.append(piece)
        at = bisect_right(self._starts, self._position) - 1
        data = self._store.whole(self._pieces[at].digest)
        self.fetched += len(data)
        self._cached = (self._starts[at], data)
        return self._cached
