"""Looking after the prediction log: that what it loses is noticed."""

from __future__ import annotations

from windlass.domain.errors import Failure
from windlass.monitoring import alerts
from windlass.monitoring.alerts import Losses
from windlass.serving import admin
from windlass.workspace.workspace import Workspace

PATIENCE_SECONDS = 1.0


def watch(ws: Workspace) -> None:
    """Raise an alert where predictions are lost, and end it where they are written again."""
    for endpoint, losses in losses_of(ws).items():
        with ws.database.read() as tx:
            is_due = alerts.lost_event(tx, endpoint, losses, ws.now())
        if is_due:
            with ws.database.write() as tx:
                alerts.lost(tx, endpoint, losses, ws.now())


def losses_of(ws: Workspace) -> dict[str, Losses]:
    """What the gateway says it could not log, by endpoint; nothing where no gateway answers."""
    try:
        said = admin.state(ws.layout.socket("gateway"), PATIENCE_SECONDS)["log"]["endpoints"]
    except Failure:
        return {}
    return {
        endpoint: Losses(error=each["error"], dropped=each["dropped"], lost_at=each["lost_at"])
        for endpoint, each in said.items()
    }
