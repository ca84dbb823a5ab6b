"""Evidence from the log and from labels, as it was decided on, and that nobody changes it unnoticed."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from windlass.delivery import custom, explain, labelling, observations, rollouts
from windlass.delivery.explain import Explanation
from windlass.delivery.observations import Answered, Memory
from windlass.delivery.signals import CustomSignal, Signals
from windlass.delivery.strategy import Phase, PhaseKind, RolloutPolicy
from windlass.domain.clock import SECOND
from windlass.domain.errors import Invalid
from windlass.domain.routing import Arm
from windlass.domain.states import RolloutState
from windlass.monitoring import labels
from windlass.serving.log.segments import FRAME, HEADER
from windlass.serving.record import Prediction, Record, Shadow

SHADOW = Phase(kind=PhaseKind.SHADOW, users=10**9)
CANARY = Phase(kind=PhaseKind.CANARY, weight=0.5, users=10**9)
WHOLE = RolloutPolicy(phases=(SHADOW, CANARY))


def answered(user: int, arm: Arm = Arm.STABLE, **more: Any) -> Prediction:
    return Prediction(
        **{
            "id": f"p{user}", "at": user + 1, "endpoint": "e", "revision": 2, "rollout": "r", "release": "x",
            "arm": arm, "user": f"u{user}", "rows": [{"x": user}], "answers": [{"prediction": 1}], "status": 200,
            "user_status": 200, "error": "", "latency_us": 900, "answered_by": "x", **more,
        }
    )  # fmt: skip


def shadowed(user: int, **more: Any) -> Shadow:
    return Shadow(
        **{
            "id": f"p{user}", "at": user + 1, "endpoint": "e", "rollout": "r", "release": "y", "user": f"u{user}",
            "status": 200, "answers": [{"prediction": 1}], "error": "", "latency_us": 800, **more,
        }
    )  # fmt: skip


def seen(records: list[Record], memory: Memory, phase: Phase = SHADOW, **more: Any) -> Any:
    return observations.observed(
        records, rollout="r", revision=2, phase=phase, memory=memory, **{"signals": Signals(), **more}
    )


def test_of_a_shadow_pairs_are_made_though_they_stand_apart_in_the_log() -> None:
    memory = Memory()
    first = seen([answered(1), answered(2), answered(3, status=500, answers=None)], memory)
    assert (first.candidate.tolist(), first.failed.tolist()) == ([False] * 3, [False, False, True])
    second = seen([shadowed(2, answers=[{"prediction": 0}]), shadowed(1, status=500, answers=None)], memory)
    assert (second.candidate.tolist(), second.failed.tolist()) == ([True, True], [False, True])
    assert (second.answers, second.partners) == ([0, None], [1, 1])
    assert second.latency_us.tolist() == [800, 800]
    assert memory.answers == {"p2": Answered(0, 1, of_stable=True)}
    assert not memory.waiting
    several = [{"prediction": 1}, {"prediction": 0}]
    seen([answered(4, rows=[{"x": 1}] * 2, answers=several), shadowed(4, answers=several)], memory)
    seen([answered(5, Arm.CANDIDATE, rows=[{"x": 1}] * 2, answers=several)], memory, CANARY)
    assert set(memory.answers) == {"p2", "p4#0", "p5#0"}


def test_users_count_once_a_phase_and_chosen_ones_never() -> None:
    memory = Memory()
    records: list[Record] = [
        answered(1), answered(1), answered(2, Arm.CANDIDATE), answered(3, Arm.CHOSEN), answered(4, status=400),
        answered(5, revision=1), answered(6, rollout="another"), answered(2, Arm.CANDIDATE),
    ]  # fmt: skip
    found = seen(records, memory, CANARY)
    assert found.candidate.tolist() == [False, True]
    assert found.requests == 2
    memory.enter()
    assert seen(records, memory, CANARY).candidate.tolist() == [False, True]


def test_a_failed_candidates_answer_is_another_releases_and_no_evidence() -> None:
    memory = Memory()
    found = seen([answered(1, Arm.CANDIDATE, status=500)], memory, CANARY)
    assert found.answers == [None]
    assert not memory.answers


@pytest.mark.parametrize(
    ("answer", "label", "worse", "right"),
    [
        (Answered(1, 0, of_stable=True), "1", [-1], []),
        (Answered(1, 0, of_stable=True), "0", [1], []),
        (Answered(1, 1, of_stable=True), "0", [0], []),
        (Answered(5, 3, of_stable=True), "2", [0], []),  # classes: both are wrong, none is nearer
        (Answered(True, 0.0, of_stable=True), "1", [-1], []),
        (Answered("a", "b", of_stable=True), '"b"', [1], []),
        (Answered(2.5, 2.0, of_stable=True), "2.1", [1], []),  # amounts: which is nearer?
        (Answered(2.5, 2.5, of_stable=True), "2.1", [0], []),
        (Answered(1), "1", [], [True]),
        (Answered(None, 1, of_candidate=False, of_stable=True), "0", [], [False]),
        (Answered(2.5), "2.1", [], []),  # an amount alone is neither right nor wrong
    ],
)
def test_answers_are_held_against_their_labels(
    answer: Answered, label: str, worse: list[int], right: list[bool]
) -> None:
    memory = Memory(answers={"p": answer})
    found = observations.labelled(memory, [("p", label), ("p", label), ("unknown", "1")])
    assert (found.worse, found.right) == (worse, right)
    assert found.candidate == ([answer.of_candidate] if right else [])
    assert not memory.answers


def test_custom_signals_are_computed_of_both_answers_of_a_pair() -> None:
    signal = CustomSignal(name="late", expression="latency_ms > 0.85 AND x >= prediction", margin=0.1)
    number = CustomSignal(name="number", expression="x * 10", margin=1, bounds=(0, 25))
    found = seen(
        [answered(1), answered(3), shadowed(1), shadowed(3)], Memory(), signals=Signals(custom=(signal, number))
    )
    own, partner = found.values["late"]
    assert own.tolist()[2:] == [0.0, 0.0]
    assert partner.tolist()[2:] == [1.0, 1.0]
    assert found.values["number"][0].tolist()[2:] == [10.0, 25.0]  # within its bounds
    assert not found.broken


@pytest.mark.parametrize(
    "expression", ["no_such_column", "1 +", "read_csv('/etc/passwd')", "max(x)", "(SELECT 1); DROP TABLE answered"]
)
def test_signals_that_cannot_be_computed_say_why(expression: str) -> None:
    signal = CustomSignal(name="s", expression=expression, margin=0.1)
    found = seen([answered(1), answered(2, Arm.CANDIDATE)], Memory(), CANARY, signals=Signals(custom=(signal,)))
    assert found.broken["s"]
    assert not found.values
    with pytest.raises(Invalid, match="s cannot be computed"):
        custom.check((replace(signal, expression="no_such_column"),), {"x": 1}, {"prediction": 1})


def explained(world: Any) -> Explanation:
    with world.db.read() as tx:
        return explain.explain(tx, world.folder / "log", rollouts.find(tx).id)


def begun(world: Any, policy: RolloutPolicy = WHOLE) -> Any:
    controller = world.first()
    world.release("1.1.0", policy=policy)
    controller.tick()
    world.ready("1.1.0")
    controller.tick()
    return controller


def pairs(world: Any, count: int, candidate: int) -> list[str]:
    """Requests that the stable release answered with 1 and the shadow otherwise; their ids."""
    made = []
    world.ask(0)
    table = world.gateway.table
    route = table.routes["e"]
    for _ in range(count):
        world.users += 1
        user = world.users
        at = world.now()
        world.append(
            answered(
                user,
                at=at,
                revision=table.revision,
                rollout=route.rollout,
                release=route.stable,
                answered_by=route.stable,
            )
        )
        world.append(
            shadowed(user, at=at, rollout=route.rollout, release=route.candidate, answers=[{"prediction": candidate}])
        )
        made.append(f"p{user}")
    assert world.writer.flush()
    return made


def look(world: Any, controller: Any) -> None:
    """Long enough after the last look that labels are looked for."""
    world.time += 2 * SECOND
    pairs(world, 1, 1)
    controller.tick()


def test_labels_that_come_late_roll_back_and_what_is_corrected_afterwards_changes_no_record(world: Any) -> None:
    controller = begun(world, replace(WHOLE, signals=Signals(answers=replace(WHOLE.signals.answers, on=False))))
    ids = pairs(world, 60, 0)
    controller.tick()
    assert explained(world).agrees
    labels.add(world.db, endpoint="e", labels=[(each, 1) for each in ids[:4]], at=world.now())
    look(world, controller)
    with world.db.read() as tx:
        before = rollouts.find(tx)
        taken = labelling.kept(tx, before.id)
    assert [each for part in taken.values() for each in part] == [(each, "1") for each in ids[:4]]
    assert before.state is RolloutState.RUNNING
    labels.add(world.db, endpoint="e", labels=[(ids[0], 0)], at=world.now())  # corrected: counted as it was
    labels.add(world.db, endpoint="e", labels=[(each, 1) for each in ids[4:30]], at=world.now())
    another = world.controller("another")  # which remembers nothing
    with world.db.write() as tx:
        tx.execute("UPDATE leases SET until = 0")
    look(world, another)
    with world.db.read() as tx:
        ended = rollouts.find(tx)
    assert ended.state is RolloutState.ROLLED_BACK
    assert "quality: of 30 labelled pairs 30 worse, 0 better" in ended.verdict
    found = explained(world)
    assert found.agrees
    assert found.notes == ("1 of 30 labels were corrected, or taken away, after they had been counted",)


def test_labels_of_a_phase_that_has_ended_still_count(world: Any) -> None:
    policy = replace(WHOLE, phases=(replace(SHADOW, users=50, margin=0.5), CANARY))
    controller = begun(world, policy)
    ids = pairs(world, 60, 1)
    controller.tick()
    with world.db.read() as tx:
        assert rollouts.find(tx).phase == 1
    labels.add(world.db, endpoint="e", labels=[(each, 1) for each in ids[:20]], at=world.now())
    world.time += 2 * SECOND
    world.ask(5)
    world.controller("another")
    controller.tick()
    with world.db.read() as tx:
        quality = next(each for each in rollouts.find(tx).steps[1].signals if each.signal == "quality")
    assert quality.users == 20
    assert explained(world).agrees


def tampered(path: Path, change: Any) -> None:
    """Rewrite records of a segment, checksums and all, as somebody would who knows how."""
    data = path.read_bytes()
    made, at = data[: HEADER.size], HEADER.size
    while at < len(data):
        length, _ = FRAME.unpack_from(data, at)
        start = at + FRAME.size
        record = msgspec.msgpack.decode(data[start : start + length])
        payload = msgspec.msgpack.encode(change(record))
        assert len(payload) == length, "the same length, or the positions would tell"
        made += FRAME.pack(length, zlib.crc32(payload)) + payload
        at = start + length
    path.write_bytes(made)


def rolled(world: Any) -> None:
    controller = begun(world, replace(WHOLE, phases=(CANARY,)))
    for _ in range(40):
        world.ask(50, fails=lambda number: number % 5 == 0)
        controller.tick()
    with world.db.read() as tx:
        assert rollouts.find(tx).state is RolloutState.ROLLED_BACK
    assert explained(world).agrees


def test_a_log_that_was_edited_is_noticed(world: Any) -> None:
    rolled(world)

    def better(record: dict[str, Any]) -> dict[str, Any]:
        # As if the rows had been at fault, which is nobody's failure.
        return {**record, "status": 400} if record["status"] == 500 and int(record["id"]) % 2 else record

    tampered(next(iter((world.folder / "log" / "e").rglob("*.log"))), better)
    found = explained(world)
    assert not found.agrees
    assert not found.steps[0].agrees
    assert any("errors" in each for each in found.differences)
    assert any("ledger" in each for each in found.differences)
    next(iter((world.folder / "log" / "e").rglob("*.log"))).unlink()
    assert not explained(world).agrees


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE rollout_steps SET step = REPLACE(step, '\"errors\": ', '\"errors\": 1')", "errors is"),
        ("UPDATE rollout_intervals SET decision = 'hold' WHERE decision = 'roll_back'", "hold was decided"),
        ("DELETE FROM rollout_intervals WHERE seq = 2", "something is missing"),
        ("UPDATE rollout_steps SET step = REPLACE(step, '\"answers\"', '\"replies\"')", "signals are others"),
        ("DELETE FROM rollout_steps", "has decisions and no record"),
    ],
)
def test_tables_that_were_edited_are_noticed(world: Any, change: str, told: str) -> None:
    rolled(world)
    with world.db.read() as tx:
        rollout = rollouts.find(tx).id
    with world.db.write() as tx:
        tx.execute(f"{change} {'AND' if 'WHERE' in change else 'WHERE'} rollout = ?", (rollout,))
    found = explained(world)
    assert not found.agrees
    assert any(told in each for each in found.differences), found.differences


def test_evidence_that_was_edited_is_noticed(world: Any) -> None:
    rolled(world)
    with world.db.write() as tx:
        row = tx.row("SELECT id, evidence FROM rollouts WHERE state = 'rolled_back'")
        assert row is not None
        plain = json.loads(row["evidence"])
        plain["split"]["errors"] = 0.5
        plain["failing"]["failed"] += 1
        tx.execute("UPDATE rollouts SET evidence = ? WHERE id = ?", (json.dumps(plain), row["id"]))
    found = explained(world)
    assert any("add up to more than 0.05" in each for each in found.differences)
    assert any("evidence of failing" in each for each in found.differences)


def test_labels_that_were_edited_are_noticed(world: Any) -> None:
    controller = begun(world)
    ids = pairs(world, 20, 0)
    controller.tick()
    labels.add(world.db, endpoint="e", labels=[(each, 1) for each in ids[:6]], at=world.now())
    look(world, controller)
    assert explained(world).agrees
    with world.db.write() as tx:
        tx.execute("UPDATE rollout_labels SET label = '0' WHERE number = 3")
    found = explained(world)
    assert any("quality" in each for each in found.differences)
