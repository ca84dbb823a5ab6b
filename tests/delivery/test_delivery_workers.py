"""What the table of workers says of a release with several of them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.delivery import workers
from windlass.delivery.config import ServingConfig
from windlass.delivery.workers import Limits
from windlass.domain import digest
from windlass.domain.errors import Invalid
from windlass.domain.ports import Database
from windlass.domain.release import Release


def bundle(version: str = "1.0.0", **serving: object) -> Release:
    return Release(
        endpoint="e", model="m", version=version, package=digest.of(version), environment=digest.of("env"),
        gate_report=digest.of("report"), serving=serving,
    )  # fmt: skip


def want(db: Database, release: Release) -> None:
    with db.write() as tx:
        workers.want(tx, release, "/run/w.sock", 1)


def report(db: Database, release: Release, number: int, state: str, error: str = "") -> None:
    with db.write() as tx:
        workers.report(tx, release.id, number=number, state=state, pid=7, restarts=0, error=error, at=2)


def state(db: Database, release: Release) -> tuple[str, str]:
    with db.read() as tx:
        return workers.state(tx, release.id)


def test_a_release_wants_as_many_workers_as_it_needs_at_least_each_with_a_socket_and_its_limits(
    database: Database,
) -> None:
    want(database, bundle(min_workers=2, max_workers=4, memory_mb=512, cpu=1, nice=3, timeout_ms=9000))
    with database.read() as tx:
        found = workers.desired(tx)
    assert [(each.number, each.socket) for each in found] == [(0, "/run/w.sock"), (1, "/run/w-1.sock")]
    # Who may wait for 9 s is not stuck after 10.
    assert {each.limits for each in found} == {Limits(memory_mb=512, cpu=1, nice=3, hang_seconds=18.0)}


def test_a_release_is_ready_once_all_of_its_workers_are_and_serves_as_soon_as_one_is(database: Database) -> None:
    release = bundle(min_workers=2)
    want(database, release)
    assert state(database, release) == ("starting", "")
    report(database, release, 1, "ready")
    assert state(database, release)[0] == "starting"
    with database.read() as tx:
        assert workers.ready_sockets(tx, release.id) == ["/run/w-1.sock"] and workers.serves(tx, release.id)
    report(database, release, 0, "ready")
    assert state(database, release)[0] == "ready"
    report(database, release, 0, "starting", "ended with signal 9")
    assert state(database, release) == ("starting", "ended with signal 9")
    with database.read() as tx:
        assert workers.serves(tx, release.id)


def test_a_crash_loop_of_one_worker_fails_the_release_until_it_is_wanted_anew(database: Database) -> None:
    release = bundle(min_workers=2)
    want(database, release)
    report(database, release, 0, "ready")
    report(database, release, 1, "failed", "out of memory")
    assert state(database, release) == ("failed", "out of memory")
    want(database, release)
    assert state(database, release)[0] == "starting"


def test_routes_know_a_worker_from_when_it_was_first_ready_and_through_its_crashes(database: Database) -> None:
    release = bundle(min_workers=1, max_workers=3)
    want(database, release)
    report(database, release, 0, "ready")
    with database.write() as tx:
        workers.resize(tx, release.id, 2, "busy", 3)
        assert workers.sockets(tx) == {release.id: ("/run/w.sock",)}
    report(database, release, 1, "ready")
    report(database, release, 1, "starting")
    with database.read() as tx:
        assert workers.sockets(tx) == {release.id: ("/run/w.sock", "/run/w-1.sock")}
    # One more that is on its way is no reason to call the release unready.
    assert state(database, release)[0] == "ready"


def test_the_last_workers_leave_first_and_come_back_unknown_to_the_routes(database: Database) -> None:
    release = bundle(min_workers=1, max_workers=3)
    want(database, release)
    with database.write() as tx:
        workers.resize(tx, release.id, 3, "busy", 3)
    for number in range(3):
        report(database, release, number, "ready")
    with database.write() as tx:
        workers.resize(tx, release.id, 1, "idle", 4)
        assert [each.number for each in workers.desired(tx)] == [0]
        workers.resize(tx, release.id, 2, "busy", 5)
        assert workers.sockets(tx) == {release.id: ("/run/w.sock",)}
        [size] = workers.sizes(tx)
    assert (size.least, size.most, size.size) == (1, 3, 2)


def test_what_is_wanted_again_after_it_was_let_go_has_its_least_size(database: Database) -> None:
    release = bundle(min_workers=1, max_workers=3)
    want(database, release)
    with database.write() as tx:
        workers.resize(tx, release.id, 3, "busy", 3)
    want(database, release)
    with database.write() as tx:
        assert len(workers.desired(tx)) == 3  # it is up: nothing is taken from it
        workers.unwant(tx, release.id)
        assert workers.desired(tx) == [] and workers.sizes(tx) == []
    want(database, release)
    with database.read() as tx:
        assert len(workers.desired(tx)) == 1


def test_a_release_that_a_rule_sends_somebody_to_stays_up(database: Database) -> None:
    stable, other = bundle("1.0.0"), bundle("2.0.0")
    for each in (stable, other):
        want(database, each)
    with database.write() as tx:
        tx.execute(
            "INSERT INTO endpoint_rules (endpoint, name, release, header, value, share, at)"
            " VALUES ('e', 'testers', ?, 'x-test', '', 1, 1)",
            (other.id,),
        )
        for each in (stable, other):
            workers.unwant(tx, each.id)
        assert [each.release for each in workers.desired(tx)] == [other.id]
        tx.execute("DELETE FROM endpoint_rules")
        workers.unwant(tx, other.id)
        assert workers.desired(tx) == []


def test_what_a_worker_takes_is_shown_beside_how_it_stands(database: Database) -> None:
    release = bundle()
    want(database, release)
    with database.write() as tx:
        tx.execute(
            "INSERT INTO releases (id, endpoint, reference, package, at) VALUES (?, 'e', 'm@1.0.0', 'b3:p', 1)",
            (release.id,),
        )
        workers.measure(tx, release.id, 0, rss_bytes=5 << 30, cpu_seconds=1.25, at=9)
        [found] = workers.standing(tx)
    assert (found.reference, found.number, found.rss_bytes, found.cpu_seconds) == ("m@1.0.0", 0, 5 << 30, 1.25)


@given(workers=st.integers(1, 64))
def test_a_fixed_number_of_workers_is_the_least_and_the_most(workers: int) -> None:
    config = ServingConfig(workers=workers)
    assert (config.least, config.most) == (workers, workers)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"workers": 2, "min_workers": 1}, "serving.workers is given, and min_workers or max_workers too"),
        ({"min_workers": 3, "max_workers": 2}, "serving.min_workers is 3, more than max_workers (2)"),
        ({"workers": 0}, "serving.workers is 0"),
        ({"memory_mb": 3}, "serving.memory_mb is 3"),
        ({"nice": -5}, "serving.nice is -5"),
        ({"hang_seconds": 0.1}, "serving.hang_seconds is 0.1"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(table: dict[str, object], said: str) -> None:
    with pytest.raises(Invalid, match=said.replace("(", r"\(").replace(")", r"\)")):
        msgspec.convert(table, ServingConfig)


def test_what_is_released_has_the_whole_of_it(database: Database) -> None:
    released = ServingConfig(min_workers=2, max_workers=3, memory_mb=256).as_released()
    assert released == {"min_workers": 2, "max_workers": 3, "memory_mb": 256, "hang_seconds": 10.0}
    assert workers.limits_of(released) == Limits(memory_mb=256, hang_seconds=10.0)
