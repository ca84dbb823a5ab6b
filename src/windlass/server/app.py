"""The control process's web application: the HTTP API and MLflow's, behind one guard."""

from __future__ import annotations

from collections.abc import Collection

from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from windlass.server import api, failures
from windlass.server.guard import MAX_BODY, Guard
from windlass.server.mlflow.app import MlflowApp, speaks
from windlass.server.tokens import People
from windlass.workspace.workspace import Workspace


def build(workspace: Workspace, *, max_body: int = MAX_BODY, hosts: Collection[str] = ()) -> ASGIApp:
    """The application over one project; ``hosts`` are the server's names besides the loopback's."""
    pages = Starlette(
        routes=[Route("/", lambda _: RedirectResponse("/docs")), *api.routes(workspace)],
        exception_handlers=failures.HANDLERS,
    )
    mlflow = MlflowApp(workspace)

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        await (mlflow if speaks(scope["path"]) else pages)(scope, receive, send)

    people = People(workspace.database, now=workspace.now)
    return Guard(choose, max_body=max_body, failed=failures.answer, admit=people.admit, hosts=hosts)
