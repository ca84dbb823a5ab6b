"""Files on their way into the store: many in one pack, and what refers to them written when they are durable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from windlass.domain.errors import Failure
from windlass.domain.ports import Batch, Database, Readable, Transaction

SMALL = 1 << 20
MOST_BYTES = 256 << 20
MOST_ACTIONS = 500

Action = Callable[[Transaction], None]


@dataclass
class Depot:
    """``failed`` is told what went wrong with one action; the others of its transaction stand."""

    db: Database
    batch: Batch
    failed: Callable[[str, Failure], None]
    _waiting: list[tuple[str, Action]] = field(default_factory=list)
    _bytes: int = 0

    def store(self, stream: Readable) -> tuple[str, int]:
        """Take in a file; returns its digest and its size. Raises what reading it raises."""
        head = _head(stream)
        if len(head) < SMALL:
            name, size = self.batch.put(head), len(head)
        else:
            rest = _Joined(head, stream)
            name = self.batch.put_stream(rest)
            size = rest.size
        self._bytes += size
        return name, size

    def later(self, subject: str, action: Action) -> None:
        """What is to be written once everything stored so far is durable."""
        self._waiting.append((subject, action))
        if self._bytes >= MOST_BYTES or len(self._waiting) >= MOST_ACTIONS:
            self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        self.batch.flush()
        problems: list[tuple[str, Failure]] = []
        with self.db.write() as tx:
            for subject, action in waiting:
                try:
                    with tx.savepoint():
                        action(tx)
                except Failure as failure:
                    problems.append((subject, failure))
        for subject, problem in problems:
            self.failed(subject, problem)


class _Joined:
    """What was read already, and then the rest; counted."""

    def __init__(self, head: bytes, rest: Readable) -> None:
        self._head, self._rest = memoryview(head), rest
        self.size = 0

    def readinto(self, into: memoryview, /) -> int:
        if len(self._head):
            count = min(len(into), len(self._head))
            into[:count] = self._head[:count]
            self._head = self._head[count:]
        else:
            count = self._rest.readinto(into) or 0
        self.size += count
        return count


def _head(stream: Readable) -> bytes:
    """The first bytes; fewer than SMALL only if there are no more."""
    data = bytearray()
    view = memoryview(bytearray(64 << 10))
    while len(data) < SMALL:
        count = stream.readinto(view)
        if not count:
            break
        data += view[:count]
    return bytes(data)
