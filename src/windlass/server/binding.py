"""Where a server may listen: loopback only, for as long as nobody has to say who they are; and its names."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Collection

from windlass.domain.errors import Denied, Unavailable

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def checked_host(host: str, *, guarded: bool = False) -> str:
    """``host`` if it is this machine's loopback, or if who asks there has to say who they are (``guarded``).

    Raises:
        Denied: it is neither: without authentication anyone who reaches the port could release a model.
    """
    if not guarded and not is_loopback(host):
        raise Denied(
            f"refusing to listen on {host}: there is no authentication yet",
            hint="make a token first: windlass token create NAME; or listen on 127.0.0.1, and reach it from elsewhere"
            " through a tunnel of your own (ssh -L)",
        )
    return host


def listen(
    host: str, port: int, *, option: str = "--port", guarded: bool = False, shared: bool = False
) -> socket.socket:
    """A listening TCP socket; port 0 takes a free one. ``shared``: others of ours listen on the port too.

    Raises:
        Denied: the host is not loopback, and the server is not ``guarded`` by tokens.
        Unavailable: the port is in use, or the host is not this machine's; the hint names the ``option`` that
            changes the port.
    """
    checked_host(host, guarded=guarded)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # A restart must not wait for the last connections of the one before to time out.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise Unavailable(
                f"cannot listen on {host}:{port}: {error.strerror}", hint="--host is an address of this machine"
            ) from None
        raise Unavailable(
            f"port {port} on {host} is in use" if port else f"no free port on {host}: {error.strerror}",
            hint=f"stop what uses it, or choose another with {option} (0 takes a free one)",
        ) from None
    return listener


def url(host: str, port: int, *, scheme: str = "http") -> str:
    """Where a server that listens on ``host`` is reached from this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - that is what it avoids
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def is_named(authority: str, names: Collection[str]) -> bool:
    """Whether a Host header names this machine's loopback, or one of ``names`` (in lower case)."""
    host = authority.strip().lower()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") <= 1:
        host = host.partition(":")[0]
    return is_loopback(host) or host in names


def is_loopback(host: str) -> bool:
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
