"""Between an event loop that receives and a thread that reads: bytes in a bounded queue, as an unbuffered file."""

from __future__ import annotations

import asyncio
import threading
from collections import deque


class Pipe:
    """``feed`` and ``end`` are for the event loop; ``readinto`` is for one thread.

    At most ``most`` bytes wait: then ``feed`` waits, and with it the client.
    """

    def __init__(self, most: int = 8 << 20) -> None:
        self._parts: deque[memoryview] = deque()
        self._waiting = 0
        self._most = most
        self._ended = False
        self._broken: Exception | None = None
        self._changed = threading.Condition()
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._room.set()

    async def feed(self, data: bytes) -> None:
        with self._changed:
            self._parts.append(memoryview(data))
            self._waiting += len(data)
            if self._waiting >= self._most:
                self._room.clear()
            self._changed.notify()
        await self._room.wait()

    def end(self, error: Exception | None = None) -> None:
        """No more comes; with an error, what came is worth nothing."""
        with self._changed:
            self._ended, self._broken = True, error
            self._changed.notify()

    def abandon(self) -> None:
        """The reader has gone: what is fed from now on is thrown away."""
        with self._changed:
            self._most = 1 << 62
        self._loop.call_soon_threadsafe(self._room.set)

    def readinto(self, into: memoryview, /) -> int:
        target = memoryview(into).cast("B")
        done = 0
        with self._changed:
            while not self._parts and not self._ended:
                self._changed.wait()
            if self._broken is not None:
                raise self._broken
            while self._parts and done < len(target):
                part = self._parts[0]
                count = min(len(part), len(target) - done)
                target[done : done + count] = part[:count]
                done += count
                if count == len(part):
                    self._parts.popleft()
                else:
                    self._parts[0] = part[count:]
            before, self._waiting = self._waiting, self._waiting - done
            wake = before >= self._most > self._waiting
        if wake:
            self._loop.call_soon_threadsafe(self._room.set)
        return done
