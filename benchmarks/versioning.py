"""Versioning beside its peers: `uv run benchmarks/versioning.py [--only WORK] [--scale 0.1] [--json FILE]`.

Generates data from a fixed seed, runs Windlass and each peer in turn as whole processes, checks what they left, and
prints a table. Everything lies in one temporary folder, which is removed at the end.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers
import stores
import workflows
from command import add_shared, document, facts, finish, parts_of, working_folder
from figures import Figure, Goal, markdown
from measuring import (
    Command,
    Times,
    check_same,
    content_bytes,
    in_turn,
    remove,
    run,
    say,
    stored_bytes,
)

HERE = Path(__file__).resolve().parent
SMALL_FILES, LARGE_BYTES = 100_000, 2_000_000_000
MB = 1e6


@dataclass(frozen=True, slots=True)
class Bench:
    """Where, how much and how often."""

    folder: Path
    scale: float
    runs: int
    programs: peers.Programs
    env: dict[str, str]

    def generated(self, what: str, path: Path, *words: str) -> Path:
        if not path.exists():
            say(f"generating {path.name}")
            made = path.with_name(f"{path.name}.part")
            before = (what, words[0], str(made)) if what == "insert" else (what, str(made), *words)
            run(Command((sys.executable, str(HERE / "generating.py"), *before), self.folder, self.env))
            made.rename(path)
        return path

    def small_files(self) -> Path:
        count = max(100, round(SMALL_FILES * self.scale))
        return self.generated("small-files", self.folder / "small", str(count))

    def large_file(self) -> Path:
        size = max(10_000_000, round(LARGE_BYTES * self.scale))
        return self.generated("large-file", self.folder / "large.csv", str(size))

    def inserted(self) -> Path:
        return self.generated("insert", self.folder / "inserted.csv", str(self.large_file()))

    def stores(self) -> list[str]:
        return [name for name in stores.NAMES if name in self.programs.paths]


def small_files(bench: Bench) -> list[Figure]:
    data, times = bench.small_files(), Times()
    count, size = sum(1 for each in data.rglob("*") if each.is_file()), content_bytes(data)
    say(f"small files: {count} files, {size / MB:.0f} MB")
    for name in in_turn(bench.stores(), bench.runs):
        store = stores.fresh(name, bench.programs.paths[name], bench.folder / "work", data, bench.env)
        try:
            times.add(name, "add", run(store.add).seconds)
            times.add(name, "stored", stored_bytes(store.kept) / MB)
            for work, command in store.again.items():
                times.add(name, work, run(command).seconds)
            remove(store.cleared)
            times.add(name, "checkout", run(store.checkout(1)).seconds)
            check_same(data, store.restored)
        finally:
            remove(bench.folder / "work")
    files = f"{count:,} files of 4-20 KB"

    def line(work: str, ours: str, peer: str, theirs: str, goal: Goal) -> Figure:
        return Figure(
            f"{files}: {work}", "s", times.of("windlass", ours), peer, times.of(peer.split(maxsplit=1)[0], theirs), goal
        )

    found = [
        line("first add", "add", "restic", "add", Goal(times=1)),
        line("first add", "add", "dvc", "add", Goal(faster=3.5)),
        line("first add", "add", "git-lfs", "add", Goal()),
        line("nothing changed", "data add", "dvc add", "dvc add", Goal(at_most=0.5, faster=10)),
        line("nothing changed", "data add", "dvc status", "dvc status", Goal(at_most=0.5, faster=10)),
        line("nothing changed", "data add", "restic backup", "restic backup", Goal(at_most=0.5)),
        line("checkout into an empty folder", "checkout", "dvc", "checkout", Goal(faster=4.5)),
        line("checkout into an empty folder", "checkout", "restic", "checkout", Goal()),
        line("checkout into an empty folder", "checkout", "git-lfs", "checkout", Goal()),
    ]
    stored = [
        Figure(f"{files}: stored, of {size / MB:.0f} MB", "MB", times.of("windlass", "stored"), name, kept)
        for name in ("restic", "dvc", "git-lfs")
        if (kept := times.of(name, "stored"))
    ]
    return [each for each in found if each.theirs or each.peer in {"dvc", "dvc add"}] + stored


def large_file(bench: Bench) -> list[Figure]:
    data, inserted, times = bench.large_file(), bench.inserted(), Times()
    size = data.stat().st_size
    say(f"large file: {size / MB:.0f} MB")
    names = ["cp", *(name for name in bench.stores() if name != "git-lfs")]
    for name in in_turn(names, bench.runs):
        if name == "cp":
            copy = bench.folder / "copy"
            script = 'cp --reflink=never "$0" "$1" && sync "$1"'
            words = ("sh", "-c", script, str(data), str(copy))
            times.add(name, "add", run(Command(words, bench.folder, bench.env)).seconds)
            check_same(data, copy)
            remove(copy)
            continue
        store = stores.fresh(name, bench.programs.paths[name], bench.folder / "work", data, bench.env)
        try:
            times.add(name, "add", run(store.add).seconds)
            before = stored_bytes(store.kept)
            times.add(name, "stored", before / MB)
            remove(store.cleared)
            times.add(name, "checkout", run(store.checkout(1)).seconds)
            check_same(data, store.restored)
            store.source.unlink()
            shutil.copyfile(inserted, store.source)
            times.add(name, "insert", run(store.add).seconds)
            times.add(name, "more", (stored_bytes(store.kept) - before) / MB)
            remove(store.cleared)
            run(store.checkout(2))
            check_same(inserted, store.restored)
        finally:
            remove(bench.folder / "work")
    memory = large_memory(bench, data)
    file = f"a file of {size / MB:,.0f} MB"
    ours = {work: times.of("windlass", work) for work in ("add", "insert", "more", "checkout", "stored")}
    peer = {(name, work): times.of(name, work) for name in names for work in ours}
    return [
        Figure(f"{file}: first add", "s", ours["add"], "cp + fsync", peer["cp", "add"], Goal(times=1.3)),
        *(
            Figure(f"{file}: {text}", unit, ours[work], name, peer.get((name, work), []), goal)
            for work, text, unit, goals in (
                ("add", "first add", "s", {}),
                ("stored", "stored", "MB", {}),
                ("insert", "5 rows inserted, add", "s", {"dvc": Goal(times=0.6)}),
                ("more", "5 rows inserted, stored", "MB", {"dvc": Goal(at_most=1)}),
                ("checkout", "checkout", "s", {}),
            )
            for name in ("dvc", "restic")
            if (goal := goals.get(name, Goal())) != Goal() or name in names
        ),
        *memory,
    ]


def large_memory(bench: Bench, data: Path) -> list[Figure]:
    """Runs of their own: watching costs a little time."""
    store = stores.fresh("windlass", bench.programs.paths["windlass"], bench.folder / "work", data, bench.env)
    try:
        add = run(store.add, watch=True).peak_bytes / MB
        remove(store.cleared)
        checkout = run(store.checkout(1), watch=True).peak_bytes / MB
        check_same(data, store.restored)
    finally:
        remove(bench.folder / "work")
    file, goal = f"a file of {data.stat().st_size / MB:,.0f} MB", Goal(at_most=300)
    return [
        Figure(f"{file}: memory of its first add", "MB", [add], goal=goal),
        Figure(f"{file}: memory of its checkout", "MB", [checkout], goal=goal),
    ]


def verify(bench: Bench) -> list[Figure]:
    """One store of both kinds of data; read once before, so that its bytes are in the page cache."""
    data, times = bench.folder / "both", Times()
    if not data.exists():
        shutil.copytree(bench.small_files(), data / "small")
        shutil.copyfile(bench.large_file(), data / "large.csv")
    content = content_bytes(data)
    names = [name for name in bench.stores() if name in {"windlass", "restic"}]
    commands: dict[str, Command] = {}
    stored: dict[str, int] = {}
    try:
        for name in names:
            store = stores.fresh(name, bench.programs.paths[name], bench.folder / "work" / name, data, bench.env)
            run(store.add)
            commands[name], stored[name] = store.verify, stored_bytes(store.kept)
            run(store.verify)
        for name in in_turn(names, bench.runs):
            took = run(commands[name]).seconds
            times.add(name, "content", content / 1e9 / took)
            times.add(name, "stored", stored[name] / 1e9 / took)
    finally:
        remove(bench.folder / "work")
    peer = "restic check" if "restic" in bench.programs.paths else ""
    return [
        Figure(
            f"verify the whole store, by bytes {text}", "GB/s", times.of("windlass", work),
            peer, times.of("restic", work), Goal(at_least=1),
        )
        for work, text in (("content", "of content"), ("stored", "on disk"))
    ]  # fmt: skip


def pipeline(bench: Bench) -> list[Figure]:
    """Its width is not under ten, so that two chains differ."""
    return workflows.measure(
        bench.programs, bench.folder / "work", bench.env, bench.runs, max(10, round(100 * bench.scale))
    )


WORKS: dict[str, Callable[[Bench], list[Figure]]] = {
    "small-files": small_files,
    "large-file": large_file,
    "verify": verify,
    "pipeline": pipeline,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=WORKS, action="append", help="this work (may be given more than once)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the data and the width of pipelines [1]")
    parser.add_argument("--runs", type=int, default=3, help="repetitions; medians are compared [3]")
    parser.add_argument("--peers", default=",".join(peers.NAMES), help="beside whom [%(default)s]; may be empty")
    add_shared(parser)
    return parser.parse_args()


def measured(options: argparse.Namespace) -> dict[str, Any]:
    wanted = [name for name in options.peers.split(",") if name]
    if odd := set(wanted) - set(peers.NAMES):
        raise SystemExit(f"no peer {', '.join(sorted(odd))}: choose from {', '.join(peers.NAMES)}")
    with working_folder(options) as folder:
        programs = peers.install(wanted, options.environments or folder / "environments")
        bench = Bench(folder, options.scale, options.runs, programs, peers.environment(folder))
        machine = facts(folder)
        figures, failed = parts_of(options.only or WORKS, WORKS, bench)
    return document(
        "versioning.py", figures, programs.left_out + failed, machine=machine, versions=programs.versions,
        scale=options.scale, runs=options.runs,
    )  # fmt: skip


def main() -> None:
    finish(_options(), measured, markdown)


if __name__ == "__main__":
    main()
