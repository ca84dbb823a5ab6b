"""A receiver of webhooks, for real: a socket on loopback, threads, and answers as bytes, so that they can be wrong."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

SECRET = "a secret that nobody can guess"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

# What to do with a connection whose request was read; it is closed afterwards.
Answer = Callable[[socket.socket], None]


def saying(data: bytes) -> Answer:
    return lambda connection: connection.sendall(data)


def status(code: int, headers: str = "") -> Answer:
    return saying(f"HTTP/1.1 {code} So\r\n{headers}Content-Length: 0\r\n\r\n".encode())


class Received(NamedTuple):
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> Any:
        return json.loads(self.body)

    @property
    def signed(self) -> bool:
        """As docs/webhooks.md says to verify it."""
        signed = self.headers["x-windlass-timestamp"].encode() + b"." + self.body
        expected = "v1=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        return hmac.compare_digest(expected, self.headers["x-windlass-signature"])


class Receiver:
    """Answers requests in turn by ``answers``, and by 200 when there are none left."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.received: list[Received] = []
        self.connections = 0
        self.answers: list[Answer] = []
        self._tls = tls
        self._more = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def url(self, path: str = "/hook", host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def wait(self, count: int, seconds: float = 60) -> list[Received]:
        """The requests, once there are so many."""
        with self._more:
            assert self._more.wait_for(lambda: len(self.received) >= count, seconds), self.received
            return list(self.received)

    def hold(self, _: socket.socket) -> None:
        """An answer that never comes."""
        self._closing.wait(60)

    def drip(self, connection: socket.socket) -> None:
        """An answer that never ends, a byte at a time."""
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        with suppress(OSError):
            while not self._closing.wait(0.02):
                connection.sendall(b"X")

    def close(self) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError):  # what comes need not be HTTP
            speaking = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with speaking:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += speaking.recv(65536) or b"\r\n\r\n"
                head, _, body = data.partition(b"\r\n\r\n")
                line, *rest = head.decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in rest)}
                while len(body) < int(headers.get("content-length", "0")):
                    body += speaking.recv(65536)
                with self._more:
                    self.received.append(Received(line, headers, body))
                    answer = self.answers.pop(0) if self.answers else saying(OK)
                    self._more.notify_all()
                answer(speaking)
