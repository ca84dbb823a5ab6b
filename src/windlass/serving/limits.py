"""What a worker may take of its machine: set by itself, before it loads anything."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

OUT_OF_MEMORY = 3  # exit code


def apply(*, memory_mb: int | None, cpu: int | None, nice: int, number: int) -> None:
    """Limit this process, and what it starts.

    Memory is what it allocates (``RLIMIT_DATA``), not address space, of which numeric libraries reserve far more than
    they use. ``cpu`` cores are taken in turn, so that the workers of a release lie beside each other.
    """
    if memory_mb is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mb << 20, memory_mb << 20))
    if cpu is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores(sorted(os.sched_getaffinity(0)), cpu, number))
    if nice:
        os.nice(nice)
    with suppress(OSError):  # should the machine itself run out of memory: a worker before the gateway
        Path("/proc/self/oom_score_adj").write_text("500")


def cores(known: list[int], count: int, number: int) -> set[int]:
    """The ``count`` of the ``known`` cores that are the turn of worker ``number``."""
    return {known[(number * count + each) % len(known)] for each in range(min(count, len(known)))}


def out_of_memory() -> NoReturn:
    """End at once and alone: a process that could not allocate is in no state to answer, and another one is started."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_DATA)
    limit = "" if allowed == resource.RLIM_INFINITY else f": serving.memory_mb is {allowed >> 20}"
    sys.stderr.write(f"error: out of memory{limit}\n")
    sys.stderr.flush()
    os._exit(OUT_OF_MEMORY)
