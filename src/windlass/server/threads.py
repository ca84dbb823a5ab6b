"""Blocking work off the event loop: a fixed pool of threads, and a bounded queue before it.

A fixed pool keeps its threads, so that the database's connection of each thread is opened once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from windlass.server.errors import Busy

T = TypeVar("T")


class Pool:
    """At most ``workers`` calls run, at most ``waiting`` more wait; the next is told to come back."""

    def __init__(self, name: str, *, workers: int, waiting: int = 256) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._slots = asyncio.Semaphore(workers)
        self._limit = workers + waiting
        self._inside = 0

    async def run(self, work: Callable[[], T]) -> T:
        """``work`` in a thread.

        Raises:
            Busy: too many wait already.
        """
        if self._inside >= self._limit:
            raise Busy("the server has more to do than it will queue", hint="try again in a moment")
        self._inside += 1
        try:
            async with self._slots:
                return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        finally:
            self._inside -= 1

    def begin(self, work: Callable[[], T]) -> asyncio.Task[T]:
        """``run``, begun at once."""
        return asyncio.get_running_loop().create_task(self.run(work))

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
