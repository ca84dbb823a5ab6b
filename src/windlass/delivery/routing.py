"""The route table in the database: built from what endpoints and rollouts say, one revision after the other."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import msgspec

from windlass.delivery import workers
from windlass.delivery.strategy import Phase, PhaseKind
from windlass.domain.clock import Clock
from windlass.domain.ports import Database, Transaction
from windlass.domain.routing import Route, RouteTable, releases_of
from windlass.serving import admin


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The newest table, and the revision that the gateway is known to serve."""

    table: RouteTable
    acknowledged: int
    acknowledged_at: int

    @property
    def settled(self) -> bool:
        return self.acknowledged >= self.table.revision


def current(tx: Transaction) -> Published:
    row = tx.row("SELECT * FROM routing WHERE id = 1")
    if row is None:
        return Published(table=RouteTable(revision=0), acknowledged=0, acknowledged_at=0)
    table = msgspec.json.decode(row["route_table"], type=RouteTable)
    return Published(table=table, acknowledged=row["acknowledged"], acknowledged_at=row["acknowledged_at"])


def set_route(tx: Transaction, endpoint: str, route: Route) -> int:
    """Put an endpoint's route into the next table, in the transaction that decided it; returns its revision."""
    table = current(tx).table
    routes = {**table.routes, endpoint: route}
    known = {**table.sockets, **workers.sockets(tx)}
    used = {release for each in routes.values() for release in releases_of(each)}
    following = RouteTable(
        revision=table.revision + 1,
        routes=routes,
        sockets={release: sockets for release, sockets in known.items() if release in used},
    )
    tx.execute(
        "INSERT INTO routing (id, revision, route_table, acknowledged, acknowledged_at) VALUES (1, ?, ?, 0, 0)"
        " ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, route_table = excluded.route_table",
        (following.revision, msgspec.json.encode(following).decode()),
    )
    return following.revision


def push(db: Database, gateway: Path, now: Clock) -> Published:
    """Give the gateway the newest table and note that it acknowledged; pushing the same again changes nothing.

    Raises:
        Unavailable: the gateway does not answer.
        Conflict: it serves a newer table.
    """
    with db.read() as tx:
        published = current(tx)
    if published.table.revision == 0:
        return published
    revision = admin.push(gateway, published.table)
    if revision > published.acknowledged:
        with db.write() as tx:
            tx.execute(
                "UPDATE routing SET acknowledged = ?, acknowledged_at = ? WHERE id = 1 AND acknowledged < ?",
                (revision, now(), revision),
            )
    with db.read() as tx:
        return current(tx)


def of_phase(*, stable: str, candidate: str, phase: Phase, salt: str, rollout: str, timeout_ms: int) -> Route:
    """The route while a rollout is in a phase."""
    return Route(
        stable=stable,
        candidate=candidate,
        weight=phase.share,
        shadow=phase.kind is PhaseKind.SHADOW,
        salt=salt,
        rollout=rollout,
        timeout_ms=timeout_ms,
    )


def plain(value: object) -> str:
    """JSON as the tables hold it."""
    return json.dumps(msgspec.to_builtins(value), sort_keys=True)
