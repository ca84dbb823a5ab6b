"""uvicorn over one application, as every server of ours runs it."""

from __future__ import annotations

from collections.abc import Callable
from socket import socket

import uvicorn

GRACE_SECONDS = 5


class Server(uvicorn.Server):
    """No access log, no lifespan, and a call when it answers."""

    def __init__(self, application: object, *, ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                application,  # type: ignore[arg-type]
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
                # Longer than a training step between two metrics: a new connection costs more than one kept.
                timeout_keep_alive=75,
            )
        )
        self._ready = ready

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready()

    def stop(self) -> None:
        self.should_exit = True
