"""The workers: what the database wants up is brought up, what it no longer wants is drained and ended.

The database is read and written here and nowhere else in the supervisor; when it does not answer, the workers that
run go on, and what could not be told is told later.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from windlass.delivery.workers import Wanted
from windlass.domain.errors import Failure
from windlass.server.child import Child, Program, Standing
from windlass.serving.client import WorkerClient, worker_command

DRAIN_SECONDS = 1.0


Prepare = Callable[[Wanted], tuple[Path | str, str]]
Report = tuple[str, Standing]


class Fleet:
    """One child a wanted release.

    ``wanted`` reads what should be up, ``report`` writes how it stands (several at once); either may raise a Failure.
    ``prepare`` lays a release's package out and says which Python runs it; it may be slow.
    """

    def __init__(
        self,
        *,
        wanted: Callable[[], Iterable[Wanted]],
        report: Callable[[Sequence[Report]], None],
        prepare: Prepare,
        logs: Path,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted, self._report, self._prepare = wanted, report, prepare
        self._logs, self._folder, self._clock = logs, folder, clock
        self._children: dict[str, Child] = {}
        self._sockets: dict[str, str] = {}
        self._leaving: dict[str, float] = {}  # no longer wanted: when to end it
        self._told: dict[str, Standing] = {}

    @property
    def children(self) -> list[Child]:
        return list(self._children.values())

    def address(self) -> dict[str, Any]:
        """Where each worker is, by release."""
        return {
            release: {"pid": child.standing.pid, "socket": self._sockets[release]}
            for release, child in sorted(self._children.items())
        }

    def reconcile(self) -> None:
        """One look at what is wanted, one step towards it, one report of what changed."""
        try:
            wanted = {each.release: each for each in self._wanted()}
        except Failure:
            pass  # the database does not answer now: what runs, runs on
        else:
            self._bring_up(wanted)
            self._let_go(wanted)
        self._end_due()
        self._tell()

    def stop(self) -> None:
        """End every worker, and say so."""
        for child in self._children.values():
            child.stop()
        for child in self._children.values():
            child.join()
        self._tell()
        for release in list(self._children):
            self._forget(release)

    def _bring_up(self, wanted: dict[str, Wanted]) -> None:
        for release, each in wanted.items():
            running = self._children.get(release)
            if running is not None and running.stopping:
                continue  # wanted again too late: it ends first, and a look after that starts another
            self._leaving.pop(release, None)
            if running is not None:
                continue
            child = Child(
                f"worker {release[:15]}",
                partial(self._program, each),
                gives_up=True,
                jitter=random.SystemRandom().random,
            )
            self._children[release], self._sockets[release] = child, each.socket
            child.start()

    def _let_go(self, wanted: dict[str, Wanted]) -> None:
        # Not at once: the gateway may still hold requests that it sent on the routes before.
        for release in self._children:
            if release not in wanted:
                self._leaving.setdefault(release, self._clock() + DRAIN_SECONDS)

    def _end_due(self) -> None:
        now = self._clock()
        for release, due in list(self._leaving.items()):
            child = self._children[release]
            if due <= now:
                child.stop()
                self._leaving[release] = now + 3600.0  # asked once; it is gone when its thread is
            if child.ended:
                self._tell()
                self._forget(release)

    def _forget(self, release: str) -> None:
        self._leaving.pop(release, None)
        self._told.pop(release, None)
        del self._children[release]
        # Whoever listened there has ended; one that was killed could not tidy up.
        Path(self._sockets.pop(release)).unlink(missing_ok=True)

    def _tell(self) -> None:
        standings = {release: child.standing for release, child in self._children.items()}
        changed = [(release, each) for release, each in standings.items() if self._told.get(release) != each]
        if not changed:
            return
        try:
            self._report(changed)
        except Failure:
            return  # told at the next look
        self._told.update(changed)

    def _program(self, wanted: Wanted) -> Program:
        package, python = self._prepare(wanted)
        name = wanted.release.removeprefix("b3:")[:12]
        return Program(
            command=worker_command(Path(package), Path(wanted.socket), python),
            log=self._logs / f"worker-{name}.log",
            folder=self._folder,
            ready=partial(_serves, wanted.socket),
        )


def _serves(socket: str) -> bool:
    with WorkerClient(socket) as client:
        return client.ready(timeout=0.5)
