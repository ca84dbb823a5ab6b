"""What every request must pass before any route sees it: Host, Origin, and a limit on its size.

A browser on this machine can be made to call a loopback port by any page its user visits. Two checks, on every
method, close that door: the Host must name the loopback (no DNS rebinding), and a request that says it comes from
another origin is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from windlass.domain.errors import Denied, Failure
from windlass.server import binding
from windlass.server.errors import TooLarge

MAX_BODY = 16 << 20
UNBOUNDED = "/api/2.0/mlflow-artifacts/", "/ajax-api/2.0/mlflow-artifacts/"  # streamed to the store, never held


class Guard:
    """``failed`` turns what is wrong with a request for a path into its answer."""

    def __init__(self, app: ASGIApp, *, failed: Callable[[str, Failure], Response], max_body: int = MAX_BODY) -> None:
        self.app = app
        self.failed = failed
        self.max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        problem = self._objection(scope["path"], headers)
        if problem is not None:
            # Answered without reading the body: the connection has to go with it.
            response = self.failed(scope["path"], problem)
            response.headers["connection"] = "close"
            await response(scope, receive, send)
            return
        await self._limited(scope, receive, send)

    def _objection(self, path: str, headers: Headers) -> Failure | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not binding.is_loopback_name(hosts[0]):
            return Denied(
                "the request names another host than this machine's loopback", hint="call http://127.0.0.1:PORT"
            )
        for origin in headers.getlist("origin"):
            if not _same(origin, hosts[0]):
                return Denied(f"a page of {origin[:100]} may not call this server", hint="open the server's own page")
        if headers.get("sec-fetch-site") == "cross-site":
            return Denied("a page of another site may not call this server", hint="open the server's own page")
        length = headers.get("content-length", "0")
        if not path.startswith(UNBOUNDED) and length.isdigit() and int(length) > self.max_body:
            return self._too_large()
        return None

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen, unbounded = 0, scope["path"].startswith(UNBOUNDED)

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_body and not unbounded:
                raise self._too_large()
            return message

        await self.app(scope, counted, send)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the request is larger than {self.max_body >> 20} MiB", hint="send it in parts")


def _same(origin: str, host: str) -> bool:
    """Whether an Origin is this server's own: the host that was called, port and all."""
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.strip().lower()
