"""Whatever goes wrong, as an answer: in MLflow's form under MLflow's paths, in ours elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from windlass.domain.errors import Failure, Invalid, NotFound
from windlass.server import wire
from windlass.server.errors import headers_of, unforeseen
from windlass.server.mlflow.app import speaks
from windlass.server.mlflow.errors import described

_log = logging.getLogger("windlass.server")

Handler = Callable[[Request, Exception], Response | Awaitable[Response]]


def answer(path: str, error: Failure) -> Response:
    """The answer to a request for ``path`` that failed."""
    if not speaks(path):
        return wire.failed(error)
    body, status = described(error)
    return Response(wire.encoded(body), status_code=status, media_type="application/json", headers=headers_of(error))


def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, Failure)
    return answer(request.url.path, error)


def _unroutable(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        problem: Failure = Invalid(f"{request.method} is not for {request.url.path}", hint="/docs lists what is")
    else:
        problem = NotFound(f"nothing at {request.url.path}", hint="/docs lists what is here")
    return wire.failed(problem, status=error.status_code, headers=error.headers)


def _unforeseen(request: Request, error: Exception) -> Response:
    _log.error("%s %s", request.method, request.url.path, exc_info=error)
    return answer(request.url.path, unforeseen())


def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # to nobody: the client has gone away


HANDLERS: dict[int | type[Exception], Handler] = {
    ClientDisconnect: _gone,
    Failure: _failed,
    HTTPException: _unroutable,
    Exception: _unforeseen,
}
