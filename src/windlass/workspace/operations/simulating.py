"""Rehearsing a rollout before it is begun."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from windlass.delivery import simulation
from windlass.delivery.simulation import Simulation, Traffic
from windlass.delivery.strategy import Choice, plan
from windlass.domain.errors import Invalid, NotFound
from windlass.serving import log
from windlass.serving.log import Mark, Position
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace

MOST_RUNS = 10_000
REMOTE_SECONDS = 30.0  # a server has other work, too
# Of a long log the newest segments are drawn from: what users are like now.
SEGMENTS = 4
RATE = "50/s"
ERRORS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateRollout:
    """``log``: an endpoint whose prediction log has the users; otherwise ``rate`` (50/s) and ``errors`` (a share)
    state them, with ``latency_ms`` in the median. ``labels``: the share of answers that a label comes for,
    ``label_seconds`` later; ``disagree``: the share of answers that an innocent candidate gives otherwise.
    ``faults``: such as errors=0.02, latency=2x, quality=-0.02, answers=+0.2. ``strategy``: as of a release; by
    default the policy's phases."""

    log: str | None = None
    rate: str | None = None
    errors: float | None = None
    latency_ms: float = 20.0
    labels: float = 0.0
    label_seconds: float = 0.0
    disagree: float = 0.0
    faults: tuple[str, ...] = ()
    strategy: str | None = None
    runs: int = 500
    seed: int = 1


@operation("rollout.simulate", reads_only=True)
def simulate(ws: Workspace, request: SimulateRollout) -> Simulation:
    """Say what the rollout policy would do to innocent and to faulty candidates, by simulating them."""
    if request.runs > MOST_RUNS:
        raise Invalid(f"runs is {request.runs}", hint=f"use at most {MOST_RUNS:,}")
    if request.seed < 0:
        raise Invalid(f"seed is {request.seed}", hint="use 0 or more")
    faults = [simulation.parse_fault(text) for text in request.faults]
    policy = ws.config.rollout
    phases = plan(policy, Choice(strategy=request.strategy), first=False).phases
    traffic, told = _traffic(ws, request)
    part = max(1, request.runs // 5)
    until = time.monotonic() + REMOTE_SECONDS

    def progress(name: str, done: int, of: int) -> None:
        if ws.remote and time.monotonic() > until:
            raise Invalid(
                f"{request.runs:,} runs of each candidate take the server more than {REMOTE_SECONDS:.0f} s",
                hint="ask for fewer, or run `windlass rollout simulate` in the project's folder",
            )
        if done % part == 0:
            ws.progress(f"{name}: {done:,} of {of:,}")

    return simulation.simulate(
        policy, phases, traffic, faults, runs=request.runs, seed=request.seed, told=told, progress=progress
    )


def _traffic(ws: Workspace, request: SimulateRollout) -> tuple[Traffic, str]:
    stated: dict[str, Any] = {
        "labels": request.labels,
        "label_seconds": request.label_seconds,
        "disagree": request.disagree,
    }
    if request.log is None:
        rate, errors = request.rate or RATE, ERRORS if request.errors is None else request.errors
        made = Traffic(
            rate=simulation.parse_rate(rate), errors=errors, latency_ms=_positive(request.latency_ms), **stated
        )
        return made, f"{rate} new users, {errors:.2%} of them with an error"
    if request.rate is not None or request.errors is not None:
        raise Invalid("--log and a stated traffic are given", hint="leave --rate and --errors out, or --log")
    folder = ws.layout.predictions / request.log
    writers = {writer: log.segments(path) for writer, path in log.writers(folder).items()}
    if not any(writers.values()):
        raise NotFound(f"no prediction log of '{request.log[:80]}'", hint="it is an endpoint that has answered")
    latest = {writer: Mark(known[-SEGMENTS:][0].number) for writer, known in writers.items() if known}
    records, _ = log.read(folder, Position(latest))
    made = simulation.recorded(records, **stated)
    return made, f"{len(made.failed):,} users of the log of {request.log}, {made.rate:.3g} new ones a second"


def _positive(value: float) -> float:
    if not 0 < value < 1e6:
        raise Invalid(f"latency_ms is {value}", hint="use a number of milliseconds, such as 20")
    return value
