"""What a call takes from outside of its request, and how calls are described."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from windlass.domain.clock import Clock
from windlass.domain.ports import Transaction
from windlass.registry.tracking.recording import Log
from windlass.server.mlflow.forms import Rendered


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    now: Clock
    actor: str
    rendered: Rendered = field(default_factory=Rendered)
    new_id: Callable[[], str] = field(default=partial(secrets.token_hex, 16))

    @property
    def milliseconds(self) -> int:
        return self.now() // 1000


@dataclass(frozen=True, slots=True)
class Read:
    """Answered from a view of the database."""

    request: type[Any]
    answer: Callable[[Transaction, Any, Edge], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Write:
    """Answered when the transaction that it is part of is committed."""

    request: type[Any]
    answer: Callable[[Transaction, Any, Edge], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Record:
    """What is logged to a run: written together with what others log."""

    request: type[Any]
    log: Callable[[Any], Log]


@dataclass(frozen=True, slots=True)
class Step:
    """More than one transaction, or files: takes the workspace, in a thread of its own."""

    request: type[Any]
    answer: Callable[[Any, Any, Edge], Mapping[str, Any]]


Call = Read | Write | Record | Step
