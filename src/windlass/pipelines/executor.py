"""Where steps run. A job is plain data and its result too: another executor may run it on another machine."""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

_BLOCK = 1 << 16
_TAIL = 4000
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A step to run: ``command``, or else a function by its ``job`` file (see child.py), with the interpreter
    ``python``. What it says goes to ``log``, appended. ``memory`` is a limit in bytes, 0 none; ``timeout`` in seconds.
    """

    id: str
    python: str
    job: Path | None = None
    command: Sequence[str] = ()
    folder: Path
    log: Path
    variables: Mapping[str, str]
    timeout: float
    memory: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """``error`` is empty when it went well, else the last thing that the step said; ``memory`` is its peak in bytes."""

    id: str
    seconds: float
    error: str
    memory: int = 0


class Executor(Protocol):
    def preload(self, python: str, modules: Sequence[str]) -> None:
        """Get ready for steps that will import these."""

    def submit(self, job: Job) -> None: ...

    def ended(self, timeout: float) -> list[Ended]:
        """The jobs that have ended since; waits for one, for at most so many seconds."""

    def close(self) -> None:
        """End everything that still runs, at once."""


@dataclass
class _Running:
    job: Job
    began: float
    log_began: int
    timed_out: bool = False


@dataclass
class _Launcher:
    process: subprocess.Popen[bytes]
    control: socket.socket
    waiting: bytes = b""
    jobs: dict[str, _Running] = field(default_factory=dict)


class LocalExecutor:
    """Processes of this machine, forked by a launcher for each interpreter."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        """``variables``: the environment of function steps: pinned before anything is imported."""
        self._variables = dict(variables)
        self._launchers: dict[str, _Launcher] = {}
        self._selector = selectors.DefaultSelector()

    def preload(self, python: str, modules: Sequence[str]) -> None:
        if modules:
            self._send(self._launcher(python), {"preload": list(modules)})

    def submit(self, job: Job) -> None:
        launcher = self._launcher(job.python)
        began = job.log.stat().st_size if job.log.exists() else 0
        launcher.jobs[job.id] = _Running(job, time.monotonic(), began)
        self._send(
            launcher,
            {
                "id": job.id,
                "job": str(job.job) if job.job else "",
                "command": list(job.command),
                "folder": str(job.folder),
                "log": str(job.log),
                "variables": dict(job.variables),
                "memory": job.memory,
            },
        )

    def ended(self, timeout: float) -> list[Ended]:
        until = time.monotonic() + timeout
        while True:
            found = self._collect(min(max(0.0, until - time.monotonic()), self._until_deadline()))
            self._kill_late()
            if found or time.monotonic() >= until:
                return found

    def close(self) -> None:
        for launcher in self._launchers.values():
            launcher.control.close()
        for launcher in self._launchers.values():
            try:
                launcher.process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                launcher.process.kill()
                launcher.process.wait()
        self._launchers.clear()
        self._selector.close()

    def _launcher(self, python: str) -> _Launcher:
        if python not in self._launchers:
            ours, theirs = socket.socketpair()
            with theirs:
                process = subprocess.Popen(
                    [python, "-P", "-m", "windlass.pipelines.launcher", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=self._variables,
                    start_new_session=True,  # Ctrl-C is ours to answer
                )  # fmt: skip
            self._launchers[python] = launcher = _Launcher(process, ours)
            self._selector.register(ours, selectors.EVENT_READ, launcher)
        return self._launchers[python]

    def _send(self, launcher: _Launcher, said: Mapping[str, object]) -> None:
        with suppress(OSError):  # it has died: that is told for each of its jobs when its end is read
            launcher.control.sendall(json.dumps(said).encode() + b"\n")

    def _collect(self, timeout: float) -> list[Ended]:
        found: list[Ended] = []
        for key, _ in self._selector.select(timeout):
            launcher: _Launcher = key.data
            try:
                received = launcher.control.recv(_BLOCK)
            except OSError:
                received = b""
            if not received:
                found += self._lost(launcher)
                continue
            *lines, launcher.waiting = (launcher.waiting + received).split(b"\n")
            for line in lines:
                said = json.loads(line)
                found.append(_result(launcher.jobs.pop(said["id"]), said["code"], said["memory"]))
        return found

    def _lost(self, launcher: _Launcher) -> list[Ended]:
        self._selector.unregister(launcher.control)
        launcher.control.close()
        code = launcher.process.wait()
        self._launchers = {python: each for python, each in self._launchers.items() if each is not launcher}
        return [
            Ended(
                id=running.job.id,
                seconds=time.monotonic() - running.began,
                error=f"{running.job.python} does not start steps (it ended with code {code})",
            )
            for running in launcher.jobs.values()
        ]

    def _until_deadline(self) -> float:
        deadlines = [
            running.began + running.job.timeout
            for launcher in self._launchers.values()
            for running in launcher.jobs.values()
            if not running.timed_out
        ]
        return max(0.0, min(deadlines, default=float("inf")) - time.monotonic())

    def _kill_late(self) -> None:
        for launcher in self._launchers.values():
            for running in launcher.jobs.values():
                if not running.timed_out and time.monotonic() >= running.began + running.job.timeout:
                    running.timed_out = True
                    self._send(launcher, {"kill": running.job.id})


def _result(running: _Running, code: int, memory: int) -> Ended:
    error = ""
    if running.timed_out:
        error = f"did not end within {running.job.timeout:g} s"
    elif code != 0:
        error = _last(running.job.log, running.log_began) or f"ended with code {code}"
    return Ended(id=running.job.id, seconds=time.monotonic() - running.began, error=error, memory=memory)


def _last(log: Path, began: int) -> str:
    with log.open("rb") as file:
        file.seek(max(began, log.stat().st_size - _TAIL))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith("next: ")]
    return said[-1] if said else ""
