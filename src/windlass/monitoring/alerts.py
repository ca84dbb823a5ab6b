"""Alerts: what a drifted window of the release in charge raises, and clean ones end; and what a prediction log raises
that loses records, and ends when they are written again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from windlass.domain import ledger
from windlass.domain.clock import SECOND
from windlass.domain.ports import Transaction
from windlass.domain.states import Machine
from windlass.monitoring.windows import OUTPUTS, Closed

CLEAN_WINDOWS = 2
# What stands for a column's name where the log itself is at fault.
LOST = "(predictions lost)"
QUIET = 10 * SECOND
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
    """One input's alert; ``position`` is where in the prediction log its first drifted window begins.

    ``LOST`` is no input's: it has no release and no position.
    """

    column: str
    state: AlertState
    since: int
    release: str
    position: str
    detail: str

    @property
    def is_drifting(self) -> bool:
        return self.state is AlertState.FIRING and self.column != LOST


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
    known = {alert.column: alert for alert in ls(tx, endpoint) if alert.column != LOST}
    for column in window.drifted:
        if column in OUTPUTS or column == LOST:
            continue  # it follows from the inputs, and is shown with the window
        alert = known.get(column)
        if alert is None or alert.state is AlertState.RESOLVED:
            detail = f"effect {window.effects[column]:.2f} in {window.rows:,} rows, beyond chance"
            _move(tx, endpoint, column, AlertEvent.FIRE, f"drift: {detail}", at)
            _put(tx, endpoint, column, window.release, window.position, detail, at)
    for column, alert in known.items():
        if alert.state is not AlertState.FIRING:
            continue
        clean = 0 if column in window.drifted else _clean(tx, endpoint, column) + 1
        tx.execute("UPDATE alerts SET clean = ? WHERE endpoint = ? AND column_name = ?", (clean, endpoint, column))
        if clean >= CLEAN_WINDOWS:
            _resolve(tx, endpoint, column, f"{clean} windows without it", at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What the gateways say of an endpoint's log: why the last write failed ("" while all is well), how many records
    were lost so far, and when the last of them was (us since the epoch; 0: none was)."""

    error: str
    dropped: int
    lost_at: int


def together(one: Losses, other: Losses) -> Losses:
    """What two gateways lost of the same endpoint's answers."""
    return Losses(
        error=one.error or other.error,
        dropped=one.dropped + other.dropped,
        lost_at=max(one.lost_at, other.lost_at),
    )


def lost_event(tx: Transaction, endpoint: str, losses: Losses, at: int) -> AlertEvent | None:
    """What has to happen to the alert that predictions are lost; None: nothing.

    It fires at any loss since it was last resolved, and resolves when writing works and nothing was lost for ``QUIET``
    microseconds.
    """
    known = next((alert for alert in ls(tx, endpoint) if alert.column == LOST), None)
    if known is not None and known.state is AlertState.FIRING:
        return None if losses.error or losses.lost_at + QUIET > at else AlertEvent.RESOLVE
    return AlertEvent.FIRE if losses.error or losses.lost_at > (known.since if known else 0) else None


def lost(tx: Transaction, endpoint: str, losses: Losses, at: int) -> None:
    """Fire or resolve the alert that predictions are lost."""
    count = f"{losses.dropped:,} answers not logged"
    match lost_event(tx, endpoint, losses, at):
        case AlertEvent.FIRE:
            detail = f"{count}: {losses.error or 'more came than could be written'}"
            _move(tx, endpoint, LOST, AlertEvent.FIRE, detail, at)
            _put(tx, endpoint, LOST, "", "", detail, at)
        case AlertEvent.RESOLVE:
            _resolve(tx, endpoint, LOST, f"the log is written again; {count}", at)


def _put(tx: Transaction, endpoint: str, column: str, release: str, position: str, detail: str, at: int) -> None:
    tx.execute(
        "INSERT INTO alerts (endpoint, column_name, state, since, clean, release, position, detail)"
        " VALUES (?, ?, ?, ?, 0, ?, ?, ?) ON CONFLICT (endpoint, column_name) DO UPDATE SET state = excluded.state,"
        " since = excluded.since, clean = 0, release = excluded.release, position = excluded.position,"
        " detail = excluded.detail",
        (endpoint, column, AlertState.FIRING, at, release, position, detail),
    )


def _resolve(tx: Transaction, endpoint: str, column: str, reason: str, at: int) -> None:
    _move(tx, endpoint, column, AlertEvent.RESOLVE, reason, at)
    tx.execute(
        "UPDATE alerts SET state = ?, since = ? WHERE endpoint = ? AND column_name = ?",
        (AlertState.RESOLVED, at, endpoint, column),
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
