"""The files of runs and of logged models: paths below a root, each naming an object of the store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from windlass.domain.errors import Invalid, NotFound
from windlass.domain.ports import Transaction

MAX_PATH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    path: str
    digest: str
    size: int


def add_artifact(tx: Transaction, root: str, *, path: str, digest: str, size: int) -> None:
    """Give an object a path below a root; a path written again has the new object.

    Raises:
        Invalid: the path is not confined to the root, or crosses a file of it.
    """
    checked_path(path)
    above = [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]
    marks = ", ".join("?" * len(above))
    crossed = above and tx.row(f"SELECT path FROM artifacts WHERE root = ? AND path IN ({marks})", (root, *above))
    if crossed:
        raise Invalid(f"'{crossed['path']}' is a file, not a folder", hint="choose another path")
    if next(iter(beneath(tx, root, path)), None):
        raise Invalid(f"'{path}' is a folder, not a file", hint="choose another path")
    tx.execute(
        "INSERT INTO artifacts (root, path, digest, size) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (root, path) DO UPDATE SET digest = excluded.digest, size = excluded.size",
        (root, path, digest, size),
    )


def find_artifact(tx: Transaction, root: str, path: str) -> Artifact:
    """An artifact by its path.

    Raises:
        NotFound: nothing at that path.
        Invalid: the path is not confined to the root.
    """
    row = tx.row("SELECT path, digest, size FROM artifacts WHERE root = ? AND path = ?", (root, checked_path(path)))
    if row is None:
        raise NotFound(f"there is no artifact '{path}' in {root}", hint="list the artifacts")
    return Artifact(**row)


def exists(tx: Transaction, root: str, path: str) -> bool:
    """Whether there is a file at a path."""
    return tx.row("SELECT 1 AS one FROM artifacts WHERE root = ? AND path = ?", (root, path)) is not None


def list_artifacts(tx: Transaction, root: str, folder: str = "") -> list[tuple[str, int | None]]:
    """What lies directly in a folder: (path, size), the size None for a folder. A file has nothing in it.

    Raises:
        Invalid: the path is not confined to the root.
    """
    if folder:
        checked_path(folder)
    found: dict[str, int | None] = {}
    for each in beneath(tx, root, folder):
        inside = each.path[len(folder) + 1 :] if folder else each.path
        head, slash, _ = inside.partition("/")
        found[f"{folder}/{head}" if folder else head] = None if slash else each.size
    return sorted(found.items())


def beneath(tx: Transaction, root: str, folder: str = "") -> Iterable[Artifact]:
    """Every artifact below a folder of a root, by path."""
    # '0' is the character after '/': the range holds every path that begins with the folder and a slash.
    low, high = (f"{folder}/", f"{folder}0") if folder else ("", "\U0010ffff")
    rows = tx.tuples(
        "SELECT path, digest, size FROM artifacts WHERE root = ? AND path >= ? AND path < ? ORDER BY path",
        (root, low, high),
    )
    return (Artifact(path=path, digest=digest, size=size) for path, digest, size in rows)


def remove_artifacts(tx: Transaction, root: str, path: str) -> int:
    """Take a file, or a folder with all below it, out of a root ("" takes all); returns how many files went."""
    if path:
        checked_path(path)
    gone = [each.path for each in beneath(tx, root, path)]
    if path:
        gone.append(path)
    return sum(tx.execute("DELETE FROM artifacts WHERE root = ? AND path = ?", (root, each)) for each in gone)


def checked_path(path: str) -> str:
    """``path`` if it stays inside its root whoever reads it, on whatever system, once more decoded or not.

    Raises:
        Invalid: it is absolute, leads upwards, or holds what some system reads as more than a name.
    """
    parts = path.split("/")
    escapes = "\\" in path or "%" in path or ";" in path or ":" in parts[0] or any(ord(c) < 32 for c in path)
    if not path or len(path) > MAX_PATH or escapes or any(part in ("", ".", "..") for part in parts):
        raise Invalid(
            f"Invalid path: '{path[:80]}' is not a path of an artifact", hint="write it as folder/file, without '..'"
        )
    return path
