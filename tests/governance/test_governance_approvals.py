"""Approvals, and the clearance that they and the gate make."""

from __future__ import annotations

from typing import Any

import pytest

from windlass.domain.errors import Denied, Refused
from windlass.domain.evidence import CheckResult, Verdict
from windlass.domain.ports import Database
from windlass.governance import approvals, policy
from windlass.registry.models import Origin, Version
from windlass.validation.gate import GateReport

REFERENCE = "m@1.0.0"
VERSION = Version(
    model="m", number=1, semver="1.0.0", package="b3:package", signature="b3:s", run="r", commit="c", metrics={},
    origin=Origin(data={}, code="b3:c", environment="b3:e", config={}, seed=1), why="first version", at=1, actor="dana",
)  # fmt: skip


def report(verdict: Verdict = Verdict.PASS, package: str = "b3:package") -> GateReport:
    failing = CheckResult(name="accuracy", family="metrics", verdict=verdict, summary="0.7 is under 0.8")
    return GateReport(
        reference=REFERENCE, package=package, policy="b3:p", rules={}, verdict=verdict, results=(failing,), rows=1,
        at=1, seconds=1.0, environment={},
    )  # fmt: skip


def approve(db: Database, *, actor: str = "alex", verdict: Verdict = Verdict.PASS, digest: str = "b3:one") -> Any:
    return approvals.approve(
        db, reference=REFERENCE, report=digest, verdict=verdict, author="dana", actor=actor, reason="", now=lambda: 5
    )


def cleared(db: Database, found: tuple[str, GateReport] | None, needed: int = 1) -> Any:
    with db.read() as tx:
        return policy.cleared(tx, version=VERSION, report=found, needed=needed)


def test_with_gate_and_approval_a_version_is_cleared(database: Database) -> None:
    approve(database)
    clearance = cleared(database, ("b3:one", report()))
    assert (clearance.reference, clearance.package, clearance.gate_report) == (REFERENCE, "b3:package", "b3:one")
    assert clearance.approvals == ("alex",)


@pytest.mark.parametrize(
    ("found", "hint"),
    [
        (None, "windlass gate m@1.0.0"),
        (("b3:one", report(package="b3:other")), "windlass gate m@1.0.0"),
        (("b3:one", report(Verdict.FAIL)), "windlass gate m@1.0.0 --show"),
        (("b3:one", report(Verdict.INCONCLUSIVE)), "windlass gate m@1.0.0 --show"),
        (("b3:two", report()), "windlass approve m@1.0.0"),
    ],
)
def test_what_is_missing_is_said_with_the_command_that_gets_it(
    database: Database, found: tuple[str, GateReport] | None, hint: str
) -> None:
    approve(database)  # of report one; another report needs another approval
    with pytest.raises(Refused) as refused:
        cleared(database, found)
    assert hint in refused.value.hint
    assert refused.value.evidence


def test_as_many_people_as_the_policy_asks_for(database: Database) -> None:
    approve(database)
    approve(database)
    with pytest.raises(Refused, match="1 approval"):
        cleared(database, ("b3:one", report()), needed=2)
    approve(database, actor="sam")
    assert cleared(database, ("b3:one", report()), needed=2).approvals == ("alex", "sam")


def test_nobody_approves_their_own_version(database: Database) -> None:
    with pytest.raises(Denied, match="may not approve"):
        approve(database, actor="dana")


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.ERROR])
def test_what_did_not_pass_cannot_be_approved(database: Database, verdict: Verdict) -> None:
    with pytest.raises(Refused, match="nothing to approve"):
        approve(database, verdict=verdict)
