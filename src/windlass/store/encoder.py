"""Compressing chunks beside the thread that cuts them: it is what takes longest."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from windlass.store import pack
from windlass.store.pack import Form

# So many bytes are one task: enough that handing it over costs nothing beside the work.
_TASK = 1 << 20
_TASKS = 6

Body = tuple[bytes, bytes | memoryview, int, Form]
Append = Callable[[bytes, bytes | memoryview, int, Form], None]


class Encoder:
    """What is added is passed on to ``append`` as key, body, size and form, in the order in which it was added."""

    def __init__(self, append: Append) -> None:
        self._append = append
        self._task: list[tuple[bytes, bytes]] = []
        self._size = 0
        self._tasks: deque[Future[list[Body]]] = deque()
        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="windlass-encode")

    def __enter__(self) -> Encoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, key: bytes, data: bytes) -> None:
        self._task.append((key, data))
        self._size += len(data)
        if self._size >= _TASK:
            self._submit()
            if len(self._tasks) > _TASKS:
                self._pass_on()

    def flush(self) -> None:
        """On return everything added has been passed on."""
        if self._task:
            self._submit()
        while self._tasks:
            self._pass_on()

    def _submit(self) -> None:
        self._tasks.append(self._pool.submit(_encoded, self._task))
        self._task, self._size = [], 0

    def _pass_on(self) -> None:
        for body in self._tasks.popleft().result():
            self._append(*body)


def _encoded(task: list[tuple[bytes, bytes]]) -> list[Body]:
    found = []
    for key, data in task:
        body, form = pack.encode(data)
        found.append((key, body, len(data), form))
    return found
