"""Rollouts: their rows, the events that move them, and how they look from outside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from windlass.delivery import analysis, routing, workers
from windlass.delivery.analysis import Evidence, Judgement, Reading
from windlass.delivery.strategy import Phase, RolloutPolicy
from windlass.domain import ledger
from windlass.domain.clock import SECOND
from windlass.domain.errors import Conflict, Corrupt, Invalid, NotFound
from windlass.domain.ports import Row, Transaction
from windlass.domain.routing import Route, releases_of
from windlass.domain.states import ROLLOUT, RolloutEvent, RolloutState


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A phase as it went, ``decision`` as it stands.

    ``requests`` are the candidate's; ``e_value`` is evidence of harm, ``promote_e`` of none.
    """

    phase: int
    kind: str
    weight: float
    requests: int
    users: int
    errors: int
    e_value: float
    promote_e: float
    needed: str
    decision: str
    at: int
    decided_at: int | None
    hand: str = ""  # who decided it by hand, whatever the evidence said
    withheld: str = ""  # what was lacking, "time" or "approval", where the evidence would have done
    signals: tuple[Reading, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One rollout. ``rollback_seconds``: from the verdict to the candidate's last answer to a user."""

    id: str
    endpoint: str
    strategy: str
    state: RolloutState
    phase: int
    phases: tuple[Phase, ...]
    candidate: str
    candidate_reference: str
    stable: str | None
    stable_reference: str | None
    awaiting: int | None  # the phase that waits for an approval
    reason: str
    verdict: str
    started_at: int
    ended_at: int | None
    rollback_seconds: float | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A rollout's row as the controller works on it."""

    id: str
    endpoint: str
    policy: RolloutPolicy
    phases: tuple[Phase, ...]
    timeout_ms: int
    stable_timeout_ms: int
    candidate: str
    stable: str | None
    state: RolloutState
    phase: int
    salt: str
    revision: int
    position: str
    phase_position: str
    evidence: Evidence  # as at the phase's beginning, where it is unreadable
    unreadable: str  # why; "" where it is not
    phase_at: int
    awaiting: int  # the phase that waits for an approval, and the last that has one; -1: none
    approved: int
    ended_at: int | None


def find(tx: Transaction, rollout: str | None = None) -> Rollout:
    """A rollout by its id or the beginning of it; the latest if none is named.

    Raises:
        NotFound: no such rollout.
        Invalid: more than one begins so.
    """
    if rollout is None:
        rows = tx.rows("SELECT * FROM rollouts ORDER BY started_at DESC, id LIMIT 1")
    elif rollout.isalnum():
        rows = tx.rows("SELECT * FROM rollouts WHERE id LIKE ? LIMIT 2", (f"{rollout}%",))
    else:
        rows = []
    if not rows:
        raise NotFound(f"no rollout '{rollout}'" if rollout else "no rollout yet", hint="see `windlass rollout ls`")
    if len(rows) > 1:
        raise Invalid(f"more than one rollout begins with '{rollout}'", hint="give more of its id")
    return _rollout(tx, rows[0])


def ls(tx: Transaction, endpoint: str | None = None) -> list[Rollout]:
    """Rollouts, oldest first; of one endpoint if named."""
    where, params = ("WHERE endpoint = ?", (endpoint,)) if endpoint else ("", ())
    return [_rollout(tx, row) for row in tx.rows(f"SELECT * FROM rollouts {where} ORDER BY started_at, id", params)]


def live(tx: Transaction) -> list[Live]:
    """The rollouts that have not ended."""
    ended = [state for state in RolloutState if ROLLOUT.ends(state)]
    rows = tx.rows(
        f"SELECT * FROM rollouts WHERE state NOT IN ({', '.join('?' * len(ended))}) ORDER BY started_at, id", ended
    )
    return [load(row) for row in rows]


def load(row: Row) -> Live:
    spec = json.loads(row["policy"])
    policy, phases = msgspec.convert(spec["policy"], RolloutPolicy), msgspec.convert(spec["phases"], tuple[Phase, ...])
    evidence, unreadable = _evidence(row, policy, phases)
    return Live(
        id=row["id"],
        endpoint=row["endpoint"],
        policy=policy,
        phases=phases,
        timeout_ms=spec["timeout_ms"],
        stable_timeout_ms=spec.get("stable_timeout_ms", spec["timeout_ms"]),
        candidate=row["candidate"],
        stable=row["stable"],
        state=RolloutState(row["state"]),
        phase=row["phase"],
        salt=row["salt"],
        revision=row["revision"],
        position=row["position"],
        phase_position=row["phase_position"],
        evidence=evidence,
        unreadable=unreadable,
        phase_at=row["phase_at"],
        awaiting=row["awaiting"],
        approved=row["approved"],
        ended_at=row["ended_at"],
    )


def _evidence(row: Row, policy: RolloutPolicy, phases: tuple[Phase, ...]) -> tuple[Evidence, str]:
    """One rollout's evidence that cannot be read, of another version of Windlass, must not keep the others standing."""
    try:
        return analysis.from_plain(json.loads(row["evidence"])), ""
    except Corrupt as failure:
        evidence = analysis.begin(policy, phases)
        for index in range(1, row["phase"] + 1):
            evidence = analysis.enter(evidence, phases, index)
        return evidence, failure.message


def require(tx: Transaction, rollout: str) -> Live:
    row = tx.row("SELECT * FROM rollouts WHERE id = ?", (rollout,))
    if row is None:
        raise NotFound(f"no rollout '{rollout}'")
    return load(row)


def move(
    tx: Transaction,
    rollout: Live,
    event: RolloutEvent,
    *,
    actor: str,
    reason: str,
    at: int,
    phase: int | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> RolloutState:
    """Move a rollout by an event: its row and its ledger entry, in the caller's transaction.

    Raises:
        Conflict: the event leads nowhere from where it is; or it is no longer where ``rollout`` has it.
    """
    require_unmoved(tx, rollout)
    following = ROLLOUT.next(rollout.state, event)
    subject, at_phase = f"rollout/{rollout.id}", rollout.phase if phase is None else phase
    tx.execute(
        "UPDATE rollouts SET state = ?, phase = ?, awaiting = -1, ended_at = ? WHERE id = ?",
        (following, at_phase, at if ROLLOUT.ends(following) else None, rollout.id),
    )
    ledger.transition(
        tx,
        subject=subject,
        action=event.value,
        before=ledger.head(tx, subject),
        after=f"{following}:{at_phase}",
        actor=actor,
        reason=reason,
        at=at,
        evidence=evidence,
    )
    if ROLLOUT.ends(following):
        tx.execute("UPDATE endpoints SET rollout = NULL WHERE name = ? AND rollout = ?", (rollout.endpoint, rollout.id))
    return following


def require_unmoved(tx: Transaction, rollout: Live) -> None:
    """See that a rollout is where it was read to be, in the transaction that moves it.

    Raises:
        Conflict: somebody moved it.
    """
    row = tx.row("SELECT state, phase, revision FROM rollouts WHERE id = ?", (rollout.id,))
    known = (rollout.state, rollout.phase, rollout.revision)
    if row is None or (row["state"], row["phase"], row["revision"]) != known:
        raise Conflict(f"rollout {rollout.id[:8]} moved meanwhile", hint="look again, then decide")


def put_step(tx: Transaction, rollout: Live, evidence: Evidence, judged: Judgement, at: int, *, hand: str = "") -> None:
    """Write a phase's numbers down; the first time says when it began, a decision when it was taken."""
    phase = rollout.phases[evidence.phase]
    known = tx.row("SELECT step FROM rollout_steps WHERE rollout = ? AND phase = ?", (rollout.id, evidence.phase))
    held = judged.decision is analysis.Decision.HOLD
    step = Step(
        phase=evidence.phase,
        kind=phase.kind,
        weight=phase.share,
        requests=evidence.requests,
        users=evidence.users,
        errors=evidence.errors,
        e_value=judged.e_value,
        promote_e=judged.promote_e,
        needed=judged.needed,
        decision=judged.decision,
        at=json.loads(known["step"])["at"] if known else at,
        decided_at=None if held else at,
        hand=hand,
        withheld=judged.withheld,
        signals=judged.signals,
    )
    tx.execute(
        "INSERT INTO rollout_steps (rollout, phase, step) VALUES (?, ?, ?)"
        " ON CONFLICT (rollout, phase) DO UPDATE SET step = excluded.step",
        (rollout.id, evidence.phase, routing.plain(step)),
    )


def end_candidate(tx: Transaction, rollout: Live) -> int:
    """Take the candidate out of the routes; returns the revision of the table that does it, 0 if there is no route.

    Its worker stays up until the gateway has acknowledged: some requests may be on their way to it.
    """
    if rollout.stable is None:
        return 0
    route = Route(stable=rollout.stable, timeout_ms=rollout.stable_timeout_ms)
    return routing.set_route(tx, rollout.endpoint, route)


def let_go(tx: Transaction, release: str) -> None:
    """Let a release's worker go, unless an endpoint or another rollout needs it."""
    for row in tx.rows("SELECT release, previous FROM endpoints"):
        if release in (row["release"], *json.loads(row["previous"])[:1]):
            return
    if any(each.candidate == release for each in live(tx)):
        return
    if any(release in releases_of(route) for route in routing.current(tx).table.routes.values()):
        return  # a rule sends some there
    workers.unwant(tx, release)


def _rollout(tx: Transaction, row: Row) -> Rollout:
    spec = json.loads(row["policy"])
    steps = tx.rows("SELECT step FROM rollout_steps WHERE rollout = ? ORDER BY phase", (row["id"],))
    return Rollout(
        id=row["id"],
        endpoint=row["endpoint"],
        strategy=row["strategy"],
        state=RolloutState(row["state"]),
        phase=row["phase"],
        phases=msgspec.convert(spec["phases"], tuple[Phase, ...]),
        candidate=row["candidate"],
        candidate_reference=reference(tx, row["candidate"]) or "",
        stable=row["stable"],
        stable_reference=reference(tx, row["stable"]),
        awaiting=row["awaiting"] if row["awaiting"] >= 0 else None,
        reason=row["reason"],
        verdict=row["verdict"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        rollback_seconds=None if row["rollback_us"] is None else row["rollback_us"] / SECOND,
        steps=tuple(msgspec.convert(json.loads(each["step"]), Step) for each in steps),
    )


def reference(tx: Transaction, release: str | None) -> str | None:
    """MODEL@VERSION of a release."""
    row = tx.row("SELECT reference FROM releases WHERE id = ?", (release,)) if release else None
    return row["reference"] if row else None
