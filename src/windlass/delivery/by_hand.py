"""A rollout moved by a person, with a reason: held, let go on, ended, taken further, approved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from windlass.delivery import analysis, phases, rollouts
from windlass.delivery.analysis import Decision, Judgement
from windlass.delivery.phases import By
from windlass.delivery.rollouts import Live, Rollout
from windlass.domain import ledger
from windlass.domain.clock import Clock
from windlass.domain.errors import Conflict, Denied, Refused
from windlass.domain.ports import Database, Transaction
from windlass.domain.states import ROLLOUT, RolloutEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvers:
    """Who may approve a phase: ``needed`` people, of ``members`` if a ``group`` is named, and none of ``barred`` (by
    person, why not). Who released is barred in any case."""

    needed: int = 1
    group: str = ""
    members: tuple[str, ...] = ()
    barred: Mapping[str, str] = field(default_factory=dict)

    def require(self, actor: str) -> None:
        """
        Raises:
            Denied: the actor is not one of them.
        """
        if why := self.barred.get(actor):
            raise Denied(
                f"{actor} {why} and may not approve a phase of its rollout",
                hint="somebody else has to: windlass rollout approve, by another user or with WINDLASS_ACTOR set",
            )
        if self.group and actor not in self.members:
            raise Denied(
                f"{actor} is not in the group '{self.group}', which approves",
                hint=f"in it: {', '.join(self.members) or 'nobody'}; [groups] in windlass.toml says who",
            )

    def counting(self, actors: set[str]) -> set[str]:
        return {each for each in actors if each not in self.barred and (not self.group or each in self.members)}


def pause(db: Database, rollout: str, *, actor: str, reason: str, now: Clock) -> Rollout:
    """Hold a rollout where it is.

    Raises:
        Conflict: it is not running.
    """
    return _moved(db, rollout, RolloutEvent.PAUSE, actor, reason, now)


def resume(db: Database, rollout: str, *, actor: str, reason: str, now: Clock) -> Rollout:
    """Let a paused rollout go on.

    Raises:
        Conflict: it is not paused.
    """
    return _moved(db, rollout, RolloutEvent.RESUME, actor, reason, now)


def abort(db: Database, rollout: str, *, actor: str, reason: str, now: Clock) -> Rollout:
    """End a rollout; all traffic goes back to the stable release.

    Raises:
        Conflict: it has ended.
    """
    with db.write() as tx:
        abort_in(tx, rollouts.require(tx, rollout), actor=actor, reason=reason, at=now())
        return rollouts.find(tx, rollout)


def abort_in(tx: Transaction, rollout: Live, *, actor: str, reason: str, at: int) -> None:
    """As ``abort``, in the caller's transaction. The candidate's worker stays until the gateway has acknowledged."""
    rollouts.move(tx, rollout, RolloutEvent.ABORT, actor=actor, reason=reason or "by hand", at=at)
    revision = rollouts.end_candidate(tx, rollout)
    tx.execute("UPDATE rollouts SET revision = ? WHERE id = ?", (revision, rollout.id))


def promote(
    db: Database,
    rollout: str,
    *,
    full: bool = False,
    approvers: Approvers | None = None,
    actor: str,
    reason: str,
    now: Clock,
) -> Rollout:
    """Take a rollout to its next phase, or with ``full`` straight to its end, whatever the evidence lacks yet.

    The ledger has it as done by hand, with the evidence at that moment. Where a phase that is entered or passed over
    asks for an approval, this is one, if the person may give it.

    Raises:
        Conflict: it is not running: it waits for its worker, is paused, or has ended.
        Refused: the evidence is of harm; or an approval by others is lacking besides.
        Denied: an approval is asked for that this person may not give.
    """
    with db.write() as tx:
        found = rollouts.require(tx, rollout)
        ROLLOUT.next(found.state, RolloutEvent.COMPLETE if full else RolloutEvent.ADVANCE)
        judged = _harmless(found)
        last = len(found.phases) - 1
        target = last if full else min(found.phase + 1, last)
        asked = [index for index in range(found.phase + 1, target + 1) if phases.lacks_approval(found, index)]
        at = now()
        if asked:
            _barring_who_released(tx, found, approvers).require(actor)
            for index in asked:
                _approved(tx, found, index, _barring_who_released(tx, found, approvers), actor, reason, at)
                if rollouts.require(tx, rollout).approved < index:
                    raise Refused(
                        f"phase {index} of {found.id[:8]} needs the approval of others besides",
                        hint=f"windlass rollout approve {found.id[:8]}, by them",
                    )
            found = rollouts.require(tx, rollout)
        by = By(actor=actor, hand=actor, at=at)
        why = reason or "by hand"
        rollouts.put_step(
            tx, found, found.evidence, replace(judged, decision=Decision.PROMOTE if full else Decision.ADVANCE), at,
            hand=actor,
        )  # fmt: skip
        if full:
            phases.complete(tx, found, found.evidence, judged, why=why, by=by)
        else:
            phases.advance(tx, found, found.evidence, judged, position=found.position, why=why, by=by)
        return rollouts.find(tx, rollout)


def approve(
    db: Database, rollout: str, *, approvers: Approvers | None = None, actor: str, reason: str, now: Clock
) -> Rollout:
    """Approve the phase that a rollout waits to enter; it goes on as soon as enough people have.

    Raises:
        Conflict: it waits for no approval now.
        Denied: the person released it, is barred, or is not of the group.
        Refused: the evidence is of harm.
    """
    with db.write() as tx:
        found = rollouts.require(tx, rollout)
        if found.awaiting < 0:
            raise Conflict(
                f"rollout {found.id[:8]} waits for no approval now: it is {found.state}",
                hint=f"see `windlass rollout show {found.id[:8]}`",
            )
        _harmless(found)
        allowed = _barring_who_released(tx, found, approvers)
        allowed.require(actor)
        _approved(tx, found, found.awaiting, allowed, actor, reason, now())
        return rollouts.find(tx, rollout)


def _approved(
    tx: Transaction, rollout: Live, index: int, approvers: Approvers, actor: str, reason: str, at: int
) -> None:
    """One more approval of a phase; once there are enough, the phase may be entered."""
    given = tx.rows("SELECT actor FROM rollout_approvals WHERE rollout = ? AND phase = ?", (rollout.id, index))
    everybody = {row["actor"] for row in given}
    if actor not in everybody:
        tx.execute(
            "INSERT INTO rollout_approvals (rollout, phase, actor, reason, at) VALUES (?, ?, ?, ?, ?)",
            (rollout.id, index, actor, reason, at),
        )
        subject = f"rollout/{rollout.id}"
        judged = analysis.judge(rollout.evidence, rollout.policy, rollout.phases)
        ledger.transition(
            tx,
            subject=subject,
            action="approve",
            before=ledger.head(tx, subject),
            after=f"{rollout.state}:{rollout.phase}:approved {index} by {actor}",
            actor=actor,
            reason=reason or "approved",
            at=at,
            evidence=phases.numbers(rollout.evidence, judged),
        )
    if len(approvers.counting({*everybody, actor})) >= approvers.needed:
        tx.execute("UPDATE rollouts SET approved = ? WHERE id = ? AND approved < ?", (index, rollout.id, index))


def _barring_who_released(tx: Transaction, rollout: Live, approvers: Approvers | None) -> Approvers:
    approvers = approvers or Approvers()
    released = ledger.entries(tx, subject=f"rollout/{rollout.id}")[0].actor
    return replace(approvers, barred={**approvers.barred, released: "released it"})


def _harmless(rollout: Live) -> Judgement:
    judged = analysis.judge(rollout.evidence, rollout.policy, rollout.phases)
    if judged.decision is Decision.ROLL_BACK:
        raise Refused(
            f"rollout {rollout.id[:8]} has a verdict of harm against it",
            hint="it is rolled back by itself while `windlass up` runs; or end it: windlass rollout abort",
            evidence=[judged.verdict],
        )
    return judged


def _moved(db: Database, rollout: str, event: RolloutEvent, actor: str, reason: str, now: Clock) -> Rollout:
    with db.write() as tx:
        found = rollouts.require(tx, rollout)
        rollouts.move(tx, found, event, actor=actor, reason=reason or "by hand", at=now())
        return rollouts.find(tx, rollout)
