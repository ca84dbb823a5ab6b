"""Looking after the prediction log: what it loses is noticed, what is finished becomes Parquet, what is old goes."""

from __future__ import annotations

from contextlib import suppress

from windlass.delivery import gateways
from windlass.domain.errors import Failure
from windlass.domain.ports import Transaction
from windlass.domain.states import ROLLOUT, RolloutState
from windlass.monitoring import alerts
from windlass.monitoring.alerts import Losses
from windlass.predictions import converting
from windlass.serving import admin
from windlass.serving.log import Position
from windlass.workspace.workspace import Workspace

PATIENCE_SECONDS = 1.0
DAY = 86_400.0  # seconds


def watch(ws: Workspace) -> None:
    """Raise an alert where predictions are lost, and end it where they are written again."""
    for endpoint, losses in losses_of(ws).items():
        with ws.database.read() as tx:
            is_due = alerts.lost_event(tx, endpoint, losses, ws.now())
        if is_due:
            with ws.database.write() as tx:
                alerts.lost(tx, endpoint, losses, ws.now())


def put_away(ws: Workspace, keep_days: int) -> None:
    """Convert finished segments to Parquet, and remove those that are old and that nobody has yet to read."""
    try:
        folders = sorted(path for path in ws.layout.predictions.iterdir() if path.is_dir())
    except FileNotFoundError:
        return
    for folder in folders:
        parquet = ws.layout.parquet / folder.name
        converting.convert(folder, parquet, now=ws.now())
        with ws.database.read() as tx:
            needed = _needed(tx, folder.name)
        converting.expire(folder, parquet, keep_seconds=keep_days * DAY, needed=needed, now=ws.now())


def _needed(tx: Transaction, endpoint: str) -> list[Position]:
    """How far those have come that read the log: rollouts, the monitor, and retraining from where a drift began."""
    ended = tuple(state.value for state in RolloutState if ROLLOUT.ends(state))
    readers = (
        f"SELECT phase_position FROM rollouts WHERE endpoint = ? AND state NOT IN ({', '.join('?' for _ in ended)})",
        "SELECT position FROM rollouts WHERE endpoint = ? AND state = 'rolled_back' AND rollback_us IS NULL",
        "SELECT position FROM monitors WHERE endpoint = ?",
        "SELECT position FROM alerts WHERE endpoint = ? AND state = 'firing' AND position <> ''",
        "SELECT position FROM retrainings WHERE endpoint = ? AND state IN ('requested', 'running')",
    )
    found = [row for sql in readers for row in tx.tuples(sql, (endpoint, *ended) if "?)" in sql else (endpoint,))]
    return [Position.parse(text) for (text,) in found]


def losses_of(ws: Workspace) -> dict[str, Losses]:
    """What the gateways say they could not log, by endpoint; nothing where none answers."""
    with ws.database.read() as tx:
        sockets = [each.socket for each in gateways.standing(tx)]
    found: dict[str, Losses] = {}
    for socket in sockets or [str(ws.layout.gateway_socket())]:
        with suppress(Failure):
            for endpoint, said in admin.state(socket, PATIENCE_SECONDS)["log"]["endpoints"].items():
                one = Losses(error=said["error"], dropped=said["dropped"], lost_at=said["lost_at"])
                found[endpoint] = alerts.together(found[endpoint], one) if endpoint in found else one
    return found
