"""Requests out of bytes: what is taken, what is refused, and that it does not matter how the bytes came."""

from __future__ import annotations

from contextlib import suppress

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.serving.http.message import Request
from windlass.serving.http.reader import Bad, Limits, Reader

LIMITS = Limits(body=1000, head=2000, target=200, fields=10)
H = b"Host: h\r\n"
POST = b"POST /p HTTP/1.1\r\n" + H
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def outcome(pieces: list[bytes]) -> list[object]:
    """All that a reader makes of a stream: its requests, and how it ended."""
    reader, found = Reader(LIMITS), list[object]()
    try:
        for piece in pieces:
            reader.feed(piece)
            while request := reader.take():
                found.append((request, reader.keep, reader.old))
    except Bad as bad:
        return [*found, (bad.status, bad.why)]
    return [*found, reader.partial]


def status(stream: bytes) -> int:
    """The status of what is refused; 0 for what waits for more, 200 for what is taken."""
    *found, last = outcome([stream])
    if isinstance(last, tuple):
        return int(last[0])
    return 200 if found else 0


TAKEN = {
    "plain": b"GET / HTTP/1.1\r\n" + H + b"\r\n",
    "a line before": b"\r\nGET / HTTP/1.1\r\n" + H + b"\r\n",
    "empty host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "host with port": b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    "absolute": b"GET http://other:80/p?q HTTP/1.1\r\n" + H + b"\r\n",
    "absolute without path": b"GET HTTPS://other HTTP/1.1\r\n" + H + b"\r\n",
    "options": b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n",
    "old": b"GET / HTTP/1.0\r\n\r\n",
    "body": POST + b"Content-Length: 3\r\n\r\nabc",
    "no body": POST + b"Content-Length: 0\r\n\r\n",
    "chunks": CHUNKED + b"3\r\nabc\r\n0A;x=y;z\r\n0123456789\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"0\r\nX: y\r\nZ:\r\n\r\n",
    "chunked in capitals": POST + b"TRANSFER-ENCODING:\t CHUNKED \r\n\r\n0\r\n\r\n",
    "expect": POST + b"Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx",
    "expect in HTTP/1.0": b"POST / HTTP/1.0\r\nExpect: tea\r\nContent-Length: 1\r\n\r\nx",
    "upgrade": b"GET / HTTP/1.1\r\n" + H + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    "bytes that are no ASCII": b"GET / HTTP/1.1\r\n" + H + b"X: \xe9\xff\t.\r\n\r\n",
    "the most body": POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000,
    "the most headers": b"GET / HTTP/1.1\r\n" + H + b"".join(b"x-%d: 1\r\n" % i for i in range(9)) + b"\r\n",
    "the longest target": b"GET /" + b"x" * 199 + b" HTTP/1.1\r\n" + H + b"\r\n",
    "the longest head": b"GET / HTTP/1.1\r\n" + H + b"x: " + b"y" * (2000 - 16 - 9 - 3) + b"\r\n\r\n",
}
REFUSED = {
    "length and chunked": (400, POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunked and length": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
    "two lengths": (400, POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    "the same length twice": (400, POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    "lengths in a list": (400, POST + b"Content-Length: 5, 5\r\n\r\n"),
    "signed length": (400, POST + b"Content-Length: +5\r\n\r\n"),
    "negative length": (400, POST + b"Content-Length: -5\r\n\r\n"),
    "length with an underscore": (400, POST + b"Content-Length: 1_0\r\n\r\n"),
    "hexadecimal length": (400, POST + b"Content-Length: 0x5\r\n\r\n"),
    "length with a space": (400, POST + b"Content-Length: 1 0\r\n\r\n"),
    "empty length": (400, POST + b"Content-Length:\r\n\r\n"),
    "length in other digits": (400, POST + "Content-Length: \u0665\r\n\r\n".encode()),
    "huge length": (413, POST + b"Content-Length: 99999999999999999999999\r\n\r\n"),
    "length of 2^64": (413, POST + b"Content-Length: 18446744073709551616\r\n\r\n"),
    "too much": (413, POST + b"Content-Length: 1001\r\n\r\n"),
    "too much, expected": (413, POST + b"Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n"),
    "another expectation": (417, POST + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx"),
    "xchunked": (400, POST + b"Transfer-Encoding: xchunked\r\n\r\n"),
    "chunked twice": (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n"),
    "chunked in two headers": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "chunked and identity": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"),
    "identity": (400, POST + b"Transfer-Encoding: identity\r\n\r\n"),
    "chunked not last": (400, POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n"),
    "chunked with a parameter": (400, POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n"),
    "quoted chunked": (400, POST + b'Transfer-Encoding: "chunked"\r\n\r\n'),
    "no coding": (400, POST + b"Transfer-Encoding:\r\n\r\n"),
    "chunked after a comma": (400, POST + b"Transfer-Encoding: ,chunked\r\n\r\n"),
    "vertical tab before chunked": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n"),
    "gzip": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
    "chunked in HTTP/1.0": (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "chunked with a space in its name": (400, POST + b"Transfer-Encoding : chunked\r\n\r\n"),
    "tab before the colon": (400, POST + b"Content-Length\t: 5\r\n\r\n"),
    "continued line": (400, POST + b"X: a\r\n b\r\n\r\n"),
    "continued by a tab": (400, POST + b"X: a\r\n\tTransfer-Encoding: chunked\r\n\r\n"),
    "continued first header": (400, b"GET / HTTP/1.1\r\n Host: h\r\n\r\n"),
    "header without a colon": (400, POST + b"nothing\r\n\r\n"),
    "header without a name": (400, POST + b": x\r\n\r\n"),
    "name with a bracket": (400, POST + b"x(y): z\r\n\r\n"),
    "name of other letters": (400, POST + "x\u00e9: z\r\n\r\n".encode()),
    "line feeds": (400, b"GET / HTTP/1.1\nHost: h\n\n"),
    "one line feed": (400, b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n"),
    "line feed before the end": (400, b"GET / HTTP/1.1\r\nHost: h\n\r\n"),
    "line feed at the end": (400, b"GET / HTTP/1.1\r\nHost: h\r\n\n"),
    "carriage returns": (400, b"GET / HTTP/1.1\rHost: h\r\r"),
    "a carriage return in a value": (400, b"GET / HTTP/1.1\r\nHost: h\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n"),
    "two carriage returns": (400, b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n"),
    "NUL": (400, POST + b"X: a\0b\r\n\r\n"),
    "NUL in a name": (400, POST + b"X\0: a\r\n\r\n"),
    "escape": (400, POST + b"X: \x1b[0m\r\n\r\n"),
    "delete": (400, POST + b"X: \x7f\r\n\r\n"),
    "two lines before": (400, b"\r\n\r\nGET / HTTP/1.1\r\n" + H + b"\r\n"),
    "a space before": (400, b" GET / HTTP/1.1\r\n" + H + b"\r\n"),
    "two spaces": (400, b"GET  / HTTP/1.1\r\n" + H + b"\r\n"),
    "tabs": (400, b"GET\t/\tHTTP/1.1\r\n" + H + b"\r\n"),
    "a space after": (400, b"GET / HTTP/1.1 \r\n" + H + b"\r\n"),
    "space in the target": (400, b"GET /a b HTTP/1.1\r\n" + H + b"\r\n"),
    "fragment": (400, b"GET /a#b HTTP/1.1\r\n" + H + b"\r\n"),
    "target of other letters": (400, "GET /\u00e9 HTTP/1.1\r\n".encode() + H + b"\r\n"),
    "backslash": (400, b"GET \\a HTTP/1.1\r\n" + H + b"\r\n"),
    "no path": (400, b"GET a HTTP/1.1\r\n" + H + b"\r\n"),
    "star": (400, b"GET * HTTP/1.1\r\n" + H + b"\r\n"),
    "another scheme": (400, b"GET ftp://h/a HTTP/1.1\r\n" + H + b"\r\n"),
    "absolute without a host": (400, b"GET http:///a HTTP/1.1\r\n" + H + b"\r\n"),
    "absolute with a user": (400, b"GET http://u@h/a HTTP/1.1\r\n" + H + b"\r\n"),
    "tunnel": (501, b"CONNECT h:80 HTTP/1.1\r\n" + H + b"\r\n"),
    "long method": (501, b"G" * 33 + b" / HTTP/1.1\r\n" + H + b"\r\n"),
    "another method": (501, b"get / HTTP/1.1\r\n" + H + b"\r\n"),
    "method in brackets": (400, b"(GET) / HTTP/1.1\r\n" + H + b"\r\n"),
    "HTTP/0.9": (400, b"GET /\r\n"),
    "HTTP/0.9 by name": (505, b"GET / HTTP/0.9\r\n\r\n"),
    "HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/1.2": (505, b"GET / HTTP/1.2\r\n" + H + b"\r\n"),
    "HTTP/11": (400, b"GET / HTTP/1.10\r\n" + H + b"\r\n"),
    "HTTP/1": (400, b"GET / HTTP/1\r\n" + H + b"\r\n"),
    "http/1.1": (400, b"GET / http/1.1\r\n" + H + b"\r\n"),
    "HTTQ": (400, b"GET / HTTQ/1.1\r\n" + H + b"\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "garbage": (400, b"\xff\xfe\r\n\r\n"),
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two hosts": (400, b"GET / HTTP/1.1\r\n" + H + H + b"\r\n"),
    "hosts in a list": (400, b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    "host with a path": (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "host with a user": (400, b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    "two users": (400, b"GET / HTTP/1.1\r\n" + H + b"Windlass-User: a\r\nwindlass-user: b\r\n\r\n"),
    "two keys": (400, b"GET / HTTP/1.1\r\n" + H + b"Authorization: a\r\nauthorization: b\r\n\r\n"),
    "long target": (414, b"GET /" + b"x" * 200 + b" HTTP/1.1\r\n" + H + b"\r\n"),
    "very long target": (414, b"GET /" + b"x" * 3000),
    "long header": (431, b"GET / HTTP/1.1\r\n" + H + b"x: " + b"y" * 2000),
    "one byte too many": (431, b"GET / HTTP/1.1\r\n" + H + b"x: " + b"y" * (2001 - 16 - 9 - 3) + b"\r\n\r\n"),
    "long name": (431, b"GET / HTTP/1.1\r\n" + H + b"x" * 257 + b": y\r\n\r\n"),
    "many headers": (431, b"GET / HTTP/1.1\r\n" + H + b"".join(b"x-%d: 1\r\n" % i for i in range(10)) + b"\r\n"),
    "many headers and no end": (431, b"GET / HTTP/1.1\r\n" + b"x: 1\r\n" * 11),
    "chunk of no size": (400, CHUNKED + b"\r\nabc"),
    "chunk of words": (400, CHUNKED + b"zz\r\nabc"),
    "negative chunk": (400, CHUNKED + b"-1\r\nabc"),
    "signed chunk": (400, CHUNKED + b"+1\r\na\r\n"),
    "chunk in hexadecimal": (400, CHUNKED + b"0x1\r\na\r\n"),
    "chunk with an underscore": (400, CHUNKED + b"1_0\r\na\r\n"),
    "space after the size": (400, CHUNKED + b"1 \r\na\r\n0\r\n\r\n"),
    "space before the size": (400, CHUNKED + b" 1\r\na\r\n0\r\n\r\n"),
    "space before the extension": (400, CHUNKED + b"1 ;x\r\na\r\n0\r\n\r\n"),
    "chunk of 2^64 and one": (400, CHUNKED + b"10000000000000001\r\na\r\n"),
    "chunk of 2^64 less one": (413, CHUNKED + b"ffffffffffffffff\r\na\r\n"),
    "chunk that is too large": (413, CHUNKED + b"3e9\r\n"),
    "chunks that are too large": (413, CHUNKED + b"1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n"),
    "chunk that is longer than it says": (400, CHUNKED + b"1\r\nab\r\n0\r\n\r\n"),
    "chunk that is shorter than it says": (400, CHUNKED + b"3\r\na\r\n0\r\n\r\n"),
    "line feed after a size": (400, CHUNKED + b"1\na\r\n0\r\n\r\n"),
    "line feed after a chunk": (400, CHUNKED + b"1\r\na\n0\r\n\r\n"),
    "line feed in an extension": (400, CHUNKED + b"1;a\nb\r\na\r\n0\r\n\r\n"),
    "carriage return in an extension": (400, CHUNKED + b"1;a\rb\r\na\r\n0\r\n\r\n"),
    "long extension": (400, CHUNKED + b"1;" + b"x" * 300),
    "many extensions": (400, CHUNKED + (b"1;" + b"x" * 200 + b"\r\na\r\n") * 6),
    "many small chunks": (400, CHUNKED + b"1\r\na\r\n" * 600),
    "trailer without a colon": (400, CHUNKED + b"0\r\nX\r\n\r\n"),
    "line feed in a trailer": (400, CHUNKED + b"0\r\nX: y\n\r\n\r\n"),
    "line feed instead of a trailer": (400, CHUNKED + b"0\r\n\n"),
    "many trailers": (431, CHUNKED + b"0\r\n" + b"X: y\r\n" * 11),
    "long trailer": (431, CHUNKED + b"0\r\nX: " + b"y" * 2100),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_what_is_taken(name: str) -> None:
    stream = TAKEN[name]
    found = outcome([stream])
    assert len(found) == 2
    assert found[1] is False
    assert outcome([stream[i : i + 1] for i in range(len(stream))]) == found


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    expected, stream = REFUSED[name]
    assert status(stream) == expected
    found = outcome([stream])
    assert outcome([stream[i : i + 1] for i in range(len(stream))]) == found
    assert outcome([stream, b"GET / HTTP/1.1\r\n"]) == found


def test_what_a_request_says() -> None:
    reader = Reader(LIMITS)
    reader.feed(
        b"POST http://a/b%20/../c?d=e&f HTTP/1.1\r\nHOST: a\r\nX-Y:  z \t\r\nX-y:w\r\nCookie: a\r\ncookie: b\r\n"
        b"content-length: 2\r\n\r\nhi"
        b"GET / HTTP/1.1\r\nhost: x\r\nconnection: Keep-Alive, Close\r\n\r\n"
    )
    first, kept, second = reader.take(), reader.keep, reader.take()
    assert first is not None
    assert second is not None
    assert (first.method, first.path, first.query, first.body, kept) == ("POST", "/b%20/../c", "d=e&f", b"hi", True)
    assert first.headers == {b"host": b"a", b"x-y": b"z, w", b"cookie": b"a; b", b"content-length": b"2"}
    assert (second.method, second.path, second.body, reader.keep) == ("GET", "/", b"", False)
    assert reader.take() is None
    assert not reader.partial
    assert reader.held == 0


@pytest.mark.parametrize(
    ("head", "keep"),
    [
        (b"GET / HTTP/1.1\r\nhost: h\r\n", True),
        (b"GET / HTTP/1.1\r\nhost: h\r\nConnection: x , CLOSE\r\n", False),
        (b"GET / HTTP/1.1\r\nhost: h\r\nConnection: closed\r\n", True),
        (b"GET / HTTP/1.0\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n", False),
        (b"GET / HTTP/1.1\r\nhost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", False),
    ],
)
def test_whether_another_request_may_follow(head: bytes, keep: bool) -> None:
    reader = Reader(LIMITS)
    reader.feed(head + b"\r\n")
    assert reader.take() is not None
    assert reader.keep is keep


def test_a_client_is_told_to_go_on_only_while_it_waits() -> None:
    head = POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    reader = Reader(LIMITS)
    reader.feed(head)
    assert reader.take() is None
    assert [reader.expects(), reader.expects()] == [True, False]
    for sent in (
        head + b"a",
        head + b"ab",
        POST + b"Expect: 100-continue\r\n\r\n",
        POST + b"Content-Length: 2\r\n\r\n",
    ):
        reader = Reader(LIMITS)
        reader.feed(sent)
        reader.take()
        assert not reader.expects()


def test_nothing_is_kept_of_what_was_taken() -> None:
    reader = Reader(LIMITS)
    reader.feed(TAKEN["plain"] * 50 + b"GET")
    while reader.take():
        pass
    assert reader.held == 3
    reader.feed(TAKEN["plain"][3:])
    while reader.take():
        pass
    assert reader.held == 0


SPLIT = st.lists(st.integers(1, 60), max_size=20)
LINES = (
    b"GET / HTTP/1.1", b"POST /p HTTP/1.1", b"GET / HTTP/1.0", b"Host: h", b"Content-Length: 3", b"Content-Length: 30",
    b"Transfer-Encoding: chunked", b"3", b"abc", b"0", b"X: y", b"1;x=y", b"a", b"Expect: 100-continue",
    b"Connection: close", b"x: " + b"y" * 150, b"1f4", b"x" * 500, b"x: y\r\n" * 9, b"",
)  # fmt: skip
BITS = (b"\r", b"\n", b" ", b"\0", b":", b"\t", b"/" + b"z" * 210, b"f")
WORDS = st.sampled_from([*(line + b"\r\n" for line in LINES), *BITS])
WHOLE = st.sampled_from([*TAKEN.values(), *(stream for _, stream in REFUSED.values())])
STREAMS = st.lists(st.one_of(WORDS, WORDS, WHOLE, st.binary(max_size=20)), max_size=12).map(b"".join)


def cut(stream: bytes, lengths: list[int]) -> list[bytes]:
    pieces = []
    for length in lengths:
        pieces.append(stream[:length])
        stream = stream[length:]
    return [*pieces, stream]


@settings(max_examples=300, deadline=None)
@given(STREAMS, SPLIT)
def test_the_same_bytes_are_the_same_requests_however_they_come(stream: bytes, lengths: list[int]) -> None:
    whole = outcome([stream])
    assert outcome([stream[i : i + 1] for i in range(len(stream))]) == whole
    assert outcome(cut(stream, lengths)) == whole


class Other:
    """The same stream as httptools reads it."""

    def __init__(self, stream: bytes) -> None:
        self.requests: list[tuple[str, bytes, list[tuple[bytes, bytes]], bytes]] = []
        self.parser = httptools.HttpRequestParser(self)
        with suppress(httptools.HttpParserUpgrade, httptools.HttpParserError):
            self.parser.feed_data(stream)

    def on_message_begin(self) -> None:
        self.url, self.headers, self.body = b"", list[tuple[bytes, bytes]](), b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.kept = list(self.headers)  # what comes later are trailers

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.requests.append((self.parser.get_method().decode(), self.url, self.kept, self.body))


@settings(max_examples=300, deadline=None)
@given(STREAMS)
def test_what_is_taken_is_what_another_parser_reads(stream: bytes) -> None:
    """Up to the first request after which the connection is closed: httptools goes by its own rules there."""
    reader, mine = Reader(LIMITS), list[Request]()
    reader.feed(stream)
    try:
        while request := reader.take():
            mine.append(request)
            if not reader.keep:
                break
    except Bad:
        pass
    theirs = Other(stream).requests
    assert len(mine) <= len(theirs)
    for request, (method, url, headers, body) in zip(mine, theirs, strict=False):
        assert (request.method, request.body) == (method, body)
        if url.startswith(b"/"):
            assert request.path.encode() == url.partition(b"?")[0]
        assert {name for name, _ in headers} == request.headers.keys()
        assert all(value in request.headers[name] for name, value in headers)
