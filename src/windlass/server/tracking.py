"""A tracking server for as long as a block lasts: where a script run as a step logs to, with MLflow's client."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

from windlass.domain.errors import NotFound, Unavailable
from windlass.registry import tracking
from windlass.server import binding, failures
from windlass.server.guard import Guard
from windlass.server.listener import Server
from windlass.server.mlflow.app import MlflowApp
from windlass.server.tokens import only
from windlass.workspace.workspace import Workspace

HOST = "127.0.0.1"
READY_SECONDS = 10.0
PARENT = "mlflow.parentRunId"


@contextmanager
def tracking_server(workspace: Workspace, *, token: str = "") -> Iterator[str]:
    """MLflow's API on a free loopback port, in a thread; gives its URL (the client's MLFLOW_TRACKING_URI). With a
    ``token``, every request needs it.

    Raises:
        Unavailable: it does not start.
    """
    with binding.listen(HOST, 0) as listener:
        mlflow = MlflowApp(workspace)
        admit = only(token, workspace.actor) if token else None
        ready = threading.Event()
        server = Server(Guard(mlflow, failed=failures.answer, admit=admit), ready=ready.set)
        thread = threading.Thread(target=server.run, args=([listener],), name="tracking-server", daemon=True)
        thread.start()
        try:
            if not ready.wait(READY_SECONDS):
                raise Unavailable("the tracking server for command steps does not start")
            yield binding.url(HOST, listener.getsockname()[1])
        finally:
            server.stop()
            thread.join()
            mlflow.close()


def step_tracking(workspace: Workspace) -> Callable[[str], AbstractContextManager[dict[str, str]]]:
    """For pipelines.runner: a run's id to the environment in which a command step logs beneath that run."""

    @contextmanager
    def tracked(run_id: str) -> Iterator[dict[str, str]]:
        token = secrets.token_urlsafe(32)
        with tracking_server(workspace, token=token) as url:
            # Not MLFLOW_RUN_ID: a script that names an experiment of its own would then be refused by its client.
            beneath = json.dumps({PARENT: run_id})
            environment = {"MLFLOW_TRACKING_URI": url, "MLFLOW_RUN_CONTEXT": beneath, "MLFLOW_TRACKING_TOKEN": token}
            # The client prefers these to the token, and its user's own may be about another server.
            environment |= {"MLFLOW_TRACKING_USERNAME": "windlass", "MLFLOW_TRACKING_PASSWORD": token}
            with suppress(NotFound), workspace.database.read() as tx:
                environment["MLFLOW_EXPERIMENT_ID"] = tracking.find_run(tx, run_id).experiment_id
            yield environment

    return tracked
