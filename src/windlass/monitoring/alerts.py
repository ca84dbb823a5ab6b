"""Alerts: what a drifted window of the release in charge raises, and clean ones end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from windlass.domain import ledger
from windlass.domain.ports import Transaction
from windlass.domain.states import Machine
from windlass.monitoring.windows import OUTPUTS, Closed

CLEAN_WINDOWS = 2
ACTOR = "windlass"


class AlertState(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"


class AlertEvent(StrEnum):
    FIRE = "fire"
    RESOLVE = "resolve"


ALERT: Machine[AlertState, AlertEvent] = Machine(
    "alert",
    {
        (AlertState.RESOLVED, AlertEvent.FIRE): AlertState.FIRING,
        (AlertState.FIRING, AlertEvent.RESOLVE): AlertState.RESOLVED,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One input's alert; ``position`` is where in the prediction log its first drifted window begins."""

    column: str
    state: AlertState
    since: int
    release: str
    position: str
    detail: str


def ls(tx: Transaction, endpoint: str) -> list[Alert]:
    """Every alert that an endpoint ever had, as it stands now."""
    rows = tx.rows(
        "SELECT column_name, state, since, release, position, detail FROM alerts WHERE endpoint = ?"
        " ORDER BY column_name",
        (endpoint,),
    )
    return [
        Alert(
            column=row["column_name"], state=AlertState(row["state"]), since=row["since"], release=row["release"],
            position=row["position"], detail=row["detail"],
        )
        for row in rows
    ]  # fmt: skip


def take(tx: Transaction, endpoint: str, window: Closed, at: int) -> None:
    """Let a full window of the release in charge fire or resolve alerts."""
    known = {alert.column: alert for alert in ls(tx, endpoint)}
    for column in window.drifted:
        if column in OUTPUTS:
            continue  # it follows from the inputs, and is shown with the window
        alert = known.get(column)
        if alert is None or alert.state is AlertState.RESOLVED:
            detail = f"effect {window.effects[column]:.2f} in {window.rows:,} rows, beyond chance"
            _fire(tx, endpoint, column, window, detail, at)
    for column, alert in known.items():
        if alert.state is not AlertState.FIRING:
            continue
        clean = 0 if column in window.drifted else _clean(tx, endpoint, column) + 1
        tx.execute("UPDATE alerts SET clean = ? WHERE endpoint = ? AND column_name = ?", (clean, endpoint, column))
        if clean >= CLEAN_WINDOWS:
            _move(tx, endpoint, column, AlertEvent.RESOLVE, f"{clean} windows without it", at)
            tx.execute(
                "UPDATE alerts SET state = ?, since = ? WHERE endpoint = ? AND column_name = ?",
                (AlertState.RESOLVED, at, endpoint, column),
            )


def _fire(tx: Transaction, endpoint: str, column: str, window: Closed, detail: str, at: int) -> None:
    _move(tx, endpoint, column, AlertEvent.FIRE, f"drift: {detail}", at)
    tx.execute(
        "INSERT INTO alerts (endpoint, column_name, state, since, clean, release, position, detail)"
        " VALUES (?, ?, ?, ?, 0, ?, ?, ?) ON CONFLICT (endpoint, column_name) DO UPDATE SET state = excluded.state,"
        " since = excluded.since, clean = 0, release = excluded.release, position = excluded.position,"
        " detail = excluded.detail",
        (endpoint, column, AlertState.FIRING, at, window.release, window.position, detail),
    )


def _move(tx: Transaction, endpoint: str, column: str, event: AlertEvent, reason: str, at: int) -> None:
    subject = f"alert/{endpoint}/{column}"
    before = ledger.head(tx, subject)
    following = ALERT.next(AlertState(before or AlertState.RESOLVED), event)
    ledger.transition(
        tx, subject=subject, action=event, before=before, after=following, actor=ACTOR, reason=reason, at=at
    )


def _clean(tx: Transaction, endpoint: str, column: str) -> int:
    row = tx.row("SELECT clean FROM alerts WHERE endpoint = ? AND column_name = ?", (endpoint, column))
    return int(row["clean"]) if row else 0
