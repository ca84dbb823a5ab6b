"""Schedules: what is due, and that it happens once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.clock import SECOND, parse
from windlass.domain.errors import Conflict, Invalid, NotFound
from windlass.domain.ports import Database
from windlass.pipelines import schedules
from windlass.pipelines.schedules import LEASE_SECONDS, ScheduleConfig

NIGHTLY = {"nightly": ScheduleConfig(cron="0 2 * * *")}
DAY = 86_400 * SECOND


def at(text: str) -> int:
    return parse(f"2026-11-{text}Z")


def test_a_fire_is_found_after_and_before_an_instant() -> None:
    assert schedules.fires_after("0 2 * * *", at("20T02:00:00")) == at("21T02:00:00")
    assert schedules.fires_after("0 2 * * *", at("20T01:59:59.999999")) == at("20T02:00:00")
    assert schedules.latest("0 2 * * *", at("20T02:00:00")) == at("20T02:00:00")
    assert schedules.latest("0 2 * * *", at("20T01:59:59.999999")) == at("19T02:00:00")
    for wrong in ("", "every day", "61 * * * *", "* * * *"):
        with pytest.raises(Invalid, match="no cron expression"):
            ScheduleConfig(cron=wrong)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)), st.integers(0, 59), st.integers(0, 23))
def test_the_latest_fire_is_the_one_before_the_next(moment: datetime, minute: int, hour: int) -> None:
    cron = f"{minute} {hour} * * *"
    instant = int(moment.replace(tzinfo=UTC).timestamp() * SECOND)
    before, after = schedules.latest(cron, instant), schedules.fires_after(cron, instant)
    assert before is not None
    assert after is not None
    assert before <= instant < after
    assert after - before == DAY


def test_a_new_schedule_begins_now_and_what_was_missed_is_made_up_for_once(database: Database) -> None:
    with database.write() as tx:
        assert schedules.due(tx, NIGHTLY, at("20T12:00:00")) == []
        assert schedules.due(tx, NIGHTLY, at("21T01:59:59")) == []
        assert schedules.due(tx, NIGHTLY, at("24T07:00:00")) == [("nightly", at("24T02:00:00"))]


def test_a_fire_is_taken_once_and_taken_over_when_its_holder_is_gone(database: Database) -> None:
    due, now = at("21T02:00:00"), at("21T02:00:01")
    with database.write() as tx:
        schedules.due(tx, NIGHTLY, at("20T12:00:00"))
        assert schedules.take(tx, "nightly", due, holder="one", now=now)
        assert not schedules.take(tx, "nightly", due, holder="two", now=now)
        assert schedules.due(tx, NIGHTLY, now) == []
        schedules.renew(tx, "nightly", due, holder="one", now=now + 30 * SECOND)
        late = now + (LEASE_SECONDS + 31) * SECOND
        assert schedules.due(tx, NIGHTLY, late) == [("nightly", due)]
        assert schedules.take(tx, "nightly", due, holder="two", now=late)
        with pytest.raises(Conflict):
            schedules.renew(tx, "nightly", due, holder="one", now=late)
        schedules.end(tx, "nightly", due, holder="one", run="wrong", error="")
        schedules.end(tx, "nightly", due, holder="two", run="right", error="")
        [found] = schedules.ls(tx, NIGHTLY, late)
    assert (found.last, found.last_state, found.last_run) == (due, "finished", "right")
    assert found.next == at("22T02:00:00")


def test_a_paused_schedule_rests_and_does_not_catch_up(database: Database) -> None:
    with database.write() as tx:
        schedules.due(tx, NIGHTLY, at("20T12:00:00"))
        schedules.pause(tx, "nightly", paused=True)
        assert schedules.due(tx, NIGHTLY, at("21T12:00:00")) == []
        assert schedules.ls(tx, NIGHTLY, at("21T12:00:00"))[0].next is None
        schedules.pause(tx, "nightly", paused=False)
        schedules.restart(tx, "nightly", at("21T12:00:00"))
        assert schedules.due(tx, NIGHTLY, at("21T12:00:01")) == []
        assert schedules.due(tx, NIGHTLY, at("22T02:00:00")) == [("nightly", at("22T02:00:00"))]
        with pytest.raises(NotFound):
            schedules.pause(tx, "weekly", paused=True)
