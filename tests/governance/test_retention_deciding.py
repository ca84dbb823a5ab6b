"""What may be purged: decided on rows alone."""

from __future__ import annotations

import pytest

from windlass.domain.errors import Invalid
from windlass.governance.retention.config import RetentionConfig
from windlass.governance.retention.deciding import Candidate, Kept, Version, decide, protection

RUN = Candidate(thing="run/a", number=1, within=("experiment/1",))
LIVE = Version(thing="version/m@1.0.0", model="m", parents=("run/a", "logged-model/l"))
LINEAGE = {"version/m@1.0.0": ["object/b3:p"], "logged-model/l": ["run/b"], "run/b": ["snapshot/d@1"]}


def test_what_nothing_needs_goes() -> None:
    assert decide([RUN], protection([], {}, {})) == ([RUN], [])


def test_what_a_version_that_stays_came_from_stays_however_far_up() -> None:
    known = protection([LIVE], LINEAGE, {})
    assert known.needed.keys() == {"run/a", "logged-model/l", "object/b3:p", "run/b", "snapshot/d@1"}
    assert decide([RUN], known) == ([], [Kept(thing="run/a", why="m@1.0.0 came from it")])


def test_a_version_that_goes_needs_nothing() -> None:
    going = Version(thing=LIVE.thing, model="m", parents=LIVE.parents, is_going=True)
    assert decide([RUN], protection([going], LINEAGE, {}))[0] == [RUN]


def test_two_versions_of_one_run_both_have_to_go() -> None:
    going = Version(thing="version/m@2.0.0", model="m", parents=("run/a",), is_going=True)
    assert decide([RUN], protection([LIVE, going], {}, {}))[0] == []


@pytest.mark.parametrize("held", ["run/a", "experiment/1"])
def test_what_is_held_stays_by_itself_or_by_what_it_is_in(held: str) -> None:
    going, [kept] = decide([RUN], protection([], {}, {held: "case 7"}))
    assert going == []
    assert "case 7" in kept.why


@pytest.mark.parametrize("held", ["version/m@1.0.0", "model/m"])
def test_a_hold_on_a_version_or_its_model_holds_all_that_it_came_from(held: str) -> None:
    going = Version(thing=LIVE.thing, model="m", parents=LIVE.parents, is_going=True)
    known = protection([going], LINEAGE, {held: "case 7"})
    assert known.held.keys() - {held} >= {"run/a", "logged-model/l", "run/b", "snapshot/d@1", "object/b3:p"}
    assert known.held["version/m@1.0.0"].startswith("held")
    candidate = Candidate(thing="version/m@1.0.0", number=1, group="m", within=("model/m",))
    assert decide([candidate, RUN], known)[0] == []


def test_a_hold_on_another_model_holds_nothing_of_this_one() -> None:
    going = Version(thing=LIVE.thing, model="m", parents=LIVE.parents, is_going=True)
    assert decide([RUN], protection([going], LINEAGE, {"model/mm": "case 7"}))[0] == [RUN]


def test_what_has_a_reason_of_its_own_to_stay_says_it() -> None:
    released = Candidate(thing="version/m@1.0.0", number=1, needed_by="it was released to endpoint 'm'")
    assert decide([released], protection([], {}, {}))[1][0].why == "it was released to endpoint 'm'"


def test_lineage_that_leads_in_a_circle_ends() -> None:
    circle = {"run/a": ["run/b"], "run/b": ["run/a"]}
    assert protection([], circle, {"run/a": "case"}).held.keys() == {"run/a", "run/b"}


@pytest.mark.parametrize("days", [-1, 40_000])
def test_days_are_checked(days: int) -> None:
    with pytest.raises(Invalid, match="deleted_days"):
        RetentionConfig(deleted_days=days)
