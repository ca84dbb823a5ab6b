"""A supervised process: started again when it dies, given up when it always does, ended when asked."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.errors import Unavailable
from windlass.server import child
from windlass.server.child import Child, Program, State

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Child]:
    def made(code: str, *, gives_up: bool = False, watch: Callable[[int], str] = lambda _: "") -> Child:
        log = tmp_path / "logs" / "it.log"

        def program() -> Program:
            return Program(
                command=[sys.executable, "-c", code],
                log=log,
                folder=tmp_path,
                ready=lambda: log.exists() and "up" in log.read_text(),
                watch=watch,
            )

        return Child("it", program, gives_up=gives_up, jitter=lambda: 0.5)

    return made


def test_a_process_that_is_killed_is_started_again(make: Callable[..., Child]) -> None:
    it = make(SLEEP)
    it.start()
    eventually(lambda: it.standing.state is State.READY)
    first = it.standing.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    eventually(lambda: it.standing.restarts == 1 and it.standing.state is State.READY)
    second = it.standing.pid
    assert second is not None and second != first
    it.stop()
    it.join()
    assert it.standing.state is State.STOPPED
    assert not alive(first) and not alive(second)


def test_a_process_that_always_dies_is_given_up_and_its_last_words_are_kept(make: Callable[..., Child]) -> None:
    it = make("import sys; print('cannot read model.pkl'); sys.exit(4)", gives_up=True)
    it.start()
    eventually(lambda: it.standing.state is State.FAILED, 20)
    assert it.standing.restarts == child.CRASH_LOOP_DEATHS
    assert it.standing.error == "ended with exit code 4: cannot read model.pkl"
    it.stop()
    it.join()


def test_what_was_given_up_is_tried_again_now_and_then(
    make: Callable[..., Child], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(child, "FAILED_DELAY", 0.05)
    mended = tmp_path / "mended"
    it = make(
        f"import pathlib, sys\nif not pathlib.Path({str(mended)!r}).exists(): sys.exit(4)\n{SLEEP}", gives_up=True
    )
    it.start()
    eventually(lambda: it.standing.state is State.FAILED, 20)
    after = it.standing.restarts
    eventually(lambda: it.standing.restarts > after + 1)
    assert it.standing.state is State.FAILED  # and stays so while it is tried
    mended.touch()
    eventually(lambda: it.standing.state is State.READY)
    it.stop()
    it.join()


def test_a_process_that_is_found_unwell_is_killed_and_the_reason_kept(
    make: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "WATCH_SECONDS", 0.05)
    watched: list[int] = []

    def watch(pid: int) -> str:
        watched.append(pid)
        return "it hangs" if len(watched) == 3 else ""

    it = make(STUBBORN, watch=watch)
    it.start()
    eventually(lambda: it.standing.restarts == 1)
    assert it.standing.error == "was killed: it hangs"
    first = watched[0]
    eventually(lambda: it.standing.state is State.READY and watched[-1] != first)
    assert it.standing.pid == watched[-1] and not alive(first)
    it.stop()
    os.kill(watched[-1], signal.SIGKILL)
    it.join()


def test_a_program_that_cannot_be_made_counts_as_a_death_whatever_was_raised(tmp_path: Path) -> None:
    for error in (Unavailable("no disk"), KeyError("nothing")):

        def program(error: Exception = error) -> Program:
            raise error

        it = Child("it", program, gives_up=True, jitter=lambda: 0.0)
        it.start()
        eventually(lambda it=it: it.standing.restarts > 0)
        assert it.standing.error
        it.stop()
        it.join()


def test_a_process_that_does_not_end_when_asked_is_killed(
    make: Callable[..., Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "GRACE_SECONDS", 0.2)
    it = make(STUBBORN)
    it.start()
    eventually(lambda: it.standing.state is State.READY)
    pid = it.standing.pid
    it.stop()
    it.join()
    assert pid is not None and not alive(pid)


@given(deaths=st.integers(1, 100), jitter=st.floats(0, 1))
def test_the_pause_grows_to_a_limit_and_is_spread(deaths: int, jitter: float) -> None:
    pause = child.delay_after(deaths, jitter)
    assert child.FIRST_DELAY * 0.75 <= pause <= child.LONGEST_DELAY * 1.25
    assert child.delay_after(deaths + 1, jitter) >= pause


def test_deaths_long_ago_are_no_crash_loop() -> None:
    deaths = [0.0, 10.0, 20.0, 30.0, 40.0]
    assert not child.loops(deaths, 41.0)
    assert child.loops([40.0] * child.CRASH_LOOP_DEATHS, 41.0)


def test_a_large_log_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    for number in range(6):
        log.write_bytes(bytes([number]) * child.LOG_BYTES)
        child.rotate(log)
    kept = sorted(tmp_path.iterdir())
    assert [file.name for file in kept] == ["x.log.1", "x.log.2", "x.log.3"]
    assert kept[0].read_bytes()[0] == 5
