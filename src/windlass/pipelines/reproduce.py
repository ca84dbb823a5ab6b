"""Reproduction: a run again from its records alone, in an empty folder, compared byte by byte."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from windlass.capture import code as code_capture
from windlass.capture import environment, folders, host, trees
from windlass.capture.data import Snapshot
from windlass.domain.clock import Clock
from windlass.domain.errors import Corrupt, Failure
from windlass.domain.ports import Database, ObjectStore
from windlass.pipelines import cache, recipe, runner
from windlass.pipelines.config import PipelineConfig
from windlass.pipelines.runs import Run
from windlass.registry.config import ModelConfig

_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """``differences`` names, one line each, the first artifact that differs and what differs around it."""

    reference: str
    identical: bool
    expected: str
    actual: str
    artifacts: int
    differences: tuple[str, ...]
    seconds: float
    folder: str


def reproduce(
    db: Database,
    objects: ObjectStore,
    *,
    reference: str,
    run: Run,
    package: str,
    root: Path,
    folder: Path,
    environments: Path,
    config: PipelineConfig,
    model: ModelConfig,
    snapshots: Mapping[str, Snapshot],
    scratch: tuple[Database, ObjectStore],
    here: bool = False,
    actor: str,
    now: Clock,
    progress: Callable[[str], None],
) -> Reproduction:
    """Rebuild ``run`` in ``folder``: its code, data, environment, config and seed; no cache, a store of its own.

    ``config`` and ``model`` are those of the run's code; what the run recorded of config, seed, threads and variables
    is put in. With ``here`` they are those of the project as it stands, and so are its code and the interpreter that
    runs: only the data is the recorded one. That tells what a change since then has done.

    Raises:
        NotFound: the code or the data is gone.
        Corrupt: the data is damaged.
        Unavailable: the environment cannot be built.
        Failure: a step failed.
    """
    started = time.monotonic()
    commit = code_capture.capture(root).snapshot if here else run.code.snapshot
    progress(f"checking out code {commit[:12]}")
    project = folder / "project"
    code_capture.checkout(root, commit, project)
    code_capture.initialise(project, f"The code of {reference}")
    rebuilt_db, rebuilt = scratch
    for name, snapshot in snapshots.items():
        progress(f"checking out data {snapshot.reference}")
        data = folder / "data" / name
        folders.checkout(objects, snapshot.tree, data)
        if (found := folders.store(rebuilt, data)) != snapshot.tree:
            raise Corrupt(f"{snapshot.reference} was checked out as another tree", expected=snapshot.tree, actual=found)
    python: Path | str
    if here:
        python = sys.executable
        used = environment.store(rebuilt_db, rebuilt, environment.capture(), actor=actor, now=now, progress=progress)
    else:
        python = environment.build(db, objects, run.environment, environments, progress=progress)
        used = run.environment
        config = replace(config, seed=run.seed, threads=run.threads, config=dict(run.config))
    again = runner.run(
        rebuilt_db,
        rebuilt,
        root=project,
        config=config,
        model=model,
        snapshots=snapshots,
        environment_digest=used,
        code=code_capture.capture(project),
        folder=folder / "runs",
        environments=environments,
        python=python,
        cached=False,
        actor=actor,
        now=now,
        progress=progress,
    )
    differing = differences(Side(run, db, objects), Side(again, rebuilt_db, rebuilt), python, folder / "compared")
    return Reproduction(
        reference=reference,
        identical=not differing and (again.package or "") == package,
        expected=package,
        actual=again.package or "",
        artifacts=sum(len(step.outputs) for step in again.steps),
        differences=tuple(differing),
        seconds=time.monotonic() - started,
        folder=str(folder),
    )


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs that are compared, with where it is kept."""

    run: Run
    db: Database
    objects: ObjectStore


def differences(old: Side, new: Side, python: Path | str, folder: Path) -> list[str]:
    """The first artifact that differs, in the order in which they were made, and what differs around it."""
    before = {name: each for step in old.run.steps for name, each in step.outputs.items()}
    after = {name: each for step in new.run.steps for name, each in step.outputs.items()}
    differing = [name for name in before if before[name] != after.get(name)]
    if not differing:
        return []
    first = differing[0]
    said = [f"artifact {first} differs first (of {len(differing)}): {before[first]} was {after.get(first, 'not made')}"]
    said += _recipes(old, new, first)
    said += [f"host {line}" for line in host.compare(dict(old.run.host), dict(new.run.host))]
    if first in after and _is_package(old.objects, before[first]):
        said += _packages(old, new, before[first], after[first], python, folder)
    return said


def _recipes(old: Side, new: Side, artifact: str) -> list[str]:
    """What differs in the recipe of the step that made an artifact."""
    recipes = []
    for side in (old, new):
        step = next((each for each in side.run.steps if artifact in each.outputs), None)
        if step is None:
            return []
        with side.db.read() as tx:
            recipes.append(cache.parts_of(tx, step.recipe))
    if recipes[0] is None or recipes[1] is None:
        return ["the recipe of the step is not kept any more, so what changed in it cannot be told"]
    said = []
    for change in recipe.changes(recipes[0], recipes[1]):
        if change.part == "environment":
            said += [f"environment {line}" for line in _environments(old, new)]
        else:
            said.append(f"{change.part} {change.name}: {change.before} -> {change.after}")
    return said


def _environments(old: Side, new: Side) -> list[str]:
    loaded = []
    for side in (old, new):
        try:
            loaded.append(environment.load(old.objects, side.run.environment))
        except Failure:
            loaded.append(environment.load(new.objects, side.run.environment))
    return environment.compare(*loaded)


def _is_package(objects: ObjectStore, tree: str) -> bool:
    try:
        return any(entry.path == "model.pkl" for entry in trees.manifest(objects, tree).entries)
    except Failure:
        return False


def _packages(old: Side, new: Side, before: str, after: str, python: Path | str, folder: Path) -> list[str]:
    was = {entry.path: entry.digest for entry in trees.manifest(old.objects, before).files}
    now = {entry.path: entry.digest for entry in trees.manifest(new.objects, after).files}
    said = [
        f"in the package, {path} differs" for path in sorted(was.keys() | now.keys()) if was.get(path) != now.get(path)
    ]
    if was.get("model.pkl") == now.get("model.pkl"):
        return said
    for side, tree, name in ((old, before, "recorded"), (new, after, "rebuilt")):
        folders.checkout(side.objects, tree, folder / name)
    command = [str(python), "-P", "-m", "windlass.pipelines.content", str(folder / "recorded"), str(folder / "rebuilt")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_SECONDS)
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return [*said, "what is in the two models could not be compared: one of them does not load"]
    return said + (found or ["the models are equal in content: only the bytes of the file differ"])
