"""The gateways' listening sockets: opened here and handed down, so that they outlive the gateways.

A connection that comes while its gateway is being started again waits in the socket's queue, where it would be reset
if the socket ended with its process. Each gateway has a socket of its own on the one port (``SO_REUSEPORT``), among
which the kernel spreads the connections.
"""

from __future__ import annotations

import socket
import threading

from windlass.domain.errors import Unavailable
from windlass.server import binding


class Doors:
    """One listening socket a gateway, by its number. For any thread."""

    def __init__(self, host: str, port: int, count: int) -> None:
        self._host, self._port, self._shared = host, port, count > 1
        self._open: dict[int, socket.socket] = {}
        self._closed = False
        self._guard = threading.Lock()

    def descriptor(self, number: int) -> int:
        """The socket of a gateway that is about to start; opened if it is not.

        Raises:
            Unavailable: somebody else has the port now, or all is being closed.
        """
        with self._guard:
            if self._closed:
                raise Unavailable("the gateways are being ended")
            if number not in self._open:
                self._open[number] = binding.listen(
                    self._host, self._port, option="--gateway-port", guarded=True, shared=self._shared
                )
            return self._open[number].fileno()

    def leave(self, number: int) -> None:
        """Let nobody wait for a gateway that does not come back: the others take its connections."""
        with self._guard:
            if self._shared and (door := self._open.pop(number, None)) is not None:
                door.close()

    def close(self) -> None:
        """Let nobody in any more."""
        with self._guard:
            self._closed = True
            for door in self._open.values():
                door.close()
            self._open.clear()
