"""How a process is: what it takes of the machine, and whether it hangs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PING_SECONDS = 1.0
_PAGE = os.sysconf("SC_PAGESIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Resident memory in bytes, and seconds of CPU (user and system) since the process started."""

    rss_bytes: int
    cpu_seconds: float


def usage(pid: int) -> Usage | None:
    """What a process takes, by /proc; None where it is gone, or the machine has no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # proc(5): fields 14 and 15 are utime and stime, 24 is rss in pages; the first after the name is field 3.
    return Usage(rss_bytes=int(fields[21]) * _PAGE, cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS)


def differs(now: Usage, before: Usage | None) -> bool:
    """Whether it is worth writing down: a process that does nothing shall not keep the database busy."""
    if before is None or now.cpu_seconds < before.cpu_seconds:
        return True
    return (
        now.cpu_seconds - before.cpu_seconds >= 0.05 or abs(now.rss_bytes - before.rss_bytes) > before.rss_bytes // 50
    )


class Pulse:
    """Whether a worker hangs, from one ping after the other.

    A model that computes for long is no hang for as long as nobody waits in vain: the loop that answers pings runs
    beside the model's thread.
    """

    def __init__(self, *, hang_seconds: float) -> None:
        self._patience = hang_seconds
        self._silent_since: float | None = None

    def judge(self, stuck_us: int | None, now: float) -> str:
        """Why it must be killed, or nothing. ``stuck_us`` is the answer to a ping: for how long the model has been in
        one call while others' deadlines passed; None: no answer. ``now`` is in seconds."""
        if stuck_us is None:
            self._silent_since = now - PING_SECONDS if self._silent_since is None else self._silent_since
            silent = now - self._silent_since
            return f"it answered no ping for {silent:.0f} s" if silent >= self._patience else ""
        self._silent_since = None
        if stuck_us >= self._patience * 1e6:
            return f"the model has been in one call for {stuck_us / 1e6:.0f} s while others waited past their deadlines"
        return ""
