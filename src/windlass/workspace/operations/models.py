"""Operations on models, their versions and their lineage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from windlass.domain.errors import Invalid
from windlass.domain.names import Reference
from windlass.domain.ports import Transaction
from windlass.registry import lineage, models, registered
from windlass.registry.lineage import Direction, Edge
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
def show_model(ws: Workspace, request: ShowModel) -> Listed:
    """Show one model version: digests, metrics, origin, where it stands."""
    with ws.database.read() as tx:
        return _listed(tx, models.find(tx, ws.objects, Reference.parse(request.reference)))


def _listed(tx: Transaction, version: Version) -> Listed:
    entry = registered.entry_of(tx, version.model, version.number)
    return Listed(
        **{name: getattr(version, name) for name in Version.__dataclass_fields__},
        stage=entry.stage,
        aliases=entry.aliases,
        tags=entry.tags,
        description=entry.description,
    )


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
