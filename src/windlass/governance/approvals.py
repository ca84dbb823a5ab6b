"""Approvals: a named person's decision on a gate report, never the author's own."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.domain import ledger
from windlass.domain.clock import Clock
from windlass.domain.digest import short
from windlass.domain.errors import Denied, Refused
from windlass.domain.evidence import Verdict
from windlass.domain.ports import Database, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """``report`` is the digest of what was approved: another report needs another approval."""

    reference: str
    report: str
    actor: str
    at: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What policy asks for: ``needed`` people other than the author, of a group if one is named."""

    needed: int
    group: str = ""
    members: tuple[str, ...] = ()

    def may(self, actor: str) -> bool:
        """Whether a person is one of those whose approval counts."""
        return not self.group or actor in self.members


def approve(
    db: Database,
    *,
    reference: str,
    report: str,
    verdict: Verdict,
    author: str,
    asked: Asked,
    actor: str,
    reason: str,
    now: Clock,
) -> Approval:
    """Approve a version on a gate report; again, it is the approval that was given.

    Raises:
        Refused: the gate did not pass.
        Denied: the actor registered the version, or is not of the group that policy names.
    """
    if verdict is not Verdict.PASS:
        raise Refused(
            f"the gate of {reference} says {verdict}, so there is nothing to approve",
            hint=f"see why: windlass gate {reference} --show",
            evidence=[f"report {short(report)}: {verdict}"],
        )
    if actor == author:
        raise Denied(
            f"{actor} registered {reference} and may not approve it",
            hint="somebody else has to: windlass approve, by another user or with WINDLASS_ACTOR set",
        )
    if not asked.may(actor):
        raise Denied(
            f"{actor} is not in the group '{asked.group}', which approves {reference}",
            hint=f"in it: {', '.join(asked.members) or 'nobody'}; [groups] in windlass.toml says who",
        )
    with db.write() as tx:
        for given in ls(tx, reference, report):
            if given.actor == actor:
                return given
        made = Approval(reference=reference, report=report, actor=actor, at=now(), reason=reason)
        tx.execute(
            "INSERT INTO approvals (reference, report, actor, reason, at) VALUES (?, ?, ?, ?, ?)",
            (reference, report, actor, reason, made.at),
        )
        subject = f"approval/{reference}/{actor}"
        ledger.transition(
            tx,
            subject=subject,
            action="approve",
            before=ledger.head(tx, subject),
            after=report,
            actor=actor,
            reason=reason or "approved",
            at=made.at,
        )
    return made


def ls(tx: Transaction, reference: str, report: str) -> list[Approval]:
    """Who approved a version on this report, in order."""
    rows = tx.rows(
        "SELECT reference, report, actor, at, reason FROM approvals WHERE reference = ? AND report = ?"
        " ORDER BY at, actor",
        (reference, report),
    )
    return [Approval(**row) for row in rows]
