"""Reproduction: a run again from its records alone, in an empty folder, compared byte by byte."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from windlass.capture import code as code_capture
from windlass.capture import environment, folders, trees
from windlass.capture.data import Snapshot
from windlass.domain.clock import Clock
from windlass.domain.errors import Corrupt
from windlass.domain.ports import Database, ObjectStore
from windlass.pipelines import runner
from windlass.pipelines.config import PipelineConfig
from windlass.pipelines.runs import Run
from windlass.registry.config import ModelConfig


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
    actor: str,
    now: Clock,
    progress: Callable[[str], None],
) -> Reproduction:
    """Rebuild ``run`` in ``folder``: its code, data, environment, config and seed; no cache, a store of its own.

    ``config`` and ``model`` are those of the run's code; what the run recorded of config, seed, threads and variables
    is put in.

    Raises:
        NotFound: the code or the data is gone.
        Corrupt: the data is damaged.
        Unavailable: the environment cannot be built.
        Failure: a step failed.
    """
    started = time.monotonic()
    progress(f"checking out code {run.code.snapshot[:12]}")
    project = folder / "project"
    code_capture.checkout(root, run.code.snapshot, project)
    code_capture.initialise(project, f"The code of {reference}")
    rebuilt_db, rebuilt = scratch
    for name, snapshot in snapshots.items():
        progress(f"checking out data {snapshot.reference}")
        data = folder / "data" / name
        folders.checkout(objects, snapshot.tree, data)
        if (found := folders.store(rebuilt, data)) != snapshot.tree:
            raise Corrupt(f"{snapshot.reference} was checked out as another tree", expected=snapshot.tree, actual=found)
    python = environment.build(db, objects, run.environment, environments, progress=progress)
    again = runner.run(
        rebuilt_db,
        rebuilt,
        root=project,
        config=replace(config, seed=run.seed, threads=run.threads, config=dict(run.config)),
        model=model,
        snapshots=snapshots,
        environment_digest=run.environment,
        code=code_capture.capture(project),
        folder=folder / "runs",
        python=python,
        cached=False,
        actor=actor,
        now=now,
        progress=progress,
    )
    differences = _differences(run, again, objects, rebuilt)
    return Reproduction(
        reference=reference,
        identical=not differences and again.package == package,
        expected=package,
        actual=again.package or "",
        artifacts=sum(len(step.outputs) for step in again.steps),
        differences=tuple(differences),
        seconds=time.monotonic() - started,
        folder=str(folder),
    )


def _differences(run: Run, again: Run, objects: ObjectStore, rebuilt: ObjectStore) -> list[str]:
    before = {name: each for step in run.steps for name, each in step.outputs.items()}
    after = {name: each for step in again.steps for name, each in step.outputs.items()}
    differing = [name for name in before if before[name] != after.get(name)]
    if not differing:
        return []
    first = differing[0]
    said = [f"artifact {first} differs first (of {len(differing)}): {before[first]} was {after.get(first, 'not made')}"]
    if first in after and before[first] == run.package:
        said += _files(objects, before[first], rebuilt, after[first])
    said += [
        f"host {name}: {run.host.get(name)} -> {again.host.get(name)}"
        for name in sorted(run.host.keys() | again.host.keys())
        if run.host.get(name) != again.host.get(name)
    ]
    return said


def _files(objects: ObjectStore, old: str, rebuilt: ObjectStore, new: str) -> list[str]:
    before = {entry.path: entry.digest for entry in trees.manifest(objects, old).entries}
    after = {entry.path: entry.digest for entry in trees.manifest(rebuilt, new).entries}
    return [
        f"in the package, {path} differs"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]
