"""A real gateway against clients who mean it harm: right status, end of the connection, and nobody else's loss."""

from __future__ import annotations

import json
import resource
import select
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_gateway import GET, PATIENCE, RawGateway, read_all, read_answers, statuses

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")

IDLE = 10_000
MB = 1 << 20
H = b" HTTP/1.1\r\nHost: h\r\n"
POST = b"POST /endpoints/e/invocations" + H
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"

# Each is followed by another request, which must not be answered. Many more: test_serving_http_reader.py.
HOSTILE = {
    "CL.TE": (400, POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
    "TE.CL": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n"),
    "TE.TE": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"),
    "CL.CL": (400, POST + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n"),
    "the same length twice": (400, POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    "xchunked": (400, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "chunked twice": (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "space before the colon": (400, POST + b"Content-Length : 5\r\n\r\nhello"),
    "continued line": (400, POST + b"X: y\r\n Content-Length: 5\r\n\r\nhello"),
    "line feeds": (400, b"GET /health HTTP/1.1\nHost: h\n\n"),
    "carriage returns": (400, b"GET /health HTTP/1.1\rHost: h\r\r"),
    "NUL": (400, b"GET /health" + H + b"X: a\0b\r\n\r\n"),
    "hidden header": (400, b"GET /health" + H + b"X: a\rContent-Length: 5\r\n\r\nhello"),
    "negative chunk": (400, CHUNKED + b"-1\r\n"),
    "chunk of no number": (400, CHUNKED + b"zz\r\n"),
    "chunk beyond 2^64": (400, CHUNKED + b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "huge chunk": (413, CHUNKED + b"ffffffffffffffff\r\n"),
    "chunk of a wrong length": (400, CHUNKED + b"4\r\nhello\r\n0\r\n\r\n"),
    "chunk size with a space": (400, CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n"),
    "chunk that ends with a line feed": (400, CHUNKED + b"5\nhello\r\n0\r\n\r\n"),
    "extensions": (400, CHUNKED + (b"1;" + b"x" * 250 + b"\r\na\r\n") * 1000),
    "small chunks": (400, CHUNKED + b"1\r\na\r\n" * 100_000),
    "trailers": (431, CHUNKED + b"0\r\n" + b"X: y\r\n" * 10_000),
    "too large": (413, POST + b"Content-Length: 1048577\r\n\r\n" + b"x" * 1_048_577),
    "too large, in chunks": (413, CHUNKED + (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 17),
    "length of 2^64": (413, POST + b"Content-Length: 18446744073709551617\r\n\r\n"),
    "too large, and asks first": (413, POST + b"Expect: 100-continue\r\nContent-Length: 1048577\r\n\r\n"),
    "expects tea": (417, POST + b"Expect: tea\r\nContent-Length: 5\r\n\r\nhello"),
    "no host": (400, b"GET /health HTTP/1.1\r\n\r\n"),
    "two hosts": (400, b"GET /health" + H + b"Host: i\r\n\r\n"),
    "HTTP/0.9": (400, b"GET /health\r\n"),
    "HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 100),
    "tunnel": (501, b"CONNECT h:443" + H + b"\r\n"),
    "long method": (501, b"G" * 4000 + b" /health" + H + b"\r\n"),
    "long URL": (414, b"GET /" + b"x" * 100_000 + H + b"\r\n"),
    "long header": (431, b"GET /health" + H + b"X: " + b"y" * 1_000_000),
    "many headers": (431, b"GET /health" + H + b"a: b\r\n" * 200_000),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x80" * 500),
    "noise": (400, bytes(range(256)) * 1000),
}  # fmt: skip


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RawGateway]:
    with tempfile.TemporaryDirectory() as short:
        made = RawGateway(tmp_path_factory.mktemp("torture"), Path(short))
        yield made
        made.stop()
        assert "Traceback" not in made.errors.read_text()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RawGateway]]:
    with tempfile.TemporaryDirectory() as short, ExitStack() as stack:

        def starting(*options: str, files: int | None = None) -> RawGateway:
            made = RawGateway(tmp_path, Path(short), *options, files=files)
            stack.callback(made.stop)
            return made

        yield starting


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_get_their_status_and_nothing_after_them_is_read(gateway: RawGateway, name: str) -> None:
    expected, sent = HOSTILE[name]
    with gateway.connect() as client:
        # What is sent after the end of a connection may be answered with a reset.
        with suppress(ConnectionResetError, BrokenPipeError):
            client.sendall(sent + SMUGGLED)
        received = read_all(client)
    assert statuses(received) == [expected]
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"\r\nconnection: close" in head
    assert json.loads(body)["error"]["message"]
    assert gateway.healthy()


def test_what_is_unusual_but_right_is_answered(gateway: RawGateway) -> None:
    received = gateway.talk(
        b"\r\nGET http://h/health" + H + b"\r\n"
        + b"HEAD /health" + H + b"\r\n"
        + b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        + b"GET /health" + H + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"
        + b"OPTIONS *" + H + b"\r\n"
        + b"GET /health" + H + b"Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    )  # fmt: skip
    *first, options, last = statuses(received)
    assert first == [200, 200, 200, 200]
    assert options in (404, 405)
    assert last == 200
    assert received.count(b'{"status":"ok"}') == 4


def test_a_body_is_asked_for(gateway: RawGateway) -> None:
    with gateway.connect() as client:
        client.sendall(b"GET /health" + H + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        assert statuses(read_answers(client, 1)) == [200]


def test_thousands_of_pipelined_requests_are_all_answered(gateway: RawGateway) -> None:
    with gateway.connect() as client:
        client.setblocking(False)
        unsent, received = memoryview(GET * 20_000), b""
        while received.count(b'{"status":"ok"}') < 20_000:
            reads, writes, _ = select.select([client], [client] if unsent else [], [], PATIENCE)
            assert reads or writes
            if writes:
                unsent = unsent[client.send(unsent[:65536]) :]
            if reads:
                received += client.recv(1 << 20)
    assert set(statuses(received)) == {200}


def test_who_asks_much_and_reads_nothing_is_held_to_a_bound(gateway: RawGateway) -> None:
    before = gateway.memory()
    with ExitStack() as stack:
        for _ in range(6):
            client = stack.enter_context(gateway.connect())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(0.1)
            try:
                while True:
                    client.sendall(GET * 1000)
            except TimeoutError:
                pass
        assert gateway.memory() - before < 40 * MB
        assert gateway.healthy()


def test_a_flood_of_heads_costs_bounded_memory(gateway: RawGateway) -> None:
    before = gateway.memory()
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(gateway.connect()).sendall(b"GET /health" + H + b"X: " + b"y" * 15_000)
        assert gateway.healthy()
        assert gateway.memory() - before < 40 * MB
    assert gateway.healthy()


def test_large_bodies_that_do_not_end_are_held_to_a_bound(gateway: RawGateway) -> None:
    before = gateway.memory()
    body = b"x" * (MB - 1)
    with ExitStack() as stack:
        clients = [stack.enter_context(gateway.connect()) for _ in range(300)]
        for client in clients:
            with suppress(ConnectionResetError, BrokenPipeError):
                client.sendall(POST + b"Content-Length: 1048576\r\n\r\n" + body)
        eventually(lambda: len(select.select(clients, [], [], 0)[0]) > 40)
        assert gateway.healthy()
        assert gateway.memory() - before < 400 * MB
        told, _, _ = select.select(clients, [], [], 0)
        assert len(told) < 60
        assert statuses(read_all(told[0])) == [503]
    assert gateway.healthy()


def test_many_who_drip_harm_nobody(gateway: RawGateway) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(gateway.connect()) for _ in range(500)]
        for byte in b"GET /health":
            for client in clients:
                client.sendall(bytes([byte]))
            assert gateway.healthy()


def test_who_drips_is_told_that_time_is_up(start: Callable[..., RawGateway]) -> None:
    gateway = start("--slow-seconds", "1")
    starts = (b"GET /health", b"GET /health" + H, POST + b"Content-Length: 100000\r\n\r\n", CHUNKED + b"10000\r\n")
    with ExitStack() as stack:
        clients = [stack.enter_context(gateway.connect()) for _ in starts]
        for client, sent in zip(clients, starts, strict=True):
            client.sendall(sent)
        until, open_ones = time.monotonic() + PATIENCE, list(clients)
        while open_ones:
            assert time.monotonic() < until
            told, _, _ = select.select(open_ones, [], [], 0.05)
            open_ones = [client for client in open_ones if client not in told]
            for client in open_ones:
                client.sendall(b"x")
        assert [statuses(read_all(client)) for client in clients] == [[408]] * len(starts)
    assert gateway.healthy()


def test_who_does_not_read_is_closed(start: Callable[..., RawGateway]) -> None:
    gateway = start("--slow-seconds", "1", "--idle-seconds", "1")
    before = gateway.descriptors()
    with gateway.connect() as greedy, gateway.connect() as idle:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.settimeout(0.2)
        try:
            while True:
                greedy.sendall(GET * 1000)
        except (TimeoutError, ConnectionResetError, BrokenPipeError):
            pass
        assert idle.recv(1) == b""
        idle.close()
        eventually(lambda: gateway.descriptors() <= before)
    assert gateway.healthy()


def test_ten_thousand_idle_connections_fit_and_another_client_is_answered(start: Callable[..., RawGateway]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < IDLE + 500:
        pytest.skip(f"only {hard} files may be open at once")
    gateway = start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, IDLE + 500), hard))
    before = gateway.memory()
    try:
        with ExitStack() as stack:
            clients = [stack.enter_context(gateway.connect()) for _ in range(IDLE)]
            for client in clients:
                client.sendall(GET)
            for client in clients:
                read_answers(client, 1)
            assert gateway.healthy()
            assert gateway.descriptors() > IDLE
            assert (gateway.memory() - before) / IDLE < 10_000
            clients[0].sendall(GET)
            assert statuses(read_answers(clients[0], 1)) == [200]
        eventually(lambda: gateway.descriptors() < 100)
        assert gateway.healthy()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_beyond_its_bound_a_connection_is_told_so(start: Callable[..., RawGateway]) -> None:
    gateway = start("--max-connections", "3")
    with ExitStack() as stack:
        clients = [stack.enter_context(gateway.connect()) for _ in range(3)]
        for client in clients:
            client.sendall(GET)
            read_answers(client, 1)
        refused = gateway.talk(GET)
        assert statuses(refused) == [503]
        assert b"retry-after: 1" in refused
        clients[0].close()
        eventually(gateway.healthy)
        clients[1].sendall(GET)
        assert statuses(read_answers(clients[1], 1)) == [200]


def test_limits_are_of_the_command_line(start: Callable[..., RawGateway]) -> None:
    gateway = start("--max-body-kb", "2", "--max-header-kb", "1")
    assert statuses(gateway.talk(b"GET /health" + H + b"Content-Length: 2049\r\n\r\n")) == [413]
    assert statuses(gateway.talk(b"GET /health" + H + b"x: " + b"y" * 1024 + b"\r\n\r\n")) == [431]
    large = b"GET /health" + H + b"Connection: close\r\nContent-Length: 2048\r\n\r\n" + b"x" * 2048
    assert statuses(gateway.talk(large)) == [200]


def test_a_stop_closes_the_idle_and_answers_what_is_under_way(start: Callable[..., RawGateway]) -> None:
    gateway = start()
    with gateway.connect() as idle, gateway.connect() as early, gateway.connect() as late, gateway.connect() as silent:
        for client in (idle, late):
            client.sendall(GET)
            read_answers(client, 1)
        late.sendall(GET + GET[:20])
        read_answers(late, 1)
        gateway.process.send_signal(signal.SIGSTOP)  # so that all of these are there when the stop is seen
        early.sendall(GET * 200)
        gateway.process.terminate()
        gateway.process.send_signal(signal.SIGCONT)
        assert statuses(read_all(early)) == [200] * 200
        assert idle.recv(1) == b""
        assert silent.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            gateway.connect()
        late.sendall(GET[20:])
        last = read_all(late)
        assert statuses(last) == [200]
        assert b"\r\nconnection: close\r\n" in last
        assert gateway.process.wait(PATIENCE) == 0


def test_a_gateway_that_is_out_of_files_goes_on_when_there_are_some(start: Callable[..., RawGateway]) -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    gateway = start(files=64)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == files
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(gateway.connect())
    eventually(gateway.healthy)
    assert "warning: of 16384 connections" in gateway.errors.read_text()


BYTES = st.lists(
    st.one_of(
        st.sampled_from(
            [GET, POST, CHUNKED, H, b"\r\n", b"\r", b"\n", b"\0", b"5\r\nhello\r\n", b"0\r\n\r\n", b"Host: h\r\n"]
        ),
        st.sampled_from([sent[:400] for _, sent in HOSTILE.values()]),
        st.binary(max_size=50),
    ),
    max_size=8,
).map(b"".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BYTES, st.lists(st.integers(1, 200), max_size=6))
def test_any_bytes_cut_anywhere_get_the_same_answers(gateway: RawGateway, sent: bytes, lengths: list[int]) -> None:
    """The client then sends no more: what is not whole is closed, so a hang would be the gateway's."""
    pieces, rest = [], sent
    for length in lengths:
        pieces.append(rest[:length])
        rest = rest[length:]
    whole = ended(gateway, [sent])
    assert ended(gateway, [*pieces, rest]) == whole
    assert set(whole) <= {100, 200, 400, 401, 404, 405, 408, 413, 414, 415, 417, 431, 501, 503, 505}


def ended(gateway: RawGateway, pieces: list[bytes]) -> list[int]:
    with gateway.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                if piece:
                    client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return [status for status in statuses(read_all(client)) if status != 100]
