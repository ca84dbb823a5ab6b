"""A tracking server for as long as a block lasts: where a script run as a step logs to, with MLflow's client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware

from windlass.domain.clock import Clock
from windlass.domain.errors import Unavailable
from windlass.domain.ports import Database, ObjectStore
from windlass.server import binding, failures
from windlass.server.guard import Guard
from windlass.server.listener import Server
from windlass.server.mlflow_api import Api

HOST = "127.0.0.1"
READY_SECONDS = 10.0


@contextmanager
def tracking_server(db: Database, objects: ObjectStore, *, now: Clock, actor: str) -> Iterator[str]:
    """MLflow's API on a free loopback port, in a thread; gives its URL (the client's MLFLOW_TRACKING_URI).

    Raises:
        Unavailable: it does not start.
    """
    with binding.listen(HOST, 0) as listener:
        api = Api(db, objects, now=now, actor=actor)
        ready = threading.Event()
        application = Starlette(
            routes=api.routes(),
            middleware=[Middleware(Guard, failed=failures.answer)],
            exception_handlers=failures.HANDLERS,
        )
        server = Server(application, ready=ready.set)
        thread = threading.Thread(target=server.run, args=([listener],), name="tracking-server", daemon=True)
        thread.start()
        try:
            if not ready.wait(READY_SECONDS):
                raise Unavailable("the tracking server for command steps does not start")
            yield binding.url(HOST, listener.getsockname()[1])
        finally:
            server.stop()
            thread.join()
            api.close()
