"""A server between a client and the real one, which breaks what a test wants to be broken."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# (method, path, how many requests there were before) -> what happens: "" passes it on; "404", "429", "500" and "503"
# answer that; "drop" closes the connection unanswered, "cut" half of the answer's body; "late" passes it on before.
Spoil = Callable[[str, str, int], str]


@contextmanager
def between(upstream: str, spoil: Spoil) -> Iterator[str]:
    with serving(_handler(urlsplit(upstream).netloc, spoil)) as url:
        yield url


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(netloc: str, spoil: Spoil) -> type[BaseHTTPRequestHandler]:
    count = 0
    lock, turn = threading.Lock(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing."""

        def _any(self) -> None:
            nonlocal count
            with lock:
                seen, count = count, count + 1
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            # One at a time: what a killed client sent last reaches the server before what its successor sends.
            with turn:
                what = spoil(self.command, self.path, seen)
                if what in ("404", "429", "500", "503"):
                    self.send_response(int(what))
                    self.send_header("content-length", "0")
                    self.end_headers()
                    return
                if what == "drop":
                    self.close_connection = True
                    return
                connection = http.client.HTTPConnection(netloc, timeout=30)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
                connection.close()
            if what == "late":
                self.close_connection = True
                return
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "date", "connection"):
                    self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            if what == "cut":
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
            else:
                self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815

    return Handler
