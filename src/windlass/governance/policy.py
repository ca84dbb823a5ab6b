"""Who may release what: the clearance, or what it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from windlass.delivery.releases import Clearance
from windlass.domain.errors import Refused
from windlass.domain.evidence import Verdict
from windlass.domain.ports import Transaction
from windlass.governance import approvals
from windlass.governance.approvals import Asked
from windlass.registry.models import Version
from windlass.validation.gate import GateReport


def cleared(tx: Transaction, *, version: Version, report: tuple[str, GateReport] | None, asked: Asked) -> Clearance:
    """The clearance of a version: its latest gate report passed on exactly its package, and enough people approved.

    Who approved and has left the group since counts no more.

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
    given = list(dict.fromkeys(each.actor for each in approvals.ls(tx, reference, digest)))
    counted = counting(given, asked, author=version.actor)
    if len(counted) < asked.needed:
        raise _lacking(version, asked, given, counted)
    return Clearance(reference=reference, package=version.package, gate_report=digest, approvals=counted)


def counting(actors: Iterable[str], asked: Asked, *, author: str) -> tuple[str, ...]:
    """Those whose approval counts: each person once, never the author, and only members of the group."""
    return tuple(actor for actor in dict.fromkeys(actors) if actor != author and asked.may(actor))


def _lacking(version: Version, asked: Asked, given: Sequence[str], counted: Sequence[str]) -> Refused:
    missing = asked.needed - len(counted)
    of_group = f" of '{asked.group}'" if asked.group else ""
    command = f"windlass approve {version.reference}"
    left = [each for each in asked.members if each != version.actor and each not in counted]
    hint = f"somebody{of_group} other than {version.actor}: {command}"
    if asked.group and len(left) < missing:
        hint = f"the group '{asked.group}' has too few: add people to it under [groups] in windlass.toml"
    elif asked.group:
        hint = f"{' or '.join(left)}: {command}" if missing == 1 else f"{missing} of {', '.join(left)}: {command}"
    evidence = [f"approved by: {', '.join(counted) or 'nobody'}; needed: {asked.needed}{of_group}"]
    for actor in given:
        if actor == version.actor:
            evidence.append(f"{actor} approved and does not count: the author")
        elif actor not in counted:
            evidence.append(f"{actor} approved and does not count: not in the group '{asked.group}' now")
    return Refused(
        f"{version.reference} lacks {missing} approval{'s'[: missing != 1]}{of_group} of its gate report",
        hint=hint,
        evidence=evidence,
    )
