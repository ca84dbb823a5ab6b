"""HTTP/1.1 requests out of bytes, strictly by RFC 9112: what two programs could read in two ways is refused.

Written here rather than left to httptools, whose parser (llhttp) repairs or passes on a good deal of that, and hands
over no more than what it made of it: see docs/decisions/0018-strict-http.md. What is read depends on the bytes alone,
never on how the network cut them: each check is made at one place of the stream.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from windlass.serving.http.message import Request

MOST_METHOD = 32
MOST_NAME = 256
MOST_CHUNK_LINE = 256
MOST_EXTENSIONS = 1024
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_DIGITS = b"0123456789"
_HEX = _DIGITS + b"abcdefABCDEF"
_TOKEN = _LETTERS + _DIGITS + b"!#$%&'*+-.^_`|~"
_TEXT = b"\t" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
_HOST = _LETTERS + _DIGITS + b"-._~!$&'()*+;=%:[]"
_TARGET = _LETTERS + _DIGITS + b"-._~!$&'()*+,;=%:@/?[]"
# Whichever of two of these a reader takes, another may take the other. (All of Windlass's own belong to them, too.)
_SINGLE = frozenset(
    (b"authorization", b"content-encoding", b"content-length", b"content-type", b"expect", b"host", b"idempotency-key",
     b"inference-header-content-length", b"traceparent", b"transfer-encoding", b"x-api-key", b"x-request-id")
)  # fmt: skip
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE"))
_CODINGS = frozenset((b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"))
_CONTROL = "a control character, or a line that does not end with CR LF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may measure: bytes, but ``fields`` counts headers."""

    body: int = 1 << 20
    head: int = 16 << 10
    target: int = 8 << 10
    fields: int = 100


class Bad(Exception):
    """Not a request that is taken; nothing that follows on its connection can be trusted to be one."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class Reader:
    """Takes a connection's bytes as they come, and gives its requests.

    ``keep``: whether the client can send another one after the one that was taken last; ``old``: it spoke HTTP/1.0;
    ``partial``: whether a request has begun that is not all there (once ``take`` has given None).
    """

    __slots__ = (
        "_at", "_body", "_chunks", "_data", "_expects", "_led", "_limits", "_lines", "_missing", "_request", "keep",
        "old", "partial",
    )  # fmt: skip

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._data, self._at = b"", 0
        self._lines = 0  # of the head that has not arrived as a whole: those that are checked
        self._led = False  # an empty line came before the request: the one that is allowed
        self._request: Request | None = None  # whose body is awaited
        self._body = bytearray()
        self._missing = 0
        self._chunks: _Chunks | None = None
        self._expects = False
        self.keep, self.old, self.partial = True, False, False

    @property
    def held(self) -> int:
        """The bytes that wait for more."""
        return len(self._data) - self._at + len(self._body)

    def expects(self) -> bool:
        """Whether the client waits for a ``100 Continue`` to send its body; true once."""
        expects, self._expects = self._expects and not self._body, False
        return expects

    def feed(self, data: bytes) -> None:
        self.partial = True
        if self._at == len(self._data):
            self._data = data
        else:
            self._data = self._data[self._at :] + data
        self._at = 0

    def take(self) -> Request | None:
        """The next request, or None: more bytes are needed.

        Raises:
            Bad: what came is none.
        """
        request = self._request
        if request is None:
            if self._at == len(self._data):
                self._data, self._at, self.partial = b"", 0, False  # nothing is kept for who is idle
                return None
            if (request := self._head()) is None:
                self._data, self._at = self._data[self._at :], 0
                self.partial = self._data != b""
                return None
            if self._chunks is None and self._missing <= len(self._data) - self._at:
                # Nearly always: the whole request came at once.
                end = self._at + self._missing
                request.body = self._data[self._at : end]
                self._at, self._expects = end, False
                return request
            self._request = request
        if not (self._sized() if self._chunks is None else self._chunked(self._chunks)):
            return None
        request.body = bytes(self._body)
        self._request, self._chunks, self._body, self._expects = None, None, bytearray(), False
        return request

    def _head(self) -> Request | None:
        data, limits = self._data, self._limits
        if not self._led and data.startswith(b"\r\n", self._at):
            self._at += 2
            self._led = True
        at = self._at
        end = data.find(b"\r\n\r\n", at, at + limits.head + 4)
        if end < 0:
            self._lines = _checked(data[at : at + limits.head + 4], limits, self._lines)
            return None
        self._at, self._lines, self._led = end + 4, 0, False
        lines = data[at:end].split(b"\r\n")
        method, path, query, self.old = _opening(lines[0], limits)
        headers = _fields(lines[1:], limits)
        self._framing(headers)
        return Request(method, path, headers, b"", query)

    def _framing(self, headers: dict[bytes, bytes]) -> None:
        """How long the body is, and whether another request may follow it."""
        old = self.old
        if not old and b"host" not in headers:
            raise Bad(400, "no host header")
        self._missing, coding = 0, headers.get(b"transfer-encoding")
        length = headers.get(b"content-length")
        if coding is not None:
            if length is not None:
                raise Bad(400, "both content-length and transfer-encoding")
            if old:
                raise Bad(400, "transfer-encoding in HTTP/1.0")
            _chunked_only(coding)
            self._chunks = _Chunks()
        elif length is not None:
            # Twenty digits are too much for any limit, and many more take long to read.
            size = int(length) if len(length) < 20 else 1 << 64
            if size > self._limits.body:
                raise Bad(413, f"more than {self._limits.body} bytes in a request")
            self._missing = size
        expect = headers.get(b"expect")
        if expect is not None and not old:
            if expect.lower() != b"100-continue":
                raise Bad(417, "the only expectation that is met is 100-continue")
            self._expects = self._chunks is not None or self._missing > 0
        connection = headers.get(b"connection")
        if connection is None:
            self.keep = not old
        else:
            options = [option.strip(b" \t") for option in connection.lower().split(b",")]
            self.keep = b"close" not in options and (not old or b"keep-alive" in options)
        if b"upgrade" in headers:
            # It is answered in HTTP/1.1, but who asks may go on in something else.
            self.keep = False

    def _sized(self) -> bool:
        piece = self._data[self._at : self._at + self._missing - len(self._body)]
        self._at += len(piece)
        self._body += piece
        return len(self._body) == self._missing

    def _chunked(self, chunks: _Chunks) -> bool:
        while True:
            data, at = self._data, self._at
            if chunks.state == _DATA:
                piece = data[at : at + chunks.left]
                self._body += piece
                self._at += len(piece)
                chunks.left -= len(piece)
                if chunks.left:
                    return False
                chunks.state = _AFTER
            elif chunks.state == _AFTER:
                ending = data[at : at + 2]
                if not b"\r\n".startswith(ending):
                    raise Bad(400, "a chunk does not end where it should")
                if len(ending) < 2:
                    return False
                self._at, chunks.state = at + 2, _SIZE
            elif chunks.state == _SIZE:
                if not self._size(chunks):
                    return False
            else:
                return self._trailers(chunks)

    def _size(self, chunks: _Chunks) -> bool:
        data, at = self._data, self._at
        end = data.find(b"\r\n", at, at + MOST_CHUNK_LINE + 2)
        if end < 0:
            tail = data[at : at + MOST_CHUNK_LINE + 2]
            _text_so_far(tail)
            if len(tail) == MOST_CHUNK_LINE + 2:
                raise Bad(400, "a chunk's size takes too long a line")
            return False
        line = data[at:end]
        _text(line)
        self._at = end + 2
        digits, _, extension = line.partition(b";")
        if not digits or len(digits) > 16 or digits.translate(None, _HEX):
            raise Bad(400, "a chunk's size is not a number")
        size = int(digits, 16)
        chunks.extensions += len(extension)
        chunks.lines += len(line) + 4
        if chunks.extensions > MOST_EXTENSIONS:
            raise Bad(400, f"more than {MOST_EXTENSIONS} bytes of chunk extensions")
        if len(self._body) + size > self._limits.body:
            raise Bad(413, f"more than {self._limits.body} bytes in a request")
        # Many chunks of a few bytes are much work for little.
        if chunks.lines > self._limits.head + len(self._body) // 4:
            raise Bad(400, "chunks of a few bytes, too many of them")
        chunks.left, chunks.state = size, _DATA if size else _END
        return True

    def _trailers(self, chunks: _Chunks) -> bool:
        """Read what follows the last chunk; it is checked, and dropped."""
        data, at, most = self._data, self._at, self._limits.head
        if chunks.trailers == 0:
            start = data[at : at + 2]
            if start == b"\r\n":
                self._at += 2
                return True
            if start in (b"", b"\r"):
                return False
        end = data.find(b"\r\n\r\n", at, at + most + 4)
        if end < 0:
            window = data[at : at + most + 4]
            *lines, tail = window.split(b"\r\n")
            if len(lines) > chunks.trailers:
                _fields(lines, self._limits)
                chunks.trailers = len(lines)
            _text_so_far(tail)
            if len(window) == most + 4:
                raise Bad(431, f"more than {most} bytes of trailers")
            return False
        _fields(data[at:end].split(b"\r\n"), self._limits)
        self._at = end + 4
        return True


_SIZE, _DATA, _AFTER, _END = range(4)


class _Chunks:
    """Where in a chunked body the reader is, and what it has seen of what is not body."""

    __slots__ = ("extensions", "left", "lines", "state", "trailers")

    def __init__(self) -> None:
        self.state, self.left = _SIZE, 0
        self.extensions = self.lines = self.trailers = 0


def _text(line: bytes) -> None:
    if line.translate(None, _TEXT):
        raise Bad(400, _CONTROL)


def _text_so_far(tail: bytes) -> None:
    """As ``_text``, of a line whose end has not come."""
    _text(tail[:-1] if tail.endswith(b"\r") else tail)


def _checked(window: bytes, limits: Limits, before: int) -> int:
    """Refuse a head that is not all there as soon as it is bad.

    Returns the number of its lines so far, of which ``before`` were checked already.
    """
    *lines, tail = window.split(b"\r\n")
    if len(lines) > before:
        _opening(lines[0], limits)
        _fields(lines[1:], limits)
    if not lines:
        _not_too_long(tail[:-1] if tail.endswith(b"\r") else tail, limits)
    _text_so_far(tail)
    if len(window) == limits.head + 4:
        raise Bad(431, f"more than {limits.head} bytes of headers")
    return len(lines)


def _not_too_long(line: bytes, limits: Limits) -> None:
    most = MOST_METHOD + limits.target + len("  HTTP/1.1")
    if len(line) > most:
        _text(line[: most + 1])
        raise Bad(414, f"the request's target takes more than {limits.target} bytes")


def _opening(line: bytes, limits: Limits) -> tuple[str, str, str, bool]:
    """The request's first line: method, path, query, and whether it is HTTP/1.0."""
    _not_too_long(line, limits)
    return _request_line(line, limits.target)


@lru_cache(maxsize=256)
def _request_line(line: bytes, most: int) -> tuple[str, str, str, bool]:
    _text(line)
    parts = line.split(b" ")
    if len(parts) != 3:
        raise Bad(400, "the first line is not METHOD TARGET HTTP/1.1")
    method, target, version = parts
    if not method or method.translate(None, _TOKEN):
        raise Bad(400, "the method is no word")
    if len(version) != 8 or not version.startswith(b"HTTP/") or version[6:7] != b"." or not _number(version[5::2]):
        raise Bad(400, "the first line is not METHOD TARGET HTTP/1.1")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise Bad(505, "this server speaks HTTP/1.1 only")
    if method not in _METHODS:
        raise Bad(501, "no such method here")
    if len(target) > most:
        raise Bad(414, f"the request's target takes more than {most} bytes")
    if target.translate(None, _TARGET):
        raise Bad(400, "the target has characters that belong into no URL")
    path, _, query = _origin(target, method).partition(b"?")
    return method.decode(), path.decode(), query.decode(), version == b"HTTP/1.0"


def _number(digits: bytes) -> bool:
    return not digits.translate(None, _DIGITS)


def _origin(target: bytes, method: bytes) -> bytes:
    """The path and query of a target, which a proxy may have sent with scheme and host."""
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        raise Bad(400, "the target is neither a path nor an http URL")
    ends = [at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0]
    end = min(ends, default=len(rest))
    if end == 0 or rest[:end].translate(None, _HOST):
        raise Bad(400, "the target names no host")
    return rest[end:] if rest[end : end + 1] == b"/" else b"/" + rest[end:]


def _fields(lines: list[bytes], limits: Limits) -> dict[bytes, bytes]:
    """Headers by their names in lower case; those that may be repeated are joined."""
    if len(lines) <= limits.fields:
        with suppress(Bad):
            headers = dict(map(_field, lines))
            if len(headers) == len(lines):
                return headers
    # One after the other, so that the first fault is told however the lines came.
    headers = {}
    for count, line in enumerate(lines):
        name, value = _field(line)
        if count >= limits.fields:
            raise Bad(431, f"more than {limits.fields} headers")
        if name in headers:
            if name in _SINGLE or name.startswith(b"windlass-"):
                raise Bad(400, f"more than one header {name.decode()}")
            value = headers[name] + (b"; " if name == b"cookie" else b", ") + value
        headers[name] = value
    return headers


@lru_cache(maxsize=512)
def _field(line: bytes) -> tuple[bytes, bytes]:
    """A header's name in lower case, and its value. (Most lines of a request were in one before it.)"""
    _text(line)
    raw, colon, value = line.partition(b":")
    if not colon:
        raise Bad(400, "a header without a colon")
    if not raw or raw.translate(None, _TOKEN):
        raise Bad(400, "a header's name is no word")
    if len(raw) > MOST_NAME:
        raise Bad(431, f"a header's name takes more than {MOST_NAME} bytes")
    name, value = raw.lower(), value.strip(b" \t")
    if name == b"host" and value.translate(None, _HOST):
        raise Bad(400, "the host header names no host")
    if name == b"content-length" and (not value or value.translate(None, _DIGITS)):
        raise Bad(400, "content-length is not a number")
    return name, value


def _chunked_only(coding: bytes) -> None:
    """Refuse any transfer coding but ``chunked``, said once and plainly."""
    *others, last = [each.strip(b" \t") for each in coding.lower().split(b",")]
    if last != b"chunked" or not _CODINGS.issuperset(others):
        raise Bad(400, "a transfer-encoding that does not end with chunked, once")
    if others:
        raise Bad(501, "no transfer-encoding but chunked")
