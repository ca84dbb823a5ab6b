"""Operations on models, their versions and their lineage."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.domain.errors import Invalid
from windlass.domain.names import Reference
from windlass.domain.ports import Transaction
from windlass.registry import lineage, models
from windlass.registry.lineage import Direction, Edge
from windlass.registry.models import Version
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ListModels:
    model: str | None = None


@operation("model.list", reads_only=True)
def list_models(ws: Workspace, request: ListModels) -> list[Version]:
    """List model versions, oldest first."""
    with ws.database.read() as tx:
        return models.ls(tx, ws.objects, request.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowModel:
    reference: str


@operation("model.show", reads_only=True)
def show_model(ws: Workspace, request: ShowModel) -> Version:
    """Show one model version: digests, metrics, origin."""
    with ws.database.read() as tx:
        return models.find(tx, ws.objects, Reference.parse(request.reference))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowLineage:
    """``thing`` is MODEL@VERSION, DATASET@VERSION or any node's full name (run/…, release/…)."""

    thing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    node: str
    up: list[Edge]
    down: list[Edge]


@operation("lineage.show", reads_only=True)
def show_lineage(ws: Workspace, request: ShowLineage) -> Lineage:
    """Show what a thing came from and what came from it."""
    with ws.database.read() as tx:
        node = _node(ws, tx, request.thing)
        up = lineage.walk(tx, node, Direction.UP)
        down = lineage.walk(tx, node, Direction.DOWN)
    if not up and not down:
        raise Invalid(
            f"nothing is known of '{request.thing}'", hint="name a version, a snapshot or a run, e.g. employment@1.0.0"
        )
    return Lineage(node=node, up=up, down=down)


def _node(ws: Workspace, tx: Transaction, thing: str) -> str:
    if "/" in thing:
        return thing
    reference = Reference.parse(thing)
    if reference.name in ws.config.data and reference.name != ws.config.model.name:
        return f"snapshot/{reference}"
    return f"version/{models.find(tx, ws.objects, reference).reference}"
