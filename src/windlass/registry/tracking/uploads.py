"""Files that are uploaded in parts: each part is an object; the last call makes one of them."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.domain.errors import Invalid, NotFound
from windlass.domain.ports import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    id: str
    root: str
    path: str
    parts: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    number: int
    digest: str
    size: int


def begin(tx: Transaction, upload: str, *, root: str, path: str, parts: int, at: int) -> None:
    tx.execute(
        "INSERT INTO uploads (id, root, path, parts, at) VALUES (?, ?, ?, ?, ?)", (upload, root, path, parts, at)
    )


def find(tx: Transaction, upload: str) -> Upload:
    """Raises NotFound."""
    row = tx.row("SELECT * FROM uploads WHERE id = ?", (upload,))
    if row is None:
        raise NotFound("there is no such upload", hint="begin one with mpu/create")
    return Upload(**row)


def add_part(tx: Transaction, upload: str, number: int, *, digest: str, size: int) -> None:
    """A part that is sent again takes the place of the one before. Raises NotFound, Invalid."""
    if not 1 <= number <= find(tx, upload).parts:
        raise Invalid(f"the upload has no part {number}")
    tx.execute(
        "INSERT INTO upload_parts (upload, number, digest, size) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (upload, number) DO UPDATE SET digest = excluded.digest, size = excluded.size",
        (upload, number, digest, size),
    )


def parts(tx: Transaction, upload: str) -> list[Part]:
    """The parts that came, in their order."""
    rows = tx.rows("SELECT number, digest, size FROM upload_parts WHERE upload = ? ORDER BY number", (upload,))
    return [Part(**row) for row in rows]


def end(tx: Transaction, upload: str) -> None:
    """Forget an upload and its parts."""
    tx.execute("DELETE FROM upload_parts WHERE upload = ?", (upload,))
    tx.execute("DELETE FROM uploads WHERE id = ?", (upload,))
