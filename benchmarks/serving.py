"""Serving beside its peers: `uv run benchmarks/serving.py [--only PART] [--quick] [--json FILE]`.

Starts Windlass' gateway with workers, and each peer, all with the same model; sends them the same rows in turn from
one client program; checks what they answer, and prints a table. Everything lies in one temporary folder, which is
removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers
import plane
import rollingout
import servers
import sessions
from command import add_shared, document, facts, finish, parts_of, working_folder
from figures import Figure, Goal, section
from measuring import Failed, Times, in_turn, say
from plane import NAME as OURS
from plane import Plane
from servers import Served, Server

from windlass.domain.routing import Route

HERE = Path(__file__).resolve().parent
CONNECTIONS = 16
ONNX = f"{OURS}-onnx"
BY_HAND = "fastapi"  # no framework: what one writes without any
WARM_SECONDS = 0.5
SWITCHES = 10
LONGEST = 3600.0  # of a load that is ended by a signal


@dataclass(frozen=True, slots=True)
class Bench:
    """Where, beside whom, how long and how often."""

    folder: Path
    programs: peers.Programs
    env: dict[str, str]
    seconds: float
    runs: int
    urgent: bool
    quick: bool

    @property
    def peers(self) -> list[str]:
        return [name for name in servers.PEERS if name in self.programs.paths]

    @property
    def frameworks(self) -> list[str]:
        return [name for name in self.peers if name != BY_HAND]

    @property
    def python(self) -> Path:
        return self.programs.paths[OURS].parent / "python"

    def served(self, kind: str) -> Served:
        """The model, trained when it is first asked for."""
        folder = self.folder / "models" / kind
        if not folder.exists():
            _output([str(self.python), str(HERE / "models.py"), kind, str(folder)])
        return Served.read(kind, folder)

    def fresh(self, name: str) -> Path:
        number = len(list(self.folder.glob(f"{name}-*")))
        return self.folder / f"{name}-{number}"

    def plane(self, served: Served, package: str = "package") -> Plane:
        return plane.start(self.python, served, self.fresh(OURS), self.env, package)

    def peer(self, name: str, served: Served) -> Server:
        return servers.start(name, self.programs.paths[name], served, self.fresh(name), self.env)

    @contextlib.contextmanager
    def all(self, served: Served) -> Iterator[tuple[dict[str, Plane], dict[str, Server]]]:
        """Windlass, with and without ONNX, and its peers: each one's answers are checked."""
        with contextlib.ExitStack() as stack:
            started = stack.enter_context(servers.closing({}))
            planes = dict[str, Plane]()
            for name, package in ((OURS, "package"), (ONNX, "package-onnx")):
                planes[name] = self.plane(served, package)
                stack.callback(planes[name].end)
            for name in self.peers:
                try:
                    started[name] = self.peer(name, served)
                except Failed as error:
                    say(str(error))
                    self.programs.left_out.append(f"{name}: {str(error).splitlines()[0]}")
            everybody = {name: made.server(served, name) for name, made in planes.items()} | started
            for server in everybody.values():
                server.check()
            yield planes, everybody

    def turns(self, everybody: dict[str, Server]) -> Iterator[Server]:
        """Each server ``runs`` times, the others standing still meanwhile; warmed up each time."""
        for name in in_turn(list(everybody), self.runs):
            with still(everybody, name):
                self.fire(everybody[name], CONNECTIONS, WARM_SECONDS)
                yield everybody[name]

    def fire(self, server: Server, connections: int, seconds: float | None = None) -> dict[str, Any]:
        """Raises Failed where a request did."""
        requests = self.folder / f"requests-{server.served.kind}-{server.name}"
        server.write(requests)
        leaders = [leader.pid for leader in server.leaders]
        return self.fired(str(server.port), requests, connections, seconds, server.name, leaders)

    def fired(
        self,
        target: str,
        requests: Path,
        connections: int,
        seconds: float | None,
        name: str,
        leaders: list[int],
        *more: str,
    ) -> dict[str, Any]:
        with (
            firing(target, requests, connections, seconds or self.seconds, *more) as client,
            sessions.urgent([*leaders, client.pid], self.urgent),
        ):
            found = result(client)
        if found["failed"]:
            raise Failed(f"{name}: {found['failed']} of {found['answered']} requests failed: {found['first_failure']}")
        return found


class _Ended:
    """A plane as something that can be closed."""

    def __init__(self, made: Plane) -> None:
        self.close = made.end


@contextlib.contextmanager
def firing(
    target: str, requests: Path, connections: int, seconds: float, *more: str
) -> Iterator[subprocess.Popen[str]]:
    """The client, sending; it ends with the block."""
    words = [sys.executable, str(HERE / "firing.py"), target, str(requests), "--connections", str(connections)]
    words += ["--seconds", str(seconds), *more]
    client = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert client.stdout is not None
    try:
        client.stdout.readline()
        yield client
    finally:
        client.kill()
        client.wait()
        client.stdout.close()


def result(client: subprocess.Popen[str]) -> dict[str, Any]:
    """What the client says at its end."""
    assert client.stdout is not None
    if not (line := client.stdout.readline()):
        raise Failed("the client ended without a result")
    found: dict[str, Any] = json.loads(line)
    return found


def still(everybody: dict[str, Server], name: str) -> contextlib.AbstractContextManager[None]:
    others = [leader.pid for each in everybody.values() if each.name != name for leader in each.leaders]
    return sessions.standing_still(others)


def _output(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)}: {done.stderr.strip()[-1500:]}")
    return done.stdout


# ---- the parts


def client(bench: Bench) -> list[Figure]:
    """What the client can do at most: beside a server that does nothing."""
    served, times = bench.served("gbm"), Times()
    trivial = subprocess.Popen(
        [sys.executable, str(HERE / "answering.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert trivial.stdout is not None and trivial.stdin is not None
    try:
        port = json.loads(trivial.stdout.readline())["port"]
        server = Server("trivial", port, [trivial], "/", servers.split, lambda _: 0.0, served)
        for _ in range(bench.runs):
            found = bench.fire(server, CONNECTIONS)
            times.add("client", "rate", found["rate"])
            times.add("client", "us", found["client_us"] / 1000)
            times.add("client", "p50", bench.fire(server, 1)["p50_ms"])
    finally:
        trivial.stdin.close()
        trivial.wait()
        trivial.stdout.close()
    return [
        Figure(f"the client at most, {CONNECTIONS} connections", "/s", times.of("client", "rate")),
        Figure("the client's own processor time for a request", "ms", times.of("client", "us")),
        Figure("the client at least, 1 connection: p50", "ms", times.of("client", "p50")),
    ]  # fmt: skip


def one_row(bench: Bench) -> list[Figure]:
    served, times = bench.served("gbm"), Times()
    with bench.all(served) as (planes, everybody):
        for server in bench.turns(everybody):
            measure(bench, server, times)
        for name, made in planes.items():
            answered = {release: found["answered"] for release, found in made.state()["releases"].items()}
            made.check_log(sum(answered.values()))
            share = answered[plane.CANDIDATE] / sum(answered.values())
            say(f"  {name}: {share:.1%} answered by the candidate, and all of it is in the log")
    figures = compared(bench, times, "1 row", Goal(faster=4), Goal(at_most=0.5, times=0.35))
    return [*compared(bench, times, "1 row, ONNX", Goal(faster=8), Goal(), ONNX)[:2], *figures]


def forest(bench: Bench) -> list[Figure]:
    """A forest of 100 trees: with ONNX, beside scikit-learn behind each peer."""
    served, times = bench.served("forest"), Times()
    with bench.all(served) as (_, everybody):
        for server in bench.turns(everybody):
            measure(bench, server, times)
    text = "forest of 100 trees, 1 row"
    return [
        *compared(bench, times, f"{text}, ONNX", Goal(faster=50), Goal(), ONNX)[:2],
        *compared(bench, times, text, Goal(), Goal())[:2],
    ]


def measure(bench: Bench, server: Server, times: Times) -> None:
    before = server.processor_seconds()
    many = bench.fire(server, CONNECTIONS)
    spent = server.processor_seconds() - before
    one = bench.fire(server, 1)
    times.add(server.name, "processor", 1000 * spent / many["answered"])
    times.add(server.name, "rate", many["rate"])
    times.add(server.name, "p50 of 16", many["p50_ms"])
    times.add(server.name, "p99 of 16", many["p99_ms"])
    times.add(server.name, "p50", one["p50_ms"])
    times.add(server.name, "p99", one["p99_ms"])


def compared(bench: Bench, times: Times, text: str, rate: Goal, latency: Goal, name: str = OURS) -> list[Figure]:
    """Ours beside the best framework, by which the goals go; and beside each peer."""
    best_rate = best(times, bench.frameworks, "rate", max)
    best_p50 = best(times, bench.frameworks, "p50", min)
    works = ("rate", "p50", "p50 of 16", "p99 of 16", "p99", "processor")
    ours = {work: times.of(name, work) for work in works}
    many, one = f"{text}, {CONNECTIONS} connections", f"{text}, 1 connection"

    def line(what: str, unit: str, work: str, peer: str, goal: Goal | None = None) -> Figure:
        return Figure(what, unit, ours[work], peer, times.of(peer, work), goal or Goal())

    figures = [
        line(f"{many}, beside the best framework", "/s", "rate", best_rate, rate),
        line(f"{one}: p50, beside the best framework", "ms", "p50", best_p50, latency),
    ]
    for peer in (each for each in bench.peers if times.of(each, "rate")):
        figures += [
            line(many, "/s", "rate", peer),
            line(f"{many}: p99", "ms", "p99 of 16", peer),
            line(f"{many}: processor time a request", "ms", "processor", peer),
            line(f"{one}: p50", "ms", "p50", peer),
        ]
    return figures


def best(times: Times, names: list[str], work: str, choose: Callable[..., str]) -> str:
    measured = [name for name in names if times.of(name, work)]
    return choose(measured, key=lambda name: statistics.median(times.of(name, work))) if measured else ""


def gateway(bench: Bench) -> list[Figure]:
    """What it adds to asking the worker on its socket: the same rows, one connection, in turn."""
    served, times = bench.served("gbm"), Times()
    made = bench.plane(served)
    asked = plane.frames(served, bench.folder / "frames")
    with contextlib.closing(_Ended(made)):
        server = made.server(served)
        server.check()
        routes = {"gateway": plane.ALONE, "canary": plane.CANARY, "shadow": plane.SHADOW}
        found = dict[str, float]()
        for at in range(bench.runs):
            ways = ["worker", *routes]
            for way in [*ways[at % 4 :], *ways[: at % 4]]:
                if way == "worker":
                    target = made.sockets[plane.STABLE][0]
                    leaders = [leader.pid for leader in server.leaders]
                    bench.fired(target, asked, 1, WARM_SECONDS, "worker", leaders, "--frames")
                    measured = bench.fired(target, asked, 1, None, "worker", leaders, "--frames")
                else:
                    made.route(routes[way])
                    bench.fire(server, 1, WARM_SECONDS)
                    measured = bench.fire(server, 1)
                found[way] = measured["p50_ms"]
                times.add(OURS, f"{way} p50", measured["p50_ms"])
            for way in routes:
                times.add(OURS, f"added {way}", found[way] - found["worker"])
        made.check_log(0)
    return [
        Figure("the worker asked on its socket, 1 connection: p50", "ms", times.of(OURS, "worker p50")),
        Figure("added by the gateway at p50: one release + log", "ms", times.of(OURS, "added gateway")),
        Figure(
            "added by the gateway at p50: canary + log", "ms", times.of(OURS, "added canary"), goal=Goal(at_most=0.15)
        ),
        Figure(
            "added by the gateway at p50: 100 % shadow + log", "ms", times.of(OURS, "added shadow"),
            goal=Goal(at_most=0.3),
        ),
    ]  # fmt: skip


def start(bench: Bench) -> list[Figure]:
    """From the start of a process to its first answer: our worker's, and each peer's server with its worker."""
    served, times = bench.served("gbm"), Times()
    for name in in_turn([OURS, *bench.peers], bench.runs):
        if name == OURS:
            made = Plane(bench.python, bench.env, bench.fresh(OURS))
            with contextlib.closing(_Ended(made)), sessions.starting_urgently(bench.urgent):
                times.add(OURS, "start", made.worker(plane.STABLE, served.folder / "package"))
        else:
            with contextlib.suppress(Failed):
                with sessions.starting_urgently(bench.urgent):
                    server = bench.peer(name, served)
                server.end()
                times.add(name, "start", server.start_seconds)
    text, ours = "start of a worker to its first answer", times.of(OURS, "start")
    quickest = best(times, bench.frameworks, "start", min)
    return [
        Figure(
            f"{text}, beside the best framework", "s", ours, quickest, times.of(quickest, "start"),
            Goal(at_most=3, times=0.5),
        ),
        *(Figure(text, "s", ours, name, times.of(name, "start")) for name in bench.peers if times.of(name, "start")),
    ]  # fmt: skip


def memory(bench: Bench) -> list[Figure]:
    """After a load, each server alone on the machine: gateway + one worker, beside each peer with all its processes."""
    served, times = bench.served("gbm"), Times()
    for name in in_turn([OURS, *bench.peers], bench.runs):
        if name == OURS:
            made = Plane(bench.python, bench.env, bench.fresh(OURS))
            with contextlib.closing(_Ended(made)):
                made.worker(plane.STABLE, served.folder / "package")
                made.gateway()
                made.route(plane.ALONE)
                server = made.server(served)
                bench.fire(server, CONNECTIONS)
                times.add(name, "memory", server.megabytes())
        else:
            with contextlib.suppress(Failed), servers.closing({}) as started:
                started[name] = bench.peer(name, served)
                bench.fire(started[name], CONNECTIONS)
                times.add(name, "memory", started[name].megabytes())
    ours = times.of(OURS, "memory")
    return [
        Figure(
            "memory of gateway + one worker (PSS)", "MB", ours, name, times.of(name, "memory"),
            Goal(times=1.2) if name == BY_HAND else Goal(),
        )
        for name in bench.peers
        if times.of(name, "memory")
    ]  # fmt: skip


def switches(bench: Bench) -> list[Figure]:
    """Route tables pushed under load: the candidate takes all, then the stable release does again."""
    served = bench.served("gbm")
    made = bench.plane(served)
    with contextlib.closing(_Ended(made)):
        server = made.server(served)
        requests = server.write(bench.folder / "requests-switches")
        promoted = Route(stable=plane.CANDIDATE)
        with firing(str(server.port), requests, CONNECTIONS, LONGEST) as client:
            for at in range(2 * SWITCHES):
                time.sleep(0.1)
                made.route(plane.ALONE if at % 2 else promoted)
            time.sleep(0.1)
            client.terminate()
            found = result(client)
        by = {release: each["answered"] for release, each in made.state()["releases"].items()}
    if min(by.get(release, 0) for release in (plane.STABLE, plane.CANDIDATE)) < SWITCHES:
        raise Failed(f"not both releases answered meanwhile: {by}")
    text = f"{SWITCHES} promotions and {SWITCHES} rollbacks by route tables alone, {CONNECTIONS} connections"
    return [
        Figure(
            f"{text}: requests failed", "requests", [float(found["failed"])], goal=Goal(at_most=0),
            note=f"of {found['answered']:,}; {found['first_failure']}".rstrip("; "),
        )
    ]  # fmt: skip


def rollouts(bench: Bench) -> list[Figure]:
    """A project with `windlass up`: promotions and rollbacks by command under load; a harmful candidate."""
    return rollingout.figures(bench.folder, bench.fresh("project"), SWITCHES, firing, result)


def simulated(bench: Bench) -> list[Figure]:
    """The policy's decisions on simulated users, by `windlass rollout simulate`'s own code; medians."""
    canaries, found = (100, 20) if bench.quick else (2000, 200)
    said = f"print(json.dumps(simulation.figures(canaries={canaries}, found={found})))"
    say(f"  {canaries:,} innocent canaries, as many with an incident, and {found} of each fault")
    words = [str(bench.python), "-c", f"import json; from windlass.delivery import simulation; {said}"]
    figures = json.loads(_output(words))

    def line(text: str, name: str, unit: str, times: float = 1, **goal: float) -> Figure:
        return Figure(text, unit, [times * figures[name]], goal=Goal(**goal))

    canary = f"false rollbacks of {canaries:,} simulated innocent canaries"
    return [
        line(canary, "false_rollbacks", "%", 100, at_most=5),
        line(f"{canary}, an incident hits both arms", "false_rollbacks_incident", "%", 100, at_most=5),
        line("errors 1 → 2 %: candidate requests until found", "errors_1_to_2_requests", "", at_most=2500),
        line("errors 1 → 2 %: found", "errors_1_to_2_found", "%", 100, at_least=99),
        line("quality 90 → 88 %, all shadowed: labels until found", "quality_90_to_88_labels", "", at_most=800),
        line("quality 90 → 88 %, all shadowed: found", "quality_90_to_88_found", "%", 100),
    ]


PARTS: dict[str, Callable[[Bench], list[Figure]]] = {
    "client": client,
    "one-row": one_row,
    "gateway": gateway,
    "start": start,
    "memory": memory,
    "forest": forest,
    "switches": switches,
    "rollouts": rollouts,
    "simulated": simulated,
}
QUICK = ("client", "one-row", "gateway", "switches")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part (may be given more than once)")
    parser.add_argument("--quick", action="store_true", help=f"{', '.join(QUICK)}: a second each, once; to try it")
    parser.add_argument("--seconds", type=float, help="of each load [5; quick: 1]")
    parser.add_argument("--runs", type=int, help="repetitions; medians are compared [3; quick: 1]")
    parser.add_argument("--peers", default=",".join(servers.PEERS), help="beside whom [%(default)s]; may be empty")
    parser.add_argument(
        "--urgent", action="store_true", help="before all other work of the machine (SCHED_RR): where it is not quiet"
    )
    add_shared(parser)
    return parser.parse_args()


def measured(options: argparse.Namespace) -> dict[str, Any]:
    wanted = [name for name in options.peers.split(",") if name]
    if odd := set(wanted) - set(servers.PEERS):
        raise SystemExit(f"no peer {', '.join(sorted(odd))}: choose from {', '.join(servers.PEERS)}")
    seconds = options.seconds or (1.0 if options.quick else 5.0)
    runs = options.runs or (1 if options.quick else 3)
    with working_folder(options) as folder:
        programs = peers.install(wanted, options.environments or folder / "environments")
        bench = Bench(folder, programs, peers.environment(folder), seconds, runs, options.urgent, options.quick)
        machine = facts(folder)
        figures, failed = parts_of(options.only or (QUICK if options.quick else PARTS), PARTS, bench)
    return document(
        "serving.py", figures, programs.left_out + failed, machine=machine, versions=programs.versions,
        quick=options.quick, urgent=options.urgent, runs=runs, seconds=seconds,
    )  # fmt: skip


def about(document: dict[str, Any]) -> str:
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    first = ", all of it before other work (SCHED_RR)" if document["urgent"] else ""
    return (
        f"`{document['command']}`, medians of {document['runs']} runs of {document['seconds']:g} s each, Windlass and "
        f"the peers in turn, on {document['date']}. {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_gb']} GB, {machine['system']}, {machine['filesystem']}; load before it: "
        f"{machine['load_before']}{first}; {versions}."
    )


QUICK_WARNING = "Short, to try it: **not** the figures that are to be reached."


def markdown(document: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md, of a document that a run wrote."""
    return section("## Serving", about(document), QUICK_WARNING if document["quick"] else "", document)


def main() -> None:
    finish(
        _options(), measured, markdown,
        lambda document: [about(document), *([QUICK_WARNING] if document["quick"] else [])],
    )  # fmt: skip


if __name__ == "__main__":
    main()
