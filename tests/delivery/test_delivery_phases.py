"""Bakes, times, approvals and moves by hand, over a real database and a real prediction log."""

from __future__ import annotations

from typing import Any

import pytest

from windlass.delivery import by_hand, explain, history, leases, quarantine, rollouts, workers
from windlass.delivery.by_hand import Approvers
from windlass.delivery.strategy import FLIP, Choice, Phase, PhaseKind
from windlass.domain import ledger
from windlass.domain.clock import SECOND
from windlass.domain.errors import Conflict, Denied, Refused
from windlass.domain.states import RolloutEvent, RolloutState

CANARY = Phase(kind=PhaseKind.CANARY, weight=0.5, margin=0.1)
ALL = Phase(kind=PhaseKind.CANARY, weight=1.0, margin=0.1)
APPROVED_FLIP = Phase(kind=PhaseKind.BLUE_GREEN, approval=True)
MINUTE = Phase(kind=PhaseKind.BAKE, seconds=60)


def started(world: Any, *phases: Phase, version: str = "1.1.0") -> Any:
    controller = world.first()
    begin(world, controller, *phases, version=version)
    return controller


def begin(world: Any, controller: Any, *phases: Phase, version: str = "1.1.0") -> None:
    world.release(version, choice=Choice(phases=phases))
    controller.tick()
    world.ready(version)
    controller.tick()


def shown(world: Any) -> rollouts.Rollout:
    with world.db.read() as tx:
        return rollouts.find(tx)


def route(world: Any) -> Any:
    return world.gateway.table.routes["e"]


def entries(world: Any) -> list[ledger.Entry]:
    with world.db.read() as tx:
        heads = {row["subject"]: row["target"] for row in tx.rows("SELECT subject, target FROM heads")}
        found = ledger.entries(tx)
    ledger.verify(found, heads)
    return found


def agrees(world: Any) -> bool:
    rollout = shown(world).id
    with world.db.read() as tx:
        return all(step.agrees for step in explain.explain(tx, world.folder / "log", rollout).steps)


def test_in_a_bake_the_candidate_has_all_users_and_the_release_before_stays_warm(world: Any) -> None:
    controller = started(world, FLIP, MINUTE)
    stable, candidate = world.bundle("1.0.0").id, world.bundle("1.1.0").id
    assert (route(world).stable, route(world).candidate, route(world).weight) == (stable, candidate, 1.0)
    world.ask(50)
    controller.tick()
    found = shown(world)
    assert (found.state, found.steps[-1].kind, found.steps[-1].withheld) == (RolloutState.RUNNING, "bake", "time")
    assert agrees(world)
    with world.db.read() as tx:
        assert {each.release for each in workers.desired(tx)} == {stable, candidate}
    world.time += 61 * SECOND
    controller.tick()
    assert shown(world).state is RolloutState.PROMOTED
    assert (route(world).stable, route(world).candidate) == (candidate, None)
    assert agrees(world)
    entries(world)


def test_harm_in_the_bake_flips_back_at_once_and_has_the_old_release_checked(world: Any) -> None:
    controller = started(world, FLIP, MINUTE)
    world.ask(100)
    controller.tick()
    world.ask(20, fails=lambda number: True)
    controller.tick()
    assert shown(world).state is RolloutState.ROLLED_BACK
    assert (route(world).stable, route(world).candidate) == (world.bundle("1.0.0").id, None)
    with world.db.read() as tx:
        assert quarantine.reason_of(tx, "e", world.bundle("1.1.0").package) is not None
        assert [row["release"] for row in tx.rows("SELECT * FROM rechecks")] == [world.bundle("1.0.0").id]
    assert agrees(world)


def test_a_bake_by_users_needs_that_many(world: Any) -> None:
    controller = started(world, FLIP, Phase(kind=PhaseKind.BAKE, users=300))
    for expected in (RolloutState.RUNNING, RolloutState.RUNNING, RolloutState.PROMOTED):
        world.ask(100)
        controller.tick()
        assert shown(world).state is expected
    assert agrees(world)


def test_a_phase_lasts_as_long_as_it_has_to_and_ends_without_another_request(world: Any) -> None:
    controller = started(world, Phase(kind=PhaseKind.CANARY, weight=0.5, margin=0.1, seconds=30), ALL)
    world.ask(400)
    controller.tick()
    found = shown(world)
    assert (found.phase, found.steps[0].withheld, found.steps[0].decision) == (0, "time", "hold")
    assert "lasts until" in found.steps[0].needed
    assert agrees(world)
    world.time += 30 * SECOND
    controller.tick()
    assert shown(world).phase == 1
    assert route(world).weight == 1.0
    assert agrees(world)


def test_paused_the_time_may_pass_and_nothing_moves(world: Any) -> None:
    controller = started(world, FLIP, MINUTE)
    by_hand.pause(world.db, shown(world).id, actor="sam", reason="lunch", now=world.now)
    world.time += 100 * SECOND
    controller.tick()
    assert shown(world).state is RolloutState.PAUSED
    by_hand.resume(world.db, shown(world).id, actor="sam", reason="back", now=world.now)
    controller.tick()
    assert shown(world).state is RolloutState.PROMOTED


def test_before_a_phase_that_asks_for_it_somebody_else_has_to_approve(world: Any) -> None:
    controller = started(world, CANARY, APPROVED_FLIP)
    rollout = shown(world).id

    def approve(actor: str, approvers: Approvers | None = None) -> rollouts.Rollout:
        return by_hand.approve(world.db, rollout, approvers=approvers, actor=actor, reason="looks well", now=world.now)

    with pytest.raises(Conflict, match="waits for no approval"):
        approve("sam")
    for _ in range(5):
        world.ask(200)
        controller.tick()
    found = shown(world)
    assert (found.phase, found.awaiting, found.steps[0].withheld) == (0, 1, "approval")
    assert [each.action for each in entries(world)].count("await approval") == 1
    assert agrees(world)
    with pytest.raises(Denied, match="released it"):
        approve("dana")
    group = Approvers(needed=2, group="leads", members=("sam", "kim", "alex"), barred={"alex": "registered m@1.1.0"})
    with pytest.raises(Denied, match="not in the group"):
        approve("jo", group)
    with pytest.raises(Denied, match="registered"):
        approve("alex", group)
    assert approve("sam", group).awaiting == 1
    assert approve("sam", group).awaiting == 1
    controller.tick()
    assert shown(world).state is RolloutState.RUNNING
    approve("kim", group)
    controller.tick()
    assert shown(world).state is RolloutState.PROMOTED
    assert [each.actor for each in entries(world) if each.action == "approve"] == ["sam", "kim"]
    assert agrees(world)


def test_with_an_approval_before_the_first_phase_nobody_sees_the_candidate_until_then(world: Any) -> None:
    controller = started(world, APPROVED_FLIP)
    for _ in range(3):
        controller.tick()
    found = shown(world)
    assert (found.state, found.awaiting, route(world).candidate) == (RolloutState.WARMING, 0, None)
    by_hand.approve(world.db, found.id, actor="sam", reason="go", now=world.now)
    controller.tick()
    assert shown(world).state is RolloutState.PROMOTED


def test_promoted_by_hand_it_enters_the_next_phase_with_the_evidence_on_record(world: Any) -> None:
    controller = started(world, CANARY, ALL, MINUTE)
    world.ask(10)
    controller.tick()
    rollout = shown(world).id
    found = by_hand.promote(world.db, rollout, actor="sam", reason="seen enough", now=world.now)
    assert (found.phase, found.steps[0].hand, found.steps[0].decision) == (1, "sam", "advance")
    controller.tick()
    assert route(world).weight == 1.0
    entry = entries(world)[-1]
    assert (entry.actor, entry.reason, entry.evidence["by hand"]) == ("sam", "seen enough", "sam")
    assert entry.evidence["users"] == found.steps[0].users
    assert agrees(world)
    by_hand.promote(world.db, rollout, full=True, actor="sam", reason="now", now=world.now)
    controller.tick()
    assert shown(world).state is RolloutState.PROMOTED
    assert route(world).stable == world.bundle("1.1.0").id
    with world.db.read() as tx:
        assert (history.log(tx, "e")[-1].actor, history.log(tx, "e")[-1].reason) == ("sam", "now")
    assert agrees(world)


def test_a_promotion_by_hand_is_an_approval_if_the_person_may_give_it(world: Any) -> None:
    started(world, CANARY, APPROVED_FLIP, MINUTE)
    rollout = shown(world).id

    def promote(actor: str, **options: Any) -> rollouts.Rollout:
        return by_hand.promote(world.db, rollout, actor=actor, reason="", now=world.now, **options)

    for full in (False, True):
        with pytest.raises(Denied, match="released it"):
            promote("dana", full=full)
        with pytest.raises(Refused, match="others"):
            promote("sam", full=full, approvers=Approvers(needed=2))
    assert shown(world).phase == 0
    found = promote("sam")
    assert [step.kind for step in found.steps] == ["canary", "blue-green", "bake"]
    assert (found.phase, found.state) == (2, RolloutState.RUNNING)
    entries(world)


def test_with_a_verdict_of_harm_nobody_promotes_or_approves(world: Any) -> None:
    controller = started(world, CANARY, APPROVED_FLIP)
    for _ in range(5):
        world.ask(200)
        controller.tick()
    rollout = shown(world).id
    with world.db.write() as tx:  # what the evidence is between a look and the rollback that follows from it
        text = tx.rows("SELECT evidence FROM rollouts ORDER BY started_at DESC")[0]["evidence"]
        broken = text.replace('"tripped": false', '"tripped": true')
        assert broken != text
        tx.execute("UPDATE rollouts SET evidence = ? WHERE id = ?", (broken, rollout))
    for move in (by_hand.promote, by_hand.approve):
        with pytest.raises(Refused, match="harm"):
            move(world.db, rollout, actor="sam", reason="", now=world.now)


def test_what_was_read_before_somebody_moved_it_moves_nothing(world: Any) -> None:
    started(world, CANARY, ALL, MINUTE)
    rollout = shown(world).id
    with world.db.read() as tx:
        stale = rollouts.require(tx, rollout)
    by_hand.promote(world.db, stale.id, actor="sam", reason="", now=world.now)
    for event in (RolloutEvent.ABORT, RolloutEvent.ADVANCE, RolloutEvent.PAUSE):
        with pytest.raises(Conflict, match="moved meanwhile"), world.db.write() as tx:
            rollouts.move(tx, stale, event, actor="x", reason="", at=world.now())


def test_a_controller_that_slept_through_its_lease_writes_nothing_though_it_has_the_name(world: Any) -> None:
    def take(holder: str) -> Any:
        return leases.take(world.db, "r", holder=holder, length=10 * SECOND, now=lambda tx: world.now())

    first = take("one")
    assert first is not None
    assert take("two") is None
    assert take("one") == first
    world.time += 11 * SECOND
    second = take("two")
    assert second is not None
    assert second.generation == first.generation + 1
    world.time += 11 * SECOND
    third = take("one")
    assert third is not None
    with world.db.write() as tx:
        leases.require(tx, third)
        for old in (first, second):
            with pytest.raises(Conflict):
                leases.require(tx, old)


def test_leases_last_by_the_clock_of_the_database(world: Any) -> None:
    with world.db.read() as tx:
        before = tx.now()
    lease = leases.take(world.db, "r", holder="one", length=10 * SECOND)
    assert lease is not None
    with world.db.read() as tx:
        row = tx.row("SELECT until FROM leases WHERE name = 'r'")
        assert row is not None
        assert before + 10 * SECOND <= row["until"] <= tx.now() + 10 * SECOND


def test_what_the_controller_did_says_under_which_lease(world: Any) -> None:
    started(world, FLIP)
    led = [each for each in entries(world) if each.actor == "windlass"]
    assert led
    assert {each.evidence["generation"] for each in led} == {1}


def test_released_once_more_an_older_version_keeps_its_worker(world: Any) -> None:
    controller = started(world, FLIP, version="1.1.0")
    begin(world, controller, FLIP, version="1.2.0")
    begin(world, controller, FLIP, version="1.0.0")
    assert route(world).stable == world.bundle("1.0.0").id
    with world.db.read() as tx:
        assert {each.release for each in workers.desired(tx)} == {world.bundle(v).id for v in ("1.0.0", "1.2.0")}


def test_released_again_while_its_rollback_settles_a_candidate_keeps_its_worker(world: Any) -> None:
    controller = started(world, CANARY, ALL)
    by_hand.abort(world.db, shown(world).id, actor="sam", reason="", now=world.now)
    controller.tick()
    world.release("1.1.0", choice=Choice(phases=(FLIP,)))
    world.time += 10 * SECOND
    controller.tick()
    world.ready("1.1.0")
    controller.tick()
    assert shown(world).state is RolloutState.PROMOTED
    with world.db.read() as tx:
        assert world.bundle("1.1.0").id in {each.release for each in workers.desired(tx)}


def test_users_wait_as_long_as_the_release_says_that_answers_most_of_them(world: Any) -> None:
    world.timeouts["1.1.0"] = 900
    controller = started(world, CANARY, FLIP, MINUTE)
    assert route(world).timeout_ms == 500
    by_hand.promote(world.db, shown(world).id, actor="sam", reason="", now=world.now)
    controller.tick()
    assert route(world).timeout_ms == 900
    by_hand.abort(world.db, shown(world).id, actor="sam", reason="", now=world.now)
    controller.tick()
    assert route(world).timeout_ms == 500
