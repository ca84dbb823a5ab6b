"""What the capabilities need of the world. ``adapters/`` plugs into these; ``workspace/`` does the plugging."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

Row = dict[str, Any]
Params = Sequence[Any]


class Transaction(Protocol):
    """One transaction. SQL is plain, with ``?`` for parameters; times are integers (us), JSON is text."""

    def execute(self, sql: str, params: Params = ()) -> int:
        """Run one statement; returns how many rows it changed."""

    def many(self, sql: str, rows: Iterable[Params]) -> None:
        """Run one statement for each row of parameters."""

    def rows(self, sql: str, params: Params = ()) -> list[Row]: ...

    def row(self, sql: str, params: Params = ()) -> Row | None:
        """The first row, or None."""


class Database(Protocol):
    def write(self) -> AbstractContextManager[Transaction]:
        """A transaction that holds the write lock from its start; commits on leaving, rolls back on error."""

    def read(self) -> AbstractContextManager[Transaction]:
        """A consistent view that never waits for a writer."""

    def damage(self) -> list[str]:
        """What the engine itself finds wrong with its files; nothing, as a rule."""


class ObjectStore(Protocol):
    """Immutable objects by digest. A name is visible only when its bytes are durable."""

    def put(self, data: bytes) -> str:
        """Store bytes; returns their digest. Storing what is there already does nothing."""

    def put_file(self, path: Path) -> str:
        """Store a file's bytes as they are read once; returns their digest."""

    def get(self, digest: str) -> bytes:
        """The bytes, checked.

        Raises:
            NotFound: no such object.
            Corrupt: the bytes are no longer those of the digest.
        """

    def fetch(self, digest: str, destination: Path) -> None:
        """Write the object to a new file, checked; the file appears whole or not at all."""

    def has(self, digest: str) -> bool: ...

    def digests(self) -> Iterator[str]:
        """Every object's digest, in order."""
