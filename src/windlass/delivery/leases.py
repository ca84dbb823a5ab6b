"""Leases: who may act on what several contend for, and the fence that keeps out who may no longer.

A lease lasts by the database's clock, so that contenders on machines whose clocks differ agree on it. Every new holder
gets a higher *generation*. A holder that was stopped for longer than its lease and wakes up still believes that it
leads: whatever it writes checks holder and generation in the same transaction, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from windlass.domain.errors import Conflict
from windlass.domain.ports import Database, Transaction

InstantOf = Callable[[Transaction], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    name: str
    holder: str
    generation: int


def by_database(tx: Transaction) -> int:
    """The clock that leases last by; tests have their own."""
    return tx.now()


def take(db: Database, name: str, *, holder: str, length: int, now: InstantOf = by_database) -> Lease | None:
    """Get a lease, or keep it; ``length`` in microseconds. None: another has it.

    What is held for at least half of its length yet is not written again.
    """
    with db.read() as tx:
        row, at = tx.row("SELECT * FROM leases WHERE name = ?", (name,)), now(tx)
    if row and row["holder"] == holder and row["until"] - at > length // 2:
        return Lease(name=name, holder=holder, generation=row["generation"])
    if row and row["holder"] != holder and row["until"] > at:
        return None
    with db.write() as tx:
        at = now(tx)
        tx.execute(
            "INSERT INTO leases (name, holder, until, generation) VALUES (?, ?, ?, 1) ON CONFLICT (name) DO UPDATE SET"
            " generation = leases.generation + CASE WHEN leases.holder = excluded.holder THEN 0 ELSE 1 END,"
            " holder = excluded.holder, until = excluded.until WHERE leases.holder = excluded.holder"
            " OR leases.until <= ?",
            (name, holder, at + length, at),
        )
        row = tx.row("SELECT * FROM leases WHERE name = ?", (name,))
    if row is None or row["holder"] != holder:
        return None
    return Lease(name=name, holder=holder, generation=row["generation"])


def require(tx: Transaction, lease: Lease) -> None:
    """See that a lease is still held, in the transaction that acts on it.

    Raises:
        Conflict: it went to another.
    """
    row = tx.row("SELECT holder, generation FROM leases WHERE name = ?", (lease.name,))
    if row is None or (row["holder"], row["generation"]) != (lease.holder, lease.generation):
        raise Conflict(f"another has the lease '{lease.name}' now")
