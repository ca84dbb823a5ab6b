"""How many workers: bounded, quick to grow, slow to shrink, and still where the load is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.delivery import autoscaler, gateways, leases, routing, scaling, workers
from windlass.delivery.autoscaler import Autoscaler
from windlass.delivery.scaling import Desired, Sample
from windlass.domain import digest
from windlass.domain.clock import SECOND
from windlass.domain.ports import Database
from windlass.domain.release import Release
from windlass.domain.routing import Route
from windlass.serving import admin

STEP = SECOND // 2
HOLDER = "one"


def run(
    load: Callable[[int, int], tuple[float, int, int]], *, size: int, least: int, most: int, cores: int, seconds: int
) -> list[int]:
    """The sizes over time; ``load`` says (cores busy, in flight, shed) at a moment, given the size."""
    samples: list[Sample] = []
    sizes, changed_at = [size], 0
    for at in range(STEP, seconds * SECOND, STEP):
        busy, in_flight, shed = load(at, sizes[-1])
        samples = [each for each in samples if each.at > at - 65 * SECOND]
        samples.append(Sample(at=at, busy=busy, in_flight=in_flight, shed=shed))
        desired = scaling.decide(samples, size=sizes[-1], least=least, most=most, cores=cores, changed_at=changed_at)
        if desired.size != sizes[-1]:
            changed_at = at
        sizes.append(desired.size)
    return sizes


LIMITS = st.tuples(st.integers(1, 4), st.integers(0, 4), st.integers(1, 8)).map(
    lambda drawn: {"least": drawn[0], "most": drawn[0] + drawn[1], "cores": drawn[2]}
)


@given(
    limits=LIMITS, size=st.integers(1, 10), changed_at=st.integers(0, 200),
    loads=st.lists(st.tuples(st.floats(0, 20), st.integers(0, 600), st.integers(0, 3)), max_size=200),
)  # fmt: skip
def test_whatever_is_measured_the_number_is_within_its_limits(
    limits: dict[str, int], size: int, changed_at: int, loads: list[tuple[float, int, int]]
) -> None:
    samples = [Sample(at=n * STEP, busy=b, in_flight=f, shed=s) for n, (b, f, s) in enumerate(loads)]
    found = scaling.decide(samples, size=size, changed_at=changed_at * STEP, **limits).size
    assert limits["least"] <= found <= max(limits["least"], min(limits["most"], limits["cores"]))


@given(limits=LIMITS, start=st.integers(0, 4), busy=st.floats(0, 10), in_flight=st.integers(0, 100))
def test_a_steady_load_is_answered_in_one_direction_and_then_left_alone(
    limits: dict[str, int], start: int, busy: float, in_flight: int
) -> None:
    ceiling = max(limits["least"], min(limits["most"], limits["cores"]))
    size = min(limits["least"] + start, ceiling)
    sizes = run(lambda at, size: (busy, in_flight, 0), size=size, seconds=400, **limits)
    changes = [after - before for before, after in itertools.pairwise(sizes) if after != before]
    assert all(change > 0 for change in changes) or all(change < 0 for change in changes)
    assert len(set(sizes[-100:])) == 1


@given(limits=LIMITS, connections=st.integers(1, 64), each=st.floats(0.05, 1.0))
def test_users_who_wait_for_each_answer_make_it_no_less_steady(
    limits: dict[str, int], connections: int, each: float
) -> None:
    """A closed loop: what is asked grows with what is answered, up to what the machine has."""

    def load(at: int, size: int) -> tuple[float, int, int]:
        return min(each * connections, float(size), float(limits["cores"])), connections, 0

    sizes = run(load, size=limits["least"], seconds=400, **limits)
    changes = [after - before for before, after in itertools.pairwise(sizes) if after != before]
    assert all(change > 0 for change in changes)
    assert len(set(sizes[-100:])) == 1


def test_it_grows_within_seconds_and_shrinks_only_after_a_minute_one_at_a_time() -> None:
    def load(at: int, size: int) -> tuple[float, int, int]:
        return (0.1, 0, 0) if at < 10 * SECOND or at > 40 * SECOND else (min(3.0, size), 20, 0)

    sizes = run(load, size=1, least=1, most=4, cores=8, seconds=400)
    grown = next(index for index, size in enumerate(sizes) if size > 1)
    assert 10 * 2 <= grown <= 13 * 2
    assert max(sizes) == 4
    first_less = next(index for index in range(grown, len(sizes)) if sizes[index] < sizes[index - 1])
    assert first_less >= (40 + 60) * 2
    assert all(after - before >= -1 for before, after in itertools.pairwise(sizes))
    assert sizes[-1] == 1


def test_a_short_peak_is_no_reason_for_more() -> None:
    sizes = run(lambda at, size: (1.0, 50, 0) if at == 20 * SECOND else (0.2, 1, 0), size=1, least=1, most=4, cores=8,
                seconds=60)  # fmt: skip
    assert set(sizes) == {1}


def test_whoever_is_turned_away_is_a_reason_for_more() -> None:
    samples = [Sample(at=n * STEP, busy=0.1, in_flight=0, shed=n == 2) for n in range(1, 5)]
    found = scaling.decide(samples, size=1, least=1, most=3, cores=4, changed_at=0)
    assert found.size == 2 and "1 turned away" in found.why


def test_nothing_measured_changes_nothing() -> None:
    assert scaling.decide([], size=2, least=1, most=3, cores=4, changed_at=0) == Desired(size=2)


class Machine:
    """A database in which a release serves, and what its gateways say."""

    def __init__(self, db: Database, least: int, most: int) -> None:
        self.db, self.at = db, 100 * SECOND
        self.release = Release(
            endpoint="e", model="m", version="1.0.0", package=digest.of("p"), environment=digest.of("e"),
            gate_report=digest.of("g"), serving={"min_workers": least, "max_workers": most},
        )  # fmt: skip
        self.in_flight, self.shed, self.cpu = 0, 0, 0.0
        with db.write() as tx:
            workers.want(tx, self.release, "/run/w.sock", self.at)
            gateways.report(tx, "gateway", "/run/g", state="ready", pid=1, restarts=0, error="", at=1)
            workers.report(tx, self.release.id, state="ready", pid=1, restarts=0, error="", at=1)
            routing.set_route(tx, "e", Route(stable=self.release.id))
        self.autoscaler = Autoscaler(db, holder=HOLDER, now=lambda: self.at, cores=4)

    def state(self, path: Path, timeout: float) -> dict[str, object]:
        return {"releases": {self.release.id: {"in_flight": self.in_flight, "shed": self.shed}}}

    def run(self, seconds: float, busy: float) -> None:
        """Time goes by; each worker is ``busy`` cores."""
        for _ in range(int(seconds * 2)):
            self.at += STEP
            self.cpu += busy / 2
            with self.db.write() as tx:
                for each in workers.desired(tx):
                    workers.measure(tx, each.release, each.number, rss_bytes=1, cpu_seconds=self.cpu, at=self.at)
            self.autoscaler.tick()

    def up(self) -> list[int]:
        with self.db.read() as tx:
            return [each.number for each in workers.desired(tx)]

    def routed(self) -> int:
        with self.db.read() as tx:
            return len(routing.current(tx).table.sockets[self.release.id])

    def revision(self) -> int:
        with self.db.read() as tx:
            return routing.current(tx).table.revision


@pytest.fixture
def machine(database: Database, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(database, 1, 3)
    monkeypatch.setattr(admin, "state", made.state)
    return made


def test_a_busy_release_gets_a_worker_that_the_routes_know_once_it_is_ready(machine: Machine) -> None:
    machine.run(5, busy=0.95)
    assert machine.up() == [0, 1] and machine.routed() == 1
    machine.run(20, busy=0.95)
    assert machine.up() == [0, 1]  # the one that was asked for is not there yet
    with machine.db.write() as tx:
        workers.report(tx, machine.release.id, number=1, state="ready", pid=2, restarts=0, error="", at=1)
    before = machine.revision()
    machine.run(0.5, busy=0.5)
    assert machine.routed() == 2 and machine.revision() == before + 1
    machine.run(3, busy=0.5)
    assert machine.revision() == before + 1 and machine.up() == [0, 1]
    machine.run(70, busy=0.1)
    assert machine.up() == [0] and machine.routed() == 1


def test_whoever_has_not_the_lease_changes_nothing(machine: Machine) -> None:
    assert leases.take(machine.db, autoscaler.LEASE, holder="another", length=600 * SECOND)
    machine.run(10, busy=1.0)
    assert machine.up() == [0]


def test_requests_turned_away_are_counted_from_one_look_to_the_next(machine: Machine) -> None:
    machine.shed = 900  # before anybody looked
    machine.run(5, busy=0.1)
    assert machine.up() == [0]
    machine.shed = 901
    machine.run(1, busy=0.1)
    assert machine.up() == [0, 1]


def test_a_release_of_a_fixed_size_is_left_alone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = Machine(database, 1, 1)
    monkeypatch.setattr(admin, "state", fixed.state)
    fixed.run(10, busy=1.0)
    assert fixed.up() == [0] and fixed.revision() == 1
