"""The client side of MLflow's protocol, against servers that misbehave in one way each."""

from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from faulty import serving

from windlass.domain.errors import Corrupt, Failure, Invalid, NotFound, Unavailable
from windlass.exchange import rest
from windlass.exchange.answers import Nothing
from windlass.exchange.paging import pages, whole_pages
from windlass.exchange.rest import Missing, Rest, parsed

DATA = bytes(range(256)) * 40_000


def answering(answer: Callable[[BaseHTTPRequestHandler, int], None]) -> type[BaseHTTPRequestHandler]:
    """A handler that answers by a function of the request and of how many there were before."""
    count = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            nonlocal count
            seen, count = count, count + 1
            self.rfile.read(int(self.headers.get("content-length", 0)))
            answer(self, seen)

        do_GET = do_POST = do_PUT = _any  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler


def say(
    handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", length: int | None = None, **headers: str
) -> None:
    handler.send_response(status)
    handler.send_header("content-length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)
    if length not in (None, len(body)):
        handler.close_connection = True


_OPEN: list[Rest] = []


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while _OPEN:
        _OPEN.pop().close()


def client(url: str, slept: list[float] | None = None) -> Rest:
    _OPEN.append(Rest(parsed(url), sleep=(slept if slept is not None else []).append))
    return _OPEN[-1]


def read(of: Rest, size: int | None) -> bytes:
    data, buffer = bytearray(), memoryview(bytearray(100_000))
    with of.download("/file", size) as opened:
        while count := opened.readinto(buffer):
            data += buffer[:count]
    return bytes(data)


def test_a_busy_server_is_given_the_time_that_it_asks_for() -> None:
    slept: list[float] = []
    with serving(answering(lambda h, n: say(h, 503 if n < 3 else 200, retry_after="7"))) as url:
        client(url, slept).get("x", Nothing)
    assert slept == [7.0, 7.0, 7.0]


def test_patience_ends() -> None:
    slept: list[float] = []
    with serving(answering(lambda h, _: say(h, 503))) as url, pytest.raises(Unavailable):
        client(url, slept).get("x", Nothing)
    assert slept == [0.5, 1.0, 2.0, 4.0, 8.0]


def test_what_mlflow_gives_a_name_to_is_not_asked_again() -> None:
    slept: list[float] = []
    body = b'{"error_code": "INVALID_STATE", "message": "no"}'
    with serving(answering(lambda h, _: say(h, 500, body))) as url, pytest.raises(Failure, match="INVALID_STATE: no"):
        client(url, slept).get("x", Nothing)
    assert slept == []


def test_a_fault_that_comes_every_time_is_no_absence_of_the_server() -> None:
    body = b'{"error_code": "INTERNAL_ERROR", "message": "no"}'
    with serving(answering(lambda h, _: say(h, 500, body))) as url:
        with pytest.raises(Failure) as told:
            client(url).get("x", Nothing)
        assert not isinstance(told.value, Unavailable)
        with pytest.raises(Failure) as told:
            read(client(url), 1)
        assert not isinstance(told.value, Unavailable)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}', NotFound), (404, b"<html>", Missing),
        (501, b"", Missing), (400, b'{"error_code": "INVALID_PARAMETER_VALUE"}', Invalid), (302, b"", Invalid),
        (200, b"<html>", Corrupt), (418, b"\xff", Failure), (400, b"[" * 100_000, Invalid),
    ],
)  # fmt: skip
def test_answers_mean_what_they_say(status: int, body: bytes, kind: type[Failure]) -> None:
    with serving(answering(lambda h, _: say(h, status, body))) as url, pytest.raises(kind):
        client(url).get("x", Nothing)


def test_what_makes_something_is_asked_twice_only_if_nothing_was_done() -> None:
    asked = []

    def answer(handler: BaseHTTPRequestHandler, seen: int) -> None:
        asked.append(seen)
        say(handler, 429 if seen == 0 else 502)

    with serving(answering(answer)) as url, pytest.raises(Unavailable):
        client(url).create("x", Nothing)
    assert asked == [0, 1]


def test_a_cut_download_goes_on_by_range() -> None:
    asked = []

    def answer(handler: BaseHTTPRequestHandler, seen: int) -> None:
        asked.append((handler.headers.get("range"), handler.headers.get("if-range")))
        start = int((handler.headers.get("range") or "bytes=0-")[6:-1])
        body = DATA[start : start + 3_000_000]
        headers = {"content_range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"} if start else {}
        say(handler, 206 if start else 200, body, len(DATA) - start, etag='"v1"', **headers)

    with serving(answering(answer)) as url:
        assert read(client(url), len(DATA)) == DATA
    assert asked[0] == (None, None)
    assert {each for _, each in asked[1:]} == {'"v1"'}


def test_a_cut_download_without_ranges_begins_anew_and_has_to_be_the_same() -> None:
    def same(handler: BaseHTTPRequestHandler, seen: int) -> None:
        say(handler, 200, DATA[: 3_000_000 * (seen + 1)], len(DATA))

    with serving(answering(same)) as url:
        assert read(client(url), len(DATA)) == DATA

    def other(handler: BaseHTTPRequestHandler, seen: int) -> None:
        data = DATA if seen == 0 else b"x" + DATA[1:]
        say(handler, 200, data[:3_000_000] if seen == 0 else data, len(DATA))

    with serving(answering(other)) as url, pytest.raises(Corrupt, match="changed while"):
        read(client(url), len(DATA))


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1])
def test_a_file_has_the_size_that_was_listed(size: int) -> None:
    with serving(answering(lambda h, _: say(h, 200, DATA))) as url, pytest.raises(Corrupt, match="bytes"):
        read(client(url), size)


def test_a_part_that_was_not_asked_for_is_refused() -> None:
    with serving(answering(lambda h, _: say(h, 206, b"abc"))) as url, pytest.raises(Corrupt, match="part"):
        read(client(url), 3)


def test_what_is_no_http_is_said_to_be_none() -> None:
    def answer(handler: BaseHTTPRequestHandler, _: int) -> None:
        handler.wfile.write(b"SSH-2.0-x\r\n\r\n")
        handler.close_connection = True

    with serving(answering(answer)) as url, pytest.raises(Unavailable, match="not HTTP"):
        client(url).get("x", Nothing)


def test_too_large_an_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "LARGEST_ANSWER", 1000)
    with serving(answering(lambda h, _: say(h, 200, b" " * 2000))) as url, pytest.raises(Corrupt, match="larger"):
        client(url).get("x", Nothing)


def test_a_certificate_of_nobody_is_refused_at_once(tmp_path: Path) -> None:
    slept: list[float] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path / "certificate.pem"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), answering(lambda h, _: say(h, 200)))
    server.handle_error = lambda *_: None  # type: ignore[method-assign, assignment]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        with pytest.raises(Unavailable, match="certificate"):
            client(f"https://127.0.0.1:{server.server_address[1]}", slept).get("x", Nothing)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert slept == []


def _certificate(file: Path) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(datetime.datetime(2020, 1, 1)).not_valid_after(datetime.datetime(2090, 1, 1))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


def test_pages_come_once_each() -> None:
    given = {"": ([1, 2], "a"), "a": ([], "b"), "b": ([2, 3], "")}
    assert list(pages("things", given.__getitem__, lambda each: each)) == [[1, 2], [3]]
    assert list(whole_pages("things", given.__getitem__)) == [[1, 2], [2, 3]]


@pytest.mark.parametrize("url", ["http://h/a?b", "http://h/#f", "http://h:x", "http://", "http://u@h", "http://[::1"])
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(Invalid):
        parsed(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [("http://h/", "http://h"), ("https://h:443/ml", "https://h/ml"), ("http://[::1]:80/a b", "http://[::1]/a%20b")],
)
def test_urls_have_one_form(url: str, shown: str) -> None:
    assert parsed(url).shown == shown
