"""Runs one process and says what it took. Stays small itself: a child's peak memory starts at its parent's (vfork)."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import sessions

LONGEST_SECONDS = 3600.0
SAMPLE_SECONDS = 0.02
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Command:
    """A whole process: its words, where it runs, and its environment."""

    words: tuple[str, ...]
    folder: Path
    env: dict[str, str]


@dataclass(frozen=True, slots=True)
class Took:
    seconds: float
    peak_bytes: int  # of the largest process; of all processes together where they were watched
    said: str


class Failed(Exception):
    """A measured process failed, or what it left is wrong: there is no figure."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Times:
    """Figures by tool and work, filled in turn: each repetition starts with the next tool."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], list[float]] = {}

    def add(self, tool: str, work: str, value: float) -> None:
        self.values.setdefault((tool, work), []).append(value)
        say(f"  {tool}: {work} {value:.3f}")

    def of(self, tool: str, work: str) -> list[float]:
        return self.values.get((tool, work), [])


def in_turn(names: list[str], runs: int) -> list[str]:
    """Each name ``runs`` times, so that none is always first, nor always after the same one."""
    turns = [[*names[at % len(names) :], *names[: at % len(names)]] for at in range(runs)]
    return [name for turn in turns for name in turn]


def run(command: Command, *, watch: bool = False) -> Took:
    """Run it to its end from a quiet disk; raises Failed with its last words where its exit code is not 0.

    ``watch`` also samples the memory of all its processes together: for runs that are not timed.
    """
    os.sync()  # what others left to write is not charged to this process
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command.words, cwd=command.folder, env=command.env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        ended = threading.Event()
        together: list[int] = [0]
        limit = threading.Timer(LONGEST_SECONDS, _end, (process.pid,))
        watcher = threading.Thread(target=_watch, args=(process.pid, ended, together))
        try:
            limit.start()
            if watch:
                watcher.start()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            ended.set()
            limit.cancel()
            _end(process.pid)  # whatever it left running
            if watcher.ident is not None:
                watcher.join()
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode != 0:
        raise Failed(f"{' '.join(command.words)}: exit code {process.returncode}\n{said[-2000:]}")
    return Took(seconds, max(usage.ru_maxrss * 1024, together[0]), said)


def _end(session: int) -> None:
    for pid in sessions.members(session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _watch(session: int, ended: threading.Event, together: list[int]) -> None:
    """Shared pages are counted once (PSS), so that a pool of forked workers is not charged for its parent."""
    while not ended.wait(SAMPLE_SECONDS):
        together[0] = max(together[0], sum(map(sessions.proportional, sessions.members(session))))


def stored_bytes(folder: Path) -> int:
    """What `du` says: blocks on disk, a file with several names once."""
    os.sync()  # blocks are counted when they are written
    seen: set[tuple[int, int]] = set()
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            stat = os.lstat(os.path.join(parent, name))  # noqa: PTH118 - 100,000 times
            if (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                total += stat.st_blocks * 512
    return total


def content_bytes(path: Path) -> int:
    """Sizes of the file, or of all files below the folder."""
    return sum(file.stat().st_size for file in _files(path).values())


def check_same(source: Path, copy: Path) -> None:
    """Raises Failed where names or bytes differ, or where the copy is only another name of the same file."""
    ours, theirs = _files(source), _files(copy)
    if ours.keys() != theirs.keys():
        odd = sorted(ours.keys() ^ theirs.keys())
        raise Failed(f"{copy} has not the files of {source}: {len(odd)} differ, {odd[0]!r} first")
    for name, path in ours.items():
        if theirs[name].is_symlink() or theirs[name].stat().st_nlink > 1:
            raise Failed(f"{theirs[name]} is a link, not a copy")
        with path.open("rb") as left, theirs[name].open("rb") as right:
            while (block := left.read(BLOCK)) == right.read(BLOCK):
                if not block:
                    break
            else:
                raise Failed(f"{copy}: {name or copy.name} is not as it was")


def _files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {"": path}
    return {str(file.relative_to(path)): file for file in path.rglob("*") if file.is_file()}


def remove(path: Path) -> None:
    """Whatever it is, read-only files and folders too."""
    if path.is_file() or path.is_symlink():
        path.unlink()
    elif path.exists():
        for parent, _, _ in os.walk(path):
            Path(parent).chmod(0o700)
        shutil.rmtree(path)


def machine(folder: Path) -> dict[str, str | int | float]:
    """What the figures depend on."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    device = folder.stat().st_dev
    kinds = [fields[2] for fields in mounts if Path(fields[1]).exists() and Path(fields[1]).stat().st_dev == device]
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "filesystem": kinds[-1] if kinds else "unknown",
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }
