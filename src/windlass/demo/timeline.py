"""The timeline: what happens, as it happens. With a terminal it is live; without, plain lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.status import Status
from rich.text import Text


class Timeline:
    """Numbered stages with lines under them, on stderr, so that stdout stays free for the result."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self.started = time.monotonic()
        self._status: Status | None = None
        self._count = 0

    def __enter__(self) -> Timeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._quiet()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @contextmanager
    def stage(self, title: str, what: str) -> Iterator[None]:
        """A stage of the loop; ``what`` says in a sentence what really happens in it."""
        self._count += 1
        head = Text.assemble(
            (f"{self.seconds:6.1f}s ", "dim"),
            (f"{self._count:>2}  ", "bold cyan"),
            (f"{title:<10}", "bold"),
            f" {what}",
        )
        self.console.print(head, soft_wrap=True)
        try:
            yield
        finally:
            self._quiet()

    def say(self, line: str, style: str = "") -> None:
        """A line under the stage."""
        self.console.print(Text.assemble(" " * 23, (line, style)), soft_wrap=True)

    def command(self, line: str) -> None:
        """The command that is run, as a user would type it."""
        self.say(f"$ {line}", "dim")

    def good(self, line: str) -> None:
        self.say(f"✓ {line}", "green")

    def bad(self, line: str) -> None:
        self.say(f"✗ {line}", "red")

    def watch(self, line: str) -> None:
        """What is awaited just now; only a terminal shows it."""
        if not self.console.is_terminal:
            return
        text = f"[dim]{self.seconds:6.1f}s[/dim]  {line}"
        if self._status is None:
            self._status = self.console.status(text)
            self._status.start()
        else:
            self._status.update(text)

    def _quiet(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
