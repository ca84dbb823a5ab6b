"""The route table in the database: built from what endpoints and rollouts say, one revision after the other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from windlass.delivery import gateways, workers
from windlass.delivery.strategy import Phase, PhaseKind
from windlass.domain.clock import Clock
from windlass.domain.errors import Failure
from windlass.domain.ports import Database, Transaction
from windlass.domain.routing import LogPolicy, Route, RouteTable, Rule, releases_of, strictest
from windlass.serving import admin

PATIENCE_SECONDS = 1.0  # with one gateway among several: the others have the table meanwhile

CANDIDATE = "candidate"  # in a rule: whatever is on trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The newest table, and the revision that every gateway is known to serve."""

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
    """Put an endpoint's route into the next table, in the transaction that decided it; returns its revision.

    What is the endpoint's own, and no release's, comes from its tables: keys and rules. What the prediction log keeps
    is what satisfies every release that may answer.
    """
    table = current(tx).table
    route = replace(route, keys=_keys(tx, endpoint), rules=_rules(tx, endpoint, route.candidate))
    routes = {**table.routes, endpoint: replace(route, log=_log_policy(tx, releases_of(route)))}
    return _publish(tx, table, routes, _sockets(tx, table, routes))


def _sockets(tx: Transaction, table: RouteTable, routes: Mapping[str, Route]) -> dict[str, tuple[str, ...]]:
    known = {**table.sockets, **workers.sockets(tx)}
    used = {release for each in routes.values() for release in releases_of(each)}
    return {release: sockets for release, sockets in known.items() if release in used}


def _publish(
    tx: Transaction, table: RouteTable, routes: Mapping[str, Route], sockets: Mapping[str, tuple[str, ...]]
) -> int:
    used = list(sockets)
    rows = tx.rows(f"SELECT id, reference FROM releases WHERE id IN ({', '.join('?' for _ in used) or 'NULL'})", used)
    versions = {row["id"]: row["reference"].partition("@")[2] for row in rows}
    following = RouteTable(revision=table.revision + 1, routes=routes, sockets=sockets, versions=versions)
    tx.execute(
        "INSERT INTO routing (id, revision, route_table, acknowledged, acknowledged_at) VALUES (1, ?, ?, 0, 0)"
        " ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, route_table = excluded.route_table",
        (following.revision, msgspec.json.encode(following).decode()),
    )
    return following.revision


def renew(tx: Transaction) -> int | None:
    """The next table, if workers have joined or left since the newest; its revision."""
    table = current(tx).table
    return _publish(tx, table, table.routes, _sockets(tx, table, table.routes)) if outdated(tx) else None


def outdated(tx: Transaction) -> bool:
    """Whether workers have joined or left since the newest table."""
    table = current(tx).table
    return _sockets(tx, table, table.routes) != table.sockets


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
    """The endpoint's rules. One for the candidate waits while there is none; one for a release that was rolled back,
    whichever way it had come, for as long as that is in quarantine here."""
    rows = tx.rows(
        "SELECT e.name, e.release, e.header, e.value, e.share FROM endpoint_rules e"
        " LEFT JOIN releases r ON r.id = e.release"
        " LEFT JOIN quarantine q ON q.endpoint = e.endpoint AND q.package = r.package"
        " WHERE e.endpoint = ? AND q.package IS NULL ORDER BY e.at, e.name",
        (endpoint,),
    )
    rules = (Rule(**{**row, "release": candidate if row["release"] == CANDIDATE else row["release"]}) for row in rows)
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
    """Give every gateway the newest table, and note which acknowledged; pushing the same again changes nothing.

    The table is settled once all that run serve by it. One that does not run serves nobody; it starts by the file that
    the others wrote before they acknowledged. ``gateway`` is the one to ask where none is known.

    Raises:
        Unavailable: a gateway that runs does not answer, or none runs.
        Conflict: one serves a newer table.
    """
    with db.read() as tx:
        published = current(tx)
        known = gateways.standing(tx)
    if published.table.revision == 0:
        return published
    outcomes = _told([Path(each.socket) for each in known] or [gateway], published.table)
    served = {socket: outcome for socket, outcome in outcomes.items() if isinstance(outcome, int)}
    failures = [each for each in outcomes.values() if isinstance(each, Failure)]
    standing = [each for each in failures if not isinstance(each, admin.Down)]
    news = {each.socket for each in known if served.get(Path(each.socket), 0) > each.acknowledged}
    settled = settled_by(outcomes, published.acknowledged)
    if news or settled:
        with db.write() as tx:
            for socket in news:
                gateways.acknowledge(tx, socket, served[Path(socket)], now())
            if settled:
                revision = min(served.values())
                tx.execute(
                    "UPDATE routing SET acknowledged = ?, acknowledged_at = ? WHERE id = 1 AND acknowledged < ?",
                    (revision, now(), revision),
                )
    if standing or not served:
        raise next(iter(standing or failures))
    with db.read() as tx:
        return current(tx)


def settled_by(outcomes: Mapping[Path, int | Failure], acknowledged: int) -> bool:
    """Whether what the gateways said settles more than was: one serves, and none that runs has failed to answer."""
    served = [each for each in outcomes.values() if isinstance(each, int)]
    silent = any(isinstance(each, Failure) and not isinstance(each, admin.Down) for each in outcomes.values())
    return bool(served) and not silent and min(served) > acknowledged


def _told(sockets: Sequence[Path], table: RouteTable) -> dict[Path, int | Failure]:
    """What each gateway says to the table: the revision that it serves, or why it does not."""
    outcomes = _at_once(sockets, table)
    down = [socket for socket, outcome in outcomes.items() if isinstance(outcome, admin.Down)]
    if down and len(down) < len(sockets):
        # One that was just starting may have read the file before the others wrote it; it listens before it serves.
        outcomes |= _at_once(down, table)
    return outcomes


def _at_once(sockets: Sequence[Path], table: RouteTable) -> dict[Path, int | Failure]:
    if len(sockets) == 1:
        return {sockets[0]: _answer(sockets[0], table, admin.TIMEOUT)}
    with ThreadPoolExecutor(len(sockets), thread_name_prefix="push") as threads:  # a slow one holds up no other
        answers = threads.map(lambda socket: _answer(socket, table, PATIENCE_SECONDS), sockets)
        return dict(zip(sockets, answers, strict=True))


def _answer(socket: Path, table: RouteTable, timeout: float) -> int | Failure:
    try:
        return admin.push(socket, table, timeout)
    except Failure as failure:
        return failure


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
