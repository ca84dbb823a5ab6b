"""The protocol as an ASGI application: from a path to a call, from a call to its answer.

Written against ASGI itself: what a training loop calls thousands of times must not wait for a framework.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from windlass.domain.errors import Failure, Invalid
from windlass.registry.tracking.experiments import date_default
from windlass.server.errors import unforeseen
from windlass.server.guard import person_of
from windlass.server.mlflow import artifacts, experiments, logged_models, registered, runs, wire
from windlass.server.mlflow.artifacts import ArtifactService
from windlass.server.mlflow.edge import Call, Edge, Read, Record, Step
from windlass.server.mlflow.errors import NoSuchCall, Unserved, WrongMethod, described
from windlass.server.threads import Pool
from windlass.server.writing import Writer
from windlass.workspace.workspace import Workspace

# What clients ask the server's version for is which of MLflow's calls they may use.
PROTOCOL_VERSION = "3.17.2"
SERVER_INFO = {
    "store_type": "SqlStore",
    "workspaces_enabled": False,
    "trace_archival_enabled": False,
    "multipart_uploads_enabled": True,
    "multipart_downloads_enabled": False,
}
# What MLflow has and this server has not: said as such, so that nobody looks for a fault of theirs.
OUT_OF_SCOPE = frozenset({
    "traces", "prompts", "scorers", "gateway", "webhooks", "workspaces", "datasets", "assessments", "endpoints",
    "issues", "label-schemas", "review-queues", "mcp-servers", "jobs", "graphql",
})  # fmt: skip
CALLS: dict[tuple[str, str], Call] = {
    **experiments.CALLS,
    **runs.CALLS,
    **artifacts.CALLS,
    **logged_models.CALLS,
    **registered.CALLS,
}

# ("api/2.0mlflow" is how MLflow's own client spells search-datasets.)
_PATH = re.compile(r"/(?:ajax-)?api/([23])\.0/?mlflow/(.+?)/?")
_ARTIFACTS = re.compile(r"/(?:ajax-)?api/2\.0/mlflow-artifacts/(.*)", re.DOTALL)
_PREFIXES = ("/api/2.0", "/api/3.0", "/ajax-api/")
_log = logging.getLogger("windlass.mlflow")


def _templates() -> list[tuple[str, re.Pattern[str], Call]]:
    return [
        (method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", name)), call)
        for (method, name), call in CALLS.items()
        if "{" in name
    ]


_TEMPLATES = _templates()
_METHODS: dict[str, set[str]] = {}
for _method, _name in CALLS:
    _METHODS.setdefault(_name, set()).add(_method)


def speaks(path: str) -> bool:
    """Whether a path is of MLflow's protocol, served or not: its errors have MLflow's form."""
    return path.startswith(_PREFIXES) or path == "/version"


class MlflowApp:
    """The protocol over one workspace. ``close`` finishes what was taken and ends its threads."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.edge = Edge(now=workspace.now, actor=workspace.actor)
        date_default(workspace.database, at=self.edge.milliseconds)
        self.readers = Pool("mlflow", workers=4, waiting=512)
        self.steps = Pool("mlflow-steps", workers=4, waiting=64)
        self.files = Pool("mlflow-files", workers=8, waiting=512)
        self.uploads = Pool("mlflow-uploads", workers=24, waiting=0)
        self.writer = Writer(workspace.database)
        self.artifacts = ArtifactService(
            workspace.database, workspace.objects, self.edge, pool=self.files, uploads=self.uploads
        )

    def close(self) -> None:
        self.writer.close()
        for pool in (self.readers, self.steps, self.files, self.uploads):
            pool.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Any request under MLflow's paths; whatever goes wrong has MLflow's form."""
        path = scope["path"]
        try:
            if path == "/version":
                await _send(send, 200, PROTOCOL_VERSION.encode(), b"text/plain")
                return
            if match := _ARTIFACTS.fullmatch(path):
                request = Request(scope, receive)
                # Clients encode a path once; what is encoded twice stays encoded, and is refused as a path.
                response: Response = await self.artifacts.serve(request, scope["method"], match.group(1))
                await response(scope, receive, send)
                return
            answer = await self._answered(scope, receive)
        except ClientDisconnect:
            return
        except Failure as failure:
            await refuse(send, failure)
        except Exception as error:  # noqa: BLE001 - what a client sees of a fault of ours is MLflow's form too
            _log.error("%s %s", scope["method"], path[:200], exc_info=error)
            await refuse(send, unforeseen())
        else:
            await _send(send, 200, answer)

    async def _answered(self, scope: Scope, receive: Receive) -> bytes:
        method, path = scope["method"], scope["path"]
        if method == "HEAD":
            method = "GET"
        match = _PATH.fullmatch(path)
        if match is None:
            raise NoSuchCall(f"{method} {path[:200]}: there is no such call")
        api, name = match.groups()
        if name == "server-info" and method == "GET":
            return wire.encoded(SERVER_INFO)
        call, given = (None, {}) if api == "3" else _found(method, name)
        if call is None:
            if api == "2" and (name in _METHODS or any(each.fullmatch(name) for _, each, _ in _TEMPLATES)):
                raise WrongMethod(f"{method} {path[:200]}: this call has another method")
            if name.partition("/")[0] in OUT_OF_SCOPE or api == "3":
                raise Unserved(f"{method} {path[:200]} is not supported by Windlass")
            raise NoSuchCall(f"{method} {path[:200]}: there is no such call")
        if method == "GET":
            asked = wire.queried(_query(scope), call.request)
        else:
            body = await _body(receive)
            if body and not _is_json(scope):
                # Not a nicety: a page of another site can post a form or plain text without asking first.
                raise Invalid("Bad Request. Content-Type must be one of ['application/json'].")
            asked = wire.decoded(body, call.request)
        for field, value in given.items():
            setattr(asked, field, value)
        if isinstance(call, Record):
            await self.writer.run(call.log(asked))
            return b"{}"
        if isinstance(call, Read):
            return await self.readers.run(partial(self._read, call, asked))
        person = person_of(scope)
        edge = self.edge if person is None else replace(self.edge, actor=person)
        if isinstance(call, Step):
            workspace = self.workspace.asked_by(person)
            return wire.encoded(await self.steps.run(partial(call.answer, workspace, asked, edge)))
        return wire.encoded(await self.writer.run(lambda tx: call.answer(tx, asked, edge)))

    def _read(self, call: Read, asked: Any) -> bytes:
        with self.workspace.database.read() as tx:
            found = call.answer(tx, asked, self.edge)
        return wire.encoded(found)


def _found(method: str, name: str) -> tuple[Call | None, Mapping[str, str]]:
    call = CALLS.get((method, name))
    if call is not None:
        return call, {}
    for wanted, pattern, call in _TEMPLATES:
        if wanted == method and (match := pattern.fullmatch(name)):
            return call, match.groupdict()
    return None, {}


def _query(scope: Scope) -> list[tuple[str, str]]:
    try:
        return parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError):
        raise Invalid("the query is not UTF-8 text") from None


def _is_json(scope: Scope) -> bool:
    return any(
        name == b"content-type" and value.partition(b";")[0].strip().lower() == b"application/json"
        for name, value in scope["headers"]
    )


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return b"".join([*parts, body]) if parts else body
        parts.append(body)


async def refuse(send: Send, failure: Failure) -> None:
    """Answer with an error in MLflow's form."""
    body, status = described(failure)
    await _send(send, status, wire.encoded(body))


async def _send(send: Send, status: int, body: bytes, kind: bytes = b"application/json") -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
