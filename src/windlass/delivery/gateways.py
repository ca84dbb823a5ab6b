"""The gateways that the supervisor keeps, and the revision of the routes that each is known to serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from windlass.domain.ports import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """``acknowledged`` is the newest revision of the routes that it said it serves."""

    name: str
    socket: str
    pid: int | None
    state: str
    restarts: int
    error: str
    acknowledged: int
    acknowledged_at: int


def keep(tx: Transaction, names: Sequence[str]) -> None:
    """Forget every gateway but these."""
    for row in tx.rows("SELECT name FROM gateways"):
        if row["name"] not in names:
            tx.execute("DELETE FROM gateways WHERE name = ?", (row["name"],))


def report(
    tx: Transaction, name: str, socket: str, *, state: str, pid: int | None, restarts: int, error: str, at: int
) -> None:
    """Write down where a gateway is, and how it stands."""
    tx.execute(
        "INSERT INTO gateways (name, socket, pid, state, restarts, error, acknowledged, acknowledged_at, seen_at)"
        " VALUES (?, ?, ?, ?, ?, ?, 0, 0, ?) ON CONFLICT (name) DO UPDATE SET socket = excluded.socket,"
        " pid = excluded.pid, state = excluded.state, restarts = excluded.restarts, error = excluded.error,"
        " seen_at = excluded.seen_at",
        (name, socket, pid, state, restarts, error, at),
    )


def acknowledge(tx: Transaction, socket: str, revision: int, at: int) -> None:
    """Note that a gateway serves a revision."""
    tx.execute(
        "UPDATE gateways SET acknowledged = ?, acknowledged_at = ? WHERE socket = ? AND acknowledged < ?",
        (revision, at, socket, revision),
    )


def standing(tx: Transaction) -> list[Gateway]:
    """Every gateway, as it was last reported."""
    rows = tx.rows(
        "SELECT name, socket, pid, state, restarts, error, acknowledged, acknowledged_at FROM gateways ORDER BY name"
    )
    return [Gateway(**row) for row in rows]
