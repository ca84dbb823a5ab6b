"""Where the data plane's processes listen: a TCP port for users, Unix sockets for those who own the process."""

from __future__ import annotations

import os
import socket as sockets
from errno import EADDRINUSE
from pathlib import Path

from windlass.domain.errors import Invalid, Unavailable

BACKLOG = 1024


def tcp(host: str, port: int) -> sockets.socket:
    """A socket bound to ``port``; 0 takes a free one.

    Raises:
        Invalid: no such port.
        Unavailable: it is in use, or the host has no such address.
    """
    if not 0 <= port <= 65535:
        raise Invalid(f"{port} is no port", hint="choose one from 1 to 65535, or 0 for a free one")
    listener = sockets.socket(sockets.AF_INET6 if ":" in host else sockets.AF_INET, sockets.SOCK_STREAM)
    try:
        listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # Now and not when serving begins: of two that bind at once, one is told here.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == EADDRINUSE:
            raise Unavailable(f"port {port} on {host} is in use", hint="choose another") from None
        raise Unavailable(f"cannot listen on port {port} of {host}: {error.strerror}") from None
    return listener


def unix(path: Path) -> sockets.socket:
    """A socket at ``path``, which only this user can connect to; one left there by a process that died is replaced.

    Raises:
        Unavailable: it cannot be made there.
    """
    listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        os.umask(0o077)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        # ``strerror`` is not set when the path is too long.
        raise Unavailable(f"cannot listen on {path}: {error.strerror or error}", hint="use a shorter path") from None
    return listener
