"""The gateway's way to a release's workers: a connection to each, many requests on it at a time.

Whoever asks is called back, once: no task is made for a request, and one timer serves all deadlines.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from windlass.domain.errors import Corrupt, Failure, Invalid, Unavailable
from windlass.serving.record import Row
from windlass.serving.wire import REPLIES, Answers, Ask, Describe, Description, Frames, Refusal, Reply, frame

MOST_IN_FLIGHT = 512
RECONNECT_SECONDS = 0.02
SWEEP_SECONDS = 0.01


class Late(Unavailable):
    """No answer in time."""


class Absent(Unavailable):
    """No worker is there; one may be on its way."""


class Lost(Unavailable):
    """The worker got the request and went away: it may have been the request that ended it."""


Done = Callable[[Answers | Failure], None]
Told = Callable[[Description | Failure], None]


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
        self.in_flight = 0
        self._loop = asyncio.get_running_loop()
        self._links: dict[str, _Link] = {}
        self._seeking: dict[str, asyncio.Task[None]] = {}
        self._sought_at = 0.0
        self._unsent: list[tuple[list[Row], float, Done]] = []
        self._sweeper: asyncio.TimerHandle | None = None
        # The release's model, as the first worker told; a release is one package, and so is what it says.
        self.description: Description | None = None
        self._curious: list[Told] = []
        self._closed = False

    @property
    def connected(self) -> int:
        """How many of its workers are there."""
        return len(self._links)

    def ask(self, rows: list[Row], until: float, done: Done) -> None:
        """Call ``done`` with the answers, or with why there are none: Invalid (the rows do not fit the signature), Late
        (none by ``until`` on the event loop's clock), Absent (no worker is there), Lost (it went away), Unavailable
        (too much to do already), or another Failure (the model raised)."""
        if self.in_flight >= MOST_IN_FLIGHT:
            self.counts.shed += 1
            done(Unavailable("the release has too many requests in flight", hint="try again in a moment"))
            return
        self.in_flight += 1
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        links = self._links
        if len(links) < len(self.sockets):
            self._seek()
        if links:
            link = next(iter(links.values())) if len(links) == 1 else min(links.values(), key=_waiting)
            self._send(link, rows, until, done)
        else:
            self._unsent.append((rows, until, done))

    def describe(self, until: float, done: Told, *, there: bool = False) -> None:
        """Call ``done``, by ``until``, with what the release's model takes and gives, or with why nobody said so.

        ``there``: only while a worker is there, and not with what one that went away has said.
        """
        if self.description is not None and (self._links or not there):
            done(self.description)
            return
        self._curious.append(done)
        self._loop.call_at(until, self._untold, done)
        if not self._links:
            self._seek()

    def told(self, described: Description | Failure) -> None:
        """Give it to who waits for it."""
        if isinstance(described, Description):
            self.description = described
        curious, self._curious = self._curious, []
        for done in curious:
            done(described)

    def _untold(self, done: Told) -> None:
        if done in self._curious:
            self._curious.remove(done)
            done(Late("the worker did not say in time what its model takes", hint="try again"))

    def close(self) -> None:
        """Leave the workers, as soon as nobody waits. Who asks again on the routes before is answered all the same."""
        self._closed = True
        if self.in_flight:
            return
        for task in self._seeking.values():
            task.cancel()
        for link in list(self._links.values()):
            link.transport.close()

    def _send(self, link: _Link, rows: list[Row], until: float, done: Done) -> None:
        deadline = time.monotonic_ns() // 1000 + int((until - self._loop.time()) * 1e6)
        number = link.next = link.next + 1
        try:
            data = frame(Ask(number, rows, deadline))
        except Failure as failure:
            self.settle(done, failure)
            return
        link.waiting[number] = (until, done)
        link.write(data)

    def settle(self, done: Done, outcome: Answers | Failure) -> None:
        """Give an outcome to who waits for it."""
        self.in_flight -= 1
        if isinstance(outcome, Failure):
            self.counts.failed += 1
        else:
            self.counts.answered += 1
        try:
            done(outcome)
        except Exception:  # noqa: BLE001 - whatever one request meets, the others on this connection go on
            sys.stderr.write(f"error: answering a request: {traceback.format_exc()}")
        if self._closed:
            self.close()

    def lost(self, link: _Link) -> None:
        """A worker went away with what it was asked."""
        self._links = {socket: each for socket, each in self._links.items() if each is not link}
        waiting, link.waiting = link.waiting, {}
        for _, done in waiting.values():
            self.settle(done, Lost("the worker went away before it answered", hint="try again"))

    def _seek(self) -> None:
        """Look for the workers that are not there, not more often than every so many milliseconds."""
        now = self._loop.time()
        if self._seeking or (now - self._sought_at < RECONNECT_SECONDS and self._links):
            return
        self._sought_at = now
        for socket in self.sockets:
            if socket not in self._links:
                self._seeking[socket] = self._loop.create_task(self._connect(socket))

    async def _connect(self, socket: str) -> None:
        why = ""
        try:
            await self._loop.create_unix_connection(lambda: _Link(self, socket), socket)
        except OSError as error:
            why = error.strerror or str(error)
        finally:
            del self._seeking[socket]
        if not self._links and not self._seeking:
            unsent, self._unsent = self._unsent, []
            for _, _, done in unsent:
                self.settle(done, Absent(f"the worker is not there: {why}"))
            self.told(Absent(f"the worker is not there: {why}"))

    def joined(self, link: _Link, socket: str) -> None:
        """A worker is there."""
        self._links = {**self._links, socket: link}
        if self.description is None:
            link.transport.write(frame(Describe(0)))
        else:
            self.told(self.description)
        unsent, self._unsent = self._unsent, []
        for rows, until, done in unsent:
            self._send(link, rows, until, done)

    def _sweep(self) -> None:
        """Tell those whose time is up."""
        now = self._loop.time()
        late = [done for until, done in self._overdue(now)]
        for done in late:
            self.settle(done, Late("no answer in time", hint="try again"))
        waits = self._unsent or any(link.waiting for link in self._links.values())
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep) if waits else None

    def _overdue(self, now: float) -> list[tuple[float, Done]]:
        found = [
            link.waiting.pop(number)
            for link in self._links.values()
            for number in [number for number, (until, _) in link.waiting.items() if until <= now]
        ]
        found += [(until, done) for _, until, done in self._unsent if until <= now]
        self._unsent = [each for each in self._unsent if each[1] > now]
        return found


class _Link(asyncio.Protocol):
    """A connection to one worker."""

    transport: asyncio.Transport

    def __init__(self, pool: Pool, socket: str) -> None:
        self._pool, self._socket = pool, socket
        self.waiting: dict[int, tuple[float, Done]] = {}
        self.next = 0
        self._loop = asyncio.get_running_loop()
        self._frames = Frames(REPLIES)
        self._unwritten: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Send a frame; those of one turn of the loop go together."""
        if not self._unwritten:
            self._loop.call_soon(self._flush)
        self._unwritten.append(data)

    def _flush(self) -> None:
        self.transport.write(b"".join(self._unwritten))
        self._unwritten.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._pool.joined(self, self._socket)

    def data_received(self, data: bytes) -> None:
        try:
            replies: list[Reply] = self._frames.feed(data)
        except Corrupt:
            self.transport.abort()
            return
        for reply in replies:
            if isinstance(reply, Description):
                self._pool.told(reply)
                continue
            waiting = self.waiting.pop(reply.id, None)
            if waiting is None:
                continue  # it came too late
            if isinstance(reply, Answers):
                self._pool.settle(waiting[1], reply)
            elif isinstance(reply, Refusal):
                kind = {Invalid.kind: Invalid, Unavailable.kind: Unavailable}.get(reply.kind, Failure)
                self._pool.settle(waiting[1], kind(reply.message, reply.hint))

    def connection_lost(self, error: Exception | None) -> None:
        self._pool.lost(self)


def _waiting(link: _Link) -> int:
    return len(link.waiting)
