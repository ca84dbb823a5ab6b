"""Rollback by hand: the endpoint goes back to its last good release, once that answers its golden rows again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from windlass.delivery import by_hand, quarantine, releases, rollouts, routing, workers
from windlass.domain import ledger
from windlass.domain.clock import Clock
from windlass.domain.errors import Conflict, Failure, NotFound, Refused, Unavailable
from windlass.domain.ports import Database, ObjectStore, Row, Transaction
from windlass.domain.release import Release
from windlass.domain.routing import Route

POLL_SECONDS = 0.02
ACTION = "roll back"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackResult:
    """``seconds``: from the command to the gateway's acknowledgement. ``skipped``: releases that were tried in vain."""

    endpoint: str
    from_reference: str
    to_reference: str
    revalidated: bool
    partial: bool
    seconds: float
    skipped: tuple[str, ...] = ()


def rollback(
    db: Database,
    objects: ObjectStore,
    *,
    endpoint: str,
    to: str | None = None,
    partial: bool = False,
    reason: str,
    actor: str,
    now: Clock,
    gateway_socket: Path,
    socket: Callable[[str], Path],
    revalidate: Callable[[Release], None],
    wait_seconds: float,
    leaving: str | None = None,
    note: Callable[[Transaction], None] | None = None,
) -> RollbackResult:
    """Put ``endpoint`` back to its last good release, or to the version ``to``; ``partial`` only ends what is on trial.

    The release has to be ready and pass ``revalidate`` before it takes traffic; one that does not is passed over.
    ``leaving``: the release that has to be in charge still; ``note`` is written down in the transaction that moves.

    Raises:
        Conflict: the endpoint moved meanwhile.
        NotFound: no such endpoint, or it never served ``to``.
        Refused: there is no good release to go back to.
        Unavailable: the gateway does not acknowledge; the routes are set and are pushed as soon as it is back.
    """
    started = time.monotonic()
    with db.read() as tx:
        row = _endpoint(tx, endpoint)
        if leaving is not None and row["release"] != leaving:
            raise Conflict(f"{endpoint} moved meanwhile", hint="look at `windlass status`, then decide again")
        serving = rollouts.reference(tx, row["release"]) or ""
    if partial:
        return _partial(db, row, serving, actor, reason, now, gateway_socket, started)
    skipped: list[str] = []
    for release_id, reference in _candidates(db, row, to):
        release = _load(db, objects, release_id)
        try:
            _wake(db, release, socket(release_id), now, wait_seconds)
            revalidate(release)
        except Failure as failure:
            skipped.append(f"{reference}: {failure.message}")
            with db.write() as tx:
                rollouts.let_go(tx, release.id)
            continue
        _move(db, row, release, reference, actor, reason, now, note)
        push(db, gateway_socket, now)
        _retire(db, row["release"])
        return RollbackResult(
            endpoint=endpoint,
            from_reference=serving,
            to_reference=reference,
            revalidated=True,
            partial=False,
            seconds=time.monotonic() - started,
            skipped=tuple(skipped),
        )
    raise Refused(
        f"{endpoint} has no good release to go back to",
        hint="release a version that is good: windlass release MODEL@VERSION",
        evidence=skipped or ["nothing served before what serves now, or it was rolled back itself"],
    )


def _endpoint(tx: Transaction, endpoint: str) -> Row:
    row = tx.row("SELECT * FROM endpoints WHERE name = ?", (endpoint,))
    if row is None or row["release"] is None:
        known = ", ".join(
            each["name"] for each in tx.rows("SELECT name FROM endpoints WHERE release IS NOT NULL ORDER BY name")
        )
        raise NotFound(f"endpoint '{endpoint}' serves nothing", hint=f"endpoints: {known or 'none yet'}")
    return row


def _candidates(db: Database, row: Row, to: str | None) -> list[tuple[str, str]]:
    """(release, reference) to try, the newest first."""
    with db.read() as tx:
        found = []
        for release in json.loads(row["previous"]):
            known = tx.row("SELECT reference, package FROM releases WHERE id = ?", (release,))
            if known is None or (to and to not in (known["reference"], known["reference"].partition("@")[2], release)):
                continue
            if quarantine.reason_of(tx, row["name"], known["package"]) is None:
                found.append((release, known["reference"]))
    if to and not found:
        raise NotFound(
            f"{row['name']} has no good release '{to}' behind it", hint=f"see `windlass history {row['name']}`"
        )
    return found


def _load(db: Database, objects: ObjectStore, release: str) -> Release:
    with db.read() as tx:
        return releases.find(tx, objects, release)


def _wake(db: Database, release: Release, socket: Path, now: Clock, wait_seconds: float) -> None:
    """See that the release's worker is up and ready."""
    with db.write() as tx:
        workers.want(tx, release, str(socket), now())
    until = time.monotonic() + wait_seconds
    while True:
        with db.read() as tx:
            state, error = workers.state(tx, release.id)
            serves = workers.serves(tx, release.id)
        if serves:  # one is enough to go back to; the others follow
            return
        if state == workers.FAILED:
            raise Unavailable(f"its worker does not start: {error}")
        if time.monotonic() > until:
            raise Unavailable(
                f"its worker was not ready within {wait_seconds:.0f} s", hint="workers run under `windlass up`"
            )
        time.sleep(POLL_SECONDS)


def _move(
    db: Database,
    row: Row,
    release: Release,
    reference: str,
    actor: str,
    reason: str,
    now: Clock,
    note: Callable[[Transaction], None] | None,
) -> None:
    at = now()
    with db.write() as tx:
        if note is not None:
            note(tx)
        current = _endpoint(tx, row["name"])
        if current["release"] != row["release"]:
            raise Conflict(f"{row['name']} moved meanwhile", hint="look at `windlass status`, then decide again")
        if current["rollout"]:
            live = rollouts.require(tx, current["rollout"])
            by_hand.abort_in(tx, live, actor=actor, reason=f"rollback: {reason}", at=at)
        stack = json.loads(current["previous"])
        stack = stack[stack.index(release.id) + 1 :]
        tx.execute(
            "UPDATE endpoints SET release = ?, previous = ? WHERE name = ?",
            (release.id, json.dumps(stack), row["name"]),
        )
        # Before the routes: rules heed it.
        quarantine.put(tx, row["name"], row["release"], f"rolled back by {actor}: {reason}", at)
        route = Route(stable=release.id, timeout_ms=releases.timeout_of(release))
        routing.set_route(tx, row["name"], route)
        ledger.transition(
            tx,
            subject=f"endpoint/{row['name']}",
            action=ACTION,
            before=row["release"],
            after=release.id,
            actor=actor,
            reason=reason,
            at=at,
            evidence={"to": reference, "golden rows": "answered as packaged"},
        )


def _partial(
    db: Database, row: Row, serving: str, actor: str, reason: str, now: Clock, gateway: Path, started: float
) -> RollbackResult:
    if not row["rollout"]:
        raise Refused(
            f"no rollout is on at {row['name']}",
            hint=f"to leave the release in charge: windlass rollback {row['name']}",
        )
    ended = by_hand.abort(db, row["rollout"], actor=actor, reason=reason, now=now)
    push(db, gateway, now)
    return RollbackResult(
        endpoint=row["name"],
        from_reference=ended.candidate_reference,
        to_reference=serving,
        revalidated=False,
        partial=True,
        seconds=time.monotonic() - started,
    )


def _retire(db: Database, release: str) -> None:
    """Let what was rolled back go, once no gateway sends anybody to it."""
    with db.write() as tx:
        if routing.current(tx).settled:
            rollouts.let_go(tx, release)


def push(db: Database, gateway: Path, now: Clock) -> None:
    """Bring the newest routes to the gateway. Raises Unavailable if it is not there."""
    with suppress(Conflict):  # somebody pushed a newer table, which has this in it
        routing.push(db, gateway, now)
