"""The operation on lineage."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.workspace import tracing
from windlass.workspace.operation import operation
from windlass.workspace.tracing import Lineage
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowLineage:
    """``thing`` is MODEL@VERSION, DATASET@VERSION, the beginning of a run's id, or any node's full name (release/…)."""

    thing: str


@operation("lineage.show", reads_only=True)
def show_lineage(ws: Workspace, request: ShowLineage) -> Lineage:
    """Show what a thing came from and what came from it."""
    with ws.database.read() as tx:
        return tracing.trace(ws, tx, request.thing)
