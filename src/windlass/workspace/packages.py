"""Packaged models laid out for workers: a cache of the store in the project's folder, checked before each use."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from windlass.capture import environment, folders, trees
from windlass.delivery.workers import Wanted
from windlass.domain import digest
from windlass.domain.ports import ObjectStore
from windlass.workspace.workspace import Workspace

# What a worker itself imports, beside the model's own requirements.
_WORKER = ("blake3", "msgspec", "numpy", "pandas", "pyarrow", "scipy", "uvloop")


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


def python_of(ws: Workspace, environment_digest: str, package: Path) -> str:
    """The interpreter of an environment: this one if it is the same, else one built from the lock.

    Of a model that MLflow's clients logged, the environment is what ``requirements.txt`` in its package asks for.
    """
    if is_logged(package):
        return _python_for(ws, package)
    if environment.digest_of(environment.capture()) == environment_digest:
        return sys.executable
    return str(
        environment.build(ws.database, ws.objects, environment_digest, ws.layout.environments, progress=ws.progress)
    )


def prepare(ws: Workspace, wanted: Wanted) -> tuple[str, str]:
    """What a worker needs before it starts: its package's folder and its interpreter."""
    folder = laid_out(ws, wanted.package)
    return str(folder), python_of(ws, wanted.environment, folder)


def is_logged(package: Path) -> bool:
    """Whether a package is of a model that MLflow's clients logged."""
    try:
        return bool(json.loads((package / "windlass.json").read_bytes()).get("loader"))
    except (OSError, ValueError):
        return False


def _python_for(ws: Workspace, package: Path) -> str:
    flavor = json.loads((package / "windlass.json").read_bytes())["loader"]["flavor"]
    try:
        lines = (package / "requirements.txt").read_text().splitlines()
    except OSError:
        lines = []
    # What is loaded natively needs no mlflow, which brings a hundred distributions with it.
    needed = [
        line for line in map(str.strip, lines)
        if line and not line.startswith("#") and not (flavor != "python_function" and _name(line) == "mlflow")
    ]  # fmt: skip
    here = {_normal(name): version for name, version in environment.capture().distributions}
    if all(_met(line, here) for line in needed):
        return sys.executable
    ours = [f"{name}=={here[name]}" for name in _WORKER if name in here and name not in map(_name, needed)]
    found = environment.of_requirements(
        ws.database,
        ws.objects,
        "\n".join([*needed, *ours]) + "\n",
        ws.layout.environments,
        actor=ws.actor,
        now=ws.now,
        progress=ws.progress,
    )
    return str(environment.build(ws.database, ws.objects, found, ws.layout.environments, progress=ws.progress))


def _met(line: str, here: Mapping[str, str]) -> bool:
    name, pinned, version = line.partition("==")
    return bool(pinned) and here.get(_normal(name)) == version.strip()


def _name(line: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", line)
    return _normal(match.group()) if match else ""


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _intact(objects: ObjectStore, package: str, folder: Path) -> bool:
    expected = {entry.path: entry.digest for entry in trees.manifest(objects, package).entries}
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
    return found == set(expected) and all(
        not (folder / path).is_symlink() and digest.of_file(folder / path) == each for path, each in expected.items()
    )
