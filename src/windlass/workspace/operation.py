"""The list of operations: each thing Windlass does, defined once; every face is a view of this list.

An operation is a function ``(Workspace, Request) -> Result`` over two frozen dataclasses. ``@operation`` puts it on
the list under its name (``model.approve``); the CLI, the HTTP API and its OpenAPI document read the list.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from windlass.domain.errors import NotFound

if TYPE_CHECKING:
    from windlass.workspace.workspace import Workspace

Q = TypeVar("Q")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Operation:
    name: str
    summary: str
    reads_only: bool
    request: type[Any]
    result: Any
    run: Callable[[Any, Any], Any]


OPERATIONS: dict[str, Operation] = {}


def operation(
    name: str, *, reads_only: bool = False
) -> Callable[[Callable[[Workspace, Q], R]], Callable[[Workspace, Q], R]]:
    """Put a function on the list. Its docstring's first line is the summary in every face."""

    def enlist(function: Callable[[Workspace, Q], R]) -> Callable[[Workspace, Q], R]:
        from windlass.workspace.workspace import Workspace  # noqa: PLC0415 - only its name is needed, and only here

        hints = typing.get_type_hints(function, localns={"Workspace": Workspace})
        request = next(hints[p] for p in list(inspect.signature(function).parameters)[1:])
        summary = (inspect.getdoc(function) or "").partition("\n")[0]
        OPERATIONS[name] = Operation(name, summary, reads_only, request, hints["return"], function)
        return function

    return enlist


def find(name: str) -> Operation:
    try:
        return OPERATIONS[name]
    except KeyError:
        raise NotFound(f"no operation '{name}'", hint="GET /openapi.json lists them") from None
