"""Keys and rules of endpoints: in the routes from the next table on, and through every move of a rollout."""

from __future__ import annotations

import hashlib
import os
from typing import Any

import pytest

from windlass.delivery import by_hand, keys, releases, rollback, routing, rules, workers
from windlass.delivery.strategy import Choice
from windlass.domain import digest, ledger
from windlass.domain.errors import Conflict, Failure, Invalid, NotFound, Refused
from windlass.domain.routing import Route, Rule


def route(world: Any) -> Route:
    with world.db.read() as tx:
        found: Route = routing.current(tx).table.routes["e"]
        return found


def make_key(world: Any, name: str = "billing") -> str:
    key, _ = keys.create(world.db, endpoint="e", name=name, actor="dana", now=world.now, entropy=os.urandom)
    return key


def add(world: Any, name: str = "testers", **given: Any) -> rules.EndpointRule:
    asked = {"header": "x-tester", "value": "", "share": 1.0, "admit": None, **given}
    return rules.add(world.db, endpoint="e", name=name, actor="dana", reason="", now=world.now, **asked)


def remove(world: Any, name: str = "testers") -> None:
    rules.remove(world.db, endpoint="e", name=name, actor="dana", reason="", now=world.now)


def wanted(world: Any) -> set[str]:
    with world.db.read() as tx:
        return {each.release for each in workers.desired(tx)}


def test_a_key_closes_the_endpoint_for_good_and_is_never_kept(world: Any) -> None:
    world.first()
    assert route(world).keys is None
    key = make_key(world)
    assert key.startswith("wlk_")
    assert route(world).keys == {hashlib.sha256(key.encode()).hexdigest(): "billing"}
    keys.revoke(world.db, endpoint="e", name="billing", actor="dana", reason="leaked", now=world.now)
    assert route(world).keys == {}
    with world.db.read() as tx:
        assert [each.revoked is None for each in keys.ls(tx, "e")] == [False]
        written = str(ledger.entries(tx)) + str(tx.rows("SELECT * FROM endpoint_keys"))
        assert ledger.head(tx, "key/e/billing") is None
    assert key not in written
    assert make_key(world) is not None  # the name is free again


def test_keys_and_rules_hold_before_the_first_release_and_through_a_rollout(world: Any) -> None:
    make_key(world)
    with pytest.raises(NotFound):
        add(world)
    controller = world.first()
    add(world)
    assert (len(route(world).keys or {}), route(world).rules) == (1, ())
    world.release("1.1.0", choice=Choice(strategy="canary"))
    controller.tick()
    world.ready("1.1.0")
    controller.tick()
    candidate = world.bundle("1.1.0").id
    assert (len(route(world).keys or {}), route(world).rules) == (
        1, (Rule(name="testers", release=candidate, header="x-tester"),),
    )  # fmt: skip
    by_hand.abort(world.db, world.made[-1].id, actor="dana", reason="", now=world.now)
    assert (len(route(world).keys or {}), route(world).rules) == (1, ())


def test_a_second_model_is_served_by_a_rule_and_only_if_it_is_cleared(world: Any) -> None:
    controller = world.first()
    bundle = world.bundle("2.0.0")
    record = world.objects.put(digest.canonical(bundle))

    def admit(clearance: releases.Clearance) -> Any:
        return lambda tx, at: (
            releases.admit(tx, bundle, clearance, record=record, socket="/s2", at=at) or record  # type: ignore[func-returns-value]
        )

    with pytest.raises(Refused):
        add(world, "half", header="", share=0.5, admit=admit(world.clearance(world.bundle("9.9.9"))))
    assert route(world).rules == ()
    add(world, "half", header="", share=0.5, admit=admit(world.clearance(bundle)))
    assert route(world).rules == (Rule(name="half", release=record, share=0.5),)
    assert record in wanted(world)
    with world.db.read() as tx:
        assert routing.current(tx).table.sockets[record] == ("/s2",)
        assert routing.current(tx).table.versions == {record: "2.0.0", world.bundle("1.0.0").id: "1.0.0"}
        assert [each.to for each in rules.ls(tx)] == ["m@2.0.0"]
    # What a rollout does with its own releases leaves the rule's worker up; the rule's end does not.
    world.release("1.1.0", choice=Choice(strategy="blue-green"))
    controller.tick()
    world.ready("1.1.0")
    controller.tick()
    assert record in wanted(world)
    remove(world, "half")
    assert record not in wanted(world)
    assert route(world).rules == ()


def test_a_rule_for_the_stable_release_goes_and_its_worker_stays(world: Any) -> None:
    world.first()
    bundle = world.bundle("1.0.0")
    clearance = world.clearance(bundle)

    def admit(tx: Any, at: int) -> str:
        releases.admit(tx, bundle, clearance, record=bundle.id, socket="/s", at=at)
        return str(bundle.id)

    add(world, "pinned", admit=admit)
    remove(world, "pinned")
    assert bundle.id in wanted(world)


@pytest.mark.parametrize(
    "given",
    [
        {"header": "X Tester"}, {"header": "", "value": "x"}, {"value": "a\nb"}, {"share": 0.0}, {"share": 1.1},
        {"share": float("nan")}, {"header": ""}, {"name": "no name"},
    ],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_refused(world: Any, given: dict[str, Any]) -> None:
    world.first()
    with pytest.raises(Invalid):
        add(world, **{"name": "testers", **given})
    assert route(world).rules == ()


def test_what_is_there_is_not_made_again_and_what_is_not_is_not_ended(world: Any) -> None:
    world.first()
    make_key(world)
    add(world)
    tries: list[Any] = [
        (Conflict, lambda: make_key(world)),
        (Conflict, lambda: add(world)),
        (NotFound, lambda: remove(world, "other")),
        (NotFound, lambda: keys.revoke(world.db, endpoint="e", name="x", actor="a", reason="", now=world.now)),
    ]
    for kind, attempt in tries:
        with pytest.raises(kind) as caught:
            attempt()
        assert isinstance(caught.value, Failure)
        assert caught.value.hint


def test_what_was_rolled_back_is_not_served_by_a_rule_either(world: Any) -> None:
    controller = world.first()
    bundle, clearance = world.bundle("1.1.0"), world.clearance(world.bundle("1.1.0"))

    def admit(tx: Any, at: int) -> str:
        releases.admit(tx, bundle, clearance, record=bundle.id, socket="/s", at=at)
        return str(bundle.id)

    add(world, "half", header="", share=0.5, admit=admit)
    assert len(route(world).rules) == 1
    world.release("1.1.0", choice=Choice(strategy="blue-green"))
    controller.tick()
    world.ready("1.1.0")
    controller.tick()
    assert route(world).stable == bundle.id
    rollback.rollback(
        world.db, world.objects, endpoint="e", reason="harm", actor="sam", now=world.now,
        gateway_socket=world.folder / "gateway.sock", socket=lambda release: world.folder / "s",
        revalidate=lambda release: None, wait_seconds=5,
    )  # fmt: skip
    assert (route(world).stable, route(world).rules) == (world.bundle("1.0.0").id, ())
    with world.db.read() as tx:
        assert [each.live for each in rules.ls(tx, "e")] == [False]
