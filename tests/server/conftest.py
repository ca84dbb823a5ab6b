"""Servers for real: uvicorn in a thread on a free loopback port, asked over plain HTTP."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from windlass.server import binding
from windlass.server.listener import Server


class Reply(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


Ask = Callable[..., Reply]


@contextmanager
def running(application: object) -> Iterator[str]:
    with binding.listen("127.0.0.1", 0) as listener:
        ready = threading.Event()
        server = Server(application, ready=ready.set)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            assert ready.wait(10)
            yield binding.url("127.0.0.1", listener.getsockname()[1])
        finally:
            server.stop()
            thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[object], str]]:
    """An ASGI application, served until the test ends; gives its URL."""
    with ExitStack() as stack:
        yield lambda application: stack.enter_context(running(application))


@pytest.fixture
def ask() -> Ask:
    """One request, one reply. Headers replace the usual ones; the path goes out as it is written."""

    def send(
        url: str, method: str, path: str, body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:  # fmt: skip
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
        try:
            given = {"host": urlsplit(url).netloc, "content-type": "application/json", **(headers or {})}
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            if isinstance(body, bytes):
                given = {"content-length": str(len(body)), **given}
            elif body is not None:
                given = {"transfer-encoding": "chunked", **given}
            for name, value in given.items():
                connection.putheader(name, value)
            connection.endheaders(body, encode_chunked=not isinstance(body, bytes))
            response = connection.getresponse()
            headers_back = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, headers_back, response.read())
        finally:
            connection.close()

    return send
