"""What served an endpoint, when, and who or what put it there: read from the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.delivery import rollouts, routing
from windlass.delivery.rollouts import Rollout
from windlass.domain import ledger
from windlass.domain.ledger import Entry
from windlass.domain.ports import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A release from ``since`` on; ``actor`` put it there by ``action``."""

    endpoint: str
    release: str
    reference: str
    since: int
    actor: str
    action: str
    reason: str
    rollout: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatus:
    """``acknowledged`` is the route table's revision that the gateway serves, ``revision`` the newest."""

    endpoint: str
    release: str | None
    reference: str | None
    since: int | None
    rollout: Rollout | None
    revision: int
    acknowledged: int


def log(tx: Transaction, endpoint: str) -> list[Served]:
    """Everything that ever served, oldest first."""
    return [_served(tx, endpoint, entry) for entry in ledger.entries(tx, subject=f"endpoint/{endpoint}") if entry.after]


def at(tx: Transaction, endpoint: str, instant: int) -> Served | None:
    """What served at an instant."""
    entries = ledger.entries(tx, subject=f"endpoint/{endpoint}", until=instant)
    return _served(tx, endpoint, entries[-1]) if entries and entries[-1].after else None


def live(tx: Transaction) -> list[EndpointStatus]:
    """Every endpoint as it stands."""
    published = routing.current(tx)
    found = []
    for row in tx.rows("SELECT * FROM endpoints ORDER BY name"):
        served = log(tx, row["name"])
        found.append(
            EndpointStatus(
                endpoint=row["name"],
                release=row["release"],
                reference=rollouts.reference(tx, row["release"]),
                since=served[-1].since if served else None,
                rollout=rollouts.find(tx, row["rollout"]) if row["rollout"] else None,
                revision=published.table.revision,
                acknowledged=published.acknowledged,
            )
        )
    return found


def _served(tx: Transaction, endpoint: str, entry: Entry) -> Served:
    assert entry.after is not None
    return Served(
        endpoint=endpoint,
        release=entry.after,
        reference=rollouts.reference(tx, entry.after) or "",
        since=entry.at,
        actor=entry.actor,
        action=entry.action,
        reason=entry.reason,
        rollout=entry.evidence.get("rollout"),
    )
