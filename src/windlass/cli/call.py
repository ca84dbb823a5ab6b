"""Calls an operation: in this process on the project's folder, or over HTTP when WINDLASS_URL is set."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click
import msgspec

from windlass.cli.meter import TerminalMeter
from windlass.cli.output import progress
from windlass.domain.errors import KINDS, Failure, Invalid, Refused, Unavailable
from windlass.workspace import operations
from windlass.workspace.operation import Operation, find
from windlass.workspace.workspace import Workspace, open_workspace


def workspace() -> Workspace:
    """The project that the command is called on."""
    folder: Path = click.get_current_context().find_root().obj
    found = open_workspace(folder, progress=progress)
    found.meter = TerminalMeter()
    found.tracking = lambda run: _tracking(found, run)
    return found


def _tracking(found: Workspace, run: str) -> AbstractContextManager[dict[str, str]]:
    from windlass.server.tracking import step_tracking  # noqa: PLC0415 - a server's weight, only for command steps

    return step_tracking(found)(run)


def call(name: str, request: Any) -> Any:
    """Run operation ``name``; returns its typed result, wherever it ran."""
    operations.load(name)
    operation = find(name)
    if url := os.environ.get("WINDLASS_URL"):
        return _over_http(url, operation, request)
    return operation.run(workspace(), request)


def _over_http(url: str, operation: Operation, request: Any) -> Any:
    import urllib.error  # noqa: PLC0415 - ten milliseconds that a command on a folder need not wait
    import urllib.request  # noqa: PLC0415

    if not url.startswith(("http://", "https://")):
        raise Invalid(f"WINDLASS_URL is '{url}'", hint="it is a URL such as http://127.0.0.1:8801")
    http = urllib.request.Request(  # noqa: S310 - the scheme is checked above
        f"{url.rstrip('/')}/api/v1/{operation.name}",
        data=msgspec.json.encode(request),
        headers={"content-type": "application/json"},
        method="POST",
    )
    if token := os.environ.get("WINDLASS_TOKEN"):
        http.add_unredirected_header("Authorization", f"Bearer {token}")  # for this server, not for where it points
    try:
        with urllib.request.urlopen(http) as response:  # noqa: S310
            return msgspec.json.decode(response.read(), type=operation.result)
    except urllib.error.HTTPError as error:
        raise _failure(error.read(), error.code) from None
    except urllib.error.URLError as error:
        raise Unavailable(f"no answer from {url}: {error.reason}", hint="start it with `windlass up`") from None


def _failure(body: bytes, status: int) -> Failure:
    try:
        error = json.loads(body)["error"]
        kind = KINDS[error["kind"]]
    except (ValueError, KeyError, TypeError):
        return Failure(f"the server answered {status}")
    if kind is Refused:
        return Refused(error["message"], error.get("hint", ""), evidence=error.get("evidence", ()))
    return kind(error["message"], error.get("hint", ""))
