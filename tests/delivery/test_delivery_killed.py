"""SIGKILL before every statement of every transition: the next controller goes on, and nothing is ever half done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from windlass.delivery import explain, rollouts, routing, workers
from windlass.delivery.strategy import Choice, Phase, PhaseKind
from windlass.domain import ledger
from windlass.domain.states import RolloutState

# Forks a process for each line of its input, which takes the lease, does what the line says, and kills itself before
# its Nth changing statement; says whether it lived.
FORKS = """
import os, signal, sys
from pathlib import Path
from windlass.adapters.postgres import PostgresTransaction
from windlass.adapters.sqlite import SqliteTransaction
from windlass.delivery import by_hand, rollback
from windlass.delivery.controller import Controller
from windlass.domain import clock
from windlass.domain.errors import Conflict
from windlass.workspace.databases import open_database
from windlass.workspace.stores import local_store

folder = Path(sys.argv[1])

def act(what, rollout, holder, left):
    for kind in (PostgresTransaction, SqliteTransaction):
        def execute(tx, sql, params=(), kind=kind, inner=kind.execute):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(tx, sql, params)
        kind.execute = execute
    db = open_database(folder / "windlass.db")
    if what == "tick":
        controller = Controller(db, gateway_socket=folder / "gateway.sock", predictions=folder / "log", holder=holder,
            now=clock.now)
        controller.tick()
        controller.tick()
    elif what == "rollback":
        try:
            rollback.rollback(db, local_store(folder / "objects"), endpoint="e", leaving=rollout, reason="because",
                actor="sam", now=clock.now, gateway_socket=folder / "gateway.sock", socket=lambda r: folder / "s",
                revalidate=lambda release: None, wait_seconds=0.0)
        except Conflict:
            pass  # the one before got through, and died only then
    else:
        getattr(by_hand, what)(db, rollout, actor="sam", reason="because", now=clock.now)
    db.close()

for line in sys.stdin:
    what, rollout, holder, left = line.split()
    child = os.fork()
    if child == 0:
        act(what, rollout, holder, int(left))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit("the child failed")
    print("lived" if os.WIFEXITED(status) else "killed", flush=True)
"""
CANARY, ALL = (Phase(kind=PhaseKind.CANARY, weight=weight, margin=0.1) for weight in (0.5, 1.0))
APPROVED_FLIP = Phase(kind=PhaseKind.BLUE_GREEN, approval=True)
BAKE = Phase(kind=PhaseKind.BAKE, users=100)


class Killed:
    """Does things in processes that are killed one statement later each time, until they get through."""

    def __init__(self, world: Any, process: subprocess.Popen[str]) -> None:
        self.world, self.process = world, process
        self.kills = 0

    def through(self, what: str, subject: str = "") -> None:
        rollout = subject or shown(self.world).id
        statement = 1
        while not self.lives(what, rollout, statement):
            statement += 1
            assert statement < 300
            self.check()

    def lives(self, what: str, rollout: str, statement: int) -> bool:
        with self.world.db.write() as tx:
            # What is dead holds its lease for seconds that a test need not wait.
            tx.execute("UPDATE leases SET until = 0")
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(what, rollout, f"holder-{self.kills}", statement, file=self.process.stdin, flush=True)
        said = self.process.stdout.readline().strip()
        assert said in ("lived", "killed")
        self.kills += said == "killed"
        return said == "lived"

    def check(self) -> None:
        """What has to hold whenever a process is gone."""
        with self.world.db.read() as tx:
            heads = {row["subject"]: row["target"] for row in tx.rows("SELECT subject, target FROM heads")}
            ledger.verify(ledger.entries(tx), heads)
            endpoint = tx.row("SELECT * FROM endpoints WHERE name = 'e'")
            live = rollouts.live(tx)
            up = {each.release for each in workers.desired(tx)}
            route = routing.current(tx).table.routes["e"]
        assert endpoint is not None
        assert (route.stable, endpoint["rollout"]) == (endpoint["release"], live[0].id if live else None)
        running = [each for each in live if each.state in (RolloutState.RUNNING, RolloutState.PAUSED)]
        assert route.candidate == (running[0].candidate if running else None)
        assert route.weight == (running[0].phases[running[0].phase].share if running else 0.0)
        served = self.world.gateway.table.routes["e"]
        for release in (route.stable, route.candidate, served.stable, served.candidate):
            assert release is None or release in up


@pytest.fixture
def killed(world: Any) -> Iterator[Killed]:
    with forks(world) as process:
        yield Killed(world, process)


@contextmanager
def forks(world: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", FORKS, str(world.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait()
        process.stdout.close()


def shown(world: Any) -> rollouts.Rollout:
    with world.db.read() as tx:
        return rollouts.find(tx)


def agrees(world: Any) -> bool:
    rollout = shown(world).id
    with world.db.read() as tx:
        return all(step.agrees for step in explain.explain(tx, world.folder / "log", rollout).steps)


def begun(world: Any, killed: Killed, *phases: Phase) -> None:
    world.first()
    world.release("1.1.0", choice=Choice(phases=phases))
    killed.through("tick")
    assert shown(world).state is RolloutState.WARMING
    world.ready("1.1.0")
    killed.through("tick")
    assert shown(world).state is RolloutState.RUNNING


def test_killed_at_every_statement_a_good_candidate_gets_through(world: Any, killed: Killed) -> None:
    begun(world, killed, CANARY, APPROVED_FLIP, BAKE)
    world.ask(300)
    killed.through("tick")
    assert (shown(world).phase, shown(world).awaiting) == (0, 1)
    killed.through("approve")
    killed.through("tick")
    assert (shown(world).phase, shown(world).awaiting) == (2, None)
    world.ask(300)
    killed.through("tick")
    assert shown(world).state is RolloutState.PROMOTED
    assert world.gateway.table.routes["e"].stable == world.bundle("1.1.0").id
    assert killed.kills > 40
    assert agrees(world)


def test_killed_at_every_statement_a_bad_one_does_not(world: Any, killed: Killed) -> None:
    begun(world, killed, CANARY, ALL, BAKE)
    world.ask(300)
    killed.through("tick")
    assert shown(world).phase == 1
    world.ask(30, fails=lambda number: True)
    killed.through("tick")
    assert shown(world).state is RolloutState.ROLLED_BACK
    assert world.gateway.table.routes["e"].candidate is None
    assert agrees(world)


@pytest.mark.parametrize("end", ["promote", "abort"])
def test_killed_at_every_statement_a_hand_does_it_or_not(world: Any, killed: Killed, end: str) -> None:
    begun(world, killed, CANARY, ALL)
    world.ask(10)
    killed.through("tick")
    for what in ("pause", "resume", "promote", end):
        killed.through(what)
        killed.check()
        killed.through("tick")
    if end == "promote":
        killed.through("rollback", world.bundle("1.1.0").id)
        killed.through("tick")
        assert world.gateway.table.routes["e"].stable == world.bundle("1.0.0").id
    expected = RolloutState.PROMOTED if end == "promote" else RolloutState.ABORTED
    assert shown(world).state is expected
    assert agrees(world)


def test_a_worker_that_fails_ends_the_rollout_whenever_the_controller_dies(world: Any, killed: Killed) -> None:
    world.first()
    for failing_while, ends in (("warming", RolloutState.FAILED), ("running", RolloutState.ROLLED_BACK)):
        world.release("1.1.0", choice=Choice(phases=(CANARY,)), force=True, reason="again")
        killed.through("tick")
        if failing_while == "running":
            world.ready("1.1.0")
            killed.through("tick")
        world.ready("1.1.0", state="failed", error="no such library")
        killed.through("tick")
        assert shown(world).state is ends
