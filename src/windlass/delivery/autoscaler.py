"""Measures what is asked of each release, has as many workers as that needs, and lets the routes know who joined."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from windlass.delivery import gateways, leases, routing, scaling, workers
from windlass.delivery.scaling import DOWN_SECONDS, Sample
from windlass.delivery.workers import Size
from windlass.domain.clock import SECOND, Clock
from windlass.domain.errors import Failure
from windlass.domain.ports import Database, Row
from windlass.serving import admin

STALE = 5 * SECOND  # a worker of which nothing was written for as long does next to nothing
STATE_SECONDS = 0.5
LEASE, LEASE_LENGTH = "fleets", 5 * SECOND


class Autoscaler:
    """One contender among others; it acts for as long as ``holder`` has the lease.

    What it remembers are samples: a successor measures for a few seconds before it does anything.
    """

    def __init__(self, db: Database, *, holder: str, now: Clock, cores: int | None = None) -> None:
        self._db, self._holder, self._now = db, holder, now
        self._cores = cores or available_cores()
        self._samples: dict[str, deque[Sample]] = {}
        self._shed: dict[tuple[str, str], int] = {}  # by gateway and release
        self._cpu: dict[tuple[str, int], tuple[int, float, float]] = {}  # measured at, CPU seconds, cores busy

    def tick(self) -> None:
        """One look: sizes where they should change, and a table where somebody joined or left.

        Raises:
            Conflict: another has the lease meanwhile.
        """
        lease = leases.take(self._db, LEASE, holder=self._holder, length=LEASE_LENGTH)
        if lease is None:
            return
        with self._db.read() as tx:
            scaled = [each for each in workers.sizes(tx) if each.most > each.least]
            rows = workers.measured(tx)
            sockets = [each.socket for each in gateways.standing(tx)]
            news = routing.outdated(tx)
        decided = self._decided(scaled, rows, self._asked(sockets)) if scaled else {}
        if not decided and not news:
            return
        with self._db.write() as tx:
            leases.require(tx, lease)
            for release, desired in decided.items():
                workers.resize(tx, release, desired.size, desired.why, self._now())
            routing.renew(tx)

    def _decided(
        self, scaled: Sequence[Size], rows: Sequence[Row], asked: dict[str, tuple[int, int]]
    ) -> dict[str, scaling.Desired]:
        decided = {}
        at = self._now()
        for each in scaled:
            own = [row for row in rows if row["release"] == each.release]
            busy = sum(self._busy(row, at) for row in own)
            in_flight, shed = asked.get(each.release, (0, 0))
            samples = self._samples.setdefault(each.release, deque())
            samples.append(Sample(at=at, busy=busy, in_flight=in_flight, shed=shed))
            while samples[0].at < at - (DOWN_SECONDS + 5) * SECOND:
                samples.popleft()
            if sum(row["state"] == workers.READY for row in own) < each.size:
                continue  # what was asked for last is still on its way
            desired = scaling.decide(
                samples, size=each.size, least=each.least, most=each.most, cores=self._cores, changed_at=each.at
            )
            if desired.size != each.size:
                decided[each.release] = desired
        self._samples = {each.release: self._samples[each.release] for each in scaled}
        there = {(row["release"], row["number"]) for row in rows}
        self._cpu = {key: known for key, known in self._cpu.items() if key in there}
        return decided

    def _busy(self, row: Row, now: int) -> float:
        """How many cores a worker keeps busy, from two measurements of its CPU time."""
        key = (row["release"], row["number"])
        at, seconds, busy = self._cpu.get(key, (0, 0.0, 0.0))
        if row["measured_at"] != at:
            spent, took = row["cpu_seconds"] - seconds, (row["measured_at"] - at) / SECOND
            # A first measurement, or one of a successor that counts from nought again, tells nothing yet.
            busy = spent / took if at and spent >= 0 else 0.0
            self._cpu[key] = (row["measured_at"], row["cpu_seconds"], busy)
        return busy if now - row["measured_at"] < STALE else 0.0

    def _asked(self, sockets: Sequence[str]) -> dict[str, tuple[int, int]]:
        """By release: requests in flight now, and how many were turned away since the last look; of all gateways."""
        found: dict[str, tuple[int, int]] = {}
        for socket in sockets:
            try:
                state: dict[str, Any] = admin.state(Path(socket), timeout=STATE_SECONDS)
            except Failure:
                continue
            for release, counts in state["releases"].items():
                before = self._shed.get((socket, release), counts["shed"])
                self._shed[socket, release] = counts["shed"]
                in_flight, shed = found.get(release, (0, 0))
                # Less than before: the gateway was started again, or has the release anew.
                turned_away = counts["shed"] - before if counts["shed"] >= before else counts["shed"]
                found[release] = (in_flight + counts["in_flight"], shed + turned_away)
        return found


def available_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
