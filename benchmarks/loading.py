"""The client of the tracking benchmark: keep-alive connections, bytes made beforehand, one thread, one selector.

Client and server share the machine, so whatever this program costs is missing from both servers' rates.
"""

from __future__ import annotations

import http.client
import json
import mmap
import os
import selectors
import socket
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from measuring import Failed

# What a client does in one unit of work: it gives requests, and is sent the body of each answer.
Unit = Generator[bytes, bytes, None]

ANSWER_SECONDS = 300.0
RECEIVED = 1 << 20


@dataclass(frozen=True, slots=True)
class Load:
    """Units a second over all clients, and what each unit took."""

    rate: float
    milliseconds: list[float] = field(repr=False)

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.milliseconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def request(method: str, path: str, body: Any = None) -> bytes:
    """The bytes of a request; a body of ``bytes`` is sent as it is, anything else as JSON."""
    sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = "content-type: application/json\r\n" if sent else ""
    return f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{kind}content-length: {len(sent)}\r\n\r\n".encode() + sent


def call(name: str, body: Any) -> bytes:
    """A POST of MLflow's protocol."""
    return request("POST", f"/api/2.0/mlflow/{name}", body)


def one(sent: bytes) -> Unit:
    """A unit of a single request whose answer needs no look."""
    yield sent


class _Client:
    """One connection, and what it is waiting for."""

    def __init__(self, port: int, units: Iterator[Unit]) -> None:
        self.socket = _connected(port)
        self.units = units
        self.unit: Unit | None = None
        self.began = self.ended = 0.0
        self.asked = b""
        self.held = bytearray()
        self.needs = -1  # bytes of the whole answer; -1: its head is not there yet; 0: chunked

    def begin(self) -> bool:
        """Whether there was another unit."""
        self.unit = next(self.units, None)
        if self.unit is None:
            return False
        self.began = time.perf_counter()
        self._ask(next(self.unit))
        return True

    def _ask(self, sent: bytes) -> None:
        self.asked = sent
        self.socket.sendall(sent)

    def receive(self) -> bool:
        """Take what has come; True where it ended the unit. Raises Failed for any answer but a good one."""
        got = self.socket.recv(RECEIVED)
        if not got:
            raise ConnectionError("the server closed the connection")
        self.held += got
        if self.needs < 0:
            self.needs = _length(self.held)
        if self.needs < 0 or len(self.held) < self.needs:
            return False
        if self.needs == 0 and not self.held.endswith(b"\r\n0\r\n\r\n"):
            return False
        self.ended = time.perf_counter()  # before it is looked at
        body = _checked(self.asked, self.held, chunked=self.needs == 0)
        self.held, self.needs = bytearray(), -1
        assert self.unit is not None
        try:
            following = self.unit.send(body)
        except StopIteration:
            return True
        self._ask(following)
        return False


def load(
    port: int,
    clients: Sequence[Iterator[Unit]],
    seconds: float = ANSWER_SECONDS,
    *,
    most: int | None = None,
    may_break: bool = False,
) -> Load:
    """Each client begins units until ``seconds`` have passed, all ``most`` are begun or it has no more; all are ended.

    ``may_break``: a lost connection ends its client (the server is to be killed) instead of raising Failed.
    """
    selector = selectors.DefaultSelector()
    opened: list[socket.socket] = []
    took: list[float] = []
    begun = 0
    try:
        started = ended = time.perf_counter()
        for units in clients:
            try:
                client = _Client(port, units)
                opened.append(client.socket)
                if (most is None or begun < most) and client.begin():
                    begun += 1
                    selector.register(client.socket, selectors.EVENT_READ, client)
            except OSError as error:
                if not may_break:
                    raise Failed(f"port {port}: {error}") from error
        while selector.get_map():
            ready = selector.select(ANSWER_SECONDS)
            if not ready:
                raise Failed(f"no answer within {ANSWER_SECONDS:g} s")
            for key, _ in ready:
                client = key.data
                try:
                    if not client.receive():
                        continue
                    ended = client.ended
                    took.append((ended - client.began) * 1000)
                    if ended - started < seconds and (most is None or begun < most) and client.begin():
                        begun += 1
                        continue
                except OSError as error:
                    if not may_break:
                        raise Failed(f"{_named(client.asked)}: {error}") from error
                selector.unregister(client.socket)
    finally:
        selector.close()
        for each in opened:
            each.close()
    if not took and not may_break:
        raise Failed("no unit was ended")
    return Load(len(took) / max(ended - started, 1e-9), took)


def ask(port: int, method: str, path: str, body: Any = None) -> Any:
    """One call outside of what is timed: its answer's JSON."""
    found: list[bytes] = []

    def unit() -> Unit:
        found.append((yield request(method, path, body)))

    load(port, [iter([unit()])], most=1)
    return json.loads(found[0] or b"{}")


def asked(port: int, name: str, body: Any) -> Any:
    """A POST of MLflow's protocol outside of what is timed."""
    return ask(port, "POST", f"/api/2.0/mlflow/{name}", body)


def _connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def _length(held: bytearray) -> int:
    end = held.find(b"\r\n\r\n")
    if end < 0:
        return -1
    head = bytes(held[: end + 2]).lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        return end + 4 + int(head[at + 17 : head.index(b"\r\n", at + 17)])
    if b"transfer-encoding: chunked" in head:
        return 0
    raise Failed(f"an answer without a length: {head[:200]!r}")


def _checked(asked: bytes, held: bytearray, *, chunked: bool) -> bytes:
    at = held.index(b"\r\n\r\n") + 4
    body = bytes(held[at:])
    if chunked:
        body = _joined(body)
    if not held.startswith((b"HTTP/1.1 200 ", b"HTTP/1.0 200 ")) or b'"error_code"' in body[:200]:
        said = bytes(held[: held.index(b"\r\n")]).decode(errors="replace")
        raise Failed(f"{_named(asked)}: {said}: {body[:500].decode(errors='replace')}")
    return body


def _joined(chunks: bytes) -> bytes:
    parts, at = list[bytes](), 0
    while True:
        line = chunks.index(b"\r\n", at)
        size = int(chunks[at:line].split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(chunks[line + 2 : line + 2 + size])
        at = line + 4 + size


def _named(asked: bytes) -> str:
    return asked.split(b" HTTP/", 1)[0].decode(errors="replace")


def upload(port: int, path: str, source: Path) -> float:
    """PUT a file as it lies; seconds from the first byte to the answer."""
    size = source.stat().st_size
    head = f"PUT {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/octet-stream\r\n".encode()
    held = bytearray()
    with _connected(port) as connection, source.open("rb") as file:
        started = time.perf_counter()
        try:
            connection.sendall(head + f"content-length: {size}\r\n\r\n".encode())
            connection.sendfile(file)
        except OSError:
            pass  # it may have answered an error and closed; what it said is read below
        while (needs := _length(held)) < 0 or len(held) < needs or (needs == 0 and not held.endswith(b"0\r\n\r\n")):
            got = connection.recv(RECEIVED)
            if not got:
                raise Failed(f"PUT {path}: the server closed the connection")
            held += got
        seconds = time.perf_counter() - started
    _checked(head, held, chunked=needs == 0)
    return seconds


def download(port: int, path: str, source: Path) -> float:
    """GET what was PUT, and compare it with the file byte for byte on the way (at memory's speed); seconds it took."""
    size = source.stat().st_size
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    buffer = bytearray(RECEIVED)
    view = memoryview(buffer)
    with source.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        whole = memoryview(mapped)
        try:
            started = time.perf_counter()
            connection.request("GET", path)
            answer = connection.getresponse()
            if answer.status != 200:
                raise Failed(f"GET {path}: {answer.status}: {answer.read(500)!r}")
            at = 0
            while count := answer.readinto(view):
                # A bytearray is compared by memcmp, a memoryview is not; a full one without a copy.
                got = buffer if count == RECEIVED else buffer[:count]
                if at + count > size or got != whole[at : at + count]:
                    raise Failed(f"GET {path}: other bytes than were put, after {at}")
                at += count
            seconds = time.perf_counter() - started
            if at != size:
                raise Failed(f"GET {path}: {at} bytes of {size}")
        finally:
            whole.release()
            connection.close()
    return seconds


def random_file(path: Path, size: int) -> Path:
    """Bytes that neither compress nor repeat, so that no store gains by what it has already."""
    with path.open("wb") as file:
        for at in range(0, size, RECEIVED):
            file.write(os.urandom(min(RECEIVED, size - at)))
        file.flush()
        os.fsync(file.fileno())
    return path
