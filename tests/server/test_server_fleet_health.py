"""Workers that eat memory, that hang, that compute for long: who is killed, and what is said of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_packages import build
from hypothesis import given
from hypothesis import strategies as st

from windlass.delivery.workers import Limits, Wanted
from windlass.domain.errors import Failure, Unavailable
from windlass.server import child, health
from windlass.server.child import State
from windlass.server.fleet import Fleet, Measured, Report
from windlass.serving import limits
from windlass.serving.client import WorkerClient, worker_command

SECOND = 1_000_000


def test_a_ping_that_stays_unanswered_for_long_enough_is_a_hang() -> None:
    pulse = health.Pulse(hang_seconds=10)
    assert [pulse.judge(None, now) for now in (0.0, 4.0, 8.9)] == ["", "", ""]
    assert pulse.judge(None, 9.0) == "it answered no ping for 10 s"


def test_one_answer_in_between_starts_the_time_anew() -> None:
    pulse = health.Pulse(hang_seconds=10)
    assert [pulse.judge(None, 0.0), pulse.judge(0, 8.0), pulse.judge(None, 9.0), pulse.judge(None, 16.0)] == [""] * 4


def test_a_model_that_computes_for_long_hangs_only_once_it_is_past_its_patience() -> None:
    pulse = health.Pulse(hang_seconds=10)
    assert pulse.judge(9 * SECOND, 0.0) == ""
    assert "in one call for 12 s" in pulse.judge(12 * SECOND, 1.0)


@given(st.lists(st.integers(0, 9 * SECOND), max_size=50))
def test_who_answers_in_time_is_never_killed(answers: list[int]) -> None:
    pulse = health.Pulse(hang_seconds=10)
    assert not any(pulse.judge(stuck, float(at)) for at, stuck in enumerate(answers))


def test_what_a_process_takes_is_measured_and_written_only_when_it_changed() -> None:
    before = health.usage(os.getpid())
    assert before is not None and before.rss_bytes > 1 << 20 and before.cpu_seconds > 0
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    after = health.usage(os.getpid())
    assert after is not None and health.differs(after, before) and not health.differs(after, after)
    assert health.differs(after, None) and health.usage(1 << 30) is None


@given(known=st.sets(st.integers(0, 63), min_size=1), count=st.integers(1, 80), number=st.integers(0, 20))
def test_a_worker_gets_as_many_cores_as_it_may_have_of_those_that_there_are(
    known: set[int], count: int, number: int
) -> None:
    found = limits.cores(sorted(known), count, number)
    assert found <= known and len(found) == min(count, len(known))


def test_workers_beside_each_other_get_different_cores() -> None:
    assert [limits.cores([0, 1, 2, 3], 2, number) for number in range(3)] == [{0, 1}, {2, 3}, {0, 1}]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fault = "eat(2000) if x[0] > 90 else time.sleep(x[0] - 9) if x[0] > 9 else None"
    return build(tmp_path_factory.mktemp("package") / "hungry", fault)


class Host:
    """A fleet of one worker, and what it reported."""

    def __init__(self, folder: Path, package: Path, socket: str, **wanted: float) -> None:
        self.wanted = Wanted(
            release="b3:r", package="p", environment="e", socket=socket,
            limits=Limits(**wanted),  # type: ignore[arg-type]
        )  # fmt: skip
        self.said: list[str] = []
        self.usage: list[health.Usage] = []
        self.fleet = Fleet(
            wanted=lambda: [self.wanted], report=self._report, measured=self._measured,
            prepare=lambda _: (package, sys.executable), logs=folder, folder=folder,
        )  # fmt: skip
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep)
        self._thread.start()

    def _report(self, changed: list[Report]) -> None:  # type: ignore[override]
        self.said += [each.error for _, each in changed if each.error]

    def _measured(self, found: list[Measured]) -> None:  # type: ignore[override]
        self.usage += [usage for _, usage in found]

    def _keep(self) -> None:
        while not self._stop.wait(0.02):
            self.fleet.reconcile()
        self.fleet.stop()

    @property
    def pid(self) -> int | None:
        standings = [each.standing for each in self.fleet.children]
        return next((each.pid for each in standings if each.state is State.READY), None)

    def until(self, holds: object) -> None:
        end = time.monotonic() + 20
        while not holds():  # type: ignore[operator]
            assert time.monotonic() < end, (self.said, [each.standing for each in self.fleet.children])
            time.sleep(0.02)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def host(
    tmp_path: Path, package: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Host]:
    monkeypatch.setattr(child, "WATCH_SECONDS", 0.1)
    with tempfile.TemporaryDirectory() as short:
        made = Host(tmp_path, package, f"{short}/w.sock", **getattr(request, "param", {}))
        try:
            made.until(lambda: made.pid is not None)
            yield made
        finally:
            made.close()


def ask(host: Host, x: float, timeout: float = 10.0) -> object:
    with WorkerClient(host.wanted.socket) as client:
        return client.answer([{"x": x, "y": 1}], timeout)[0]["prediction"]


@pytest.mark.parametrize("host", [{"memory_mb": 700}], indirect=True)
def test_a_worker_that_eats_memory_dies_alone_says_so_and_comes_back(host: Host) -> None:
    assert ask(host, 1.0) == 1
    first = host.pid
    with pytest.raises(Unavailable):
        ask(host, 99.0)
    host.until(lambda: any("out of memory: serving.memory_mb is 700" in each for each in host.said))
    host.until(lambda: host.pid not in (None, first))
    assert ask(host, 1.0) == 1


@pytest.mark.parametrize("host", [{"hang_seconds": 1.0}], indirect=True)
def test_a_worker_whose_model_hangs_past_deadlines_is_killed_and_started_again(host: Host) -> None:
    first = host.pid
    with pytest.raises(Failure):
        ask(host, 60.0, timeout=0.3)
    host.until(lambda: any("was killed" in each for each in host.said))
    host.until(lambda: host.pid not in (None, first))
    assert ask(host, 1.0) == 1


@pytest.mark.parametrize("host", [{"hang_seconds": 3.0}], indirect=True)
def test_a_worker_whose_model_computes_for_long_is_left_alone(host: Host) -> None:
    first = host.pid
    for _ in range(2):
        assert ask(host, 11.0, timeout=20.0) == 1  # 2 s in one call
    assert host.pid == first and not host.said


@pytest.mark.parametrize("host", [{"hang_seconds": 1.0}], indirect=True)
def test_a_model_in_a_thread_of_its_own_may_take_as_long_as_somebody_waits(host: Host) -> None:
    first = host.pid
    assert ask(host, 9.6, timeout=20.0) == 1  # from now on its calls do not keep the loop
    assert ask(host, 11.5, timeout=20.0) == 1
    assert host.pid == first and not host.said
    with pytest.raises(Failure):
        ask(host, 60.0, timeout=0.3)
    host.until(lambda: any("the model has been in one call for" in each for each in host.said))


@pytest.mark.parametrize("host", [{"hang_seconds": 1.5}], indirect=True)
def test_a_worker_that_answers_no_ping_is_killed_and_started_again(host: Host) -> None:
    first = host.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    host.until(lambda: any("was killed: it answered no ping" in each for each in host.said))
    host.until(lambda: host.pid not in (None, first))
    assert ask(host, 1.0) == 1


def test_what_a_worker_takes_is_reported(host: Host) -> None:
    host.until(lambda: bool(host.usage))
    assert host.usage[0].rss_bytes > 10 << 20 and host.usage[0].cpu_seconds > 0


def test_a_limit_that_is_too_low_to_load_the_model_is_named(package: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        worker_command(package, tmp_path / "w.sock", memory_mb=64), stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0 and "64 MB: serving.memory_mb" in done.stderr.splitlines()[-1]
