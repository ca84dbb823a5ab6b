"""A request, an answer to it, and the bytes that the answer becomes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache

_REASONS = {
    200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 304: "Not Modified", 400: "Bad Request",
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable",
    408: "Request Timeout", 409: "Conflict", 411: "Length Required", 413: "Content Too Large", 414: "URI Too Long",
    415: "Unsupported Media Type", 417: "Expectation Failed", 422: "Unprocessable Content", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Unavailable", 504: "Gateway Timeout", 505: "HTTP Version Not Supported",
}  # fmt: skip
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(slots=True)
class Request:
    """What a client asks. Names of ``headers`` are in lower case; ``path`` and ``query`` are as they were sent."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes = b""
    query: str = ""


@dataclass(slots=True)
class Response:
    """An answer. ``after`` is run once it is on its way."""

    status: int
    body: bytes
    kind: str = "application/json"
    headers: Mapping[str, str] | None = None
    after: Callable[[], None] | None = None


Reply = Callable[[Response], None]
# Called for each request as it arrives; calls its reply once, now or later. Answers go out in the requests' order.
Handler = Callable[[Request, Reply], None]


def date_line(now: float) -> bytes:
    """The ``date`` header of an answer that is given at ``now`` (seconds since 1970)."""
    return f"date: {formatdate(now, usegmt=True)}\r\n".encode()


def encoded(response: Response, date: bytes, *, connection: bytes = b"", head: bool = False) -> bytes:
    """The bytes of an answer.

    Args:
        response: The answer.
        date: As ``date_line`` makes it.
        connection: The whole header ``connection``, or nothing where HTTP/1.1's default is meant.
        head: Whether it answers a HEAD: all but the body.

    Raises:
        ValueError: a header of the answer holds a line end.
    """
    status, body, extra = response.status, response.body, ""
    if response.headers:
        extra = "".join([f"{name}: {value}\r\n" for name, value in response.headers.items()])
        if not extra.count("\r") == extra.count("\n") == len(response.headers):
            raise ValueError("a header holds a line end")
    start = _start(status, response.kind)
    if status in (204, 304):
        return b"%b%b%b%b\r\n" % (start, date, connection, extra.encode("latin-1"))
    return b"%b%b%b%bcontent-length: %d\r\n\r\n%b" % (
        start, date, connection, extra.encode("latin-1"), len(body), b"" if head else body,
    )  # fmt: skip


@lru_cache(maxsize=256)
def _start(status: int, kind: str) -> bytes:
    if "\r" in kind or "\n" in kind:
        raise ValueError("a header holds a line end")
    return f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}\r\ncontent-type: {kind}\r\n".encode("latin-1")


def refusal(status: int, why: str) -> Response:
    """The answer to what is no request that this server takes."""
    kind = "unavailable" if status == 503 else "invalid"
    body = json.dumps({"error": {"kind": kind, "message": why, "hint": ""}}).encode()
    return Response(status, body, headers={"retry-after": "1"} if status == 503 else None)
