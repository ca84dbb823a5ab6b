"""Operations on gates and approvals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from windlass.domain.evidence import CheckResult, Verdict
from windlass.governance import approvals, policy
from windlass.governance.approvals import Approval
from windlass.registry.models import Version
from windlass.validation import reports
from windlass.validation.gate import GateReport
from windlass.workspace import cards, gating
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGate:
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    reference: str
    report: str  # digest
    verdict: Verdict
    results: tuple[CheckResult, ...]
    at: int
    seconds: float
    approvals: tuple[Approval, ...] = ()
    needed: int = 1
    group: str = ""  # whose approvals count; empty: anybody's but the author's
    missing: int = 0  # approvals that it still lacks


@operation("gate.run")
def run(ws: Workspace, request: RunGate) -> Gated:
    """Check a version against the policy; the report is stored and never changes."""
    version = gating.find_version(ws, request.reference)
    digest, report = gating.run_gate(ws, version, ws.config.gates)
    return _gated(ws, version, digest, report, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowGate:
    reference: str


@operation("gate.show", reads_only=True)
def show(ws: Workspace, request: ShowGate) -> Gated:
    """Show a version's latest gate report and who approved it."""
    version = gating.find_version(ws, request.reference)
    with ws.database.read() as tx:
        digest, report = reports.find(tx, ws.objects, version.reference)
        given = approvals.ls(tx, version.reference, digest)
    return _gated(ws, version, digest, report, tuple(given))


@operation("gate.html", reads_only=True)
def html(ws: Workspace, request: ShowGate) -> str:
    """Give a version's latest gate report as one self-contained HTML page."""
    version = gating.find_version(ws, request.reference)
    with ws.database.read() as tx:
        digest, _ = reports.find(tx, ws.objects, version.reference)
        return reports.html(tx, ws.objects, digest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve:
    reference: str
    reason: str = ""


@operation("gate.approve")
def approve(ws: Workspace, request: Approve) -> Approval:
    """Approve a version's latest gate report; not for its author."""
    version = gating.find_version(ws, request.reference)
    with ws.database.read() as tx:
        digest, report = reports.find(tx, ws.objects, version.reference)
    return approvals.approve(
        ws.database,
        reference=version.reference,
        report=digest,
        verdict=report.verdict,
        author=version.actor,
        asked=gating.asked(ws),
        actor=ws.actor,
        reason=request.reason,
        now=ws.now,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowCard:
    reference: str


@operation("model.card", reads_only=True)
def card(ws: Workspace, request: ShowCard) -> dict[str, Any]:
    """Give a version's model card: what it is for, made of, worth, and not good at."""
    return cards.card_of(ws, gating.find_version(ws, request.reference))


def _gated(ws: Workspace, version: Version, digest: str, report: GateReport, given: tuple[Approval, ...]) -> Gated:
    asked = gating.asked(ws)
    counted = policy.counting((each.actor for each in given), asked, author=version.actor)
    return Gated(
        reference=report.reference,
        report=digest,
        verdict=report.verdict,
        results=tuple(report.results),
        at=report.at,
        seconds=report.seconds,
        approvals=given,
        needed=asked.needed,
        group=asked.group,
        missing=max(0, asked.needed - len(counted)),
    )
