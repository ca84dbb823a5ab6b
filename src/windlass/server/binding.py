"""Where a server may listen: loopback only, for as long as nobody has to say who they are."""

from __future__ import annotations

import ipaddress
import socket

from windlass.domain.errors import Denied, Unavailable

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def checked_host(host: str) -> str:
    """``host`` if it is this machine's loopback.

    Raises:
        Denied: it is not: without authentication anyone who reaches the port could release a model.
    """
    if host not in LOOPBACK_NAMES and not _is_loopback(host):
        raise Denied(
            f"refusing to listen on {host}: there is no authentication yet",
            hint="listen on 127.0.0.1, and reach it from elsewhere through a tunnel of your own (ssh -L)",
        )
    return host


def listen(host: str, port: int, *, option: str = "--port") -> socket.socket:
    """A listening TCP socket; port 0 takes a free one.

    Raises:
        Denied: the host is not loopback.
        Unavailable: the port is in use; the hint names the ``option`` that changes it.
    """
    checked_host(host)
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # A restart must not wait for the last connections of the one before to time out.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise Unavailable(
            f"port {port} on {host} is in use" if port else f"no free port on {host}: {error.strerror}",
            hint=f"stop what uses it, or choose another with {option} (0 takes a free one)",
        ) from None
    return listener


def url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback_name(text: str) -> bool:
    """Whether a Host header, or the authority of an Origin, names this machine's loopback."""
    host = text.strip().lower()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") <= 1:
        host = host.partition(":")[0]
    return host in LOOPBACK_NAMES or _is_loopback(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
