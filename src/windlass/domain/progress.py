"""Progress of what takes long, for whoever watches."""

from __future__ import annotations

from collections.abc import Callable

# What is done, how many bytes of it are done, and how many there are.
Meter = Callable[[str, int, int], None]


def unwatched(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""
