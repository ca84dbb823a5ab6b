"""What users meet: paths, keys and bodies on one side, the dispatcher on the other."""

from __future__ import annotations

import hashlib
import re
import secrets
import sys
import traceback
from collections.abc import Callable

from windlass.domain.errors import Denied, Failure, Invalid
from windlass.domain.routing import Route
from windlass.serving import body
from windlass.serving.dispatch import Asked, Dispatcher, Served
from windlass.serving.http import Reply, Request, Response

_INVOCATIONS = re.compile(r"/endpoints/([A-Za-z][A-Za-z0-9_-]{0,63})/invocations")


class Front:
    """Answers HTTP requests. ``gauges`` gives what ``/metrics`` shows besides the dispatcher's counts."""

    def __init__(self, dispatcher: Dispatcher, gauges: Callable[[], dict[str, float]]) -> None:
        self._dispatcher, self._gauges = dispatcher, gauges

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer one HTTP request, now or later."""
        try:
            self._handle(request, reply)
        except Failure as failure:
            reply(failed(400 if isinstance(failure, Invalid) else 503, failure))
        except Exception:  # noqa: BLE001 - whatever it is, the user gets an answer and the connection lives
            sys.stderr.write(f"error: {request.method} {request.path}: {traceback.format_exc()}")
            reply(failed(500, Failure("the gateway failed at this request", hint="its log says at what")))

    def _handle(self, request: Request, reply: Reply) -> None:
        match = _INVOCATIONS.fullmatch(request.path)
        if match is None:
            reply(self._other(request))
            return
        if request.method != "POST":
            wrong = Invalid(f"{request.method} is not for {request.path}", hint="POST rows")
            reply(failed(405, wrong, allow="POST"))
            return
        endpoint = match.group(1)
        route = self._dispatcher.table.routes.get(endpoint)
        if route is not None and route.keys is not None and not _opens(route, request):
            closed = Denied(f"endpoint '{endpoint}' wants an API key", hint="send it as: authorization: Bearer KEY")
            reply(failed(401, closed, headers={"www-authenticate": "Bearer"}))
            return
        rows = body.rows_of(request.body)
        # Without a key every request is a user of its own.
        user = request.headers.get(b"windlass-user", b"").decode("latin-1") or secrets.token_hex(8)
        asked = Asked(endpoint, user, rows, request.headers, size=len(request.body))
        self._dispatcher.invoke(asked, lambda served: reply(_response(served)))

    def _other(self, request: Request) -> Response:
        nothing = Invalid(f"nothing at {request.path[:200]}", hint="POST to /endpoints/NAME/invocations")
        if request.method not in ("GET", "HEAD"):
            return failed(404, nothing)
        match request.path:
            case "/health":
                return Response(200, b'{"status":"ok"}')
            case "/ready":
                return Response(200, b'{"status":"ready"}')
            case "/metrics":
                text = self._dispatcher.metrics.text(self._gauges())
                return Response(200, text.encode(), kind="text/plain; version=0.0.4; charset=utf-8")
        return failed(404, nothing)


def failed(status: int, failure: Failure, *, allow: str = "", headers: dict[str, str] | None = None) -> Response:
    """A failure as a response; one that retrying may mend says when to."""
    headers = dict(headers or {})
    if status == 503:
        headers["retry-after"] = "1"
    if allow:
        headers["allow"] = allow
    return Response(status, body.error_body(failure), headers=headers)


def _response(served: Served) -> Response:
    if served.answers is None:
        assert served.failure is not None
        return failed(served.status, served.failure)
    answers = served.answers
    return Response(200, body.answer_body(served.id, answers.predictions, answers.probabilities, served.release))


def _opens(route: Route, request: Request) -> bool:
    """Whether the request carries one of the endpoint's keys.

    Keys are looked up by their digest: how long that takes says nothing about a key.
    """
    scheme, _, sent = request.headers.get(b"authorization", b"").partition(b" ")
    key = sent.strip() if scheme.lower() == b"bearer" else request.headers.get(b"x-api-key", b"")
    assert route.keys is not None
    return bool(key) and hashlib.sha256(key).hexdigest() in route.keys
