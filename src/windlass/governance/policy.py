"""Who may release what: the clearance, or what it lacks."""

from __future__ import annotations

from windlass.delivery.releases import Clearance
from windlass.domain.errors import Refused
from windlass.domain.evidence import Verdict
from windlass.domain.ports import Transaction
from windlass.governance import approvals
from windlass.registry.models import Version
from windlass.validation.gate import GateReport


def cleared(tx: Transaction, *, version: Version, report: tuple[str, GateReport] | None, needed: int) -> Clearance:
    """The clearance of a version: its latest gate report passed on exactly its package, and enough people approved.

    Raises:
        Refused: names what is missing; the hint is the command that gets it.
    """
    reference = version.reference
    if report is None:
        raise Refused(
            f"{reference} has no gate report",
            hint=f"windlass gate {reference}",
            evidence=["no gate was run on it"],
        )
    digest, found = report
    if found.package != version.package:
        raise Refused(
            f"the gate report of {reference} is of another package",
            hint=f"windlass gate {reference}",
            evidence=[f"gated {found.package}, registered {version.package}"],
        )
    if found.verdict is not Verdict.PASS:
        raise Refused(
            f"the gate of {reference} says {found.verdict}",
            hint=f"see why: windlass gate {reference} --show",
            evidence=[
                f"{result.family}, {result.name}: {result.summary}"
                for result in found.results
                if result.blocking and result.verdict is not Verdict.PASS
            ],
        )
    given = [each.actor for each in approvals.ls(tx, reference, digest) if each.actor != version.actor]
    if len(given) < needed:
        missing = needed - len(given)
        raise Refused(
            f"{reference} lacks {missing} approval{'s'[: missing != 1]} of its gate report",
            hint=f"somebody other than {version.actor}: windlass approve {reference}",
            evidence=[f"approved by: {', '.join(given) or 'nobody'}; needed: {needed}"],
        )
    return Clearance(reference=reference, package=version.package, gate_report=digest, approvals=tuple(given))
