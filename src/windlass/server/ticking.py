"""The loops of the control process: each tick in a thread of its own, so that a slow one holds up nobody else's.

A tick that fails is logged with its traceback and tried again, later each time: the loops outlive what they call.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

_log = logging.getLogger("windlass.control")
FIRST_DELAY = 0.1
LONGEST_DELAY = 10.0


class Tick(Protocol):
    """Something to run again and again; the interval may change with what it finds."""

    @property
    def name(self) -> str: ...
    @property
    def interval_seconds(self) -> Callable[[], float]: ...
    @property
    def run(self) -> Callable[[], None]: ...


def delay_after(failures: int) -> float:
    """How long to wait after so many failures in a row."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 16))


class Loops:
    def __init__(self, ticks: Sequence[Tick]) -> None:
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._turn, args=(tick,), name=f"tick-{tick.name}", daemon=True) for tick in ticks
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, grace_seconds: float) -> None:
        """Let every tick that runs finish, for so long; each is one transaction, and survives being cut off."""
        self._stopping.set()
        until = time.monotonic() + grace_seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))

    def _turn(self, tick: Tick) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                tick.run()
                pause = tick.interval_seconds()
                failures = 0
            except Exception as error:  # noqa: BLE001 - the loop must outlive any fault of what it calls
                failures += 1
                pause = delay_after(failures)
                _log.error("%s failed %d time(s); again in %.1f s", tick.name, failures, pause, exc_info=error)
            self._stopping.wait(pause)
