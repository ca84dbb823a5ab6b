"""What every request must pass before any route sees it: Host, Origin, who asks, its form, its size.

A browser on this machine can be made to call a loopback port by any page its user visits. Two checks, on every
method, close that door: the Host must be a name of this server (no DNS rebinding), and a request that says it comes
from another origin is refused. Who asks is looked at next, also on every method and path: a route cannot forget it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import lru_cache
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from windlass.domain.errors import Denied, Failure, Invalid
from windlass.server import binding
from windlass.server.errors import Busy, Encoded, TooLarge
from windlass.server.tokens import Admit

MAX_BODY = 16 << 20
FILES = "/api/2.0/mlflow-artifacts/", "/ajax-api/2.0/mlflow-artifacts/"  # streamed to the store, whatever their size
STREAMED = 1 << 20  # what is held of one
OPEN = frozenset({"/health"})  # whether a server is up may be asked by anybody
# The parts of an upload: their URLs were given to who may upload, and hold a secret of their own.
PRESIGNED = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/parts/[0-9a-f]{48}/\d{1,5}")
# Bodies that are coming in, all together; what is no larger than SMALL_BODY passes even then.
MOST_HELD = 256 << 20
SMALL_BODY = 64 << 10
_PERSON = "windlass.person"
_LOOKED_AT = frozenset({
    b"host", b"origin", b"authorization", b"sec-fetch-site", b"content-length", b"content-encoding",
})  # fmt: skip


def person_of(scope: Scope) -> str | None:
    """Whom a request's token names; None where nobody needs to say who they are."""
    found: str | None = scope.get(_PERSON)
    return found


class Guard:
    """``failed`` turns what is wrong with a request for a path into its answer; ``admit`` says who asks, if that has
    to be said at all; ``hosts`` are this server's names besides the loopback's.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        failed: Callable[[str, Failure], Response],
        max_body: int = MAX_BODY,
        admit: Admit | None = None,
        hosts: Collection[str] = (),
    ) -> None:
        self.app = app
        self.failed = failed
        self.max_body = max_body
        self.admit = admit
        self.hosts = frozenset(host.lower() for host in hosts)
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self._pass(scope)
        except Failure as problem:
            # Answered without reading the body: the connection has to go with it.
            response = self.failed(scope["path"], problem)
            response.headers["connection"] = "close"
            await response(scope, receive, send)
            return
        await self._limited(scope, receive, send)

    async def _pass(self, scope: Scope) -> None:
        """Raises:
        Failure: the request may not pass.
        """
        hosts, origins, tokens, path = [], [], [], scope["path"]
        length = b"0"
        for name, value in scope["headers"]:
            if name not in _LOOKED_AT:
                continue
            match name:
                case b"host":
                    hosts.append(value)
                case b"origin":
                    origins.append(value)
                case b"authorization":
                    tokens.append(value)
                case b"sec-fetch-site" if value.strip().lower() == b"cross-site":
                    raise Denied("a page of another site may not call this server", hint="open the server's own page")
                case b"content-length":
                    length = value
                case b"content-encoding" if value.strip().lower() not in (b"", b"identity"):
                    raise Encoded("the body is encoded", hint="send it as it is, without Content-Encoding")
        host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        if not _is_named(host, self.hosts):
            raise Denied(
                "the request names another host than this server's",
                hint="call http://127.0.0.1:PORT, or start the server with --allow-host NAME",
            )
        for origin in origins:
            if not _same(origin.decode("latin-1"), host):
                raise Denied(
                    f"a page of {origin[:100].decode('latin-1')} may not call this server",
                    hint="open the server's own page",
                )
        if self.admit is not None and path not in OPEN:
            presigned = scope["method"] == "PUT" and PRESIGNED.fullmatch(path)
            scope[_PERSON] = None if presigned else await self.admit(tokens)
        if "\ufffd" in path:
            _check_text(scope["raw_path"])
        if not _is_streamed(scope) and length.isdigit() and int(length[:20]) > self.max_body:
            raise self._too_large()

    async def _limited(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen, held, streamed = 0, 0, _is_streamed(scope)

        async def counted() -> Message:
            nonlocal seen, held
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_body and not streamed:
                raise self._too_large()
            if seen != held:
                now = min(seen, STREAMED) if streamed else seen
                self._held += now - held
                held = now
                if self._held > MOST_HELD and held > SMALL_BODY:
                    raise Busy("the server holds as many bodies as it will", hint="try again in a moment")
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            self._held -= held

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the request is larger than {self.max_body >> 20} MiB", hint="send it in parts")


_is_named = lru_cache(maxsize=256)(binding.is_named)


def _is_streamed(scope: Scope) -> bool:
    path: str = scope["path"]
    return scope["method"] == "PUT" and path.startswith(FILES)


def _same(origin: str, host: str) -> bool:
    """Whether an Origin is this server's own: the host that was called, port and all."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.strip().lower()


def _check_text(path: bytes) -> None:
    """Raises:
    Invalid: a path is not UTF-8; overlong forms are not.
    """
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise Invalid("the path is not UTF-8 text", hint="encode it as UTF-8, then with %XX, once") from None
