"""What no request may pass with: another host, another origin, too large a body. And where a server may listen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from windlass.domain.errors import Denied, Unavailable
from windlass.server import binding, failures
from windlass.server.guard import Guard

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@pytest.fixture(scope="module")
def application() -> Starlette:
    async def size(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

    return Starlette(
        routes=[Route("/{path:path}", size, methods=METHODS)],
        middleware=[Middleware(Guard, failed=failures.answer, max_body=1000)],
        exception_handlers=failures.HANDLERS,
    )


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8801"}, 200),
        ({"host": "127.0.0.2"}, 200),
        ({"host": "[::1]:80"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example:8801"}, 403),
        ({"host": "localhost.evil.example"}, 403),
        ({"host": "10.0.0.1"}, 403),
        ({"host": "[2001:db8::1]"}, 403),
        ({"host": "0.0.0.0"}, 403),
        ({"host": ""}, 403),
        ({"host": "localhost:1", "origin": "http://localhost:1"}, 200),
        ({"host": "localhost:1", "origin": "http://localhost:2"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
def test_host_and_origin_are_checked_on_every_method(
    serve: Callable[[object], str],
    ask: Callable[..., Any],
    application: Starlette,
    headers: dict[str, str],
    status: int,
) -> None:
    url = serve(application)
    assert {method: ask(url, method, "/x", headers=headers).status for method in METHODS} == dict.fromkeys(
        METHODS, status
    )


def test_a_body_beyond_the_limit_is_refused_whether_its_length_is_told_or_not(
    serve: Callable[[object], str], ask: Callable[..., Any], application: Starlette
) -> None:
    url = serve(application)
    assert ask(url, "POST", "/x", b"x" * 1000).body == b"1000"
    told = ask(url, "POST", "/x", b"x" * 1001)
    assert (told.status, told.json()["error"]["kind"], told.headers["connection"]) == (413, "invalid", "close")
    assert ask(url, "POST", "/x", iter([b"x" * 600] * 2)).status == 413
    assert ask(url, "PUT", "/api/2.0/mlflow-artifacts/artifacts/0/r/artifacts/a", b"x" * 5000).body == b"5000"


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "example.org", "", "::"])
def test_a_server_listens_on_nothing_but_the_loopback(host: str) -> None:
    with pytest.raises(Denied, match="refusing to listen"):
        binding.listen(host, 0)


def test_a_port_in_use_is_told_with_what_to_do() -> None:
    with binding.listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(Unavailable, match=f"port {port} on 127.0.0.1 is in use") as error:
            binding.listen("127.0.0.1", port, option="--gateway-port")
    assert "--gateway-port" in error.value.hint
