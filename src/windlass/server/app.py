"""The control process's web application: the HTTP API and MLflow's, behind one guard."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import RedirectResponse
from starlette.routing import Route

from windlass.server import api, failures, mlflow_api
from windlass.server.guard import MAX_BODY, Guard
from windlass.workspace.workspace import Workspace


def build(workspace: Workspace, *, max_body: int = MAX_BODY) -> Starlette:
    """The application over one project."""
    return Starlette(
        routes=[
            Route("/", lambda _: RedirectResponse("/docs")),
            *api.routes(workspace),
            *mlflow_api.routes(workspace.database, workspace.objects, now=workspace.now, actor=workspace.actor),
        ],
        middleware=[Middleware(Guard, max_body=max_body, failed=failures.answer)],
        exception_handlers=failures.HANDLERS,
    )
