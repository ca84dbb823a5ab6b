"""HTTP/1.1 as the gateway speaks it: keep-alive, pipelining, bounded headers and bodies. Parsed by httptools."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import httptools

MOST_BODY = 1 << 20
MOST_HEADERS = 16 << 10
MOST_PIPELINED = 64
IDLE_SECONDS = 75.0
SLOW_SECONDS = 20.0
_REASONS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
    413: "Content Too Large", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
    503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip


@dataclass(slots=True)
class Request:
    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    after: Callable[[], None] | None = None  # run once the answer is on its way


Reply = Callable[[Response], None]
# Called for each request as it arrives; calls its reply once, now or later. Answers go out in the requests' order.
Handler = Callable[[Request, Reply], None]


class _Exchange:
    """A request on its way to its answer; what the handler calls with it."""

    __slots__ = ("_connection", "head", "keep", "response")

    def __init__(self, connection: Connection, *, keep: bool, head: bool) -> None:
        self._connection, self.keep, self.head = connection, keep, head
        self.response: Response | None = None

    def __call__(self, response: Response) -> None:
        if self.response is not None:
            raise RuntimeError("a request is answered once")
        self.response = response
        self._connection.flush()


class Connection(asyncio.Protocol):
    """One client. Its requests are answered one after the other, in their order."""

    def __init__(self, handler: Handler, open_connections: set[Connection]) -> None:
        self._handler, self._open = handler, open_connections
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url, self._headers, self._size = b"", dict[bytes, bytes](), 0
        self._body: list[bytes] = []
        self._length = 0
        self._exchanges: deque[_Exchange] = deque()
        self._flushing = False
        self._partial = False
        self._refused = False
        self.last_active = asyncio.get_running_loop().time()
        self.draining = False

    @property
    def busy(self) -> bool:
        return bool(self._exchanges)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._open.discard(self)
        # What was asked is still answered, to the log at least: the user may have acted on half an answer.

    def pause_writing(self) -> None:
        # Who does not read the answers is not asked for more requests.
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.last_active = asyncio.get_running_loop().time()
        if self._refused:
            return
        self._partial = True
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, "this server speaks HTTP/1.1 only")
        except httptools.HttpParserError as error:
            if not self._refused:
                self._refuse(400, f"not HTTP: {error}")
        else:
            if not self._headers_done and self._size > MOST_HEADERS:
                self._refuse(431, f"more than {MOST_HEADERS} bytes of headers")

    def sweep(self, now: float) -> None:
        """Close a client that is idle for too long, or takes too long to send a request."""
        quiet = now - self.last_active
        if not self.busy and quiet > (SLOW_SECONDS if self._partial else IDLE_SECONDS):
            if self._partial:
                self._refuse(408, "the request did not arrive in time")
            elif self._transport is not None:
                self._transport.close()

    def drain(self) -> None:
        """Close once what was asked is answered."""
        self.draining = True
        if not self.busy and self._transport is not None:
            self._transport.close()

    # What httptools calls.

    _headers_done = False

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body, self._length = b"", {}, [], 0
        self._headers_done = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._headers_done = True
        if self._headers.get(b"expect", b"").lower() == b"100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._length += len(body)
        if self._length > MOST_BODY:
            self._refuse(413, f"more than {MOST_BODY} bytes in a request")
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._partial = False
        self._size = 0
        if self._refused:
            return
        request = Request(
            self._parser.get_method().decode("latin-1"),
            self._url.partition(b"?")[0].decode("latin-1"),
            self._headers,
            b"".join(self._body),
        )
        if len(self._exchanges) >= MOST_PIPELINED:
            self._refuse(503, "too many requests at once on one connection")
            return
        exchange = _Exchange(self, keep=self._parser.should_keep_alive(), head=request.method == "HEAD")
        self._exchanges.append(exchange)
        self._handler(request, exchange)

    def flush(self) -> None:
        """Write the answers that are ready, up to the first request that has none yet."""
        if self._flushing:
            return
        self._flushing = True
        while self._exchanges and (response := self._exchanges[0].response) is not None:
            exchange = self._exchanges.popleft()
            keep = exchange.keep and not self.draining
            if self._transport is not None and not self._transport.is_closing():
                self._transport.write(_encoded(response, keep=keep, head=exchange.head))
                if not keep:
                    self._transport.close()
            if response.after is not None:
                response.after()
        self._flushing = False
        if not self._exchanges:
            self.last_active = asyncio.get_running_loop().time()
            if self._refused and self._transport is not None:
                self._transport.close()

    def _refuse(self, status: int, why: str) -> None:
        """Say why and close: what follows on this connection cannot be trusted to be a request."""
        if self._refused:
            return
        self._refused = True
        if self._transport is None:
            return
        body = json.dumps({"error": {"kind": "invalid", "message": why, "hint": ""}}).encode()
        if not self._exchanges:
            self._transport.write(_encoded(Response(status, body), keep=False, head=False))
            self._transport.close()


def _encoded(response: Response, *, keep: bool, head: bool) -> bytes:
    extra = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    start = (
        f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Error')}\r\ncontent-type: {response.kind}\r\n"
        f"content-length: {len(response.body)}\r\n{extra}{'' if keep else 'connection: close' + chr(13) + chr(10)}\r\n"
    ).encode("latin-1")
    return start if head else start + response.body
