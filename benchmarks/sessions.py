"""Servers as sessions of processes: who belongs to one, what they hold, and how they stand still or end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

END_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def members(leader: int) -> list[int]:
    """The processes of the session and whom they started (in sessions of their own too), without those that ended."""
    parents, found = dict[int, int](), list[int]()
    for entry in os.listdir("/proc"):  # noqa: PTH208 - sampled often
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry)] = int(fields[1])
                if int(fields[3]) == leader:
                    found.append(int(entry))
    known = set(found)
    while more := [pid for pid, parent in parents.items() if parent in known and pid not in known]:
        known.update(more)
        found += more
    return found


def signal_all(leader: int, signum: signal.Signals) -> None:
    for pid in members(leader):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


def end(process: subprocess.Popen[bytes], signum: signal.Signals = signal.SIGTERM) -> None:
    """End the session's leader and all it started."""
    signal_all(process.pid, signal.SIGCONT)
    signal_all(process.pid, signum)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    signal_all(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def standing_still(leaders: Iterable[int]) -> Iterator[None]:
    """These sessions get no processor meanwhile, so that nothing they do at rest is charged to another."""
    stopped = list(leaders)
    for leader in stopped:
        signal_all(leader, signal.SIGSTOP)
    try:
        yield
    finally:
        for leader in stopped:
            signal_all(leader, signal.SIGCONT)


@contextlib.contextmanager
def urgent(leaders: Iterable[int], wanted: bool) -> Iterator[None]:
    """Before all other work of the machine (SCHED_RR), with whatever they start meanwhile; needs its rights."""
    taken = list(leaders) if wanted else []
    for leader in taken:
        _schedule(leader, os.SCHED_RR, 1)
    try:
        yield
    finally:
        for leader in taken:
            _schedule(leader, os.SCHED_OTHER, 0)


@contextlib.contextmanager
def starting_urgently(wanted: bool) -> Iterator[None]:
    """As ``urgent``, of processes that are started meanwhile."""
    if wanted:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        if wanted:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _schedule(leader: int, policy: int, priority: int) -> None:
    for pid in members(leader):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
                os.sched_setscheduler(int(thread), policy, os.sched_param(priority))


def memory(pid: int, what: str) -> int:
    """Bytes of a process: ``VmRSS`` or ``VmHWM``; 0 where it is gone."""
    return _kilobytes(Path(f"/proc/{pid}/status"), what) * 1024


def proportional(pid: int) -> int:
    """Bytes of a process with each shared page divided by those that share it (PSS); 0 where it is gone."""
    return _kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss") * 1024


def processor_seconds(pid: int) -> float:
    """User and system time of a process until now; 0 where it is gone."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _kilobytes(path: Path, what: str) -> int:
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(what + ":"):
                return int(line.split()[1])
    return 0
