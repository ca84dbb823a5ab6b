"""One client's connection: uvicorn's protocol, with the limits that it lacks.

Its fast parser takes headers (and trailers) without end, and waits for them without end. Here what is no body has a
size, a request's head and the rest of a body that nobody reads have a time, and there are only so many connections.
The time of a body that is read is the guard's.
"""

from __future__ import annotations

import asyncio

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MOST_CONNECTIONS = 4000
MOST_HEAD = 64 << 10  # bytes of a request's line and headers
FRAMING = 16  # bytes of a body's chunks for each byte in them
HEAD_SECONDS = 20.0  # from a request's first byte to the end of its headers; and until a connection's first byte
REST_SECONDS = 20.0  # for what is left of a body whose request was answered already
STALL_SECONDS = 60.0  # for a client to take what is written already: a megabyte or two


class _Dropped(list[tuple[bytes, bytes]]):
    """Where a body's trailers go: into the headers, they would be read as if they had been checked."""

    def append(self, _: tuple[bytes, bytes], /) -> None:
        pass


class Connection(HttpToolsProtocol):
    """``_head``: how much came of a head that is not complete; None within a body. ``_framing``: how much more came
    since the head than the body that was in it."""

    _head: int | None = 0
    _framing = 0
    _body = 0
    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _is_broken = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
        else:
            self._expect(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect(None)
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def data_received(self, data: bytes) -> None:
        if self._is_broken:
            return
        if self._head is None:
            self._framing += len(data)
        else:
            self._head += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head is None:
            if self._framing > MOST_HEAD + FRAMING * self._body:
                self._refuse(431, "the body's chunks or trailers are too large")
        elif self._head > MOST_HEAD:
            self._refuse(431, "the request's headers are too large")
        elif self._head and self._timer is None:
            self._expect(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        self._head, self._framing, self._body = None, 0, 0
        if self._timer is not None:
            self._expect(None)
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MOST_HEAD:
            self._refuse(431, "the request's headers are too large")
            raise httptools.HttpParserError("refused")
        super().on_headers_complete()
        self.headers = _Dropped()

    def on_body(self, body: bytes) -> None:
        self._framing -= len(body)
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head = 0
        if self._timer is not None:
            self._expect(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._head is None and not self.transport.is_closing():
            self._expect(REST_SECONDS)

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def _expect(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        self._timer = None
        if self._head == 0:
            self.transport.close()
        else:
            self._refuse(408, "the request does not come")

    def _refuse(self, status: int, message: str) -> None:
        """Answer what is no request, in both forms of errors, and end the connection."""
        if self.transport.is_closing():
            return
        self._expect(None)
        self._is_broken = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if self._head is not None or cycle.response_started:
                cycle.keep_alive = False  # what was asked before it is answered yet
                return
            cycle.disconnected = True
            cycle.message_event.set()
        body = msgspec.json.encode({
            "error": {"kind": "invalid", "message": message, "hint": "send one well-formed HTTP/1.1 request"},
            "error_code": "BAD_REQUEST",
            "message": message,
        })  # fmt: skip
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
