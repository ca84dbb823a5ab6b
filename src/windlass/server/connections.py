"""One client's connection: uvicorn's protocol, with the limits that it lacks.

Its fast parser takes headers (and trailers) without end, and waits without end for them, for bodies, and for readers.
Here what is no body has a size, everything has a time, and there are only so many connections. Time is counted in
sweeps over all connections, about once a second, so that no request pays for a timer of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MOST_CONNECTIONS = 4000
MOST_HEAD = 64 << 10  # bytes of a request's line and headers
FRAMING = 16  # bytes of a body's chunks for each byte in them
HEAD_SECONDS = 20.0  # for a request's headers to come; and for the first byte of a new connection
SILENCE_SECONDS = 20.0  # within a body without a byte
GRACE_SECONDS = 30.0  # for a body, beyond what it takes at the slowest pace
SLOWEST = 1000  # bytes a second
STALL_SECONDS = 60.0  # for a client to take what is written already: a megabyte or two


class _Dropped(list[tuple[bytes, bytes]]):
    """Where a body's trailers go: into the headers, they would be read as if they had been checked."""

    def append(self, _: tuple[bytes, bytes], /) -> None:
        pass


class Connection(HttpToolsProtocol):
    """``_head``: how many bytes came of a head that is not complete; None within a body. ``_framing``: how many more
    came since the head than those of the body, ``_body``. ``_waited``, ``_silent``, ``_stalled``: in seconds."""

    _head: int | None = 0
    _framing = 0
    _body = 0
    _seen = 0
    _waited = 0.0
    _silent = 0.0
    _stalled = 0.0
    _is_broken = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._is_broken:
            return
        if self._head is None:
            self._framing += len(data)
        else:
            self._head += len(data)
        super().data_received(data)
        if self._head is None:
            if self._framing > MOST_HEAD + FRAMING * self._body:
                self._refuse(431, "the body's chunks or trailers are too large")
        elif self._head > MOST_HEAD:
            self._refuse(431, "the request's headers are too large")

    def on_headers_complete(self) -> None:
        self._head, self._framing, self._body = None, 0, 0
        self._seen, self._waited, self._silent = 0, 0.0, 0.0
        if len(self.url) + sum([len(name) + len(value) for name, value in self.headers]) > MOST_HEAD:
            self._refuse(431, "the request's headers are too large")
            raise httptools.HttpParserError("refused")
        super().on_headers_complete()
        self.headers = _Dropped()

    def on_body(self, body: bytes) -> None:
        self._framing -= len(body)
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head, self._waited = 0, 0.0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def passed(self, seconds: float) -> None:
        """So much time has passed since the last sweep: end the connection if its client takes too long."""
        if self.transport is None or self.transport.is_closing():
            return
        self._stalled = self._stalled + seconds if self.flow.write_paused else 0.0
        if self._stalled > STALL_SECONDS:
            self.transport.abort()
        elif self._head is None:
            if self.flow.read_paused:
                return  # it is we who do not take what came
            self._waited += seconds
            self._silent = 0.0 if self._body > self._seen else self._silent + seconds
            self._seen = self._body
            if self._silent > SILENCE_SECONDS or self._waited > GRACE_SECONDS + self._body / SLOWEST:
                self._refuse(408, "the request's body does not come")
        elif self._head or self.cycle is None:
            self._waited += seconds
            if self._waited > HEAD_SECONDS:
                self._refuse(408, "the request does not come")

    def _refuse(self, status: int, message: str) -> None:
        """Answer what is no request, in both forms of errors, and end the connection."""
        if self.transport.is_closing():
            return
        self._is_broken = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if self._head is not None or cycle.response_started:
                cycle.keep_alive = False  # what was asked before it is answered yet
                return
            cycle.disconnected = True
            cycle.message_event.set()
        if self._head != 0:  # to one who asked for nothing yet, nothing is said
            body = msgspec.json.encode({
                "error": {"kind": "invalid", "message": message, "hint": "send one well-formed HTTP/1.1 request"},
                "error_code": "BAD_REQUEST",
                "message": message,
            })  # fmt: skip
            head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
            self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


def sweep(connections: Iterable[object], seconds: float) -> None:
    """Tell each connection how much time has passed."""
    for each in list(connections):
        if isinstance(each, Connection):
            each.passed(seconds)
