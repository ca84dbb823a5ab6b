"""The HTTP API: one route an operation, each the same few lines over the list of operations."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from windlass.domain.errors import Invalid
from windlass.server import openapi, page, wire
from windlass.server.guard import person_of
from windlass.server.mlflow import openapi as mlflow_openapi
from windlass.server.mlflow.app import CALLS, PROTOCOL_VERSION
from windlass.server.threads import Pool
from windlass.workspace import operations
from windlass.workspace.operation import OPERATIONS, Operation, find
from windlass.workspace.workspace import Workspace


def routes(workspace: Workspace) -> list[BaseRoute]:
    """The operations over ``workspace``, and the document and the page that describe them."""
    # What changes something may take minutes (a pipeline's run): it must not stand before those who only look.
    readers, writers = Pool("read", workers=8), Pool("write", workers=4, waiting=32)

    async def call(request: Request) -> Response:
        operation = _found(request.path_params["name"])
        pool = readers if operation.reads_only else writers
        asked = await _asked(request, operation.request)
        result = await pool.run(
            lambda: wire.encoded(operation.run(workspace.asked_by(person_of(request.scope)), asked))
        )
        return Response(result, media_type="application/json")

    async def look(request: Request) -> Response:
        operation = _found(request.path_params["name"])
        if not operation.reads_only:
            return wire.failed(
                Invalid(f"{operation.name} changes something", hint="POST it"), status=405, headers={"allow": "POST"}
            )
        asked = wire.queried(request.query_params.multi_items(), operation.request)
        result = await readers.run(
            lambda: wire.encoded(operation.run(workspace.asked_by(person_of(request.scope)), asked))
        )
        return Response(result, media_type="application/json")

    async def described(_: Request) -> Response:
        return wire.answered(openapi.document(_all()))

    async def protocol(_: Request) -> Response:
        return wire.answered(mlflow_openapi.document(CALLS, PROTOCOL_VERSION))

    async def read(_: Request) -> Response:
        return HTMLResponse(page.rendered(openapi.document(_all())), headers=page.HEADERS)

    async def healthy(_: Request) -> Response:
        # As MLflow's server answers: what watches one can watch the other.
        return PlainTextResponse("OK")

    async def ready(_: Request) -> Response:
        def reach() -> None:
            with workspace.database.read() as tx:
                tx.row("SELECT 1 AS one")

        await readers.run(reach)
        return wire.answered({"status": "ready"})

    return [
        Route("/api/v1/{name}", call, methods=["POST"]),
        Route("/api/v1/{name}", look, methods=["GET"]),
        Route("/openapi.json", described),
        Route("/openapi-mlflow.json", protocol),
        Route("/docs", read),
        Route("/health", healthy),
        Route("/ready", ready),
    ]


def _found(name: str) -> Operation:
    # Its module is imported when it is first asked for: the server is ready long before all of them would be.
    operations.load(name)
    return find(name)


def _all() -> dict[str, Operation]:
    operations.load()
    return OPERATIONS


async def _asked(request: Request, into: type[Any]) -> Any:
    body = await request.body()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # Not a nicety: a page of another site can post a form or plain text without asking first, JSON it cannot.
    if body and kind != "application/json":
        raise Invalid("the body is not declared as JSON", hint="send Content-Type: application/json")
    return wire.decoded(body, into)
