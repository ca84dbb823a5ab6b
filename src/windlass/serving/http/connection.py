"""The gateway's side of HTTP/1.1 connections: answers in the order of the requests, and bounds on everything.

A client can hold a connection, but not for long, a bounded amount of memory, and nobody else's.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import cast

from windlass.serving.http.message import CONTINUE, Handler, Response, date_line, encoded, refusal
from windlass.serving.http.reader import Bad, Limits, Reader

IDLE_SECONDS = 75.0  # until the next request
SLOW_SECONDS = 20.0  # from a request's first byte to its last; for the client to read what is too much to keep
LINGER_SECONDS = 3.0  # from the last answer until the client has closed, too: closing first could take it from it
SETTLE_SECONDS = 0.05
MOST_PIPELINED = 32
MOST_UNREAD = 64 << 10
MOST_REFUSED = 256
_CLOSE = b"connection: close\r\n"
_KEEP = b"connection: keep-alive\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What all clients together may take: connections, and bytes of requests that are not all there; and the seconds
    that one may be idle, or slow: see ``IDLE_SECONDS`` and ``SLOW_SECONDS``."""

    connections: int = 16_384
    held: int = 256 << 20
    idle: float = IDLE_SECONDS
    slow: float = SLOW_SECONDS
    request: Limits = field(default_factory=Limits)


class Front:
    """What the connections of one server share."""

    def __init__(self, handler: Handler, bounds: Bounds | None = None) -> None:
        self.handler, self.bounds = handler, bounds or Bounds()
        self.connections: set[Connection] = set()
        self.refused: set[Connection] = set()  # beyond the bound: told so, and soon gone
        self.held = 0
        self.draining = False
        self.date = date_line(time.time())
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time

    def connect(self) -> Connection:
        """A protocol for a client that is just connecting."""
        return Connection(self)

    @property
    def busy(self) -> bool:
        """Whether somebody is still to be answered."""
        return any(connection.busy for connection in self.connections)

    def sweep(self, now: float) -> None:
        """Close what takes too long. To be called about once a second, with the loop's time."""
        self.date = date_line(time.time())
        for connection in [each for each in (*self.connections, *self.refused) if each.deadline < now]:
            connection.expire()

    async def settle(self) -> None:
        """From now on each answer says that it is the connection's last. Returns when what had arrived was read."""
        self.draining = True
        await asyncio.sleep(SETTLE_SECONDS)

    def drain(self) -> None:
        """Close who is idle now, and who is being answered after that."""
        self.draining = True
        for connection in list(self.connections):
            connection.drain()

    def failed(self, error: Exception) -> None:
        """The handler did not handle this."""
        sys.stderr.write("error: " + "".join(traceback.format_exception(error)))


class _Exchange:
    """A request on its way to its answer; what the handler calls with it."""

    __slots__ = ("connection", "head", "keep", "old", "response", "size")

    def __init__(self, connection: Connection, size: int, keep: bool, old: bool, head: bool) -> None:
        self.connection, self.size, self.keep, self.old, self.head = connection, size, keep, old, head
        self.response: Response | None = None

    def __call__(self, response: Response) -> None:
        if self.response is not None:
            raise RuntimeError("a request is answered once")
        self.response = response
        self.connection.answered()


class Connection(asyncio.Protocol):
    """One client. ``deadline`` (in the loop's time) is when it has taken too long for what it is at."""

    __slots__ = (
        "_advancing", "_blocked", "_closing", "_ended", "_exchanges", "_front", "_held", "_reader", "_stopped",
        "_transport", "_unread", "_waiting", "deadline",
    )  # fmt: skip

    def __init__(self, front: Front) -> None:
        self._front = front
        self._reader: Reader | None = None
        self._transport: asyncio.Transport | None = None
        self._exchanges: deque[_Exchange] | None = None
        self._waiting = 0  # bytes of the bodies that are being answered
        self._held = 0
        self._advancing = False
        self._blocked = False  # not read from: too much is to be answered, or the client does not read its answers
        self._unread = False  # the client does not read its answers
        self._stopped = False  # no further request is taken
        self._ended = False  # the client sends no more
        self._closing = False  # the last answer is given
        self.deadline = inf

    @property
    def busy(self) -> bool:
        """Whether a request is arriving or being answered, or its answer is not gone yet."""
        if self._transport is None:
            return False
        return self._asking or self._transport.get_write_buffer_size() > 0

    @property
    def _asking(self) -> bool:
        return bool(self._exchanges) or (self._reader is not None and self._reader.partial)

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(MOST_UNREAD)
        front = self._front
        self.deadline = front.now() + front.bounds.idle
        if len(front.connections) < front.bounds.connections:
            front.connections.add(self)
        elif len(front.refused) < MOST_REFUSED:
            front.refused.add(self)
            self._refuse(503, "too many connections")
        else:
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        # What was asked is still answered, to the log at least: the user may have acted on half an answer.
        self._transport, self._stopped = None, True
        self._drop_reader()
        self._front.connections.discard(self)
        self._front.refused.discard(self)

    def pause_writing(self) -> None:
        # Who does not read the answers is not asked for more requests.
        self._unread = True
        self.deadline = self._front.now() + self._front.bounds.slow
        self._block()

    def resume_writing(self) -> None:
        self._unread = False
        if not self._advancing:
            self._advance(fresh=False)

    def data_received(self, data: bytes) -> None:
        if self._stopped:
            return  # read so that the client gets to see the answer, and for no other reason
        reader = self._reader
        if reader is None:
            reader = self._reader = Reader(self._front.bounds.request)
        fresh = not reader.partial
        reader.feed(data)
        if not self._blocked:
            self._advance(fresh=self._take(reader) or fresh)

    def eof_received(self) -> bool:
        """The client sends no more; what it asked it may still read. (TLS cannot be closed by half.)"""
        answering = self._exchanges or self._blocked
        if self._closing or not answering or self._transport is None or not self._transport.can_write_eof():
            return False
        self._ended = True
        return True

    # What the front calls.

    def expire(self) -> None:
        """Close: the deadline is past."""
        if self._closing or self._unread:
            self.abort()
        elif self._reader is not None and self._reader.partial:
            self._refuse(408, "the request did not arrive in time")
        else:
            self._close()

    def drain(self) -> None:
        """Close once what is asked is answered."""
        if not self._asking and not self._closing:
            self._close()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    # What an exchange calls.

    def answered(self) -> None:
        if not self._advancing:
            self._advance(fresh=False)

    def _take(self, reader: Reader) -> bool:
        """Hand over the requests that are there; whether there were any."""
        self._advancing = True  # answers that are given at once are written together
        handler, exchanges, any_taken = self._front.handler, self._exchanges, False
        if exchanges is None:
            exchanges = self._exchanges = deque()
        try:
            while not self._stopped:
                if exchanges and self._full():
                    self._block()
                    break
                request = reader.take()
                if request is None:
                    break
                any_taken, size = True, len(request.body)
                exchange = _Exchange(self, size, reader.keep, reader.old, request.method == "HEAD")
                exchanges.append(exchange)
                self._waiting += size
                self._stopped = not reader.keep
                try:
                    handler(request, exchange)
                except Exception as error:  # noqa: BLE001 - whatever it is, the others on this connection are answered
                    self._front.failed(error)
                    if exchange.response is None:
                        exchange.response = refusal(500, "the server failed at this request")
        except Bad as bad:
            self._refuse(bad.status, bad.why)
        self._advancing = False
        return any_taken

    def _advance(self, *, fresh: bool) -> None:
        """Write the answers that are ready, and go on reading if that made room.

        ``fresh``: the request that is only partly there, if one is, has just begun.
        """
        exchanges = self._exchanges
        if exchanges and exchanges[0].response is not None:
            self._write(exchanges)
        while self._blocked and not self._unread and not self._full():
            self._unblock()
            fresh = True  # it is not for the client that the rest was not read
            if self._reader is not None and not self._stopped:
                self._take(self._reader)
            if self._exchanges and self._exchanges[0].response is not None:
                self._write(self._exchanges)
        if self._transport is not None and not self._closing:
            self._settle(fresh=fresh)

    def _full(self) -> bool:
        """Whether more is to be answered than one client may ask at once."""
        return len(self._exchanges or ()) >= MOST_PIPELINED or self._waiting > self._front.bounds.request.body

    def _settle(self, *, fresh: bool) -> None:
        """See what is waited for now, and how long it may take."""
        front, reader = self._front, self._reader
        partial = reader is not None and reader.partial and not self._stopped
        if partial or self._held:
            held = reader.held if partial and reader is not None else 0
            front.held += held - self._held
            self._held = held
            if front.held > front.bounds.held and not self._exchanges:
                self._refuse(503, "too many requests are arriving at once")
                return
        if self._unread:
            return
        if (self._ended and not self._exchanges) or (front.draining and not self._asking):
            self._close()
        elif partial and not self._blocked:
            if fresh:
                self.deadline = front.now() + front.bounds.slow
            if not self._exchanges and reader is not None and reader.expects() and self._transport is not None:
                self._transport.write(CONTINUE)
        else:
            self.deadline = inf if self._exchanges else front.now() + front.bounds.idle

    def _write(self, exchanges: deque[_Exchange]) -> None:
        front, closes = self._front, False
        pieces: list[bytes] = []
        while exchanges and (response := exchanges[0].response) is not None:
            exchange = exchanges.popleft()
            self._waiting -= exchange.size
            closes = not exchange.keep or (front.draining and not self._asking)
            connection = _CLOSE if closes else _KEEP if exchange.old else b""
            try:
                pieces.append(encoded(response, front.date, connection=connection, head=exchange.head))
            except ValueError as error:
                front.failed(error)
                pieces.append(
                    encoded(refusal(500, "the server failed at its answer"), front.date, connection=connection)
                )
            if response.after is not None:
                front.loop.call_soon(response.after)
        if self._transport is not None:
            self._transport.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            if closes:
                self._close()

    def _close(self) -> None:
        """Say that nothing follows, and wait a little for the client to say so, too."""
        self._closing = self._stopped = True
        self._drop_reader()
        self.deadline = self._front.now() + LINGER_SECONDS
        if self._transport is None:
            return
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._unblock()
        else:
            self._transport.close()

    def _drop_reader(self) -> None:
        self._reader = None
        self._front.held -= self._held
        self._held = 0

    def _block(self) -> None:
        self._blocked = True
        if self._transport is not None:
            self._transport.pause_reading()

    def _unblock(self) -> None:
        if self._blocked:
            self._blocked = False
            if self._transport is not None:
                self._transport.resume_reading()

    def _refuse(self, status: int, why: str) -> None:
        """Say why after all that is to be said before, and close: what follows cannot be trusted to be a request."""
        if self._stopped:
            return
        self._stopped = True
        self._drop_reader()
        exchange = _Exchange(self, 0, keep=False, old=False, head=False)
        exchange.response = refusal(status, why)
        if self._exchanges is None:
            self._exchanges = deque()
        self._exchanges.append(exchange)
        self.answered()
