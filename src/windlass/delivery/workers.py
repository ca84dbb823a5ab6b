"""Workers as the database wants them, and as they stand: the supervisor reads the one and writes the other.

A release has one or several, numbered from 0, each with a socket of its own. A worker *joins* once it has been ready:
from then on the routes know its socket, and a crash does not take it out again, for it is soon back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from windlass.domain.ports import Row, Transaction
from windlass.domain.release import Release

READY, FAILED, STARTING = "ready", "failed", "starting"
HANG_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one worker may take: MB that it may allocate, cores that it may run on, and how long it may be stuck."""

    memory_mb: int | None = None
    cpu: int | None = None
    nice: int = 0
    hang_seconds: float = HANG_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A worker that should be up: which one of which release. ``state`` is what was last reported of it."""

    release: str
    package: str
    environment: str
    socket: str
    number: int = 0
    limits: Limits = field(default_factory=Limits)
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStanding:
    """``rss_bytes`` and ``cpu_seconds`` (since it started) are as the supervisor last measured them."""

    release: str
    reference: str
    number: int
    state: str
    pid: int | None
    restarts: int
    error: str
    rss_bytes: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How many workers a release has, and may have."""

    release: str
    least: int
    most: int
    size: int
    at: int


def limits_of(serving: Mapping[str, Any]) -> Limits:
    """The limits of a release's ``serving``. Nobody hangs who only takes as long as users are ready to wait."""
    patience = 2 * int(serving.get("timeout_ms", 2000)) / 1000
    return Limits(
        memory_mb=serving.get("memory_mb"),
        cpu=serving.get("cpu"),
        nice=int(serving.get("nice", 0)),
        hang_seconds=max(float(serving.get("hang_seconds", HANG_SECONDS)), patience),
    )


def want(tx: Transaction, release: Release, socket: str, at: int) -> None:
    """Ask for the workers of the release; those that had failed get a new chance.

    ``socket`` is the first one's; the others' are named after it.
    """
    least = int(release.serving.get("min_workers", 1))
    most = max(least, int(release.serving.get("max_workers", least)))
    known = tx.row("SELECT size FROM fleets WHERE release = ?", (release.id,))
    up = tx.row("SELECT number FROM workers WHERE release = ? AND desired = 'up'", (release.id,))
    wanted = max(least, known["size"]) if known and up else least
    tx.execute(
        "INSERT INTO fleets (release, least, most, size, why, at) VALUES (?, ?, ?, ?, '', ?)"
        " ON CONFLICT (release) DO UPDATE SET least = excluded.least, most = excluded.most, size = excluded.size,"
        " at = excluded.at",
        (release.id, least, most, wanted, at),
    )
    limits = json.dumps(asdict(limits_of(release.serving)), sort_keys=True)
    for number in range(wanted):
        _raise(tx, release.id, number, release.package, release.environment, _numbered(socket, number), limits, at)


def resize(tx: Transaction, release: str, size: int, why: str, at: int) -> None:
    """Have so many workers of a release that is up; those too many leave, the last first."""
    first = tx.row("SELECT * FROM workers WHERE release = ? AND number = 0 AND desired = 'up'", (release,))
    if first is None:
        return
    for number in range(size):
        _raise(
            tx, release, number, first["package"], first["environment"], _numbered(first["socket"], number),
            first["limits"], at,
        )  # fmt: skip
    tx.execute("UPDATE workers SET desired = 'down' WHERE release = ? AND number >= ?", (release, size))
    tx.execute("UPDATE fleets SET size = ?, why = ?, at = ? WHERE release = ?", (size, why, at, release))


def _raise(
    tx: Transaction, release: str, number: int, package: str, environment: str, socket: str, limits: str, at: int
) -> None:
    tx.execute(
        "INSERT INTO workers (release, number, package, environment, socket, limits, desired, joined, state, restarts,"
        " error, at) VALUES (?, ?, ?, ?, ?, ?, 'up', 0, ?, 0, '', ?)"
        " ON CONFLICT (release, number) DO UPDATE SET desired = 'up', limits = excluded.limits,"
        " socket = excluded.socket, joined = CASE WHEN workers.desired = 'up' THEN workers.joined ELSE 0 END,"
        " state = CASE WHEN workers.desired = 'up' AND workers.state <> 'failed'"
        " THEN workers.state ELSE excluded.state END",
        (release, number, package, environment, socket, limits, STARTING, at),
    )


def _numbered(socket: str, number: int) -> str:
    return socket if number == 0 else f"{socket.removesuffix('.sock')}-{number}.sock"


def unwant(tx: Transaction, release: str) -> None:
    """Let a release's worker go, unless a rule of an endpoint still sends users to it."""
    tx.execute(
        "UPDATE workers SET desired = 'down' WHERE release = ? AND release NOT IN (SELECT release FROM endpoint_rules)",
        (release,),
    )


def desired(tx: Transaction) -> list[Wanted]:
    """Every worker that should be up."""
    rows = tx.rows(
        "SELECT release, number, package, environment, socket, limits, state FROM workers WHERE desired = 'up'"
        " ORDER BY release, number"
    )
    return [Wanted(**{**row, "limits": Limits(**json.loads(row["limits"]))}) for row in rows]


def report(
    tx: Transaction, release: str, *, number: int = 0, state: str, pid: int | None, restarts: int, error: str, at: int
) -> None:
    """Write down how a worker stands."""
    tx.execute(
        "UPDATE workers SET state = ?, pid = ?, restarts = ?, error = ?, at = ?,"
        " joined = CASE WHEN ? = 'ready' THEN 1 ELSE joined END WHERE release = ? AND number = ?",
        (state, pid, restarts, error, at, state, release, number),
    )


def measure(tx: Transaction, release: str, number: int, *, rss_bytes: int, cpu_seconds: float, at: int) -> None:
    """Write down what a worker takes: resident memory in bytes, seconds of CPU since it started."""
    tx.execute(
        "UPDATE workers SET rss_bytes = ?, cpu_seconds = ?, measured_at = ? WHERE release = ? AND number = ?",
        (rss_bytes, cpu_seconds, at, release, number),
    )


def state(tx: Transaction, release: str) -> tuple[str, str]:
    """How a wanted release stands, and the last error of its workers.

    Ready once as many as it needs at least are; failed when one of these crashes again and again, for what one does
    with the same model and the same limits, the others will do too.
    """
    rows = tx.rows(
        "SELECT w.number, w.state, w.error, f.least FROM workers w JOIN fleets f ON f.release = w.release"
        " WHERE w.release = ? AND w.desired = 'up' ORDER BY w.number",
        (release,),
    )
    if not rows:
        return "", ""
    needed = [row for row in rows if row["number"] < row["least"]]
    if failed := next((row for row in needed if row["state"] == FAILED), None):
        return FAILED, failed["error"]
    error = next((row["error"] for row in needed if row["error"]), "")
    return READY if all(row["state"] == READY for row in needed) else STARTING, error


def serves(tx: Transaction, release: str) -> bool:
    """Whether at least one worker of the release is ready."""
    return bool(ready_sockets(tx, release))


def ready_sockets(tx: Transaction, release: str) -> list[str]:
    """The sockets of a release's workers that are ready now."""
    rows = tx.rows(
        "SELECT socket FROM workers WHERE release = ? AND desired = 'up' AND state = 'ready' ORDER BY number",
        (release,),
    )
    return [row["socket"] for row in rows]


def sockets(tx: Transaction) -> dict[str, tuple[str, ...]]:
    """The sockets of every wanted release's workers that have joined; of one where none has, of all."""
    rows = tx.rows("SELECT release, socket, joined FROM workers WHERE desired = 'up' ORDER BY release, number")
    joined: dict[str, tuple[str, ...]] = {}
    known: dict[str, tuple[str, ...]] = {}
    for row in rows:
        known[row["release"]] = (*known.get(row["release"], ()), row["socket"])
        if row["joined"]:
            joined[row["release"]] = (*joined.get(row["release"], ()), row["socket"])
    return known | joined


def sizes(tx: Transaction) -> list[Size]:
    """Every wanted release's number of workers, and its limits."""
    rows = tx.rows(
        "SELECT f.release, f.least, f.most, f.size, f.at FROM fleets f JOIN workers w ON w.release = f.release"
        " WHERE w.number = 0 AND w.desired = 'up' ORDER BY f.release"
    )
    return [Size(**row) for row in rows]


def measured(tx: Transaction) -> list[Row]:
    """State and CPU time of every wanted worker, with when that was measured."""
    return tx.rows("SELECT release, number, state, cpu_seconds, measured_at FROM workers WHERE desired = 'up'")


def largest(tx: Transaction, *releases: str) -> list[int]:
    """The resident memory of each release's largest worker, in bytes; 0: none is measured."""
    found = (
        tx.row("SELECT MAX(rss_bytes) AS rss FROM workers WHERE release = ? AND desired = 'up'", (release,))
        for release in releases
    )
    return [int(row["rss"] or 0) if row else 0 for row in found]


def standing(tx: Transaction) -> list[WorkerStanding]:
    """How every wanted worker stands."""
    rows = tx.rows(
        "SELECT w.release, r.reference, w.number, w.state, w.pid, w.restarts, w.error, w.rss_bytes, w.cpu_seconds"
        " FROM workers w JOIN releases r ON r.id = w.release WHERE w.desired = 'up' ORDER BY r.at, w.release, w.number"
    )
    return [WorkerStanding(**row) for row in rows]
