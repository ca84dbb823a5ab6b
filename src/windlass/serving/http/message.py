"""A request, an answer to it, and the bytes that the answer becomes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate

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
    body = response.body
    if response.status == 200 and response.kind == "application/json" and not (connection or head or response.headers):
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n%b" % (
            date, len(body), body,
        )  # fmt: skip
    lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Unknown')}", f"content-type: {response.kind}"]
    if response.headers:
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if response.status not in (204, 304):
        lines.append(f"content-length: {len(body)}")
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header holds a line end")
    start = "\r\n".join(lines).encode("latin-1") + b"\r\n" + date + connection + b"\r\n"
    return start if head or response.status in (204, 304) else start + body


def refusal(status: int, why: str) -> Response:
    """The answer to what is no request that this server takes."""
    kind = "unavailable" if status == 503 else "invalid"
    body = json.dumps({"error": {"kind": kind, "message": why, "hint": ""}}).encode()
    return Response(status, body, headers={"retry-after": "1"} if status == 503 else None)
