"""Retraining: when the policy asks for one, and how far it is. Carrying it out is the workspace's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from windlass.domain import ledger
from windlass.domain.clock import SECOND
from windlass.domain.errors import Conflict, Refused
from windlass.domain.ports import Row, Transaction
from windlass.domain.states import Machine
from windlass.monitoring import labels, windows
from windlass.monitoring.alerts import Alert
from windlass.monitoring.policy import RetrainingPolicy
from windlass.serving import log
from windlass.serving.log import Position

LEASE = 60 * SECOND
ACTOR = "windlass"


class RetrainingState(StrEnum):
    REQUESTED = "requested"
    RUNNING = "running"
    HELD = "held"
    RELEASED = "released"
    FAILED = "failed"


class RetrainingEvent(StrEnum):
    START = "start"
    HOLD = "hold"
    RELEASE = "release"
    FAIL = "fail"


RETRAINING: Machine[RetrainingState, RetrainingEvent] = Machine(
    "retraining",
    {
        (RetrainingState.REQUESTED, RetrainingEvent.START): RetrainingState.RUNNING,
        # Who ran it died: another goes on.
        (RetrainingState.RUNNING, RetrainingEvent.START): RetrainingState.RUNNING,
        (RetrainingState.RUNNING, RetrainingEvent.HOLD): RetrainingState.HELD,
        (RetrainingState.RUNNING, RetrainingEvent.RELEASE): RetrainingState.RELEASED,
        (RetrainingState.RUNNING, RetrainingEvent.FAIL): RetrainingState.FAILED,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """One retraining of what an endpoint serves; ``position`` is where in the log its live rows begin."""

    id: str
    endpoint: str
    release: str
    state: RetrainingState
    cause: str
    position: str
    at: int
    run: str
    reference: str
    gate: str
    detail: str


def wanted(
    alerts: Sequence[Alert], policy: RetrainingPolicy, past: Sequence[Retraining], labelled: int, at: int
) -> str | None:
    """Why a retraining is to be asked for now; None if it is not."""
    firing = [alert.column for alert in alerts if alert.is_drifting]
    if "drift" not in policy.on or not firing or labelled < policy.min_labels:
        return None
    if any(not RETRAINING.ends(each.state) for each in past):
        return None
    cooled = at - int(policy.cooldown_minutes * 60 * SECOND)
    if any(each.at > cooled for each in past):
        return None
    return f"drift of {', '.join(firing)}"


def request(tx: Transaction, *, identity: str, endpoint: str, release: str, cause: str, position: str, at: int) -> None:
    """Ask for a retraining."""
    tx.execute(
        "INSERT INTO retrainings (id, endpoint, release, state, cause, position, at, holder, lease_until, run,"
        " reference, gate, detail) VALUES (?, ?, ?, ?, ?, ?, ?, '', 0, '', '', '', '')",
        (identity, endpoint, release, RetrainingState.REQUESTED, cause, position, at),
    )
    ledger.transition(
        tx,
        subject=f"retraining/{identity}",
        action="request",
        before=None,
        after=RetrainingState.REQUESTED,
        actor=ACTOR,
        reason=cause,
        at=at,
        evidence={"endpoint": endpoint, "release": release},
    )


def ls(tx: Transaction, endpoint: str) -> list[Retraining]:
    """Every retraining of an endpoint, oldest first."""
    return [_of(row) for row in tx.rows("SELECT * FROM retrainings WHERE endpoint = ? ORDER BY at, id", (endpoint,))]


def take(tx: Transaction, *, holder: str, at: int) -> Retraining | None:
    """Take the retraining that is due, for as long as the lease is renewed; None if none is."""
    row = tx.row(
        "SELECT * FROM retrainings WHERE state = ? OR (state = ? AND lease_until < ?) ORDER BY at, id LIMIT 1",
        (RetrainingState.REQUESTED, RetrainingState.RUNNING, at),
    )
    if row is None:
        return None
    found = _of(row)
    move(tx, found, RetrainingEvent.START, reason=f"taken by {holder}", at=at)
    tx.execute("UPDATE retrainings SET holder = ?, lease_until = ? WHERE id = ?", (holder, at + LEASE, found.id))
    return _of(_row(tx, found.id))


def renew(tx: Transaction, identity: str, *, holder: str, at: int) -> None:
    """Keep a retraining that one has taken.

    Raises:
        Conflict: another took it meanwhile.
    """
    if not tx.execute(
        "UPDATE retrainings SET lease_until = ? WHERE id = ? AND holder = ?", (at + LEASE, identity, holder)
    ):
        raise Conflict(f"retraining {identity[:8]} was taken over", hint="leave it to who has it")


def move(
    tx: Transaction,
    found: Retraining,
    event: RetrainingEvent,
    *,
    reason: str,
    at: int,
    run: str = "",
    reference: str = "",
    gate: str = "",
) -> None:
    """Move a retraining by an event; what it made is written with it.

    Raises:
        Conflict: the event leads nowhere from where it is.
    """
    following = RETRAINING.next(found.state, event)
    tx.execute(
        "UPDATE retrainings SET state = ?, run = ?, reference = ?, gate = ?, detail = ? WHERE id = ?",
        (following, run or found.run, reference or found.reference, gate or found.gate, reason, found.id),
    )
    subject = f"retraining/{found.id}"
    ledger.transition(
        tx,
        subject=subject,
        action=event,
        before=ledger.head(tx, subject),
        after=following,
        actor=ACTOR,
        reason=reason,
        at=at,
        evidence={"run": run, "reference": reference, "gate": gate},
    )


def labelled_rows(tx: Transaction, folder: Path, *, endpoint: str, position: str, target: str) -> list[dict[str, Any]]:
    """The live rows from a position on that have a label, with it as ``target``, in the log's order.

    Raises:
        Refused: the log withholds columns of them.
    """
    records, _ = log.read(folder, Position.parse(position))
    answered = list(windows.answered(records))
    if withheld := sorted({name for each in answered for name in each.withheld}):
        raise Refused(
            f"the prediction log of {endpoint} keeps no {', '.join(withheld)} of live rows: they cannot be trained on",
            hint="leave them out of predictions.drop and predictions.hash, or retraining.on empty",
        )
    known = labels.values(tx, endpoint, [each.id for each in answered])
    return [{**each.row, target: msgspec.json.decode(known[each.id])} for each in answered if each.id in known]


def _row(tx: Transaction, identity: str) -> Row:
    row = tx.row("SELECT * FROM retrainings WHERE id = ?", (identity,))
    assert row is not None
    return row


def _of(row: Row) -> Retraining:
    names = ("id", "endpoint", "release", "cause", "position", "at", "run", "reference", "gate", "detail")
    return Retraining(state=RetrainingState(row["state"]), **{name: row[name] for name in names})
