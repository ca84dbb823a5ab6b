"""From phase to phase: what a decision does to the tables, in the transaction of whoever decided it.

The controller decides by evidence, a person by hand; both come through here, so that either way the rollout's row, the
routes, the endpoint and the ledger move together or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from windlass.delivery import analysis, quarantine, rollouts, routing
from windlass.delivery.analysis import Decision, Evidence, Judgement
from windlass.delivery.rollouts import Live
from windlass.delivery.strategy import PhaseKind
from windlass.domain import ledger
from windlass.domain.clock import SECOND, text_of
from windlass.domain.errors import Conflict
from windlass.domain.ports import Transaction
from windlass.domain.routing import Route
from windlass.domain.states import RolloutEvent

TIME, APPROVAL = "time", "approval"


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who moves a rollout, and when. ``hand`` is the person, where no evidence decided; ``fence`` is added to the
    evidence of every ledger entry: the generation of the lease that it was written under."""

    actor: str
    at: int
    hand: str = ""
    fence: Mapping[str, Any] = field(default_factory=dict)


def withheld(rollout: Live, judged: Judgement, at: int) -> Judgement:
    """The judgement, or a hold where the evidence would do, and time or an approval is lacking yet."""
    if judged.decision not in (Decision.ADVANCE, Decision.PROMOTE):
        return judged
    until = rollout.phase_at + round(rollout.phases[rollout.phase].seconds * SECOND)
    if at < until:
        return replace(
            judged, decision=Decision.HOLD, withheld=TIME, needed=f"lasts until {text_of(until)[:19]}Z at least"
        )
    if lacks_approval(rollout, rollout.phase + 1):
        needed = f"waits for an approval: windlass rollout approve {rollout.id[:8]}"
        return replace(judged, decision=Decision.HOLD, withheld=APPROVAL, needed=needed)
    return judged


def lacks_approval(rollout: Live, index: int) -> bool:
    """Whether a phase may not be entered yet for want of an approval."""
    return index < len(rollout.phases) and rollout.phases[index].approval and rollout.approved < index


def ask(tx: Transaction, rollout: Live, index: int, by: By, evidence: Mapping[str, Any]) -> None:
    """Write down that a phase waits for an approval; who watches the ledger is told."""
    tx.execute("UPDATE rollouts SET awaiting = ? WHERE id = ?", (index, rollout.id))
    subject = f"rollout/{rollout.id}"
    ledger.transition(
        tx,
        subject=subject,
        action="await approval",
        before=ledger.head(tx, subject),
        after=f"{rollout.state}:{rollout.phase}:awaits {index}",
        actor=by.actor,
        reason=f"phase {index} ({rollout.phases[index].kind}) needs an approval",
        at=by.at,
        evidence={**evidence, **by.fence},
    )


def begin(tx: Transaction, rollout: Live, by: By) -> None:
    """The worker answers its golden rows: the first phase."""
    rollouts.move(
        tx, rollout, RolloutEvent.READY, actor=by.actor, reason="its worker is ready", at=by.at, evidence=by.fence
    )
    _enter(tx, rollouts.require(tx, rollout.id), rollout.evidence, rollout.position, by)


def advance(
    tx: Transaction, rollout: Live, evidence: Evidence, judged: Judgement, *, position: str, why: str, by: By
) -> None:
    """End a phase, whose numbers are written down already: on to the next, or to the end after the last.

    ``position`` is how far the log was read: the next phase's evidence begins there.
    """
    if rollout.phase == len(rollout.phases) - 1:
        complete(tx, rollout, evidence, judged, why=why, by=by)
        return
    following = rollout.phase + 1
    rollouts.move(
        tx, rollout, RolloutEvent.ADVANCE, actor=by.actor, reason=why, at=by.at, phase=following,
        evidence={**numbers(evidence, judged), **by.fence, **_hand(by)},
    )  # fmt: skip
    entered = analysis.enter(evidence, rollout.phases, following)
    _enter(tx, rollouts.require(tx, rollout.id), entered, position, by)


def _enter(tx: Transaction, rollout: Live, entered: Evidence, position: str, by: By) -> None:
    """Begin the phase in which the row is now; a flip with nothing to wait for is over as it begins."""
    tx.execute(
        "UPDATE rollouts SET evidence = ?, phase_at = ?, phase_position = ? WHERE id = ?",
        (routing.plain(analysis.to_plain(entered)), by.at, position, rollout.id),
    )
    rollout = rollouts.require(tx, rollout.id)
    judged = analysis.judge(entered, rollout.policy, rollout.phases)
    if rollout.phases[rollout.phase].kind is PhaseKind.BLUE_GREEN and not lacks_approval(rollout, rollout.phase + 1):
        rollouts.put_step(tx, rollout, entered, judged, by.at)
        why = "both releases are up: the flip"
        advance(tx, rollout, entered, judged, position=position, why=why, by=by)
        return
    _route(tx, rollout)
    rollouts.put_step(tx, rollout, entered, analysis.held(judged), by.at)


def _route(tx: Transaction, rollout: Live) -> None:
    if rollout.stable is None:
        raise Conflict(f"{rollout.endpoint} has no stable release to go back to")
    phase = rollout.phases[rollout.phase]
    route = routing.of_phase(
        stable=rollout.stable,
        candidate=rollout.candidate,
        phase=phase,
        salt=rollout.salt,
        rollout=rollout.id,
        # Until it answers everybody, most users are the stable release's, and wait as long as that says.
        timeout_ms=rollout.timeout_ms if phase.share == 1 else rollout.stable_timeout_ms,
    )
    revision = routing.set_route(tx, rollout.endpoint, route)
    tx.execute("UPDATE rollouts SET revision = ? WHERE id = ?", (revision, rollout.id))


def complete(tx: Transaction, rollout: Live, evidence: Evidence, judged: Judgement, *, why: str, by: By) -> None:
    """The candidate becomes the stable release, with all that belongs to it; the one before stays warm."""
    found = {**numbers(evidence, judged), **by.fence, **_hand(by)}
    rollouts.move(tx, rollout, RolloutEvent.COMPLETE, actor=by.actor, reason=why, at=by.at, evidence=found)
    row = tx.row("SELECT release, previous FROM endpoints WHERE name = ?", (rollout.endpoint,))
    if row is None or row["release"] != rollout.stable:
        raise Conflict(f"{rollout.endpoint} moved meanwhile")
    previous = json.loads(row["previous"])
    stack = [row["release"], *previous] if row["release"] else previous
    stack = [each for each in dict.fromkeys(stack) if each != rollout.candidate]
    tx.execute(
        "UPDATE endpoints SET release = ?, previous = ? WHERE name = ?",
        (rollout.candidate, json.dumps(stack), rollout.endpoint),
    )
    routing.set_route(tx, rollout.endpoint, Route(stable=rollout.candidate, timeout_ms=rollout.timeout_ms))
    for old in previous:
        rollouts.let_go(tx, old)  # it may be a rule's, or the candidate's that served before
    planned = ledger.entries(tx, subject=f"rollout/{rollout.id}")[0]
    ledger.transition(
        tx,
        subject=f"endpoint/{rollout.endpoint}",
        action="promote",
        before=row["release"],
        after=rollout.candidate,
        actor=by.hand or planned.actor,
        reason=why if by.hand else planned.reason,
        at=by.at,
        evidence={"rollout": rollout.id, **found},
    )


def roll_back(
    tx: Transaction, rollout: Live, event: RolloutEvent, evidence: Evidence, judged: Judgement, by: By
) -> None:
    """Every user back to the stable release; the candidate's package is kept from coming back unnoticed.

    Where the candidate had all users, the stable release answered nobody for a while: it gets them back at once, and
    is then asked its golden rows (``recovery``).
    """
    verdict = judged.verdict
    rollouts.move(
        tx, rollout, event, actor=by.actor, reason=verdict, at=by.at,
        evidence={**numbers(evidence, judged), **by.fence},
    )  # fmt: skip
    quarantine.put(tx, rollout.endpoint, rollout.candidate, verdict, by.at)  # before the routes: rules heed it
    revision = rollouts.end_candidate(tx, rollout)
    tx.execute("UPDATE rollouts SET verdict = ?, revision = ? WHERE id = ?", (verdict, revision, rollout.id))
    if rollout.phases[rollout.phase].share == 1 and rollout.stable is not None:
        tx.execute(
            "INSERT INTO rechecks (endpoint, release, reason, at) VALUES (?, ?, ?, ?) ON CONFLICT (endpoint) DO UPDATE"
            " SET release = excluded.release, reason = excluded.reason, at = excluded.at",
            (rollout.endpoint, rollout.stable, verdict, by.at),
        )


def why(evidence: Evidence, judged: Judgement) -> str:
    """The reason of a decision on evidence, in words."""
    return f"{evidence.errors} of {evidence.users:,} candidate users failed (E = {judged.promote_e:.3g})"


def numbers(evidence: Evidence, judged: Judgement) -> dict[str, object]:
    """What a decision rested on, as the ledger has it."""
    return {
        "phase": evidence.phase,
        "requests": evidence.requests,
        "users": evidence.users,
        "errors": evidence.errors,
        "stable_users": evidence.stable_users,
        "stable_errors": evidence.stable_errors,
        "e_harm": judged.e_value,
        "e_safe": judged.promote_e,
        "limit": judged.limit,
    }


def _hand(by: By) -> dict[str, object]:
    return {"by hand": by.hand} if by.hand else {}
