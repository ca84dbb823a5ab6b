"""Rollouts from release to their end, over a real database and a real prediction log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from windlass.delivery import by_hand, explain, history, resources, rollback, rollouts, workers
from windlass.delivery.signals import ResourcesSignal
from windlass.delivery.strategy import Choice
from windlass.domain import ledger
from windlass.domain.clock import SECOND
from windlass.domain.errors import Conflict, Invalid, NotFound, Refused, Unavailable
from windlass.domain.routing import LogPolicy
from windlass.domain.states import RolloutState


def verified(world: Any) -> int:
    with world.db.read() as tx:
        heads = {row["subject"]: row["target"] for row in tx.rows("SELECT subject, target FROM heads")}
        return ledger.verify(ledger.entries(tx), heads)


def shown(world: Any, rollout: str | None = None) -> rollouts.Rollout:
    with world.db.read() as tx:
        return rollouts.find(tx, rollout)


def drive(world: Any, controller: Any, **ask: Any) -> rollouts.Rollout:
    """Users ask and the controller looks, until the rollout has ended."""
    for _ in range(300):
        world.ask(200, **ask)
        controller.tick()
        if shown(world).ended_at is not None:
            return shown(world)
    raise AssertionError(shown(world))


def test_the_first_release_flips_when_its_worker_is_ready_and_not_before(world: Any) -> None:
    controller = world.controller()
    rollout = world.release("1.0.0")
    controller.tick()
    assert shown(world).state is RolloutState.WARMING
    assert world.gateway.table.revision == 0
    world.ready("1.0.0")
    controller.tick()
    assert shown(world, rollout.id).state is RolloutState.PROMOTED
    assert world.gateway.table.routes["e"].stable == world.bundle("1.0.0").id
    with world.db.read() as tx:
        (served,) = history.log(tx, "e")
    assert (served.reference, served.actor, served.action) == ("m@1.0.0", "dana", "promote")
    verified(world)


def test_a_clean_candidate_climbs_phase_by_phase_and_takes_over(world: Any) -> None:
    controller = world.first()
    world.release("1.1.0")
    controller.tick()
    world.ready("1.1.0")
    ended = drive(world, controller)
    assert ended.state is RolloutState.PROMOTED
    assert [(step.kind, step.weight, step.decision) for step in ended.steps] == [
        ("shadow", 0.0, "advance"), ("canary", 0.01, "advance"), ("canary", 0.05, "advance"),
        ("canary", 0.25, "advance"), ("canary", 1.0, "promote"),
    ]  # fmt: skip
    assert world.gateway.table.routes["e"].stable == world.bundle("1.1.0").id
    assert world.gateway.table.routes["e"].candidate is None
    with world.db.read() as tx:
        assert {each.release for each in workers.desired(tx)} == {world.bundle(v).id for v in ("1.0.0", "1.1.0")}
        assert all(step.agrees for step in explain.explain(tx, world.folder / "log", ended.id).steps)
    verified(world)


def test_a_harmful_candidate_is_rolled_back_and_cannot_come_back_unnoticed(world: Any) -> None:
    controller = world.first()
    world.release("1.1.0", choice=Choice(strategy="canary"))
    controller.tick()
    world.ready("1.1.0")
    ended = drive(world, controller, fails=lambda number: number % 20 == 0)
    assert ended.state is RolloutState.ROLLED_BACK
    assert "candidate users failed" in ended.verdict
    assert world.gateway.table.routes["e"].candidate is None
    world.time += 2_000_000
    controller.tick()
    assert shown(world).rollback_seconds is not None
    with world.db.read() as tx:
        assert [each.release for each in workers.desired(tx)] == [world.bundle("1.0.0").id]
        assert all(step.agrees for step in explain.explain(tx, world.folder / "log", ended.id).steps)
    with pytest.raises(Refused, match="rolled back"):
        world.release("1.1.0")
    world.release("1.1.0", force=True, reason="the feed was at fault")
    verified(world)


def test_a_worker_that_crashes_again_and_again_fails_the_rollout(world: Any) -> None:
    controller = world.first()
    world.release("1.1.0")
    controller.tick()
    world.ready("1.1.0", state="failed", error="no such library")
    controller.tick()
    assert shown(world).state is RolloutState.FAILED
    assert "no such library" in shown(world).verdict
    world.release("1.2.0")
    controller.tick()
    world.ready("1.2.0")
    controller.tick()
    world.ready("1.2.0", state="failed", error="killed")
    controller.tick()
    assert shown(world).state is RolloutState.ROLLED_BACK
    assert world.gateway.table.routes["e"].stable == world.bundle("1.0.0").id


def test_paused_nothing_advances_and_harm_still_rolls_back(world: Any) -> None:
    controller = world.first()
    rollout = world.release("1.1.0", choice=Choice(strategy="canary"))
    controller.tick()
    world.ready("1.1.0")
    controller.tick()
    by_hand.pause(world.db, rollout.id, actor="sam", reason="lunch", now=world.now)
    for _ in range(100):
        world.ask(200)
        controller.tick()
    assert (shown(world).state, shown(world).phase) == (RolloutState.PAUSED, 0)
    for _ in range(50):
        world.ask(200, fails=lambda number: True)
        controller.tick()
    assert shown(world).state is RolloutState.ROLLED_BACK


def test_abort_puts_all_traffic_back(world: Any) -> None:
    controller = world.first()
    rollout = world.release("1.1.0", choice=Choice(strategy="canary"))
    controller.tick()
    world.ready("1.1.0")
    controller.tick()
    assert world.gateway.table.routes["e"].weight == 0.01
    by_hand.abort(world.db, rollout.id, actor="sam", reason="wrong one", now=world.now)
    controller.tick()
    assert world.gateway.table.routes["e"].candidate is None
    with pytest.raises(Conflict):
        by_hand.resume(world.db, rollout.id, actor="sam", reason="", now=world.now)
    verified(world)


def test_what_is_not_cleared_or_comes_at_the_wrong_time_is_refused(world: Any) -> None:
    other = world.clearance(world.bundle("9.9.9"))
    with pytest.raises(Refused):
        world.release("1.0.0", clearance=other)
    with pytest.raises(Invalid, match="nothing yet"):
        world.release("1.0.0", choice=Choice(strategy="canary"))
    world.first()
    with pytest.raises(Conflict, match="already"):
        world.release("1.0.0")
    world.release("1.1.0")
    with pytest.raises(Conflict, match="a rollout is on"):
        world.release("1.2.0")


def test_only_one_controller_leads_and_the_next_takes_over_when_it_is_gone(world: Any) -> None:
    controller = world.first()
    other = world.controller("two")
    world.release("1.1.0")
    other.tick()
    assert shown(world).state is RolloutState.PLANNED
    world.time += 10_000_000
    other.tick()
    assert shown(world).state is RolloutState.WARMING
    controller.tick()
    assert shown(world).state is RolloutState.WARMING


def test_rolled_back_by_hand_the_release_before_serves_once_it_answers_its_golden_rows(world: Any) -> None:
    controller = world.first()
    for version in ("1.1.0", "1.2.0"):
        world.release(version, choice=Choice(strategy="blue-green"))
        controller.tick()
        world.ready(version)
        controller.tick()
    asked: list[str] = []

    def revalidate(release: Any) -> None:
        asked.append(release.version)
        if release.version == "1.1.0":
            raise Unavailable("golden row 3 differs")

    with what_is_wanted_brought_up(world):
        result = rollback.rollback(
            world.db, world.objects, endpoint="e", reason="incident", actor="sam", now=world.now,
            gateway_socket=world.folder / "gateway.sock", socket=lambda r: world.folder / f"{r[3:9]}.sock",
            revalidate=revalidate, wait_seconds=5.0,
        )  # fmt: skip

    assert asked == ["1.1.0", "1.0.0"]
    assert (result.from_reference, result.to_reference, result.revalidated) == ("m@1.2.0", "m@1.0.0", True)
    assert "golden row 3" in result.skipped[0]
    assert world.gateway.table.routes["e"].stable == world.bundle("1.0.0").id
    with world.db.read() as tx:
        assert [each.reference for each in history.log(tx, "e")] == ["m@1.0.0", "m@1.1.0", "m@1.2.0", "m@1.0.0"]
        served = history.at(tx, "e", history.log(tx, "e")[1].since + 1)
    assert served is not None
    assert served.reference == "m@1.1.0"
    verified(world)


@contextmanager
def what_is_wanted_brought_up(world: Any) -> Iterator[None]:
    """The supervisor's part."""
    ended = threading.Event()

    def wake() -> None:
        while not ended.wait(0.01):
            with world.db.write() as tx:
                for each in workers.desired(tx):
                    workers.report(tx, each.release, state="ready", pid=1, restarts=0, error="", at=1)

    thread = threading.Thread(target=wake)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_with_nothing_to_go_back_to_rollback_says_so(world: Any) -> None:
    def go(**options: Any) -> None:
        rollback.rollback(
            world.db, world.objects, reason="r", actor="sam", now=world.now, revalidate=lambda release: None,
            gateway_socket=world.folder / "gateway.sock", socket=lambda r: world.folder / "s", wait_seconds=0.1,
            **options,
        )  # fmt: skip

    with pytest.raises(NotFound):
        go(endpoint="e")
    world.first()
    with pytest.raises(Refused, match="no good release"):
        go(endpoint="e")
    with pytest.raises(Refused, match="no rollout"):
        go(endpoint="e", partial=True)
    with pytest.raises(NotFound, match=r"8\.8\.8"):
        go(endpoint="e", to="8.8.8")


def test_the_log_keeps_what_every_release_on_the_route_allows(world: Any) -> None:
    world.logs = {"1.0.0": {"drop": ["a"]}, "1.1.0": {"hash": ["a", "b"], "sample": 0.5}}
    controller = world.first()
    assert world.gateway.table.routes["e"].log == LogPolicy(drop=("a",))
    world.release("1.1.0", choice=Choice(strategy="canary"))
    controller.tick()
    world.ready("1.1.0")
    controller.tick()
    assert world.gateway.table.routes["e"].log == LogPolicy(drop=("a",), hash=("b",), sample=0.5)
    assert drive(world, controller).state is RolloutState.PROMOTED
    assert world.gateway.table.routes["e"].log == LogPolicy(hash=("a", "b"), sample=0.5)


def test_a_rollout_whose_log_is_gone_is_not_explained_as_if_it_were_there(world: Any) -> None:
    controller = world.first()
    world.release("1.1.0", choice=Choice(strategy="canary"))
    controller.tick()
    world.ready("1.1.0")
    ended = drive(world, controller)
    for path in (world.folder / "log").rglob("*.log"):
        path.unlink()
    with world.db.read() as tx:
        told = explain.explain(tx, world.folder / "log", ended.id)
    assert not told.agrees
    assert any("not all there" in each for each in told.differences)


def test_evidence_that_cannot_be_read_sends_its_users_back_and_holds_up_nobody(world: Any) -> None:
    controller = world.first()
    world.release("1.1.0", choice=Choice(strategy="canary"))
    controller.tick()
    world.ready("1.1.0")
    controller.tick()
    world.ask(200)
    controller.tick()
    with world.db.write() as tx:
        tx.execute("UPDATE rollouts SET evidence = ? WHERE state = 'running'", ('{"of": "another version"}',))
    controller.tick()
    ended = shown(world)
    assert ended.state is RolloutState.ROLLED_BACK
    assert "cannot be read" in ended.verdict
    assert world.gateway.table.routes["e"].candidate is None
    verified(world)


def test_a_candidate_that_takes_far_more_memory_for_long_is_rolled_back(world: Any) -> None:
    def measured(version: str, megabytes: int) -> None:
        with world.db.write() as tx:
            workers.measure(tx, world.bundle(version).id, 0, rss_bytes=megabytes << 20, cpu_seconds=1.0, at=world.now())

    controller = world.first()
    measured("1.0.0", 200)
    world.release("1.1.0", choice=Choice(strategy="canary"))
    controller.tick()
    world.ready("1.1.0")
    controller.tick()
    measured("1.1.0", 900)
    controller.tick()
    world.time += 6 * SECOND
    measured("1.1.0", 700)  # it was a peak
    controller.tick()
    measured("1.1.0", 900)
    controller.tick()
    world.time += 6 * SECOND
    controller.tick()
    assert shown(world).state is RolloutState.RUNNING
    world.time += 6 * SECOND
    controller.tick()
    ended = shown(world)
    assert (ended.state, ended.verdict) == (
        RolloutState.ROLLED_BACK, "memory: a worker of the candidate takes 900 MB, the stable release's 200 MB",
    )  # fmt: skip
    assert world.gateway.table.routes["e"].candidate is None
    with world.db.read() as tx:
        assert explain.explain(tx, world.folder / "log", ended.id).agrees
    verified(world)


@pytest.mark.parametrize(
    ("candidate", "stable", "given"),
    [
        (900, 0, {}),
        (0, 200, {}),
        (450, 200, {}),
        (250, 10, {}),
        (900, 200, {"on": False}),
        (900, 200, {"memory_ratio": 5}),
    ],
)
def test_memory_that_is_unknown_usual_or_not_asked_about_is_no_harm(
    candidate: int, stable: int, given: dict[str, Any]
) -> None:
    assert resources.exceeds(ResourcesSignal(**given), candidate << 20, stable << 20) == ""
