"""One signed request to one vetted address: bounded in time and in what is read, and never redirected."""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windlass.domain.errors import Failure
from windlass.governance.webhooks import addresses
from windlass.governance.webhooks.addresses import Resolve, Target

if TYPE_CHECKING:
    from ssl import SSLContext

TIMEOUT_SECONDS = 10.0
LONGEST_ANSWER = 64 * 1024
_BLOCK = 64 * 1024

Monotonic = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended. ``status`` is None if no answer came; ``error`` is empty if it was delivered."""

    status: int | None
    error: str
    milliseconds: int


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allow_private: bool,
    resolve: Resolve = addresses.resolve,
    timeout_seconds: float = TIMEOUT_SECONDS,
    monotonic: Monotonic = time.monotonic,
) -> Outcome:
    """Send a body once; whatever goes wrong is in the outcome. What the receiver says besides its status is not kept.

    The time is for the whole of it, from the connection to the answer's last byte; only the system's resolver has its
    own.
    """
    began = monotonic()
    status: int | None = None
    try:
        target = addresses.parsed(url)
        vetted = addresses.vetted(target, allow_private=allow_private, resolve=resolve)
        until = monotonic() + timeout_seconds
        with _connected(target, vetted, until, monotonic) as connected:
            connection = http.client.HTTPConnection(target.host, target.port)
            # It speaks over what we connected: it never looks the host up, and takes no proxy from the environment.
            connection.sock = _Link(connected, until, monotonic)
            connection.request("POST", target.path, body, {"Host": target.authority, "Connection": "close", **headers})
            answer = connection.getresponse()
            status = answer.status
            read = len(answer.read(LONGEST_ANSWER))
            # It raises this by itself only where the answer comes in chunks.
            if answer.length and read < LONGEST_ANSWER:
                raise http.client.IncompleteRead(b"")
        error = _said(status)
    except Failure as refused:
        error = refused.message
    except TimeoutError:
        error = f"no whole answer within {timeout_seconds:g} s"
    except http.client.RemoteDisconnected:
        error = "it closed the connection without an answer"
    except http.client.IncompleteRead:
        error = "it closed the connection in the middle of its answer"
    except http.client.HTTPException:
        error = "what it answered is not HTTP"
    except (OSError, ValueError) as failed:
        error = _reason(failed)
    return Outcome(status=status, error=error, milliseconds=round(1000 * (monotonic() - began)))


def _said(status: int) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"it answered {status}, a redirect: those are not followed"
    return f"it answered {status}"


def _reason(failed: OSError | ValueError) -> str:
    """In the system's words, which do not hold what was sent."""
    verify = getattr(failed, "verify_message", "")
    if verify:
        return f"its certificate is not accepted: {verify}"
    if isinstance(failed, OSError):
        return f"no connection: {(failed.strerror or type(failed).__name__)[:200]}"
    return "what it answered is not HTTP"


def _connected(target: Target, vetted: Sequence[str], until: float, monotonic: Monotonic) -> socket.socket:
    """A connection to the first of the addresses that answers.

    Raises:
        OSError: none does.
    """
    context = _tls() if target.scheme == "https" else None
    failed: OSError = TimeoutError()
    for index, address in enumerate(vetted):
        share = (until - monotonic()) / (len(vetted) - index)
        if share <= 0:
            break
        try:
            raw = socket.create_connection((address, target.port), timeout=share)
        except OSError as error:
            failed = error
            continue
        try:
            raw.settimeout(max(until - monotonic(), 0.001))
            return context.wrap_socket(raw, server_hostname=target.host) if context else raw
        except BaseException:
            raw.close()
            raise
    raise failed


def _tls() -> SSLContext:
    import ssl  # noqa: PLC0415 - a command that sends nothing need not load it

    return ssl.create_default_context()


class _Link:
    """A socket as http.client uses one, with one deadline for everything: a peer that drips does not hold us."""

    def __init__(self, connected: socket.socket, until: float, monotonic: Monotonic) -> None:
        self._socket, self._until, self._monotonic = connected, until, monotonic

    def sendall(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.in_time().send(view[:_BLOCK]) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Answer(self))

    def close(self) -> None:
        """The answer is still read when http.client calls this: who connected closes."""

    def in_time(self) -> socket.socket:
        """The socket, to use once, for as long as there is time.

        Raises:
            TimeoutError: there is none left.
        """
        left = self._until - self._monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        return self._socket


class _Answer(io.RawIOBase):
    """What comes back. http.client takes the end of the connection for the end of the headers: here it is none."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._head: bytes | None = b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any, /) -> int:
        count = self._link.in_time().recv_into(into)
        if self._head is not None:
            if not count and self._head:
                raise http.client.IncompleteRead(b"")
            seen = self._head + bytes(into[:count])
            self._head = None if b"\n\r\n" in seen or b"\n\n" in seen else seen[-2:]
        return count
