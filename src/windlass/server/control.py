"""The control process: the API, and the loops that reconcile (`python -m windlass.server.control`).

It holds nothing that matters: killed at any instruction, the next one reads the tables and goes on. The gateway and
the workers do not need it to answer requests.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from windlass.domain.errors import Denied, Failure, Unavailable
from windlass.governance import tokens
from windlass.server import app, binding
from windlass.server.listener import GRACE_SECONDS, Server, allow_files
from windlass.server.ticking import Loops
from windlass.server.tracking import step_tracking
from windlass.workspace import control
from windlass.workspace.layout import Layout
from windlass.workspace.workspace import Workspace, current_actor

EXIT_UNAVAILABLE = 5

_log = logging.getLogger("windlass.server")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM, SIGINT, or (with ``--stdin-watch``) the end of stdin; prints one JSON line when ready."""
    parser = argparse.ArgumentParser(prog="python -m windlass.server.control", description=__doc__)
    parser.add_argument("--project", type=Path, default=Path(), help="the project's folder")
    parser.add_argument("--host", default="127.0.0.1", help="beyond the loopback only where there is a token")
    parser.add_argument("--allow-host", action="append", default=[], help="a name by which clients may call the server")
    parser.add_argument("--port", type=int, default=8801, help="0 takes a free one")
    parser.add_argument("--stdin-watch", action="store_true", help="end when stdin does: who started this has died")
    options = parser.parse_args(arguments)
    # Pages of a thousand runs are hundreds of thousands of small objects, and none of them is a cycle: looking for
    # cycles every 700 of them takes two thirds of the time.
    gc.set_threshold(200_000, 50, 100)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        names = options.allow_host
        serve(options.project, options.host, options.port, names=names, stdin_watch=options.stdin_watch)
    except Failure as error:
        sys.stderr.write(f"{error.message}\n{error.hint}\n")
        return EXIT_UNAVAILABLE if isinstance(error, Unavailable | Denied) else 1
    return 0


def serve(project: Path, host: str, port: int, *, names: Sequence[str] = (), stdin_watch: bool) -> None:
    """Bind first (a port in use is told at once), then open the project, answer, and reconcile.

    Raises:
        Denied: ``host`` is not loopback, and there is no live token.
        Unavailable: the port is in use.
    """
    allow_files()
    # Exactly this folder, with or without a windlass.toml: what is served is what its state says.
    workspace = Workspace(Layout(project.resolve()), actor=current_actor(), remote=True)
    # Once there was a token, every request needs one: what is asked here stays true while the server runs.
    guarded = not binding.is_loopback(host) and tokens.anybody(workspace.database)
    with binding.listen(host, port, guarded=guarded) as listener:
        workspace.tracking = step_tracking(workspace)
        loops = Loops(control.ticks(workspace))
        server = Server(app.build(workspace, hosts=[host, *names]), ready=lambda: _announce(listener.getsockname()[1]))
        for signum in (signal.SIGTERM, signal.SIGINT):
            # uvicorn raises again, at its end, the signal that ended it: that must then not kill us.
            signal.signal(signum, server.handle_exit)
        if stdin_watch:
            watch_stdin(server.stop)
        loops.start()
        try:
            server.run(sockets=[listener])
        finally:
            loops.stop(GRACE_SECONDS)


def watch_stdin(ended: Callable[[], None]) -> None:
    """Call ``ended`` when stdin reaches its end, as it does when the process that holds the other end dies."""

    def wait() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        ended()

    threading.Thread(target=wait, name="stdin-watch", daemon=True).start()


def _announce(port: int) -> None:
    sys.stdout.write(json.dumps({"ready": True, "port": port, "pid": os.getpid()}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
