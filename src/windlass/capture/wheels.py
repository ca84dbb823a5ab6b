"""Wheels of an environment in the object store, so that it can be built again without a network."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from windlass.capture import uv
from windlass.domain import ledger
from windlass.domain.clock import Clock
from windlass.domain.digest import short
from windlass.domain.errors import Corrupt, NotFound, Unavailable
from windlass.domain.ports import Database, ObjectStore

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendored:
    """An environment's files in the store."""

    environment: str
    files: int
    size: int


def vendor(
    db: Database, objects: ObjectStore, environment: str, *, actor: str, now: Clock, progress: Progress
) -> Vendored:
    """Download every file of an environment's lock, each checked against its hash, and keep it in the store.

    Raises:
        NotFound: the environment was not recorded here.
        Unavailable: it has no lock, or a file cannot be downloaded.
    """
    with db.read() as tx:
        row = tx.row("SELECT lock, why FROM environments WHERE digest = ?", (environment,))
    if row is None:
        raise NotFound(f"no environment {short(environment)}", hint="`windlass env ls` lists them")
    if not row["lock"]:
        raise Unavailable(f"environment {short(environment)} has no lock: {row['why']}", retryable=False)
    with tempfile.TemporaryDirectory(prefix="windlass-wheels-") as temporary:
        folder = Path(temporary)
        (folder / "lock.txt").write_bytes(objects.get(row["lock"]))
        progress("downloading the environment's files")
        uv.run(
            ["tool", "run", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:",
             "--dest", str(folder / "files"), "--requirement", str(folder / "lock.txt")]
        )  # fmt: skip
        files = sorted((folder / "files").iterdir()) if (folder / "files").is_dir() else []
        with objects.batch() as batch:
            kept = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), batch.put_file(path)) for path in files]
            batch.flush()
            with db.write() as tx:
                tx.execute("DELETE FROM environment_files WHERE environment = ?", (environment,))
                tx.many(
                    "INSERT INTO environment_files (environment, name, sha256, object) VALUES (?, ?, ?, ?)",
                    [(environment, *each) for each in kept],
                )
                subject = f"environment/{environment}"
                ledger.transition(
                    tx, subject=subject, action="vendor", before=row["lock"], after=row["lock"], actor=actor,
                    reason=f"{len(kept)} files kept", at=now(),
                )  # fmt: skip
        return Vendored(environment=environment, files=len(kept), size=sum(path.stat().st_size for path in files))


@contextmanager
def laid_out(db: Database, objects: ObjectStore, environment: str) -> Iterator[Path | None]:
    """A folder with an environment's files while the block runs; None if it is not vendored.

    Raises:
        Corrupt: a file is not the one that was kept.
    """
    with db.read() as tx:
        rows = tx.rows("SELECT name, sha256, object FROM environment_files WHERE environment = ?", (environment,))
    if not rows:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="windlass-wheels-") as temporary:
        for row in rows:
            # The name came from an index: it is a name, and no path.
            path = Path(temporary) / Path(row["name"]).name
            objects.fetch(row["object"], path)
            if hashlib.sha256(path.read_bytes()).hexdigest() != row["sha256"]:
                raise Corrupt(f"{row['name']} is not the file that was vendored", expected=row["sha256"])
        yield Path(temporary)
