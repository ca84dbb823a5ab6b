"""Packaged models laid out for workers: a cache of the store in the project's folder, checked before each use."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from windlass.capture import environment, folders, trees
from windlass.delivery.workers import Wanted
from windlass.domain import digest
from windlass.domain.ports import ObjectStore
from windlass.workspace.workspace import Workspace


def laid_out(ws: Workspace, package: str) -> Path:
    """The package's folder, its bytes those of the store.

    Raises:
        Corrupt: an object of it is damaged.
        NotFound: it is not in the store.
    """
    folder = ws.layout.packages / digest.checked(package).removeprefix(digest.PREFIX)
    if folder.exists() and not _intact(ws.objects, package, folder):
        # A pickle runs code when it is read: what somebody changed here must never reach a worker.
        shutil.rmtree(folder)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folders.checkout(ws.objects, package, folder)
    return folder


def python_of(ws: Workspace, environment_digest: str) -> str:
    """The interpreter of an environment: this one if it is the same, else one built from the lock."""
    if environment.digest_of(environment.capture()) == environment_digest:
        return sys.executable
    return str(
        environment.build(ws.database, ws.objects, environment_digest, ws.layout.environments, progress=ws.progress)
    )


def prepare(ws: Workspace, wanted: Wanted) -> tuple[str, str]:
    """What a worker needs before it starts: its package's folder and its interpreter."""
    return str(laid_out(ws, wanted.package)), python_of(ws, wanted.environment)


def _intact(objects: ObjectStore, package: str, folder: Path) -> bool:
    expected = {entry.path: entry.digest for entry in trees.manifest(objects, package).entries}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return found == set(expected) and all(
        not (folder / path).is_symlink() and digest.of_file(folder / path) == each for path, each in expected.items()
    )
