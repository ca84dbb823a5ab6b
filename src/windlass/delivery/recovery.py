"""Rollbacks that follow by themselves when the release in charge turns out not to answer as it should.

Two things are looked at. A release that got all users back from a candidate (``rechecks``) had answered nobody for a
while: it is asked its golden rows, after it has the users, since nothing is better than it at that moment. And the
worker of a release in charge may crash again and again. In both cases the next last good release takes over, as by
``windlass rollback``: woken, asked its golden rows, and passed over if it fails.
"""

from __future__ import annotations

from contextlib import suppress

from windlass.delivery import alertmanager, releases, rollback, workers
from windlass.delivery.alertmanager import Means
from windlass.domain.clock import Clock
from windlass.domain.errors import Conflict, Failure
from windlass.domain.ports import Database, ObjectStore

ACTOR = "windlass"


def tick(db: Database, objects: ObjectStore, *, now: Clock, means: Means) -> None:
    """One look at every endpoint.

    Raises:
        Refused: a release in charge does not answer as it should, and there is no good one to go back to.
    """
    with db.read() as tx:
        rechecks = tx.rows("SELECT * FROM rechecks ORDER BY at, endpoint")
        endpoints = {
            row["name"]: row["release"] for row in tx.rows("SELECT * FROM endpoints WHERE release IS NOT NULL")
        }
        standing = {release: workers.state(tx, release) for release in endpoints.values()}
        serving = {release for release in endpoints.values() if workers.serves(tx, release)}
    for row in rechecks:
        if endpoints.get(row["endpoint"]) == row["release"]:
            _recheck(db, objects, row["endpoint"], row["release"], now, means)
        with db.write() as tx:
            tx.execute("DELETE FROM rechecks WHERE endpoint = ? AND at = ?", (row["endpoint"], row["at"]))
    for endpoint, release in endpoints.items():
        state, error = standing[release]
        if state != workers.FAILED or release in serving:
            continue  # one of several may be left: users are better off than without this release
        with db.read() as tx:
            policy = alertmanager.policy_of(releases.find(tx, objects, release))
        if policy.on_crash:
            _leave(db, objects, endpoint, release, f"its worker crashes again and again: {error}", now, means)


def _recheck(db: Database, objects: ObjectStore, endpoint: str, release: str, now: Clock, means: Means) -> None:
    with db.read() as tx:
        found = releases.find(tx, objects, release)
    try:
        means.revalidate(found)
    except Failure as failure:
        _leave(db, objects, endpoint, release, f"it has all users again and fails: {failure.message}", now, means)


def _leave(
    db: Database, objects: ObjectStore, endpoint: str, release: str, reason: str, now: Clock, means: Means
) -> None:
    with suppress(Conflict):  # somebody moved the endpoint meanwhile: it is another release's turn
        rollback.rollback(
            db, objects, endpoint=endpoint, leaving=release, reason=reason, actor=ACTOR, now=now,
            gateway_socket=means.gateway_socket, socket=means.socket, revalidate=means.revalidate,
            wait_seconds=means.wait_seconds,
        )  # fmt: skip
