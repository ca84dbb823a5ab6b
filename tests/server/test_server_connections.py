"""Slow clients: a head, a body, the rest of a body, a reader; each with its time, here a short one."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from windlass.domain.errors import Failure
from windlass.server import connections, failures, guard, listener
from windlass.server.guard import Guard

Serve = Callable[[object], str]


async def size(scope: Scope, receive: Receive, send: Send) -> None:
    """Says how large the body was; under /unread it does not look at it, under /large it answers with a lot."""
    if scope["path"] == "/unread":
        answer: Response = PlainTextResponse("unread")
    elif scope["path"] == "/large":
        answer = PlainTextResponse(b"x" * (64 << 20))
    else:
        try:
            answer = PlainTextResponse(str(len(await Request(scope, receive).body())))
        except Failure as failure:
            answer = failures.answer(scope["path"], failure)
    await answer(scope, receive, send)


@pytest.fixture
def port(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> int:
    for name in ("HEAD_SECONDS", "SILENCE_SECONDS", "STALL_SECONDS"):
        monkeypatch.setattr(connections, name, 0.35)
    monkeypatch.setattr(connections, "GRACE_SECONDS", 1.0)
    monkeypatch.setattr(listener, "SWEEP_TICKS", 1)
    found = urlsplit(serve(Guard(size, failed=failures.answer))).port
    assert found is not None
    return found


def told(port: int, *parts: bytes, pause: float = 0.05) -> bytes:
    """Send parts with pauses between them; what comes until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        for part in parts:
            try:
                client.sendall(part)
            except OSError:
                break
            time.sleep(pause)
        found = b""
        try:
            while part := client.recv(65536):
                found += part
        except ConnectionResetError:
            pass
        return found


HEAD = b"POST /x HTTP/1.1\r\nHost: localhost\r\n"


def test_a_head_that_does_not_end_is_ended(port: int) -> None:
    assert told(port, HEAD)[:13] == b"HTTP/1.1 408 "
    trickled = told(port, HEAD, *[b"X"] * 100)
    assert trickled[:13] in (b"HTTP/1.1 408 ", b"")  # its answer may be lost to one who goes on


def test_a_connection_that_says_nothing_is_ended_without_a_word(port: int) -> None:
    assert told(port) == b""


def test_a_second_head_has_its_time_too(port: int) -> None:
    first = HEAD + b"Content-Length: 0\r\n\r\n"
    answers = told(port, first, HEAD[:20])
    assert answers[:13] == b"HTTP/1.1 200 " and b"HTTP/1.1 408 " in answers


def test_a_body_that_pauses_is_refused(port: int) -> None:
    assert told(port, HEAD + b"Content-Length: 10\r\n\r\n12345")[:13] == b"HTTP/1.1 408 "
    assert told(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n")[:13] == b"HTTP/1.1 408 "


def test_a_body_that_trickles_is_refused(port: int) -> None:
    assert b" 408 " in told(port, HEAD + b"Content-Length: 100\r\n\r\n", *[b"x"] * 40)[:20]


def test_a_body_that_is_slow_but_comes_is_taken(port: int) -> None:
    answer = told(port, HEAD + b"Content-Length: 5000\r\nConnection: close\r\n\r\n", *[b"x" * 250] * 20)
    assert answer.endswith(b"\r\n\r\n5000")


def test_the_rest_of_a_body_that_nobody_reads_has_its_time(port: int) -> None:
    answer = told(port, b"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", *[b"x"] * 20)
    assert answer[:13] in (b"HTTP/1.1 200 ", b"")


def test_a_reader_that_does_not_read_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(1.5)
        count = 0
        try:
            while part := client.recv(1 << 20):
                count += len(part)
        except ConnectionResetError:
            pass
        assert count < 64 << 20


def test_more_connections_than_the_most_are_ended(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 2)
    kept = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(2)]
    try:
        time.sleep(0.1)
        assert told(port, HEAD + b"Content-Length: 0\r\n\r\n") == b""
    finally:
        for each in kept:
            each.close()


def test_many_bodies_at_once_are_held_only_so_far(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "MOST_HELD", 300_000)
    port = urlsplit(serve(Guard(size, failed=failures.answer))).port
    assert port is not None
    closing = HEAD + b"Connection: close\r\n"
    head = closing + b"Content-Length: 200000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as first:
        first.sendall(head + b"x" * 190_000)
        time.sleep(0.2)
        assert told(port, head + b"x" * 199_999 + b"y")[:13] == b"HTTP/1.1 503 "
        assert told(port, closing + b"Content-Length: 50000\r\n\r\n" + b"x" * 50_000).endswith(b"50000")
        first.sendall(b"x" * 10_000)
        assert first.recv(65536).endswith(b"200000")
    assert told(port, head + b"x" * 200_000).endswith(b"200000")
