"""Operations on models and their versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from windlass.capture import trees
from windlass.domain.errors import NotFound
from windlass.domain.names import Reference
from windlass.domain.ports import Transaction
from windlass.registry import models, registered
from windlass.registry.models import Version
from windlass.registry.search import registry as searching
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace

_MOST = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Version):
    """A version with what is said of it, which can change: where it stands, its tags, its description."""

    stage: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    description: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown(Listed):
    """One version; ``onnx`` is the report of compiling it, if it was to be compiled."""

    onnx: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListModels:
    """``filter`` and ``order_by`` in MLflow's grammar for model versions; without them, oldest first."""

    model: str | None = None
    filter: str = ""
    order_by: tuple[str, ...] = ()


@operation("model.list", reads_only=True)
def list_models(ws: Workspace, request: ListModels) -> list[Listed]:
    """List model versions, oldest first, or those that a filter finds."""
    with ws.database.read() as tx:
        if not request.filter and not request.order_by:
            return [_listed(tx, version) for version in models.ls(tx, ws.objects, request.model)]
        found = searching.search_versions(tx, request.filter, request.order_by, start=0, most=_MOST)
        return [
            _listed(tx, models.find(tx, ws.objects, Reference(model, str(number))))
            for model, number in found
            if request.model in (None, model)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowModel:
    reference: str


@operation("model.show", reads_only=True)
def show_model(ws: Workspace, request: ShowModel) -> Shown:
    """Show one model version: digests, metrics, origin, where it stands."""
    with ws.database.read() as tx:
        listed = _listed(tx, models.find(tx, ws.objects, Reference.parse(request.reference)))
    onnx = None
    with suppress(NotFound):
        onnx = json.loads(trees.read(ws.objects, listed.package, "onnx.json"))
    return Shown(**{name: getattr(listed, name) for name in Listed.__dataclass_fields__}, onnx=onnx)


def _listed(tx: Transaction, version: Version) -> Listed:
    entry = registered.entry_of(tx, version.model, version.number)
    return Listed(
        **{name: getattr(version, name) for name in Version.__dataclass_fields__},
        stage=entry.stage,
        aliases=entry.aliases,
        tags=entry.tags,
        description=entry.description,
    )
