"""The workers: what the database wants up is brought up, what it no longer wants is drained and ended.

The database is read and written here and nowhere else in the supervisor; when it does not answer, the workers that
run go on, and what could not be told is told later.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from windlass.delivery.workers import Wanted
from windlass.domain.errors import Failure
from windlass.server import health
from windlass.server.child import Child, Program, Standing
from windlass.server.health import Usage
from windlass.serving.client import WorkerClient, worker_command

DRAIN_SECONDS = 1.0
MEASURE_SECONDS = 1.0


Key = tuple[str, int]  # a release, and which of its workers
Prepare = Callable[[Wanted], tuple[Path | str, str]]
Report = tuple[Key, Standing]
Measured = tuple[Key, Usage]


class Fleet:
    """One child a wanted worker.

    ``wanted`` reads what should be up, ``report`` writes how it stands and ``measured`` what it takes (several at
    once); each may raise a Failure. ``prepare`` lays a release's package out and says which Python runs it; it may be
    slow.
    """

    def __init__(
        self,
        *,
        wanted: Callable[[], Iterable[Wanted]],
        report: Callable[[Sequence[Report]], None],
        measured: Callable[[Sequence[Measured]], None] = lambda _: None,
        prepare: Prepare,
        logs: Path,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted, self._report, self._measured, self._prepare = wanted, report, measured, prepare
        self._logs, self._folder, self._clock = logs, folder, clock
        self._children: dict[Key, Child] = {}
        self._sockets: dict[Key, str] = {}
        self._leaving: dict[Key, float] = {}  # no longer wanted: when to end it
        self._told: dict[Key, Standing] = {}
        self._usage: dict[Key, Usage] = {}
        self._usage_told: dict[Key, Usage] = {}
        self._measure_at = 0.0
        # A package is laid out once, however many workers of it start together.
        self._preparing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    @property
    def children(self) -> list[Child]:
        return list(self._children.values())

    def address(self) -> dict[str, Any]:
        """Where each worker is, by release; the first of a release has its number left out."""
        return {
            release if number == 0 else f"{release}/{number}": {
                "pid": child.standing.pid,
                "socket": self._sockets[release, number],
            }
            for (release, number), child in sorted(self._children.items())
        }

    def reconcile(self) -> None:
        """One look at what is wanted, one step towards it, one report of what changed."""
        try:
            wanted = {(each.release, each.number): each for each in self._wanted()}
        except Failure:
            pass  # the database does not answer now: what runs, runs on
        else:
            self._bring_up(wanted)
            self._let_go(wanted)
        self._end_due()
        self._tell()
        self._tell_usage()

    def stop(self) -> None:
        """End every worker, and say so."""
        for child in self._children.values():
            child.stop()
        for child in self._children.values():
            child.join()
        self._tell()
        for key in list(self._children):
            self._forget(key)

    def _bring_up(self, wanted: dict[Key, Wanted]) -> None:
        for key, each in wanted.items():
            running = self._children.get(key)
            if running is not None and running.stopping:
                continue  # wanted again too late: it ends first, and a look after that starts another
            self._leaving.pop(key, None)
            if running is not None:
                if each.state and key in self._told and each.state != self._told[key].state.value:
                    del self._told[key]  # unwanted and wanted again meanwhile: what was told of it is gone
                continue
            child = Child(
                f"worker {each.release[:15]}{f' {each.number}' if each.number else ''}",
                partial(self._program, each),
                gives_up=True,
                jitter=random.SystemRandom().random,
            )
            self._children[key], self._sockets[key] = child, each.socket
            child.start()

    def _let_go(self, wanted: dict[Key, Wanted]) -> None:
        # Not at once: the gateway may still hold requests that it sent on the routes before.
        for key in self._children:
            if key not in wanted:
                self._leaving.setdefault(key, self._clock() + DRAIN_SECONDS)

    def _end_due(self) -> None:
        now = self._clock()
        for key, due in list(self._leaving.items()):
            child = self._children[key]
            if due <= now:
                child.stop()
                self._leaving[key] = now + 3600.0  # asked once; it is gone when its thread is
            if child.ended:
                self._tell()
                self._forget(key)

    def _forget(self, key: Key) -> None:
        for known in (self._leaving, self._told, self._usage, self._usage_told):
            known.pop(key, None)
        del self._children[key]
        # Whoever listened there has ended; one that was killed could not tidy up.
        Path(self._sockets.pop(key)).unlink(missing_ok=True)

    def _tell(self) -> None:
        standings = {key: child.standing for key, child in self._children.items()}
        changed = [(key, each) for key, each in standings.items() if self._told.get(key) != each]
        if not changed:
            return
        try:
            self._report(changed)
        except Failure:
            return  # told at the next look
        self._told.update(changed)

    def _tell_usage(self) -> None:
        if self._clock() < self._measure_at:
            return
        self._measure_at = self._clock() + MEASURE_SECONDS
        found = [
            (key, usage)
            for key, usage in list(self._usage.items())
            if key in self._children and health.differs(usage, self._usage_told.get(key))
        ]
        if not found:
            return
        try:
            self._measured(found)
        except Failure:
            return
        self._usage_told.update(found)

    def _program(self, wanted: Wanted) -> Program:
        with self._preparing[wanted.package]:
            package, python = self._prepare(wanted)
        name = wanted.release.removeprefix("b3:")[:12] + (f"-{wanted.number}" if wanted.number else "")
        pulse = health.Pulse(hang_seconds=wanted.limits.hang_seconds)
        return Program(
            command=worker_command(
                Path(package),
                Path(wanted.socket),
                python,
                memory_mb=wanted.limits.memory_mb,
                cpu=wanted.limits.cpu,
                nice=wanted.limits.nice,
                number=wanted.number,
            ),
            log=self._logs / f"worker-{name}.log",
            folder=self._folder,
            ready=partial(_serves, wanted.socket),
            watch=partial(self._watch, wanted, pulse),
        )

    def _watch(self, wanted: Wanted, pulse: health.Pulse, pid: int) -> str:
        usage = health.usage(pid)
        if usage is not None:
            self._usage[wanted.release, wanted.number] = usage
        with WorkerClient(wanted.socket) as client:
            return pulse.judge(client.pulse(timeout=health.PING_SECONDS), self._clock())


def _serves(socket: str) -> bool:
    with WorkerClient(socket) as client:
        return client.ready(timeout=0.5)
