"""Workers as the database wants them, and as they stand: the supervisor reads the one and writes the other."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.domain.ports import Transaction
from windlass.domain.release import Release

READY, FAILED, STARTING = "ready", "failed", "starting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A release whose worker should be up."""

    release: str
    package: str
    environment: str
    socket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStanding:
    release: str
    reference: str
    state: str
    pid: int | None
    restarts: int
    error: str


def want(tx: Transaction, release: Release, socket: str, at: int) -> None:
    """Ask for a worker of the release; one that had failed gets a new chance."""
    tx.execute(
        "INSERT INTO workers (release, package, environment, socket, desired, state, restarts, error, at)"
        " VALUES (?, ?, ?, ?, 'up', ?, 0, '', ?)"
        " ON CONFLICT (release) DO UPDATE SET desired = 'up',"
        " state = CASE WHEN workers.desired = 'up' AND workers.state <> 'failed'"
        " THEN workers.state ELSE excluded.state END",
        (release.id, release.package, release.environment, socket, STARTING, at),
    )


def unwant(tx: Transaction, release: str) -> None:
    """Let a release's worker go, unless a rule of an endpoint still sends users to it."""
    tx.execute(
        "UPDATE workers SET desired = 'down' WHERE release = ? AND release NOT IN (SELECT release FROM endpoint_rules)",
        (release,),
    )


def desired(tx: Transaction) -> list[Wanted]:
    """Every worker that should be up."""
    rows = tx.rows("SELECT release, package, environment, socket FROM workers WHERE desired = 'up' ORDER BY release")
    return [Wanted(**row) for row in rows]


def report(tx: Transaction, release: str, *, state: str, pid: int | None, restarts: int, error: str, at: int) -> None:
    """Write down how a worker stands."""
    tx.execute(
        "UPDATE workers SET state = ?, pid = ?, restarts = ?, error = ?, at = ? WHERE release = ?",
        (state, pid, restarts, error, at, release),
    )


def state(tx: Transaction, release: str) -> tuple[str, str]:
    """A wanted worker's state and its last error."""
    row = tx.row("SELECT state, error FROM workers WHERE release = ? AND desired = 'up'", (release,))
    return (row["state"], row["error"]) if row else ("", "")


def sockets(tx: Transaction) -> dict[str, tuple[str, ...]]:
    """The sockets of every wanted release's workers, by release."""
    rows = tx.rows("SELECT release, socket FROM workers WHERE desired = 'up'")
    return {row["release"]: (row["socket"],) for row in rows}


def standing(tx: Transaction) -> list[WorkerStanding]:
    """How every wanted worker stands."""
    rows = tx.rows(
        "SELECT w.release, r.reference, w.state, w.pid, w.restarts, w.error FROM workers w"
        " JOIN releases r ON r.id = w.release WHERE w.desired = 'up' ORDER BY r.at, w.release"
    )
    return [WorkerStanding(**row) for row in rows]
