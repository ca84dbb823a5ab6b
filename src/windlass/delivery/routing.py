"""The route table in the database: built from what endpoints and rollouts say, one revision after the other."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from windlass.delivery import workers
from windlass.delivery.strategy import Phase, PhaseKind
from windlass.domain.clock import Clock
from windlass.domain.ports import Database, Transaction
from windlass.domain.routing import LogPolicy, Route, RouteTable, Rule, releases_of, strictest
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
    """Give an endpoint a route in the next table; returns its revision. What is the endpoint's own, and no release's,
    comes from its tables: keys and rules. What the prediction log keeps is what satisfies every release that may
    answer."""
    table = current(tx).table
    route = replace(route, keys=_keys(tx, endpoint), rules=_rules(tx, endpoint, route.candidate))
    route = replace(route, log=_log_policy(tx, releases_of(route)))
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


def republish(tx: Transaction, endpoint: str) -> None:
    """Make a table of what the endpoint's keys and rules are now; for an endpoint that serves nothing, none."""
    route = current(tx).table.routes.get(endpoint)
    if route is not None:
        set_route(tx, endpoint, route)


def needed(tx: Transaction, release: str) -> bool:
    """Whether an endpoint serves the release, may go back to it, has it on trial, or names it in a rule."""
    if any(release in releases_of(route) for route in current(tx).table.routes.values()):
        return True
    rows = tx.rows("SELECT previous FROM endpoints")
    return any(release in json.loads(row["previous"]) for row in rows)


def _keys(tx: Transaction, endpoint: str) -> dict[str, str] | None:
    rows = tx.rows("SELECT digest, name, revoked FROM endpoint_keys WHERE endpoint = ?", (endpoint,))
    return {row["digest"]: row["name"] for row in rows if row["revoked"] is None} if rows else None


def _rules(tx: Transaction, endpoint: str, candidate: str | None) -> tuple[Rule, ...]:
    """The endpoint's rules; one for the candidate waits while there is none."""
    rows = tx.rows(
        "SELECT name, release, header, value, share FROM endpoint_rules WHERE endpoint = ? ORDER BY at, name",
        (endpoint,),
    )
    rules = (Rule(**{**row, "release": candidate if row["release"] == "candidate" else row["release"]}) for row in rows)
    return tuple(rule for rule in rules if rule.release)


def _log_policy(tx: Transaction, releases: Iterable[str]) -> LogPolicy | None:
    said = (
        tx.row("SELECT policy FROM rollouts WHERE candidate = ? ORDER BY started_at DESC, id LIMIT 1", (release,))
        for release in sorted(releases)
    )
    found = (json.loads(row["policy"]).get("log") for row in said if row is not None)
    policy = strictest(msgspec.convert(each, LogPolicy) for each in found if each is not None)
    return None if policy == LogPolicy() else policy


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
        weight=phase.weight if phase.kind is PhaseKind.CANARY else 0.0,
        shadow=phase.kind is PhaseKind.SHADOW,
        salt=salt,
        rollout=rollout,
        timeout_ms=timeout_ms,
    )


def plain(value: object) -> str:
    """JSON as the tables hold it."""
    return json.dumps(msgspec.to_builtins(value), sort_keys=True)
