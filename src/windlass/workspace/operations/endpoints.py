"""Operations on endpoints: what is live, and what was."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from windlass.delivery import gateways, history, workers
from windlass.delivery.gateways import Gateway
from windlass.delivery.history import EndpointStatus, Served
from windlass.delivery.workers import WorkerStanding
from windlass.domain import clock
from windlass.domain.errors import NotFound
from windlass.monitoring import monitor
from windlass.monitoring.alerts import Losses
from windlass.monitoring.monitor import MonitorStatus
from windlass.workspace import keeping
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """``at`` is a time in ISO 8601; without it, the whole history."""

    endpoint: str | None = None
    at: str | None = None


@operation("endpoint.history", reads_only=True)
def show_history(ws: Workspace, request: History) -> list[Served]:
    """Say what served an endpoint, since when, and who or what put it there."""
    endpoint = request.endpoint or ws.config.endpoint.name
    with ws.database.read() as tx:
        if request.at is None:
            return history.log(tx, endpoint)
        served = history.at(tx, endpoint, clock.parse(request.at))
    if served is None:
        raise NotFound(
            f"nothing served {endpoint} at {request.at}", hint=f"`windlass history {endpoint}` shows what did, and when"
        )
    return [served]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    gateway_url: str
    control_url: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """``up`` is None when `windlass up` does not run; ``lost`` is what the prediction log of
    an endpoint could not keep."""

    project: str
    up: Address | None
    endpoints: tuple[EndpointStatus, ...] = ()
    workers: tuple[WorkerStanding, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    monitors: tuple[MonitorStatus, ...] = ()
    lost: dict[str, Losses] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowStatus:
    pass


@operation("status.show", reads_only=True)
def status(ws: Workspace, _: ShowStatus) -> Status:
    """Show everything live at a glance."""
    with ws.database.read() as tx:
        endpoints = history.live(tx)
        standing = workers.standing(tx)
        known = gateways.standing(tx)
        monitors = [monitor.status(tx, each.endpoint) for each in endpoints]
    return Status(
        project=ws.layout.root.name,
        up=address(ws),
        endpoints=tuple(endpoints),
        workers=tuple(standing),
        gateways=tuple(known),
        monitors=tuple(monitors),
        lost={endpoint: losses for endpoint, losses in keeping.losses_of(ws).items() if losses.dropped or losses.error},
    )


def address(ws: Workspace) -> Address | None:
    """Where `windlass up` is, if it runs."""
    try:
        found = msgspec.json.decode(ws.layout.address.read_bytes())
        return Address(gateway_url=found["gateway"]["url"], control_url=found["control"]["url"], pid=found["pid"])
    except (OSError, msgspec.DecodeError, KeyError, TypeError):
        return None
