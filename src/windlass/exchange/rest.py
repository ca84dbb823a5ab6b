"""MLflow's REST protocol from the client's side: kept connections, patience with a busy server, bounded answers.

Redirects are not followed, and no proxy is taken from the environment: the credentials go to the server that was named,
and to no other.
"""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from blake3 import blake3

from windlass.domain.errors import Corrupt, Denied, Failure, Invalid, NotFound, Unavailable

T = TypeVar("T")

API = "/api/2.0/mlflow/"
TIMEOUT_SECONDS = 60.0
ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 20.0
LARGEST_ANSWER = 256 << 20
_BLOCK = 1 << 20
_TOKEN, _USER, _PASSWORD = "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


# A fault of the server's, which may come again for this one thing and for no other; and others that may pass.
_FAULT = "INTERNAL_ERROR"
_MAY_PASS = (_FAULT, "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED")


class Missing(NotFound):
    """The server has no such call."""


@dataclass
class Busy(Unavailable):
    """The server says that it cannot now. ``unheard``: it did nothing of what was asked. ``settled``: what it means if
    it is said every time.
    """

    after_seconds: float = 0.0
    unheard: bool = False
    settled: Failure | None = None


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is; ``prefix`` is the path that its calls are below."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def shown(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.port == (443 if self.scheme == "https" else 80)
        return f"{self.scheme}://{host}{'' if usual else f':{self.port}'}{self.prefix}"


def parsed(url: str) -> Address:
    """A server's URL.

    Raises:
        Invalid: it is none, or has credentials in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Invalid("the URL of the MLflow server is malformed", hint="write it as http://HOST:PORT") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid("the URL of the MLflow server is malformed", hint="write it as http://HOST:PORT")
    if parts.username is not None or parts.password is not None:
        # Not shown: it holds a password, and whoever lists the machine's processes can read it.
        raise Invalid("the URL has a user or a password in it", hint=f"set {_USER} and {_PASSWORD}, or {_TOKEN}")
    if parts.query or parts.fragment:
        raise Invalid("the URL of the MLflow server has a query", hint="write it as http://HOST:PORT")
    prefix = quote(parts.path.rstrip("/"), safe="/%")
    return Address(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), prefix)


def credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """The headers by which MLflow's own client would say who it is."""
    token, user, password = (environment.get(name, "") for name in (_TOKEN, _USER, _PASSWORD))
    if user and password:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return _checked({"authorization": f"Basic {pair}"})
    return _checked({"authorization": f"Bearer {token}"}) if token else {}


def _checked(headers: dict[str, str]) -> dict[str, str]:
    if any(not 32 <= ord(c) < 127 for value in headers.values() for c in value):
        raise Invalid(f"{_TOKEN} holds what no header can", hint="set it to the token alone, without a line break")
    return headers


@dataclass
class Rest:
    """A server, asked from one thread."""

    address: Address
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    sleep: Callable[[float], None] = time.sleep
    timeout_seconds: float = TIMEOUT_SECONDS
    attempts: int = ATTEMPTS
    _kept: http.client.HTTPConnection | None = field(default=None, init=False, repr=False)

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def get(self, call: str, into: type[T], **query: str | int) -> T:
        """A call's answer. Raises Missing, NotFound, Denied, Invalid, Corrupt, Unavailable, Failure."""
        text = urlencode({name: value for name, value in query.items() if value != ""})
        return self._called("GET", f"{API}{call}{'?' + text if text else ''}", None, into)

    def post(self, call: str, into: type[T], **fields: Any) -> T:
        """As ``get``."""
        return self._called("POST", API + call, fields, into)

    def create(self, call: str, into: type[T], **fields: Any) -> T:
        """As ``post``, but asked again only where the server said itself that it did nothing: asked twice, it would
        make two.
        """
        self.close()  # of a connection that was kept nobody knows whether it was closed before the call or after
        return self._called("POST", API + call, fields, into, once=True)

    def patch(self, call: str, into: type[T], **fields: Any) -> T:
        return self._called("PATCH", API + call, fields, into)

    def _called(
        self, method: str, path: str, fields: Mapping[str, Any] | None, into: type[T], *, once: bool = False
    ) -> T:
        body = None if fields is None else msgspec.json.encode(fields)
        return decoded(self._asked(method, path, body, once=once), into)

    def _asked(self, method: str, path: str, body: bytes | None, *, once: bool) -> bytes:
        for patience in self._patience(once=once):
            with patience, self._answer(method, path, body, {}) as answer:
                data = _bounded(answer)
                if answer.status != 200:
                    raise failed(answer, data)
                return data
        raise AssertionError

    def put(self, path: str, source: Callable[[], AbstractContextManager[BinaryIO]], size: int) -> None:
        """Upload a file to a path of the server. Raises as ``get``."""
        headers = {"content-type": "application/octet-stream", "content-length": str(size)}
        for patience in self._patience():
            with patience, source() as file, self._answer("PUT", path, _blocks(file), headers) as answer:
                data = _bounded(answer)
                if answer.status != 200:
                    raise failed(answer, data)
                return

    @contextmanager
    def download(self, path: str, size: int | None) -> Iterator[Download]:
        """A file of the server, to be read once from its beginning to its end."""
        opened = Download(self, path, size)
        try:
            yield opened
        finally:
            opened.close()

    @contextmanager
    def _answer(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """One answer over the kept connection, which is kept on only if the answer was read to its end.

        Raises:
            Unavailable: no connection, or it broke.
        """
        connection, self._kept = self._kept or self._connection(), None
        given = {"accept": "*/*", "user-agent": "windlass", **self.headers, **headers}
        if isinstance(body, bytes):
            given["content-type"] = "application/json"
        try:
            connection.request(method, self.address.prefix + path, body, given)
            answer = connection.getresponse()
            yield answer
            if answer.isclosed() and not answer.length and not answer.will_close:
                self._kept, connection = connection, None  # type: ignore[assignment]
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(error) from None
        finally:
            if connection is not None:
                connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.address.scheme == "https":
            import ssl  # noqa: PLC0415

            return http.client.HTTPSConnection(
                self.address.host, self.address.port, timeout=self.timeout_seconds, context=ssl.create_default_context()
            )
        return http.client.HTTPConnection(self.address.host, self.address.port, timeout=self.timeout_seconds)

    def _no_answer(self, error: Exception) -> Unavailable:
        verify = getattr(error, "verify_message", "")
        if verify:
            # No patience mends a certificate.
            return Unavailable(
                f"the certificate of {self.address.shown} is not accepted: {verify}",
                hint="set SSL_CERT_FILE to the authority that signed it",
                retryable=False,
            )
        if isinstance(error, http.client.HTTPException) and not isinstance(
            error, http.client.RemoteDisconnected | http.client.IncompleteRead
        ):
            return Unavailable(f"what {self.address.shown} answers is not HTTP", hint="check the URL", retryable=False)
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Unavailable(f"no answer from {self.address.shown}: {reason[:200]}", hint="check the URL, or try again")

    def _patience(self, *, once: bool = False) -> Iterator[_Patience]:
        """Attempts, one after the other with growing pauses between them: each swallows what may pass, but the last."""
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(self.attempts):
            patience = _Patience(last=attempt == self.attempts - 1, unheard=once)
            yield patience
            self.sleep(min(max(pause, patience.wanted), LONGEST_PAUSE_SECONDS))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


class _Patience:
    """Swallows an Unavailable that may pass. Leaving by return goes on as usual."""

    def __init__(self, *, last: bool, unheard: bool) -> None:
        self._last, self._unheard = last, unheard
        self.wanted = 0.0

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Unavailable) or not error.retryable:
            return False
        if self._last:
            _settle(error)
            return False
        if self._unheard and not (isinstance(error, Busy) and error.unheard):
            return False
        self.wanted = error.after_seconds if isinstance(error, Busy) else 0.0
        return True


class Download:
    """A file as it comes. A connection that breaks is opened again and goes on where it was: if the server serves
    ranges of what did not change, from there; otherwise from the beginning, which has to be the same as before.
    """

    def __init__(self, rest: Rest, path: str, size: int | None) -> None:
        self._rest, self._path, self._size = rest, path, size
        self._at = 0
        self._hash = blake3()
        self._etag = ""
        self._stack: Any = None
        self._answer: http.client.HTTPResponse | None = None
        self._length: int | None = None
        self._broken = self._broke_at = 0

    def readinto(self, into: memoryview, /) -> int:
        while True:
            try:
                if self._answer is None:
                    self._open()
                assert self._answer is not None
                count = self._answer.readinto(into)
                if count == 0 and self._length is not None and self._at < self._length:
                    raise Unavailable(f"the download of {self._path} ended after {self._at} of {self._length} bytes")
            except Unavailable as error:
                self._again(error)
                continue
            except (OSError, http.client.HTTPException) as error:
                self._again(self._rest._no_answer(error))
                continue
            self._hash.update(into[:count])
            self._at += count
            if self._at - self._broke_at >= _BLOCK:
                self._broken = 0
            if self._size is not None and (self._at > self._size or (not count and self._at != self._size)):
                raise Corrupt(f"{self._path} has not the {self._size} bytes that the server lists", hint="import again")
            return count

    def close(self) -> None:
        if self._answer is not None:
            # Not to its end: then the connection is not kept.
            with suppress(Unavailable):
                self._stack.__exit__(None, None, None)
            self._answer = None

    def _again(self, error: Unavailable) -> None:
        self.close()
        self._broken, self._broke_at = self._broken + 1, self._at
        if not error.retryable:
            raise error
        if self._broken >= self._rest.attempts:
            _settle(error)
            raise error
        self._rest.sleep(min(FIRST_PAUSE_SECONDS * 2 ** (self._broken - 1), LONGEST_PAUSE_SECONDS))

    def _open(self) -> None:
        headers = {}
        if self._at and self._etag:
            headers = {"range": f"bytes={self._at}-", "if-range": self._etag}
        self._stack = self._rest._answer("GET", self._path, None, headers)
        answer = self._stack.__enter__()
        self._answer = answer
        if answer.status not in (200, 206):
            problem = failed(answer, _bounded(answer))
            self.close()
            raise problem
        length = answer.headers.get("content-length", "")
        self._length = int(length) if length.isdigit() and len(length) < 19 else None
        if answer.status == 206:
            if not headers or not answer.headers.get("content-range", "").startswith(f"bytes {self._at}-"):
                raise Corrupt(f"the server sends another part of {self._path} than it was asked for")
            self._length = None if self._length is None else self._at + self._length
            return
        self._etag = _strong(answer.headers.get("etag", ""))
        self._skip(answer)

    def _skip(self, answer: http.client.HTTPResponse) -> None:
        """Over what was read before, if it is the same."""
        hasher, left = blake3(), self._at
        while left:
            data = answer.read(min(_BLOCK, left))
            if not data:
                raise Unavailable(f"the download of {self._path} ended early")
            hasher.update(data)
            left -= len(data)
        if self._at and hasher.digest() != self._hash.digest():
            raise Corrupt(f"{self._path} changed while it was downloaded", hint="import again when nobody writes to it")


def _settle(error: Unavailable) -> None:
    """Raise what an error means that came every time, if that is another."""
    if isinstance(error, Busy) and error.settled is not None:
        raise error.settled from None


def decoded(data: bytes, into: type[T]) -> T:
    """A JSON answer, in proto3's mapping. Raises Corrupt."""
    try:
        return msgspec.json.decode(data or b"{}", type=into, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # A bare NaN, or nulls for what is absent.
        return msgspec.convert(_without_nulls(json.loads(data)), into, strict=False)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise Corrupt(
            f"the server's answer is not MLflow's: {str(error)[:200]}", hint="check that the URL is an MLflow server's"
        ) from None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value if inner is not None]
    return value


def refused(status: int, data: bytes) -> Failure:
    """What an answer that is no 200 means."""
    code, message = _said(data)
    said = f"the server says {status}{f' {code}' if code else ''}{f': {message}' if message else ''}"
    if status in (401, 403):
        return Denied(said, hint=f"set {_TOKEN}, or {_USER} and {_PASSWORD}")
    if 300 <= status < 400:
        return Invalid(f"{said}: a redirect, which is not followed", hint="give the URL that it leads to")
    if code == "RESOURCE_DOES_NOT_EXIST":
        return NotFound(said)
    if status in (404, 405, 501):
        return Missing(said, hint="check the URL: it is the server's, as in MLFLOW_TRACKING_URI")
    if status == 400:
        return Invalid(said)
    return Failure(said)


def _said(data: bytes) -> tuple[str, str]:
    """The code and the message of an error in MLflow's form; empty if it is none."""
    try:
        body = json.loads(data[:_BLOCK])
        return str(body.get("error_code", "")), str(body.get("message", ""))[:500]
    except (ValueError, AttributeError, RecursionError):
        return "", ""


def failed(answer: http.client.HTTPResponse, data: bytes) -> Failure:
    """What an answer that is no 200 means; Busy if asking again may help."""
    status, code = answer.status, _said(data)[0]
    settled = refused(status, data)
    # 501 says that a call is not there at all; and what MLflow gives a name to, it will say again.
    if status != 429 and (status < 500 or status == 501 or code not in ("", *_MAY_PASS)):
        return settled
    after = answer.headers.get("retry-after", "")
    return Busy(
        settled.message,
        hint="look into its log, or try again later",
        after_seconds=float(after) if after.isdigit() and len(after) < 6 else 0.0,
        unheard=status in (429, 503),
        settled=settled if code == _FAULT else None,
    )


def _bounded(answer: http.client.HTTPResponse) -> bytes:
    data = answer.read(LARGEST_ANSWER + 1)
    if len(data) > LARGEST_ANSWER:
        raise Corrupt(f"the server's answer is larger than {LARGEST_ANSWER >> 20} MiB")
    if answer.length:
        raise Unavailable("the server's answer ended early")
    if not answer.isclosed():
        answer.read()  # the end of a chunked one
    return data


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while data := file.read(_BLOCK):
        yield data


def _strong(etag: str) -> str:
    return etag if etag.startswith('"') and all(32 <= ord(c) < 127 for c in etag) else ""
