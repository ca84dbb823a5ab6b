"""The gateway's way to a release's worker: one connection, many requests on it at a time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import cast

from windlass.domain.errors import Corrupt, Failure, Invalid, Unavailable
from windlass.serving.record import Row
from windlass.serving.wire import REPLIES, Answers, Ask, Frames, Refusal, Reply, frame

MOST_IN_FLIGHT = 512
RECONNECT_SECONDS = 0.02


@dataclass(slots=True)
class Counts:
    answered: int = 0
    failed: int = 0
    shed: int = 0


class Pool:
    """A release's workers, each wherever it is in its life: not there yet, there, gone, back."""

    def __init__(self, sockets: tuple[str, ...]) -> None:
        self.sockets = sockets
        self.counts = Counts()
        self._links: dict[str, _Link] = {}
        self._connecting: asyncio.Lock = asyncio.Lock()
        self._in_flight = 0
        self._next = 0

    @property
    def connected(self) -> bool:
        return any(link.transport is not None for link in self._links.values())

    @property
    def in_flight(self) -> int:
        return self._in_flight

    async def ask(self, rows: list[Row], until: float) -> Answers:
        """The worker's answers, by ``until`` on the event loop's clock.

        Raises:
            Invalid: the rows do not fit the model's signature.
            TimeoutError: no answer in time.
            Unavailable: no worker is there, or there is too much to do already.
            Failure: the model raised.
        """
        if self._in_flight >= MOST_IN_FLIGHT:
            self.counts.shed += 1
            raise Unavailable("the release has too many requests in flight", hint="try again in a moment")
        self._in_flight += 1
        try:
            async with asyncio.timeout_at(until):
                reply = await self._exchange(rows, until)
        except (Failure, TimeoutError):
            self.counts.failed += 1
            raise
        finally:
            self._in_flight -= 1
        if isinstance(reply, Refusal):
            self.counts.failed += 1
            kind = {Invalid.kind: Invalid, Unavailable.kind: Unavailable}.get(reply.kind, Failure)
            raise kind(reply.message, reply.hint)
        assert isinstance(reply, Answers)
        self.counts.answered += 1
        return reply

    def close(self) -> None:
        for link in self._links.values():
            if link.transport is not None:
                link.transport.close()

    async def _exchange(self, rows: list[Row], until: float) -> Reply:
        link = await self._connected()
        self._next += 1
        number, loop = self._next, asyncio.get_running_loop()
        waiting: asyncio.Future[Reply] = loop.create_future()
        deadline = time.monotonic_ns() // 1000 + int((until - loop.time()) * 1e6)
        assert link.transport is not None
        link.transport.write(frame(Ask(number, rows, deadline)))
        link.waiting[number] = waiting
        try:
            return await waiting
        finally:
            link.waiting.pop(number, None)

    async def _connected(self) -> _Link:
        """The worker with the least to do. One that is gone is looked for again when a request finds none better."""
        there = [link for link in self._links.values() if link.transport is not None]
        if len(there) < len(self.sockets):
            there = await self._connect()
        return min(there, key=lambda link: len(link.waiting))

    async def _connect(self) -> list[_Link]:
        async with self._connecting:
            why = "none is known"
            for socket in self.sockets:
                known = self._links.get(socket)
                if known is None or known.transport is None:
                    try:
                        _, self._links[socket] = await asyncio.get_running_loop().create_unix_connection(_Link, socket)
                    except OSError as error:
                        why = error.strerror or str(error)
        there = [link for link in self._links.values() if link.transport is not None]
        if not there:
            raise Unavailable(f"the worker is not there: {why}")
        return there


class _Link(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.waiting: dict[int, asyncio.Future[Reply]] = {}
        self._frames = Frames(REPLIES)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            replies: list[Reply] = self._frames.feed(data)
        except Corrupt:
            if self.transport is not None:
                self.transport.abort()
            return
        for reply in replies:
            waiting = self.waiting.get(reply.id)
            if waiting is not None and not waiting.done():
                waiting.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        for waiting in self.waiting.values():
            if not waiting.done():
                waiting.set_exception(Unavailable("the worker went away before it answered"))
