"""Which version of its inputs a query read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from windlass.domain import digest
from windlass.domain.errors import Unavailable

Stamp = tuple[int, int, int]


def stamp(file: Path) -> Stamp:
    """What changes when a file is written."""
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def digests(files: list[Path]) -> dict[Path, tuple[str, Stamp]]:
    """Each file's digest, with the stamp that it had before it was read."""
    found = {}
    for file in files:
        before = stamp(file)
        found[file] = digest.of_file(file), before
    return found


def unchanged(read: dict[Path, tuple[str, Stamp]]) -> None:
    """That no file was written since its digest was taken.

    Raises:
        Unavailable: one was.
    """
    for file, (_, before) in read.items():
        try:
            same = stamp(file) == before
        except FileNotFoundError:
            same = False
        if not same:
            raise Unavailable(f"{file} changed while it was read", hint="try again when its writer has finished")


def of_delta(table: Path) -> int | None:
    """The newest version in a Delta table's log; None if it has none here."""
    versions = [int(file.stem) for file in (table / "_delta_log").glob("*.json") if file.stem.isdigit()]
    return max(versions, default=None)


def of_iceberg(table: Path) -> int | None:
    """The current snapshot's id by an Iceberg table's newest metadata; None if it has none here."""
    if table.name.endswith(".metadata.json"):
        newest: Path | None = table
    else:
        found = list((table / "metadata").glob("*.metadata.json"))
        newest = max(found, key=lambda file: (_number(file.name), file.name), default=None)
    if newest is None:
        return None
    try:
        described: Any = json.loads(newest.read_bytes())
        snapshot = described["current-snapshot-id"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return snapshot if isinstance(snapshot, int) else None


def _number(name: str) -> int:
    """``v12.metadata.json`` and ``00012-6a1f....metadata.json`` are both the twelfth."""
    digits = name.removeprefix("v").partition(".")[0].partition("-")[0]
    return int(digits) if digits.isdigit() else -1
