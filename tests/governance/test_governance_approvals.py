"""Approvals, and the clearance that they and the gate make."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.adapters.sqlite import SqliteDatabase
from windlass.domain.errors import Denied, Refused
from windlass.domain.evidence import CheckResult, Verdict
from windlass.domain.ports import Database, Transaction
from windlass.governance import approvals, policy
from windlass.governance.approvals import Asked
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


ANYBODY = Asked(needed=1)
LEADS = Asked(needed=2, group="leads", members=("alex", "sam", "dana", "kim"))


def approve(
    db: Database, *, actor: str = "alex", verdict: Verdict = Verdict.PASS, digest: str = "b3:one",
    asked: Asked = ANYBODY,
) -> Any:  # fmt: skip
    return approvals.approve(
        db, reference=REFERENCE, report=digest, verdict=verdict, author="dana", asked=asked, actor=actor, reason="",
        now=lambda: 5,
    )  # fmt: skip


def cleared(db: Database, found: tuple[str, GateReport] | None, needed: int = 1, asked: Asked | None = None) -> Any:
    with db.read() as tx:
        return policy.cleared(tx, version=VERSION, report=found, asked=asked or Asked(needed=needed))


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


def test_only_the_group_that_policy_names_may_approve(database: Database) -> None:
    with pytest.raises(Denied, match="kay is not in the group 'leads'") as denied:
        approve(database, actor="kay", asked=LEADS)
    assert "alex, sam, dana, kim" in denied.value.hint
    approve(database, actor="kim", asked=LEADS)
    approve(database, actor="sam", asked=LEADS)
    assert cleared(database, ("b3:one", report()), asked=LEADS).approvals == ("kim", "sam")


def test_who_left_the_group_counts_no_more_and_is_named(database: Database) -> None:
    approve(database, actor="alex", asked=LEADS)
    approve(database, actor="sam", asked=LEADS)
    without = Asked(needed=2, group="leads", members=("alex", "dana", "kim"))
    with pytest.raises(Refused, match="lacks 1 approval of 'leads'") as refused:
        cleared(database, ("b3:one", report()), asked=without)
    assert refused.value.hint == "kim: windlass approve m@1.0.0"
    assert refused.value.evidence == [
        "approved by: alex; needed: 2 of 'leads'",
        "sam approved and does not count: not in the group 'leads' now",
    ]


def test_a_group_that_is_too_small_is_said(database: Database) -> None:
    with pytest.raises(Refused, match="lacks 2 approvals") as refused:
        cleared(database, ("b3:one", report()), asked=Asked(needed=2, group="leads", members=("dana", "sam")))
    assert "has too few" in refused.value.hint


PEOPLE = ("dana", "alex", "sam", "kim", "kay")


@given(
    events=st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(["approve", "join", "leave"])), max_size=20),
    needed=st.integers(min_value=0, max_value=4),
    grouped=st.booleans(),
)
def test_clearance_takes_as_many_members_other_than_the_author_whatever_the_order(
    events: list[tuple[str, str]], needed: int, grouped: bool
) -> None:
    members, given_by = {"alex", "dana"}, list[str]()
    for person, what in events:
        if what == "join":
            members.add(person)
        elif what == "leave":
            members.discard(person)
        else:
            # Even what could not be written by `approve`: the author's own, and that of no member.
            given_by.append(person)
    asked = Asked(needed=needed, group="leads" if grouped else "", members=tuple(sorted(members)))
    good = {person for person in given_by if person != "dana" and (person in members or not grouped)}
    with open_memory(given_by) as tx:
        if len(good) >= needed:
            clearance = policy.cleared(tx, version=VERSION, report=("b3:one", report()), asked=asked)
            assert set(clearance.approvals) == good
            assert len(clearance.approvals) == len(good)
        else:
            with pytest.raises(Refused, match=f"lacks {needed - len(good)} approval"):
                policy.cleared(tx, version=VERSION, report=("b3:one", report()), asked=asked)


@contextmanager
def open_memory(given_by: list[str]) -> Iterator[Transaction]:
    """Approvals in a database of their own: hypothesis asks many times."""
    with TemporaryDirectory() as folder:
        db = SqliteDatabase(Path(folder) / "x.db")
        try:
            with db.write() as tx:
                for at, person in enumerate(given_by):
                    tx.execute(
                        "INSERT INTO approvals (reference, report, actor, reason, at) VALUES (?, 'b3:one', ?, '', ?)"
                        " ON CONFLICT DO NOTHING",
                        (REFERENCE, person, at),
                    )
            with db.read() as tx:
                yield tx
        finally:
            db.close()
