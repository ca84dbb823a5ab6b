"""One supervised process: started, awaited until ready, watched, started again when it dies.

One that dies again and again has failed; it is tried again all the same, only seldom: what made it die may pass.
"""

from __future__ import annotations

import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from windlass.domain.errors import Failure

FIRST_DELAY = 0.1
LONGEST_DELAY = 10.0
CRASH_LOOP_DEATHS = 5
CRASH_LOOP_SECONDS = 30.0
FAILED_DELAY = 30.0
READY_SECONDS = 120.0
WATCH_SECONDS = 1.0
GRACE_SECONDS = 10.0
LOG_BYTES = 8 << 20
LOG_KEPT = 3
_PROBE_SECONDS = 0.02


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to start, where its output goes, and how to see that it is ready.

    ``descriptors`` are handed down to it. ``watch`` is called every second with the process's id once it is ready, and
    may take its time: why it must be killed, or nothing.
    """

    command: Sequence[str]
    log: Path
    folder: Path
    ready: Callable[[], bool]
    descriptors: Sequence[int] = ()
    watch: Callable[[int], str] = lambda _: ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a child stands, at one moment."""

    state: State = State.STARTING
    pid: int | None = None
    restarts: int = 0
    error: str = ""


def delay_after(deaths: int, jitter: float) -> float:
    """The pause before the next start: doubling from 0.1 s to 10 s; ``jitter`` (0 to 1) spreads it over +-25 %, so
    that what died together does not come back together."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(max(deaths - 1, 0), 16)) * (0.75 + jitter / 2)


def recent(deaths: Sequence[float], now: float) -> list[float]:
    """The deaths that still count."""
    return [at for at in deaths if now - at <= CRASH_LOOP_SECONDS]


def loops(deaths: Sequence[float], now: float) -> bool:
    """Whether dying so often, so lately, is a crash loop."""
    return len(recent(deaths, now)) >= CRASH_LOOP_DEATHS


class Child:
    """A process, and the thread that keeps it. ``program`` is called in it before each start, and may be slow."""

    def __init__(
        self, name: str, program: Callable[[], Program], *, gives_up: bool, jitter: Callable[[], float]
    ) -> None:
        self.name = name
        self.standing = Standing(state=State.STARTING)
        self._program = program
        self._gives_up = gives_up
        self._jitter = jitter
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"keep-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end; who does not within the grace is killed. Returns at once."""
        with self._guard:
            self._stopping.set()
            process = self._process
        if process is not None:
            _terminate(process)

    def join(self) -> None:
        """Wait until the process has ended."""
        self._thread.join()

    @property
    def stopping(self) -> bool:
        """Whether it was asked to end; it never starts again."""
        return self._stopping.is_set()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def _keep(self) -> None:
        deaths: list[float] = []
        restarts = 0
        state = State.STARTING
        while not self._stopping.is_set():
            self.standing = Standing(state=state, restarts=restarts, error=self.standing.error)
            try:
                error = self._live(self._program(), restarts, state)
            except (Failure, OSError) as failure:
                error = str(failure)
            except Exception as fault:  # noqa: BLE001 - this thread must outlive any fault of the caller's program
                error = f"{type(fault).__name__}: {fault}"
            if self._stopping.is_set():
                break
            now, restarts = time.monotonic(), restarts + 1
            deaths = [*recent(deaths, now), now]
            was_up = self.standing.state is State.READY
            failed = self._gives_up and (loops(deaths, now) or (state is State.FAILED and not was_up))
            state = State.FAILED if failed else State.STARTING
            self.standing = Standing(state=state, restarts=restarts, error=error)
            jitter = self._jitter()
            self._stopping.wait(FAILED_DELAY * (0.75 + jitter / 2) if failed else delay_after(len(deaths), jitter))
        self.standing = Standing(state=State.STOPPED, restarts=restarts)

    def _live(self, program: Program, restarts: int, state: State) -> str:
        """One life: from its start to its end; returns what it died of. Until it is ready it stands as ``state``."""
        rotate(program.log)
        with program.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches the supervisor alone, which ends all in order.
            # Its stdin is a pipe that only we hold: should we be killed, it reads the end of it, and ends too.
            # -P: nothing in the current folder may stand in for a module.
            with self._guard:
                if self._stopping.is_set():
                    return ""
                process = self._process = subprocess.Popen(
                    list(program.command), cwd=program.folder, stdin=subprocess.PIPE, stdout=log,
                    stderr=subprocess.STDOUT, start_new_session=True, pass_fds=program.descriptors,
                )  # fmt: skip
            try:
                self.standing = Standing(state=state, pid=process.pid, restarts=restarts, error=self.standing.error)
                late = not self._await_ready(process, program)
                if process.poll() is None and not late and not self._stopping.is_set():
                    self.standing = Standing(state=State.READY, pid=process.pid, restarts=restarts)
                if late:
                    _terminate(process)
                killed_for = self._watch(process, program)
                code = process.wait()
            finally:
                with self._guard:
                    self._process = None
                if process.stdin is not None:
                    process.stdin.close()
        if late:
            return f"was not ready within {READY_SECONDS:.0f} s"
        if killed_for:
            return f"was killed: {killed_for}"
        return f"ended with {_cause(code)}: {last_line(program.log)}"

    def _watch(self, process: subprocess.Popen[bytes], program: Program) -> str:
        """Until it has ended; why it was killed, if it was."""
        while not _ended_within(process, WATCH_SECONDS):
            if self.standing.state is not State.READY or self._stopping.is_set():
                continue
            if why := program.watch(process.pid):
                # Not asked to end first: what does not answer a ping does not answer a signal either.
                process.kill()
                return why
        return ""

    def _await_ready(self, process: subprocess.Popen[bytes], program: Program) -> bool:
        """Until it is ready, has ended, or is to stop; False if it took too long."""
        until = time.monotonic() + READY_SECONDS
        while process.poll() is None and not self._stopping.wait(_PROBE_SECONDS):
            if program.ready():
                return True
            if time.monotonic() > until:
                return False
        return True


def _ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of a process; at once when it comes, and at no cost meanwhile, where the kernel can tell."""
    if hasattr(os, "pidfd_open"):
        with suppress(OSError):
            ending = os.pidfd_open(process.pid)
            try:
                return bool(select.select([ending], [], [], seconds)[0])
            finally:
                os.close(ending)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
        return True
    return False


def _terminate(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    killer = threading.Timer(GRACE_SECONDS, process.kill)
    killer.daemon = True
    killer.start()
    # Nothing to cancel: once the process has been waited for, Popen signals nobody.


def _cause(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def rotate(log: Path) -> None:
    """Make the log's folder; put a log that has grown large aside (``.1`` is the newest of those kept)."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if not log.exists() or log.stat().st_size < LOG_BYTES:
        return
    for number in range(LOG_KEPT - 1, 0, -1):
        with suppress(FileNotFoundError):
            log.with_name(f"{log.name}.{number}").replace(log.with_name(f"{log.name}.{number + 1}"))
    log.replace(log.with_name(f"{log.name}.1"))


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "nothing in its log")[:500]
    return "no log"
