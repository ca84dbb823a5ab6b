"""uvicorn over one application, as every server of ours runs it."""

from __future__ import annotations

import resource
from collections.abc import Callable
from socket import socket

import uvicorn

from windlass.server.connections import MOST_CONNECTIONS, Connection, sweep

GRACE_SECONDS = 5
TICK_SECONDS = 0.1  # uvicorn's
SWEEP_TICKS = 10


def allow_files() -> None:
    """Let this process open as many files as it takes connections, and some, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + 1000
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Server(uvicorn.Server):
    """No access log, no lifespan, and a call when it answers."""

    def __init__(self, application: object, *, ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                application,  # type: ignore[arg-type]
                loop="uvloop",
                http=Connection,
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level="error",  # its warnings are about requests, and anybody can send a million
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

    async def on_tick(self, counter: int) -> bool:
        if counter % SWEEP_TICKS == 0:
            sweep(self.server_state.connections, SWEEP_TICKS * TICK_SECONDS)
        return await super().on_tick(counter)

    def stop(self) -> None:
        self.should_exit = True
