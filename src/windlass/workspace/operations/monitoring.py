"""Operations on labels and monitors."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.domain.names import checked
from windlass.domain.schema import Scalar
from windlass.monitoring import labels, monitor
from windlass.monitoring.labels import LabelsAdded
from windlass.monitoring.monitor import MonitorStatus
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """The truth of one prediction, by the id that its answer carried."""

    id: str
    label: Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class AddLabels:
    labels: tuple[Label, ...]
    endpoint: str | None = None


@operation("labels.add")
def add(ws: Workspace, request: AddLabels) -> LabelsAdded:
    """Add labels that arrived for answered predictions; sending them again changes nothing."""
    return labels.add(
        ws.database,
        endpoint=checked(request.endpoint or ws.config.endpoint.name, "endpoint name"),
        labels=[(each.id, each.label) for each in request.labels],
        at=ws.now(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowMonitor:
    endpoint: str | None = None


@operation("monitor.show", reads_only=True)
def show(ws: Workspace, request: ShowMonitor) -> MonitorStatus:
    """Show an endpoint's drift, performance, alerts and retraining."""
    with ws.database.read() as tx:
        return monitor.status(tx, request.endpoint or ws.config.endpoint.name)
