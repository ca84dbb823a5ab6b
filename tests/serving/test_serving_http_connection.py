"""Connections without a network: order, bounds, times, and ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.serving.http import Bounds, Connection, Front, Limits, Reply, Request, Response
from windlass.serving.http.connection import (
    IDLE_SECONDS,
    LINGER_SECONDS,
    MOST_PIPELINED,
    MOST_REFUSED,
    SLOW_SECONDS,
)

GET = b"GET /%d HTTP/1.1\r\nhost: h\r\n\r\n"


class Wire:
    """A transport that keeps what is written, as the loop's would for a client that reads it all."""

    def __init__(self, *, halves: bool = True) -> None:
        self.sent, self.halves = b"", halves
        self.writes = self.unsent = 0
        self.reading, self.ended, self.closed, self.aborted = True, False, False, False

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.sent += data
        self.writes += 1

    def can_write_eof(self) -> bool:
        return self.halves

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int) -> None:
        assert high <= 1 << 20

    def get_write_buffer_size(self) -> int:
        return self.unsent

    @property
    def statuses(self) -> list[int]:
        return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d+) ", self.sent)]


class Bench:
    """A front whose clock stands still, and whose requests are answered when the test says so."""

    def __init__(self, loop: asyncio.AbstractEventLoop, bounds: Bounds | None = None) -> None:
        self.asked: list[tuple[Request, Reply]] = []
        self.time = 100.0
        self.loop = loop
        self.front = self.run(lambda: Front(lambda request, reply: self.asked.append((request, reply)), bounds))
        self.front.now = lambda: self.time

    def run(self, work: Callable[[], Any]) -> Any:
        async def within() -> Any:
            return work()

        return self.loop.run_until_complete(within())

    def connect(self, *, halves: bool = True) -> tuple[Connection, Wire]:
        connection, wire = self.front.connect(), Wire(halves=halves)
        connection.connection_made(cast(asyncio.Transport, wire))
        return connection, wire

    def answer(self, at: int = 0) -> None:
        request, reply = self.asked.pop(at)
        reply(Response(200, request.path.encode() + b"|"))

    def later(self, seconds: float) -> None:
        self.time += seconds
        self.front.sweep(self.time)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture
def bench(loop: asyncio.AbstractEventLoop) -> Bench:
    return Bench(loop, Bounds(request=Limits(body=1000)))


def bodies(wire: Wire) -> list[bytes]:
    return re.findall(rb"/\d+\|", wire.sent)


def test_answers_go_out_in_the_order_of_the_requests(bench: Bench) -> None:
    connection, wire = bench.connect()
    connection.data_received(b"".join(GET % i for i in range(3)))
    assert [request.path for request, _ in bench.asked] == ["/0", "/1", "/2"]
    bench.answer(2)
    assert wire.sent == b""
    bench.answer(0)
    assert bodies(wire) == [b"/0|"]
    bench.answer()
    assert bodies(wire) == [b"/0|", b"/1|", b"/2|"]
    assert wire.writes == 2
    assert not connection.busy


def test_what_is_answered_at_once_is_written_at_once(bench: Bench) -> None:
    bench.front.handler = lambda request, reply: reply(Response(200, request.path.encode() + b"|"))
    connection, wire = bench.connect()
    connection.data_received(b"".join(GET % i for i in range(20)))
    assert wire.writes == 1
    assert bodies(wire) == [b"/%d|" % i for i in range(20)]


def test_a_request_is_answered_once(bench: Bench) -> None:
    connection, _ = bench.connect()
    connection.data_received(GET % 1)
    reply = bench.asked[0][1]
    reply(Response(200, b""))
    with pytest.raises(RuntimeError):
        reply(Response(200, b""))


def test_pipelining_has_a_bound_and_loses_nothing(bench: Bench) -> None:
    connection, wire = bench.connect()
    connection.data_received(b"".join(GET % i for i in range(500)) + GET[:10])
    assert len(bench.asked) == MOST_PIPELINED
    assert not wire.reading
    while bench.asked:
        assert len(bench.asked) <= MOST_PIPELINED
        bench.answer(len(bench.asked) // 2)
    assert bodies(wire) == [b"/%d|" % i for i in range(500)]
    assert wire.reading
    bench.later(SLOW_SECONDS + 1)
    assert wire.statuses[-1] == 408


def test_pipelined_at_any_length_and_answered_at_once_needs_no_stack(bench: Bench) -> None:
    bench.front.handler = lambda request, reply: reply(Response(200, request.path.encode() + b"|"))
    connection, wire = bench.connect()
    connection.data_received(b"".join(GET % i for i in range(9000)))
    assert len(bodies(wire)) == 9000
    assert wire.reading


def test_large_requests_wait_for_those_before_them(bench: Bench) -> None:
    connection, wire = bench.connect()
    connection.data_received((b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 900\r\n\r\n" + b"x" * 900) * 5)
    assert len(bench.asked) == 2
    bench.answer()
    assert len(bench.asked) == 2
    assert not wire.reading


def test_after_what_is_bad_nothing_is_read_and_all_before_it_is_answered(bench: Bench) -> None:
    connection, wire = bench.connect()
    connection.data_received(GET % 1 + b"BAD\r\n\r\n" + GET % 2)
    connection.data_received(GET % 3)
    assert len(bench.asked) == 1
    assert wire.sent == b""
    bench.answer()
    assert wire.statuses == [200, 400]
    assert wire.sent.count(b"connection: close") == 1
    assert wire.ended
    connection.data_received(GET % 4)
    assert bench.asked == []


@pytest.mark.parametrize("halves", [True, False])
def test_who_asks_for_a_close_gets_one(bench: Bench, halves: bool) -> None:
    connection, wire = bench.connect(halves=halves)
    connection.data_received(b"GET /1 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n" + GET % 2)
    assert len(bench.asked) == 1
    bench.answer()
    assert b"connection: close\r\n" in wire.sent
    assert (wire.ended, wire.closed) == (halves, not halves)
    bench.later(LINGER_SECONDS + 1)
    assert wire.aborted


def test_http_1_0(bench: Bench) -> None:
    connection, wire = bench.connect()
    connection.data_received(b"GET /1 HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
    bench.answer()
    assert b"\r\nconnection: keep-alive\r\n" in wire.sent
    connection.data_received(b"GET /1 HTTP/1.0\r\n\r\n")
    bench.answer()
    assert wire.ended


def test_a_head_has_no_body_and_every_answer_a_date(bench: Bench) -> None:
    connection, wire = bench.connect()
    connection.data_received(b"HEAD /1 HTTP/1.1\r\nhost: h\r\n\r\n")
    bench.answer()
    assert wire.sent.endswith(b"\r\ncontent-length: 3\r\n\r\n")
    assert bench.front.date.startswith(b"date: ")
    assert bench.front.date in wire.sent


def test_an_answer_with_a_line_end_in_a_header_is_none(bench: Bench, capfd: pytest.CaptureFixture[str]) -> None:
    connection, wire = bench.connect()
    connection.data_received(GET % 1)
    bench.asked[0][1](Response(200, b"", headers={"x": "y\r\nset-cookie: z"}))
    assert wire.statuses == [500]
    assert b"cookie" not in wire.sent
    assert "line end" in capfd.readouterr().err


def test_a_handler_that_raises_is_told_of_and_the_others_are_answered(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    def handler(request: Request, reply: Reply) -> None:
        if request.path == "/1":
            raise ValueError("no such luck")
        reply(Response(200, b"/2|"))

    bench.front.handler = handler
    connection, wire = bench.connect()
    connection.data_received(GET % 1 + GET % 2)
    assert wire.statuses == [500, 200]
    assert b"luck" not in wire.sent
    assert "no such luck" in capfd.readouterr().err


def test_a_body_is_asked_for_when_those_before_it_are_answered(bench: Bench) -> None:
    connection, wire = bench.connect()
    connection.data_received(
        GET % 1 + b"POST /2 HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n"
    )
    assert wire.sent == b""
    bench.answer()
    assert wire.statuses == [200, 100]
    connection.data_received(b"x")
    bench.answer()
    assert wire.statuses == [200, 100, 200]
    connection.data_received(b"POST /2 HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 9999\r\n\r\n")
    assert wire.statuses[3:] == [413]


@pytest.mark.parametrize(
    "start",
    [b"", b"GET", b"GET / HTTP/1.1\r\nh", b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 900\r\n\r\n",
     b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n384\r\n"],
)  # fmt: skip
def test_a_request_has_one_time_for_all_of_it(bench: Bench, start: bytes) -> None:
    connection, wire = bench.connect()
    connection.data_received(start or GET[:1])
    for byte in (GET[1:] if not start else b"x" * 100)[: int(SLOW_SECONDS) - 1]:
        bench.later(1)
        connection.data_received(bytes([byte]))
    assert wire.sent == b""
    bench.later(1.5)
    assert wire.statuses == [408]
    assert wire.ended
    bench.later(LINGER_SECONDS + 1)
    assert wire.aborted


def test_the_next_request_has_its_own_time(bench: Bench) -> None:
    connection, wire = bench.connect()
    for _ in range(5):
        connection.data_received((GET % 1)[:9])
        bench.later(SLOW_SECONDS - 1)
        connection.data_received((GET % 1)[9:])
        bench.later(SLOW_SECONDS + 1)  # the handler's
        bench.answer()
    assert wire.statuses == [200] * 5
    connection.data_received(GET % 1 + (GET % 2)[:5])
    bench.later(SLOW_SECONDS + 1)
    assert len(wire.statuses) == 5
    bench.answer()
    assert wire.statuses[5:] == [200, 408]


def test_who_is_idle_is_closed(bench: Bench) -> None:
    _, wire = bench.connect()
    bench.later(IDLE_SECONDS - 1)
    assert not wire.ended
    bench.later(2)
    assert wire.ended
    assert wire.sent == b""


def test_who_does_not_read_is_not_read_from_and_closed(bench: Bench) -> None:
    connection, wire = bench.connect()
    connection.data_received(GET % 1)
    connection.pause_writing()
    assert not wire.reading
    bench.answer()
    bench.later(SLOW_SECONDS - 1)
    connection.resume_writing()
    assert wire.reading
    connection.pause_writing()
    bench.later(SLOW_SECONDS - 1)
    assert not wire.aborted
    bench.later(2)
    assert wire.aborted


def test_a_client_that_is_gone_is_forgotten_but_its_request_is_not(bench: Bench) -> None:
    connection, wire = bench.connect()
    connection.data_received(GET % 1 + (GET % 2)[:9])
    assert bench.front.held == 9
    connection.connection_lost(None)
    assert bench.front.held == 0
    assert bench.front.connections == set()
    ran = list[int]()
    bench.run(lambda: bench.asked[0][1](Response(200, b"", after=lambda: ran.append(1))))
    bench.run(lambda: None)
    assert ran == [1]
    assert wire.sent == b""


def test_a_client_that_sends_no_more_still_gets_its_answers(bench: Bench) -> None:
    connection, wire = bench.connect()
    connection.data_received(b"".join(GET % i for i in range(50)))
    assert connection.eof_received() is True
    while bench.asked:
        bench.answer()
    assert len(bodies(wire)) == 50
    assert wire.ended
    assert bench.connect()[0].eof_received() is False


def test_connections_have_a_bound(loop: asyncio.AbstractEventLoop) -> None:
    bench = Bench(loop, Bounds(connections=2))
    first, _ = bench.connect()
    bench.connect()
    third, wire = bench.connect()
    assert wire.statuses == [503]
    assert wire.ended
    third.data_received(GET % 1)
    assert bench.asked == []
    wires = [bench.connect()[1] for _ in range(MOST_REFUSED)]
    assert [wire.aborted for wire in wires] == [False] * (MOST_REFUSED - 1) + [True]
    bench.later(LINGER_SECONDS + 1)
    assert all(wire.aborted for wire in wires)
    first.connection_lost(None)
    assert bench.connect()[1].statuses == []


def test_what_all_may_keep_waiting_has_a_bound(loop: asyncio.AbstractEventLoop) -> None:
    bench = Bench(loop, Bounds(held=2500, request=Limits(body=1000)))
    large = b"POST /1 HTTP/1.1\r\nhost: h\r\ncontent-length: 1000\r\n\r\n" + b"x" * 999
    made = [bench.connect() for _ in range(4)]
    for connection, _ in made:
        connection.data_received(large)
    assert [wire.statuses for _, wire in made] == [[], [], [503], [503]]
    assert bench.front.held == 2 * 999
    made[0][0].data_received(b"x")
    bench.answer()
    assert made[0][1].statuses == [200]
    assert bench.front.held == 999


def test_draining_lets_a_request_arrive(bench: Bench) -> None:
    connection, wire = bench.connect()
    connection.data_received(GET % 1 + (GET % 2)[:9])
    bench.front.drain()
    bench.answer()
    assert b"connection: close" not in wire.sent
    assert bench.front.busy
    connection.data_received((GET % 2)[9:])
    bench.answer()
    assert wire.ended
    assert bodies(wire) == [b"/1|", b"/2|"]
    assert not bench.front.busy


def test_draining_closes_the_idle_and_answers_the_others(bench: Bench) -> None:
    _, idle = bench.connect()
    connection, wire = bench.connect()
    connection.data_received(GET % 1 + GET % 2)
    bench.front.drain()
    assert idle.ended
    assert bench.front.busy
    bench.answer()
    assert not wire.ended
    bench.answer()
    assert wire.ended
    assert bodies(wire) == [b"/1|", b"/2|"]
    assert wire.sent.count(b"connection: close") == 1
    assert not bench.front.busy


HOST = b" HTTP/1.1\r\nhost: h\r\n"
PARTS = (
    GET % 1, GET % 2, b"POST /3" + HOST + b"content-length: 3\r\n\r\nabc", b"\r\n", b"\r", b"\n", b"x", b"\0",
    b"x" * 3000, b"POST /4" + HOST + b"transfer-encoding: chunked\r\n\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n",
    b"0\r\nx: y\r\n\r\n", b"GET /5 HTTP/1.0\r\n\r\n", b"GET /6" + HOST + b"connection: close\r\n\r\n",
    b"HEAD /7" + HOST + b"\r\n", b"GET /8" + HOST + b"content-length: 1\r\ncontent-length: 1\r\n\r\n",
)  # fmt: skip
STREAM = st.lists(st.sampled_from(PARTS), max_size=40).map(b"".join)


@settings(max_examples=200, deadline=None)
@given(STREAM, st.lists(st.integers(1, 90), max_size=30), st.lists(st.integers(0, 3), max_size=60))
def test_the_same_bytes_get_the_same_answers_however_they_and_the_answers_come(
    stream: bytes, lengths: list[int], late: list[int]
) -> None:
    loop = asyncio.new_event_loop()
    try:
        assert talk(loop, [stream], None) == talk(loop, pieces(stream, lengths), late)
    finally:
        loop.close()


def pieces(stream: bytes, lengths: list[int]) -> list[bytes]:
    found = []
    for length in lengths:
        found.append(stream[:length])
        stream = stream[length:]
    return [*found, stream]


def talk(loop: asyncio.AbstractEventLoop, stream: list[bytes], late: list[int] | None) -> tuple[bytes, bool]:
    """What a client gets; ``late``: how many answers are given after each piece, the youngest first."""
    bench = Bench(loop, Bounds(request=Limits(body=1000, head=2000)))
    bench.front.date = b"date: today\r\n"
    if late is None:
        bench.front.handler = lambda request, reply: reply(Response(200, request.path.encode() + b"|"))
    connection, wire = bench.connect()
    waiting = b""
    for index, piece in enumerate(stream):
        waiting += piece
        if wire.reading:
            connection.data_received(waiting)
            waiting = b""
        for _ in range((late or [])[index] if index < len(late or []) else 0):
            if bench.asked:
                bench.answer(-1)
    while bench.asked or (waiting and wire.reading):
        if bench.asked:
            bench.answer(-1)
        else:
            connection.data_received(waiting)
            waiting = b""
    assert wire.reading
    return wire.sent, wire.ended
