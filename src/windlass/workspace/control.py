"""What the control process does over and over: move rollouts on, watch what is live, retrain, tell others.

Each is a *tick*: one look at the tables and the log, and what follows from it. Ticks run beside each other, each in a
thread of its own, so that a retraining of an hour does not hold up a rollback of a quarter of a second.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from windlass.delivery import history, leases, recovery, releases
from windlass.delivery.autoscaler import Autoscaler
from windlass.delivery.controller import Controller
from windlass.domain.clock import SECOND
from windlass.domain.errors import NotFound
from windlass.workspace.workspace import Workspace

if TYPE_CHECKING:
    from windlass.monitoring.policy import MonitorPolicy
    from windlass.monitoring.windows import Reference
    from windlass.workspace.notifying import Notifier

FLEET_SECONDS = 0.5
RECOVERY_SECONDS = 0.5
RECOVERY_LEASE = 120 * SECOND  # longer than it takes to wake one release after the other
MONITOR_SECONDS = 0.5
PREDICTIONS_SECONDS = 1.0
PARQUET_SECONDS = 60.0
RETRAINING_SECONDS = 1.0
SCHEDULE_SECONDS = 1.0
WEBHOOK_SECONDS = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    name: str
    run: Callable[[], None]
    interval_seconds: Callable[[], float]


def ticks(ws: Workspace) -> list[Tick]:
    """Every tick of the control process."""
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    pause = 0.0
    reference = cache(lambda release: _reference(ws, release))
    monitors = cache(lambda release: monitors_of(ws, release))

    rollouts = Controller(
        ws.database,
        gateway_socket=ws.layout.socket("gateway"),
        predictions=ws.layout.predictions,
        holder=holder,
        now=ws.now,
    )

    def roll_out() -> None:
        nonlocal pause
        pause = rollouts.tick()

    autoscaler = Autoscaler(ws.database, holder=holder, now=ws.now)

    def recover() -> None:
        from windlass.workspace import releasing  # noqa: PLC0415

        if leases.take(ws.database, "recovery", holder=holder, length=RECOVERY_LEASE) is not None:
            recovery.tick(ws.database, ws.objects, now=ws.now, means=releasing.means(ws))

    def watch() -> None:
        project = _afresh(ws)
        if project is None:
            return
        with ws.database.read() as tx:
            endpoints = history.live(tx)
        if not endpoints:
            return
        from windlass.monitoring import monitor  # noqa: PLC0415 - the server is ready before statistics are loaded

        for endpoint in endpoints:
            while monitor.tick(
                ws.database,
                endpoint=endpoint.endpoint,
                serving=endpoint.release,
                reference=reference,
                predictions=ws.layout.predictions,
                policy=monitors,
                retraining_policy=project.config.retraining,
                new_id=lambda: secrets.token_hex(8),
                now=ws.now,
            ):
                pass  # there is more in the log

    def retrain() -> None:
        project = _afresh(ws)
        if project is not None and _asked_for(ws):
            from windlass.workspace import retraining  # noqa: PLC0415 - a trainer's weight, and seldom needed

            retraining.tick(project, holder=holder)

    def schedule() -> None:
        project = _afresh(ws)
        if project is not None and project.config.schedules:
            from windlass.workspace import scheduling  # noqa: PLC0415

            scheduling.tick(project, holder=holder)

    notifier: Notifier | None = None

    def notify() -> None:
        nonlocal notifier
        project = _afresh(ws)
        if project is not None and project.config.webhooks:
            from windlass.workspace import notifying  # noqa: PLC0415

            notifier = notifier or notifying.Notifier(holder=holder)
            notifier.tick(project)

    def keep() -> None:
        from windlass.workspace import keeping  # noqa: PLC0415

        keeping.watch(ws)

    def put_away() -> None:
        project = _afresh(ws)
        if project is not None:
            from windlass.workspace import keeping  # noqa: PLC0415

            keeping.put_away(project, project.config.predictions.keep_days)

    return [
        Tick(name="rollouts", run=roll_out, interval_seconds=lambda: pause),
        Tick(name="fleets", run=autoscaler.tick, interval_seconds=lambda: FLEET_SECONDS),
        Tick(name="recovery", run=recover, interval_seconds=lambda: RECOVERY_SECONDS),
        Tick(name="monitors", run=watch, interval_seconds=lambda: MONITOR_SECONDS),
        Tick(name="predictions", run=keep, interval_seconds=lambda: PREDICTIONS_SECONDS),
        Tick(name="parquet", run=put_away, interval_seconds=lambda: PARQUET_SECONDS),
        Tick(name="retraining", run=retrain, interval_seconds=lambda: RETRAINING_SECONDS),
        Tick(name="schedules", run=schedule, interval_seconds=lambda: SCHEDULE_SECONDS),
        Tick(name="webhooks", run=notify, interval_seconds=lambda: WEBHOOK_SECONDS),
    ]


def _afresh(ws: Workspace) -> Workspace | None:
    """The workspace with its configuration as it now is; None where there is no project yet."""
    fresh = replace(ws, actor="windlass")
    fresh.database, fresh.store = ws.database, ws.store
    try:
        _ = fresh.config
    except NotFound:
        return None
    return fresh


def _asked_for(ws: Workspace) -> bool:
    with ws.database.read() as tx:
        return tx.row("SELECT id FROM retrainings WHERE state IN ('requested', 'running')") is not None


def monitors_of(ws: Workspace, release: str) -> MonitorPolicy:
    """How a release is watched: as it says itself, whatever windlass.toml says by now."""
    from windlass.monitoring.policy import MonitorPolicy  # noqa: PLC0415

    with ws.database.read() as tx:
        return msgspec.convert(dict(releases.find(tx, ws.objects, release).monitors), MonitorPolicy)


def _reference(ws: Workspace, release: str) -> Reference | None:
    """What the release's live rows are held against; None of a model that came without a profile."""
    from windlass.capture import trees  # noqa: PLC0415
    from windlass.monitoring.windows import Reference  # noqa: PLC0415
    from windlass.stats import profile  # noqa: PLC0415

    with ws.database.read() as tx:
        package = releases.find(tx, ws.objects, release).package
    try:
        described, counts = (
            msgspec.json.decode(trees.read(ws.objects, package, name)) for name in ("windlass.json", "profile.json")
        )
    except NotFound:
        return None
    return Reference(profile=profile.from_plain(counts), positive=described["positive"])
