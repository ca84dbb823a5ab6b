"""Tracking beside MLflow's server: `uv run benchmarks/tracking.py [--only PART] [--quick] [--json FILE]`.

Starts MLflow's server and ours, runs the same load against both in turn from one keep-alive client program, checks
every answer, and prints a table. Everything lies in one temporary folder, which is removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filling
import peers
from command import add_shared, document, facts, finish, parts_of, working_folder
from figures import Figure, Goal, section
from loading import Unit, ask, asked, call, download, load, one, random_file, request, upload
from measuring import Failed, Times, in_turn, remove, say
from trackers import OURS, PEER, Memory, Place, Tracker, postgres, stop_all

HERE = Path(__file__).resolve().parent
CLIENTS = 8
START_MS = 1_700_000_000_000
HOLE = "@@@@@@@"  # seven digits go there
FIRST_STEP = 1_000_000
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each work."""

    seconds: float = 5.0
    searched: int = 20_000
    page: int = 1000
    points: int = 20_000
    artifact_bytes: int = 1_000_000_000
    alone: int = 1_000_000
    repeats: int = 10


QUICK = Sizes(
    seconds=1.0, searched=1000, page=200, points=3000, artifact_bytes=30_000_000, alone=3000, repeats=3
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bench:
    """Where, how much and how often."""

    place: Place
    folder: Path
    sizes: Sizes
    runs: int
    kills: int
    seed: int

    @property
    def names(self) -> list[str]:
        return [name for name in (OURS, PEER) if name in self.place.programs.paths]

    @contextlib.contextmanager
    def servers(self) -> Iterator[dict[str, Tracker]]:
        """Both, each on a fresh folder and database; ended and removed afterwards."""
        started: dict[str, Tracker] = {}
        try:
            for name in self.names:
                started[name] = self.place.start(name)
            yield started
        finally:
            stop_all(list(started.values()))
            for tracker in started.values():
                remove(tracker.folder)

    def turns(self, servers: dict[str, Tracker]) -> Iterator[Tracker]:
        """Each server ``runs`` times, the others standing still meanwhile."""
        for name in in_turn(list(servers), self.runs):
            with servers[name].alone(list(servers.values())):
                ask(servers[name].port, "GET", "/api/2.0/mlflow/experiments/get?experiment_id=0")  # awake again
                yield servers[name]

    def line(self, times: Times, text: str, unit: str, work: str, goal: Goal | None = None, note: str = "") -> Figure:
        peer = PEER if PEER in self.names else ""
        return Figure(text, unit, times.of(OURS, work), peer, times.of(PEER, work), goal or Goal(), note)


# ---- what clients send


_names = itertools.count(1)


def new_experiment(port: int) -> str:
    return str(asked(port, "experiments/create", {"name": f"experiment-{next(_names)}"})["experiment_id"])


def new_run(port: int, experiment: str) -> str:
    given = {"experiment_id": experiment, "run_name": f"run-{next(_names)}", "start_time": START_MS}
    return str(asked(port, "runs/create", given)["run"]["info"]["run_id"])


def holed(name: str, body: Any) -> bytes:
    """A request with holes for the seven digits of a step (and its time), so that a client only fills them in."""
    text = json.dumps(body).replace(f'"{HOLE}"', HOLE).replace(f'"170000{HOLE}"', f"170000{HOLE}")
    return call(name, text.encode())


def filled(template: bytes, first: int = FIRST_STEP, by: int = 1) -> Iterator[Unit]:
    for step in itertools.count(first, by):
        yield one(template.replace(HOLE.encode(), b"%d" % step))


def single_metrics(run: str) -> Iterator[Unit]:
    point = {"run_id": run, "key": "loss", "value": 0.25, "timestamp": f"170000{HOLE}", "step": HOLE}
    return filled(holed("runs/log-metric", point))


def batches(run: str, keys: int) -> Iterator[Unit]:
    """1000 metrics each: of ``keys`` names, at 1000 / ``keys`` steps that no batch had before."""
    metrics = [
        {"key": f"m{key}", "value": key + at / 1000, "timestamp": f"17000{HOLE}{at}", "step": f"{HOLE}{at}"}
        for at in range(100, 100 + 1000 // keys)
        for key in range(keys)
    ]
    text = json.dumps({"run_id": run, "metrics": metrics})
    return filled(call("runs/log-batch", text.encode()))


def whole_runs(experiment: str, *, singles: bool) -> Iterator[Unit]:
    """Create, 20 params and 20 metrics (in one batch, or one by one), finish."""
    params = [{"key": f"p{at}", "value": f"value-{at}"} for at in range(20)]
    metrics = [{"key": f"m{at}", "value": at / 7, "timestamp": START_MS, "step": 0} for at in range(20)]
    run = "0" * 32
    end = call("runs/update", {"run_id": run, "status": "FINISHED", "end_time": START_MS + 1000})
    if singles:
        logged = [call("runs/log-parameter", {"run_id": run, **each}) for each in params]
        logged += [call("runs/log-metric", {"run_id": run, **each}) for each in metrics]
    else:
        logged = [call("runs/log-batch", {"run_id": run, "params": params, "metrics": metrics})]
    create = call("runs/create", {"experiment_id": experiment, "run_name": "whole", "start_time": START_MS})

    def unit() -> Unit:
        created = json.loads((yield create))["run"]["info"]["run_id"].encode()
        if len(created) != len(run):
            raise Failed(f"a run's id of {len(created)} characters: the requests were made for {len(run)}")
        for each in (*logged, end):
            yield each.replace(run.encode(), created)

    while True:
        yield unit()


# ---- the parts


def start(bench: Bench) -> list[Figure]:
    """On a fresh folder: until the first answer; and the memory of a server that nobody has asked anything."""
    times = Times()
    for name in in_turn(bench.names, bench.runs):
        tracker = bench.place.start(name)
        try:
            times.add(name, "start", tracker.start_seconds)
            time.sleep(min(2.0, bench.sizes.seconds))
            times.add(name, "rest", tracker.resident())
        finally:
            tracker.end()
            remove(tracker.folder)
    return [
        bench.line(times, "first start, until it answers", "s", "start"),
        bench.line(times, "memory at rest", "MB", "rest"),
    ]


def log_metric(bench: Bench) -> list[Figure]:
    times = Times()

    def clients(port: int, count: int) -> list[Iterator[Unit]]:
        experiment = new_experiment(port)
        return [single_metrics(new_run(port, experiment)) for _ in range(count)]

    with bench.servers() as servers:
        for tracker in servers.values():
            load(tracker.port, clients(tracker.port, CLIENTS), min(1.0, bench.sizes.seconds))
        for tracker in bench.turns(servers):
            for count in (1, CLIENTS):
                found = load(tracker.port, clients(tracker.port, count), bench.sizes.seconds)
                times.add(tracker.name, f"rate {count}", found.rate)
                times.add(tracker.name, f"p50 {count}", found.percentile(50))
                times.add(tracker.name, f"p99 {count}", found.percentile(99))
    return [
        bench.line(times, f"log-metric, {text}{what}", unit, f"{work} {count}", goal)
        for count, text, faster in ((1, "1 client", 8), (CLIENTS, f"{CLIENTS} clients", 20))
        for work, what, unit, goal in (
            ("rate", "", "/s", Goal(faster=faster)),
            ("p50", ": p50", "ms", Goal()),
            ("p99", ": p99", "ms", Goal(at_most=20 if count == CLIENTS else None)),
        )
    ]


def log_batch(bench: Bench) -> list[Figure]:
    times, kinds = Times(), (10, 1000)
    with bench.servers() as servers:
        runs = {name: new_run(each.port, new_experiment(each.port)) for name, each in servers.items()}
        for name, tracker in servers.items():
            for keys in kinds:
                load(tracker.port, [batches(runs[name], keys)], most=3)
        for tracker in bench.turns(servers):
            for keys in kinds:
                run = new_run(tracker.port, new_experiment(tracker.port))
                found = load(tracker.port, [batches(run, keys)], bench.sizes.seconds)
                times.add(tracker.name, f"rate {keys}", found.rate)
    return [
        bench.line(times, f"log-batch of 1000 metrics: {text}", "/s", f"rate {keys}", Goal(faster=20))
        for keys, text in ((10, "10 names at 100 steps"), (1000, "1000 names"))
    ]


def whole_run(bench: Bench) -> list[Figure]:
    times = Times()
    with bench.servers() as servers:
        for tracker in servers.values():
            for singles in (False, True):
                units = [whole_runs(new_experiment(tracker.port), singles=singles)]
                load(tracker.port, units, most=3)
        for tracker in bench.turns(servers):
            for singles in (False, True):
                experiment = new_experiment(tracker.port)
                units = [whole_runs(experiment, singles=singles) for _ in range(CLIENTS)]
                found = load(tracker.port, units, bench.sizes.seconds)
                times.add(tracker.name, f"rate {singles}", found.rate)
    text = f"create run, 20 params, 20 metrics, finish, {CLIENTS} clients"
    return [
        bench.line(times, f"{text}: in 3 calls", "/s", "rate False", Goal(faster=20)),
        bench.line(times, f"{text}: in 42 calls", "/s", "rate True"),
    ]


def fill(
    bench: Bench, tracker: Tracker, experiment: str, runs: int, counts: tuple[int, int, int], first: int = 0
) -> None:
    """Runs from `filling`, by SQL: through MLflow's API, 20,000 would take longer than all the rest."""
    python = bench.place.programs.paths[tracker.name].parent / "python"
    where = str(tracker.folder) if tracker.name == OURS else tracker.url
    numbers = [str(each) for each in (experiment, first, runs, *counts)]
    env = {**bench.place.env, **({"WINDLASS_DATABASE": tracker.url} if tracker.name == OURS and tracker.url else {})}
    say(f"  {tracker.name}: filling in {runs:,} runs")
    words = [str(python), str(HERE / "filling.py"), tracker.name, where, *numbers]
    done = subprocess.run(words, env=env, cwd=bench.folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"filling {tracker.name}: {done.stderr.strip()[-1000:]}")


def timed(port: int, sent: list[bytes]) -> tuple[list[float], bytes]:
    """What each request took from one client, in ms, and the last answer."""
    last: list[bytes] = []

    def unit(each: bytes) -> Unit:
        last[:] = [(yield each)]

    found = load(port, [iter([unit(each) for each in sent])])
    return found.milliseconds, last[0]


def searching(experiment: str, **more: Any) -> bytes:
    return call("runs/search", {"experiment_ids": [experiment], "max_results": 100, **more})


def named(answer: bytes) -> list[str]:
    """The names of the runs that were found, in their order."""
    return [run["info"]["run_name"] for run in json.loads(answer).get("runs", [])]


def search(bench: Bench) -> list[Figure]:
    """Each search asks for other values than those before, up to 50."""
    times, count, repeats = Times(), bench.sizes.searched, bench.sizes.repeats

    def given(at: int) -> dict[str, Any]:
        words = f"metrics.m1 > 0.5 and params.p1 = 'v{at % 10}' and tags.t1 = 'w{at // 10 % 5}'"
        return {"filter": words, "order_by": ["metrics.m2 DESC"]}

    with bench.servers() as servers:
        experiments = {name: new_experiment(tracker.port) for name, tracker in servers.items()}
        asked_before = dict.fromkeys(servers, 0)
        for name, tracker in servers.items():
            fill(bench, tracker, experiments[name], count, (5, 5, 5))
            timed(tracker.port, [searching(experiments[name], **given(49))] * 2)
        for tracker in bench.turns(servers):
            first = asked_before[tracker.name]
            asked_before[tracker.name] = after = first + repeats
            sent = [searching(experiments[tracker.name], **given(at)) for at in range(first, after)]
            took, answer = timed(tracker.port, sent)
            times.add(tracker.name, "search", statistics.median(took))
            _same("the search", {tracker.name: named(answer)}, expected=_expected(count, after - 1))
    text = f"search over {count:,} runs: metric, param and tag, ordered by a metric"
    return [bench.line(times, text, "ms", "search", Goal(faster=20))]


def _expected(runs: int, at: int) -> list[str]:
    """The same search, in Python."""
    fitting = (
        run
        for run in range(runs)
        if filling.metric(run, 1) > 0.5 and filling.param(run, 1) == at % 10 and filling.tag(run, 1) == at // 10 % 5
    )
    return [filling.name(run) for run in heapq.nlargest(100, fitting, key=lambda run: filling.metric(run, 2))]


def _same(what: str, found: dict[str, Any], expected: Any) -> None:
    for name, value in found.items():
        if value != expected:
            raise Failed(f"{what}: {name} answers {str(value)[:300]}, and it should be {str(expected)[:300]}")


def reading(bench: Bench) -> list[Figure]:
    """Each turn reads runs and a history that nobody has read before, and then again."""
    times, page, points = Times(), bench.sizes.page, bench.sizes.points
    sent: dict[tuple[str, str], list[bytes]] = {}
    with bench.servers() as servers:
        for name, tracker in servers.items():
            pages, histories = list[bytes](), list[bytes]()
            for turn in range(bench.runs + 1):
                experiment = new_experiment(tracker.port)
                fill(bench, tracker, experiment, page, (20, 20, 5), first=turn * page)
                pages.append(searching(experiment, max_results=page))
                histories.append(_history(tracker.port, points))
            sent[name, "page"], sent[name, "history"] = pages, histories
            # The first of each is the warm-up, and is checked.
            _, answer = timed(tracker.port, [pages.pop(0)])
            _check_page(name, answer, page)
            _, answer = timed(tracker.port, [histories.pop(0)])
            steps = sorted(int(point.get("step", 0)) for point in json.loads(answer)["metrics"])
            _same("the history", {name: steps}, expected=list(range(points)))
        for tracker in bench.turns(servers):
            for work in ("page", "history"):
                took, _ = timed(tracker.port, [sent[tracker.name, work].pop(0)] * (1 + bench.sizes.repeats))
                times.add(tracker.name, f"{work} first", took[0])
                times.add(tracker.name, f"{work} again", statistics.median(took[1:]))
    texts = {
        "page": f"a page of {page:,} runs (20 params, 20 metrics, 5 tags each)",
        "history": f"history of {points:,} points",
    }
    return [
        bench.line(times, f"{text}: {when}", "ms", f"{work} {which}", Goal(faster=20))
        for work, text in texts.items()
        for which, when in (("first", "read for the first time"), ("again", "read again"))
    ]


def _history(port: int, points: int) -> bytes:
    """A new run with so many points of a metric; the request for them."""
    run = new_run(port, new_experiment(port))
    for first in range(0, points, 1000):
        metrics = [
            {"key": "loss", "value": step / 3, "timestamp": START_MS + step, "step": step}
            for step in range(first, min(first + 1000, points))
        ]
        asked(port, "runs/log-batch", {"run_id": run, "metrics": metrics})
    query = f"run_id={run}&metric_key=loss&max_results=25000"
    return request("GET", f"/api/2.0/mlflow/metrics/get-history?{query}")


def _check_page(name: str, answer: bytes, page: int) -> None:
    runs = json.loads(answer)["runs"]
    counts = {
        (
            len(run["data"]["params"]),
            len(run["data"]["metrics"]),
            sum(not tag["key"].startswith("mlflow.") for tag in run["data"]["tags"]),
        )
        for run in runs
    }
    _same("the page", {name: (len(runs), counts)}, expected=(page, {(20, 20, 5)}))


def artifact(bench: Bench) -> list[Figure]:
    times, size = Times(), bench.sizes.artifact_bytes
    with bench.servers() as servers:
        experiments = {name: new_experiment(tracker.port) for name, tracker in servers.items()}
        for name, tracker in servers.items():
            path = f"{ARTIFACTS}/{experiments[name]}/{new_run(tracker.port, experiments[name])}/artifacts/small.bin"
            small = random_file(bench.folder / "small.bin", 1_000_000)
            upload(tracker.port, path, small)
            download(tracker.port, path, small)
        for tracker in bench.turns(servers):
            experiment = experiments[tracker.name]
            path = f"{ARTIFACTS}/{experiment}/{new_run(tracker.port, experiment)}/artifacts/big.bin"
            source = random_file(bench.folder / "big.bin", size)
            try:
                with Memory(tracker) as memory:
                    took = upload(tracker.port, path, source)
                times.add(tracker.name, "up", size / 1e6 / took)
                times.add(tracker.name, "memory up", memory.megabytes)
                subprocess.run(["sync"], check=True)
                with Memory(tracker) as memory:
                    took = download(tracker.port, path, source)
                times.add(tracker.name, "down", size / 1e6 / took)
                times.add(tracker.name, "memory down", memory.megabytes)
            finally:
                remove(source)
    text = f"artifact of {size / 1e6:,.0f} MB"
    return [
        bench.line(times, f"{text}: {what}", unit, work, goal)
        for what, unit, work, goal in (
            ("up", "MB/s", "up", Goal(faster=3)),
            ("down", "MB/s", "down", Goal(faster=3)),
            ("memory meanwhile, up", "MB", "memory up", Goal(at_most=150)),
            ("memory meanwhile, down", "MB", "memory down", Goal(at_most=150)),
        )
    ]


@dataclass(frozen=True, slots=True)
class Search:
    """What is asked, with other values at each ``at``; ``fits`` and ``order`` say the same of a run, in Python."""

    given: Callable[[int], dict[str, Any]]
    fits: Callable[[int, int], bool]
    order: Callable[[int], float] = float  # the largest first; the newest has the largest number


def searches(runs: int) -> dict[str, Search]:
    """Each asks for values that some run has."""

    def param(run: int, at: int) -> str:
        return f"v{filling.param(run, at)}"

    def some(at: int) -> int:
        return at * 97 % runs

    def both(at: int, run: int) -> bool:
        found = filling.metric(run, 1) > 0.5 and param(run, 3) == param(some(at), 3)
        return found and filling.tag(run, 1) == filling.tag(some(at), 1)

    return {
        "a param (1 of 10 values)": Search(
            lambda at: {"filter": f"params.p1 = 'v{at % 10}'"}, lambda at, run: param(run, 1) == f"v{at % 10}"
        ),
        "a param (1 of 10,000 values)": Search(
            lambda at: {"filter": f"params.p4 = '{param(some(at), 4)}'"},
            lambda at, run: param(run, 4) == param(some(at), 4),
        ),
        "a metric's range, ordered by it": Search(
            lambda at: {"filter": f"metrics.m1 > 0.{990 + at % 9}", "order_by": ["metrics.m1 DESC"]},
            lambda at, run: filling.metric(run, 1) > (990 + at % 9) / 1000,
            lambda run: filling.metric(run, 1),
        ),
        "a tag (1 of 5 values)": Search(
            lambda at: {"filter": f"tags.t1 = 'w{at % 5}'"}, lambda at, run: filling.tag(run, 1) == at % 5
        ),
        "a run's name": Search(
            lambda at: {"filter": f"attributes.run_name = '{filling.name(some(at))}'"}, lambda at, run: run == some(at)
        ),
        "a status (1 % of runs)": Search(
            lambda at: {"filter": "attributes.status = 'FAILED'", "max_results": 50 + at},
            lambda _, run: filling.ended(run) == "FAILED",
        ),
        "no filter, ordered by start": Search(
            lambda at: {"order_by": ["attributes.start_time ASC"], "max_results": 50 + at}, lambda *_: True,
            lambda run: -float(run),
        ),
        "metric, param and tag, ordered by a metric": Search(
            lambda at: {
                "filter": f"metrics.m1 > 0.5 and params.p3 = '{param(some(at), 3)}'"
                f" and tags.t1 = 'w{filling.tag(some(at), 1)}'",
                "order_by": ["metrics.m2 DESC"],
            },
            both, lambda run: filling.metric(run, 2),
        ),
    }  # fmt: skip


def million(bench: Bench) -> list[Figure]:
    """Ours alone; each search asks for other values than the one before, and the last answer is checked."""
    runs, many = bench.sizes.alone, max(3, bench.sizes.repeats * 5)
    figures = list[Figure]()
    tracker = bench.place.start(OURS)
    try:
        began = time.perf_counter()
        fill(bench, tracker, "0", runs, (5, 5, 5))
        say(f"  filled in {time.perf_counter() - began:.0f} s")
        tracker.end()  # as it is after a restart: nothing of these runs is remembered from writing them
        tracker = bench.place.start(OURS, tracker.folder, tracker.url)
        for text, each in searches(runs).items():
            where, last = f"search over {runs:,} runs: {text}", each.given(many)
            took, answer = timed(tracker.port, [searching("0", **each.given(at)) for at in range(many + 1)])
            took = sorted(took[1:])
            p50, p95 = statistics.median(took), took[min(len(took) - 1, int(len(took) * 0.95))]
            say(f"  {text}: p50 {p50:.1f} ms, p95 {p95:.1f} ms")
            fitting = (run for run in range(runs) if each.fits(many, run))
            expected = heapq.nlargest(last.get("max_results", 100), fitting, key=each.order)
            _same(where, {OURS: named(answer)}, expected=[filling.name(run) for run in expected])
            figures += [
                Figure(f"{where}: p50", "ms", [p50], goal=Goal(at_most=100)), Figure(f"{where}: p95", "ms", [p95])
            ]  # fmt: skip
    finally:
        tracker.end()
        remove(tracker.folder)
    return figures


def durable(bench: Bench) -> list[Figure]:
    """A killed server's successor must have every write that was answered; one more of each client may be there."""
    lost, written, starts, chance = 0, 0, list[float](), random.Random(bench.seed)
    kept: dict[str, int] = {}  # run -> how many of its writes were answered
    tracker = bench.place.start(OURS)

    def writer(run: str) -> Iterator[Unit]:
        template = holed(
            "runs/log-metric",
            {"run_id": run, "key": "loss", "value": 0.5, "timestamp": f"170000{HOLE}", "step": HOLE},
        ).replace(HOLE.encode(), b"%d")

        def unit(step: int) -> Unit:
            yield template % (step, step)
            kept[run] += 1

        for at in itertools.count():
            yield unit(FIRST_STEP + at)

    def missing(run: str) -> int:
        query = f"run_id={run}&metric_key=loss&max_results=25000"
        found = ask(tracker.port, "GET", f"/api/2.0/mlflow/metrics/get-history?{query}").get("metrics", [])
        steps = {int(point["step"]) - FIRST_STEP for point in found if point["value"] == 0.5}
        if len(found) > kept[run] + 1 or len(steps) != len(found) or (steps and max(steps) > kept[run]):
            raise Failed(f"run {run}: {len(found)} points, and only {kept[run]} were answered")
        return len(set(range(kept[run])) - steps)

    try:
        experiment = new_experiment(tracker.port)
        for kill in range(1, bench.kills + 1):
            runs = [new_run(tracker.port, experiment) for _ in range(CLIENTS)]
            kept.update(dict.fromkeys(runs, 0))
            timer = threading.Timer(chance.uniform(0.02, 0.4), tracker.kill)
            timer.start()
            load(tracker.port, [writer(run) for run in runs], may_break=True)
            timer.join()
            tracker.process.wait()
            tracker = bench.place.start(OURS, tracker.folder, tracker.url)
            starts.append(tracker.start_seconds)
            gone = sum(missing(run) for run in runs)
            written += sum(kept[run] for run in runs)
            lost += gone
            if gone or kill % 50 == 0 or kill == bench.kills:
                say(f"  {kill} kills, {written:,} writes answered, {lost} lost")
        lost = max(lost, sum(missing(run) for run in kept))  # nothing went later, either
    finally:
        tracker.end()
        remove(tracker.folder)
    text = f"{bench.kills:,} kills of a server with {CLIENTS} writers"
    if written < bench.kills:
        raise Failed(f"{text}: only {written} writes were answered in all, too few to say anything")
    return [
        Figure(f"{text}: answered writes", "writes", [float(written)]),
        Figure(f"{text}: of them lost", "writes", [float(lost)], goal=Goal(at_most=0)),
        Figure(f"{text}: start after a kill", "s", starts, goal=Goal(at_most=2), note=f"slowest {max(starts):.2f} s"),
    ]


PARTS: dict[str, Callable[[Bench], list[Figure]]] = {
    "start": start,
    "log-metric": log_metric,
    "log-batch": log_batch,
    "run": whole_run,
    "search": search,
    "read": reading,
    "artifact": artifact,
    "million": million,
    "durable": durable,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part (may be given more than once)")
    parser.add_argument("--quick", action="store_true", help="small sizes: to try it, not for figures")
    parser.add_argument("--seconds", type=float, help="of each rate that is measured [5; quick: 1]")
    parser.add_argument("--runs", type=int, help="repetitions; medians are compared [3; quick: 1]")
    parser.add_argument("--kills", type=int, help="of the durable part [20; quick: 3]; 1000 for the figure")
    parser.add_argument("--seed", type=int, default=1, help="of the moments at which the server is killed [1]")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite", help="of both [%(default)s]")
    parser.add_argument("--alone", action="store_true", help="without MLflow")
    add_shared(parser)
    return parser.parse_args()


def measured(options: argparse.Namespace) -> dict[str, Any]:
    sizes = QUICK if options.quick else Sizes()
    if options.seconds is not None:
        sizes = Sizes(**{name: getattr(sizes, name) for name in Sizes.__slots__} | {"seconds": options.seconds})
    runs = options.runs or (1 if options.quick else 3)
    kills = options.kills or (3 if options.quick else 20)
    with contextlib.ExitStack() as closing:
        folder = closing.enter_context(working_folder(options))
        programs = peers.install([] if options.alone else [PEER], options.environments or folder / "environments")
        versions, database = dict(programs.versions), None
        if options.database == "postgres":
            python = programs.paths.get(PEER, Path(sys.executable)).parent / "python"
            database = closing.enter_context(postgres(python, folder / "postgres"))
            versions["postgresql"] = database.version()
        bench = Bench(
            Place(programs, peers.environment(folder), folder / "servers", database), folder, sizes, runs, kills,
            options.seed,
        )  # fmt: skip
        machine = facts(folder)
        figures, failed = parts_of(options.only or PARTS, PARTS, bench)
    return document(
        "tracking.py", figures, programs.left_out + failed, machine=machine, versions=versions,
        database=options.database, quick=options.quick, runs=runs, seconds=sizes.seconds,
    )  # fmt: skip


def about(document: dict[str, Any]) -> str:
    machine, on = document["machine"], {"sqlite": "SQLite", "postgres": "PostgreSQL"}[document["database"]]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    return (
        f"`{document['command']}`, medians of {document['runs']} runs, rates over {document['seconds']:g} s each, "
        f"MLflow's server and ours in turn, both on {on}, on {document['date']}. {machine['cores']} cores "
        f"({machine['cpu']}), {machine['memory_gb']} GB, {machine['system']}, {machine['filesystem']}; load before it: "
        f"{machine['load_before']}; {versions}."
    )


QUICK_WARNING = "Of small sizes, to try it: **not** the figures that are to be reached."


def markdown(document: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md, of a document that a run wrote."""
    title = "## Tracking" if document["database"] == "sqlite" else "### Tracking on PostgreSQL"
    return section(title, about(document), QUICK_WARNING if document["quick"] else "", document)


def main() -> None:
    finish(
        _options(), measured, markdown,
        lambda document: [about(document), *([QUICK_WARNING] if document["quick"] else [])],
    )  # fmt: skip


if __name__ == "__main__":
    main()
