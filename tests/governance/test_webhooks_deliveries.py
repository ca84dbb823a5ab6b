"""Deliveries: each entry once a webhook, sent until it is delivered or given up, by one holder at a time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.adapters.sqlite import SqliteDatabase
from windlass.domain import ledger
from windlass.domain.clock import SECOND
from windlass.domain.errors import Conflict, Invalid, NotFound
from windlass.governance.webhooks import deliveries, retrying
from windlass.governance.webhooks.config import WebhookConfig
from windlass.governance.webhooks.deliveries import DELIVERY, Claimed, DeliveryEvent, DeliveryState, Standing
from windlass.governance.webhooks.sending import Outcome

NOW = 1_700_000_000_000_000
DAY = 86_400 * SECOND
OK = Outcome(status=200, error="", milliseconds=5)
BROKEN = Outcome(status=500, error="it answered 500", milliseconds=5)


def hook(*events: str) -> WebhookConfig:
    return WebhookConfig(url="https://hooks.example/", events=events or ("*",), secret_env="HOOK")


def ids() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"d{next(numbers)}"


@pytest.fixture
def new_id() -> Callable[[], str]:
    return ids()


def move(db: SqliteDatabase, *subjects: str, action: str = "register") -> None:
    with db.write() as tx:
        for subject in subjects:
            ledger.transition(
                tx, subject=subject, action=action, before=ledger.head(tx, subject), after="b3:x", actor="dana",
                reason="", at=NOW,
            )  # fmt: skip


def plan(db: SqliteDatabase, new_id: Callable[[], str], **configured: WebhookConfig) -> list[tuple[str, int]]:
    with db.write() as tx:
        return [(made.webhook, made.event) for made in deliveries.plan(tx, configured, new_id=new_id, now=NOW)]


def claim(db: SqliteDatabase, name: str = "chat", holder: str = "one", now: int = NOW) -> Claimed | None:
    with db.write() as tx:
        return deliveries.claim(tx, name, holder=holder, now=now)


def settle(db: SqliteDatabase, claimed: Claimed | None, outcome: Outcome, now: int = NOW) -> DeliveryState | None:
    assert claimed is not None
    with db.write() as tx:
        return deliveries.settle(tx, claimed, outcome, chance=0.5, now=now)


def find(db: SqliteDatabase, identity: str = "d1") -> deliveries.Delivery:
    with db.read() as tx:
        return deliveries.find(tx, identity)


@pytest.fixture
def one(database: SqliteDatabase, new_id: Callable[[], str]) -> SqliteDatabase:
    """A database with one delivery, d1, for the webhook 'chat'."""
    plan(database, new_id, chat=hook())
    move(database, "version/m@1.0.0")
    assert plan(database, new_id, chat=hook()) == [("chat", 1)]
    return database


def test_the_states_and_what_leads_from_one_to_the_other() -> None:
    assert set(DELIVERY.table) == {(DeliveryState.PENDING, event) for event in DeliveryEvent} | {
        (DeliveryState.DELIVERED, DeliveryEvent.REDELIVER),
        (DeliveryState.FAILED, DeliveryEvent.REDELIVER),
    }
    with pytest.raises(Conflict):
        DELIVERY.next(DeliveryState.DELIVERED, DeliveryEvent.RETRY)


def test_a_new_webhook_begins_now(database: SqliteDatabase, new_id: Callable[[], str]) -> None:
    move(database, "run/1", "run/2")
    assert plan(database, new_id, chat=hook()) == []
    move(database, "run/3")
    assert plan(database, new_id, chat=hook()) == [("chat", 3)]
    assert plan(database, new_id, chat=hook()) == []


def test_each_webhook_gets_what_it_asked_for(database: SqliteDatabase, new_id: Callable[[], str]) -> None:
    configured = {"all": hook("*"), "versions": hook("version/*:register", "alias/*"), "none": hook("nothing")}
    plan(database, new_id, **configured)
    move(database, "version/m@1.0.0", "run/1", "alias/m/champion")
    move(database, "version/m@1.0.0", action="retire")
    assert plan(database, new_id, **configured) == [
        ("all", 1), ("all", 2), ("all", 3), ("all", 4), ("versions", 1), ("versions", 3),
    ]  # fmt: skip
    with database.read() as tx:
        assert not deliveries.behind(tx, list(configured))
        assert deliveries.standing(tx, "none") == Standing(position=4, counts={})
        assert deliveries.standing(tx, "unheard of") == Standing(position=None, counts={})


def test_a_long_ledger_is_read_in_parts(database: SqliteDatabase, new_id: Callable[[], str]) -> None:
    plan(database, new_id, chat=hook())
    move(database, *(f"run/{number}" for number in range(1200)))
    made, turns = 0, 0
    with database.write() as tx:
        while deliveries.behind(tx, ["chat"]):
            made += len(deliveries.plan(tx, {"chat": hook()}, new_id=new_id, now=NOW))
            turns += 1
    assert (made, turns) == (1200, 3)


def test_a_webhook_taken_out_rests_and_goes_on_where_it_stood(
    database: SqliteDatabase, new_id: Callable[[], str]
) -> None:
    plan(database, new_id, chat=hook())
    move(database, "run/1")
    assert plan(database, new_id, other=hook()) == []
    assert plan(database, new_id, chat=hook()) == [("chat", 1)]


def test_a_transaction_that_fails_moves_neither_place_nor_deliveries(
    database: SqliteDatabase, new_id: Callable[[], str]
) -> None:
    plan(database, new_id, chat=hook())
    move(database, "run/1", "run/2")

    def dies() -> str:
        if next(made) == 2:
            raise KeyboardInterrupt
        return new_id()

    made = count(1)
    with pytest.raises(KeyboardInterrupt):
        plan(database, dies, chat=hook())
    assert plan(database, new_id, chat=hook()) == [("chat", 1), ("chat", 2)]


def test_delivered(one: SqliteDatabase) -> None:
    claimed = claim(one)
    assert claimed is not None
    assert (claimed.id, claimed.entry.subject, claimed.attempt) == ("d1", "version/m@1.0.0", 1)
    assert settle(one, claimed, OK, NOW + 5) is DeliveryState.DELIVERED
    found = find(one)
    assert (found.state, found.due, found.ended_at, found.event) == (DeliveryState.DELIVERED, None, NOW + 5, 1)
    assert [(each.status, each.error, each.milliseconds) for each in found.attempts] == [(200, "", 5)]
    assert claim(one, now=NOW + DAY) is None


def test_what_fails_is_tried_again_later_each_time_and_given_up_at_the_last(one: SqliteDatabase) -> None:
    now, pauses = NOW, []
    for attempt in range(1, retrying.ATTEMPTS + 1):
        claimed = claim(one, now=now)
        assert claimed is not None
        assert claimed.attempt == attempt
        state = settle(one, claimed, BROKEN, now)
        found = find(one)
        if attempt < retrying.ATTEMPTS:
            assert state is DeliveryState.PENDING
            assert found.due is not None
            assert claim(one, now=found.due - 1) is None
            pauses.append(found.due - now)
            now = found.due
    assert state is DeliveryState.FAILED
    assert pauses == [retrying.pause(attempt, 0.5) for attempt in range(1, retrying.ATTEMPTS)]
    assert [each.error for each in found.attempts] == ["it answered 500"] * retrying.ATTEMPTS
    assert claim(one, now=now + DAY) is None


def test_two_processes_do_not_send_the_same(one: SqliteDatabase) -> None:
    assert claim(one, holder="one") is not None
    assert claim(one, holder="two") is None
    with one.read() as tx:
        assert deliveries.waiting(tx, ["chat"], NOW) == []


def test_what_its_holder_left_is_sent_again_by_the_same_id(one: SqliteDatabase) -> None:
    first = claim(one, holder="one")
    assert first is not None
    later = NOW + deliveries.LEASE_SECONDS * SECOND
    assert claim(one, holder="two", now=later - 1) is None
    second = claim(one, holder="two", now=later)
    assert second is not None
    assert (second.id, second.attempt) == (first.id, 2)
    assert settle(one, first, BROKEN, later) is None
    assert settle(one, second, OK, later) is DeliveryState.DELIVERED
    assert settle(one, second, OK, later) is None
    assert [(each.milliseconds, each.error) for each in find(one).attempts] == [
        (None, "it is not known how this attempt ended"), (5, ""),
    ]  # fmt: skip


def test_who_dies_of_it_each_time_does_not_send_it_for_ever(one: SqliteDatabase) -> None:
    now = NOW
    for _ in range(retrying.ATTEMPTS):
        assert claim(one, now=now) is not None
        now += deliveries.LEASE_SECONDS * SECOND
    assert claim(one, now=now) is None
    assert find(one).state is DeliveryState.FAILED


def test_redelivered_with_the_same_id_and_all_its_attempts(one: SqliteDatabase) -> None:
    settle(one, claim(one), OK)
    with one.write() as tx:
        again = deliveries.redeliver(tx, "d1", now=NOW + DAY)
    assert (again.id, again.state, again.due, again.ended_at) == ("d1", DeliveryState.PENDING, NOW + DAY, None)
    claimed = claim(one, now=NOW + DAY)
    assert claimed is not None
    assert claimed.attempt == 2
    settle(one, claimed, BROKEN, NOW + DAY)
    assert find(one).due == NOW + DAY + SECOND
    with one.write() as tx:
        assert deliveries.redeliver(tx, "d1", now=NOW).due == NOW  # one that waits is sent now
        with pytest.raises(NotFound, match="no delivery 'x'"):
            deliveries.redeliver(tx, "x", now=NOW)


def test_a_redelivery_while_it_is_sent_does_not_send_it_twice_at_once(one: SqliteDatabase) -> None:
    claimed = claim(one)
    with one.write() as tx:
        deliveries.redeliver(tx, "d1", now=NOW)
    assert claim(one, holder="two") is None
    assert settle(one, claimed, OK) is DeliveryState.DELIVERED


def test_a_test_is_written_down_and_never_sent_again(database: SqliteDatabase) -> None:
    with database.write() as tx:
        for identity, outcome in (("t1", OK), ("t2", BROKEN)):
            deliveries.tested(tx, identity, "chat", outcome, at=NOW, now=NOW + 5)
        with pytest.raises(Invalid, match="was a test"):
            deliveries.redeliver(tx, "t2", now=NOW)
        found = {each.id: each for each in deliveries.ls(tx, "chat", state=None, limit=10)}
    assert (found["t1"].state, found["t1"].event, found["t1"].action) == (DeliveryState.DELIVERED, 0, "ping")
    assert (found["t2"].state, found["t2"].attempts[0].status) == (DeliveryState.FAILED, 500)
    assert claim(database, now=NOW + DAY) is None


def test_the_list_has_the_newest_first_and_can_be_narrowed(database: SqliteDatabase, new_id: Callable[[], str]) -> None:
    plan(database, new_id, chat=hook(), other=hook())
    move(database, "run/1", "run/2", "run/3")
    plan(database, new_id, chat=hook(), other=hook())
    settle(database, claim(database), OK)
    with database.read() as tx:
        assert [each.event for each in deliveries.ls(tx, "chat", state=None, limit=2)] == [3, 2]
        assert [each.event for each in deliveries.ls(tx, "chat", state=DeliveryState.DELIVERED, limit=9)] == [1]
        assert deliveries.standing(tx, "chat").counts == {"pending": 2, "delivered": 1}


@given(st.lists(st.sampled_from(["move", "plan", "claim", "ok", "broken", "lapse", "again"]), max_size=30))
def test_whatever_happens_each_entry_is_one_delivery_and_none_is_lost(steps: list[str]) -> None:
    """Processes that come and go at any point: at the end, everything was delivered, under one id for an entry."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        db, new, now, moved = SqliteDatabase(Path(folder) / "x.db"), ids(), NOW, 0
        sent: list[tuple[int, str]] = []
        plan(db, new, chat=hook())
        held: Claimed | None = None
        for step in [*steps, "lapse", "plan"]:
            if step == "move":
                moved += 1
                move(db, f"run/{moved}")
            elif step == "plan":
                plan(db, new, chat=hook())
            elif step == "claim" and held is None:
                held = claim(db, now=now)
                if held is not None:
                    sent.append((held.entry.seq, held.id))
            elif step in ("ok", "broken") and held is not None:
                settle(db, held, OK if step == "ok" else BROKEN, now)
                held = None
            elif step == "lapse":
                held, now = None, now + DAY
            elif step == "again" and moved:
                with db.write() as tx:
                    for each in deliveries.ls(tx, "chat", state=DeliveryState.FAILED, limit=99):
                        deliveries.redeliver(tx, each.id, now=now)
        while (held := claim(db, now=now)) is not None:
            sent.append((held.entry.seq, held.id))
            settle(db, held, OK, now)
        with db.read() as tx:
            found = deliveries.ls(tx, "chat", state=None, limit=99)
        assert sorted(each.event for each in found) == list(range(1, moved + 1))
        assert len(set(sent)) == moved
        assert all(each.state is DeliveryState.DELIVERED or len(each.attempts) == 8 for each in found)
        db.close()
