"""What the capabilities need of the world. ``adapters/`` plugs into these; ``workspace/`` does the plugging."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

Row = dict[str, Any]
Params = Sequence[Any]


class Transaction(Protocol):
    """One transaction. SQL is plain, with ``?`` for parameters; times are integers (us), JSON is text.

    Text compares and sorts by its code points, in LIKE too. An unfit value (a whole number beyond 64 bits, text that
    is not Unicode) raises Invalid. After a statement has failed, only leaving the transaction, or the savepoint that
    the statement was in, is defined.
    """

    def execute(self, sql: str, params: Params = ()) -> int:
        """Run one statement; returns how many rows it changed."""

    def many(self, sql: str, rows: Iterable[Params]) -> None:
        """Run one statement for each row of parameters."""

    def rows(self, sql: str, params: Params = ()) -> list[Row]: ...

    def row(self, sql: str, params: Params = ()) -> Row | None:
        """The first row, or None."""

    def tuples(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """The rows without the names of their columns: what many rows are read with."""

    def now(self) -> int:
        """The instant by the database's clock: the one that all who share the database agree on."""

    def savepoint(self) -> AbstractContextManager[None]:
        """A part that may fail alone: when an error leaves it, what happened inside is undone, and nothing else."""


class Database(Protocol):
    def write(self) -> AbstractContextManager[Transaction]:
        """A transaction that holds the write lock from its start; commits on leaving, rolls back on error."""

    def read(self) -> AbstractContextManager[Transaction]:
        """A consistent view that never waits for a writer."""

    def mentions(self, text: str) -> Iterator[tuple[str, str, str]]:
        """Every cell of every table that has ``text`` in it: table, column, content."""

    def damage(self) -> list[str]:
        """What the engine itself finds wrong with its files; nothing, as a rule."""

    def close(self) -> None:
        """Close what is open; a transaction after it opens anew."""


class Blobs(Protocol):
    """Named bytes, whole or not there at all. Names have slashes, as in paths; no name leaves the place."""

    def put(self, name: str, data: bytes) -> None:
        """Store bytes under a name, in the place of what it had; on return they are durable."""

    def adopt(self, name: str, file: Path) -> None:
        """Store a file under a name. The file is the store's from now on: it may be moved."""

    def get(self, name: str) -> bytes:
        """All bytes of a name.

        Raises:
            NotFound: there is no such name.
            Unavailable: the place does not answer.
        """

    def read(self, name: str, start: int, length: int) -> bytes:
        """Bytes from ``start`` on: fewer than ``length`` only at the end. Raises as ``get``."""

    def size(self, name: str) -> int | None:
        """How many bytes a name has; None if there is none."""

    def ls(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Names below ``prefix`` (a folder) with their sizes."""

    def delete(self, name: str) -> None:
        """Remove a name, if it is there."""


class Readable(Protocol):
    """What ``put_stream`` reads: an unbuffered file, for one."""

    def readinto(self, into: memoryview, /) -> int | None: ...


class ObjectReader(Protocol):
    """The objects of a store, by digest; every byte is checked before it is given out."""

    def get(self, digest: str) -> bytes:
        """The bytes.

        Raises:
            NotFound: no such object.
            Corrupt: the bytes are no longer those of the digest.
        """

    def many(self, digests: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """Objects by digest, each once, in the order in which they are read fastest. Raises as ``get``."""

    def fetch(self, digest: str, destination: Path, *, mode: int = 0o644) -> None:
        """Write the object to a new file; the file appears whole or not at all."""

    def open(self, digest: str) -> BinaryIO:
        """The object as a file to read and seek in; only the parts asked for are read."""

    def has(self, digest: str) -> bool: ...

    def size(self, digest: str) -> int:
        """How many bytes the object has. Raises NotFound."""

    def digests(self) -> Iterator[str]:
        """Every object's digest."""


class ObjectWriter(ObjectReader, Protocol):
    def put(self, data: bytes) -> str:
        """Store bytes; returns their digest. Storing what is there already does nothing."""

    def put_file(self, path: Path) -> str:
        """Store a file's bytes as they are read once; returns their digest."""


class Batch(ObjectWriter, Protocol):
    """Many objects at once: durable, and in sight of others, at ``flush``. Used by several threads of a process."""

    def put_many(self, many: Sequence[bytes]) -> list[str]:
        """Store objects; returns their digests, in order."""

    def put_stream(self, stream: Readable) -> str:
        """Store a large object as it is read; returns its digest."""

    def keep(self, digests: Sequence[str]) -> set[str]:
        """Those that the store has; from now on they stay for as long as the batch is open."""

    def flush(self) -> None:
        """On return, everything put is durable."""


class ObjectStore(ObjectWriter, Protocol):
    """Immutable objects by digest. What ``put`` and ``put_file`` returned is durable."""

    def batch(self) -> AbstractContextManager[Batch]:
        """Write many objects; leaving flushes, leaving by an error does not. While one is open, nothing that it has
        seen in the store is collected as garbage: a reference to it belongs inside."""
