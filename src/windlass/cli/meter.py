"""How far a long thing is: a bar on a terminal, a line now and then elsewhere; on stderr, after the first second."""

from __future__ import annotations

import atexit
import sys
import time
from typing import TYPE_CHECKING

import click

from windlass.cli.output import seconds, size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_QUIET = 1.0
_BETWEEN_LINES = 5.0


class TerminalMeter:
    """A ``domain.progress.Meter`` of bytes."""

    def __init__(self) -> None:
        self._what = ""
        self._started = self._said = 0.0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._stop()
            self._what, self._started, self._said = what, now, now
        if now - self._started < _QUIET:
            return
        if sys.stderr.isatty():
            self._draw(what, done, total)
        elif now - self._said >= _BETWEEN_LINES:
            self._said = now
            rate = done / (now - self._started)
            left = f", {seconds((total - done) / rate)} left" if rate else ""
            click.echo(f"  {what}: {size(done)} of {size(total)}, {size(int(rate))}/s{left}", err=True)
        if done >= total:
            self._stop()

    def _draw(self, what: str, done: int, total: int) -> None:
        if self._bar is None:
            from rich.console import Console  # noqa: PLC0415 - most commands end before they need it
            from rich.progress import (  # noqa: PLC0415
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            self._bar = Progress(
                TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
                TimeRemainingColumn(), console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task(what, total=total)
            self._bar.start()
            atexit.register(self._stop)
        assert self._task is not None
        self._bar.update(self._task, completed=done, total=total)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            atexit.unregister(self._stop)
            self._bar = self._task = None
        self._what = ""
