"""Registering what MLflow's clients logged: the files as they were uploaded become an immutable package."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from windlass.capture import trees
from windlass.domain import digest
from windlass.domain.errors import Conflict, Invalid
from windlass.domain.ports import Transaction
from windlass.packaging import mlflow
from windlass.registry import lineage, mlmodel, models, registered, sources
from windlass.registry.models import Source, Version
from windlass.registry.sources import Folder
from windlass.registry.tracking import artifacts, runs
from windlass.registry.tracking.artifacts import Artifact
from windlass.registry.tracking.runs import TrackedRun
from windlass.workspace.workspace import Workspace

MOST_FILES = 100_000


def register(
    ws: Workspace,
    *,
    model: str,
    source: str,
    run_id: str = "",
    model_id: str = "",
    run_link: str = "",
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    actor: str,
    create: bool = False,
) -> Version:
    """The next version of a model, of the files that ``source`` names; ``create`` makes the model if there is none.

    Raises:
        Invalid: the source names nothing that this server keeps, or no model.
        NotFound: there is no such model, run or logged model.
        Conflict: the files changed meanwhile.
    """
    with ws.database.read() as tx:
        if not create:
            registered.find(tx, model)
        folder = sources.resolve(tx, source, run_id=run_id, model_id=model_id)
        files = _files(tx, folder)
        made_by = runs.find_run(tx, run_id or folder.run_id) if run_id or folder.run_id else None
    if not files:
        raise Invalid(
            f"there are no files in '{source[:200]}'", hint="log the model first; its files are what is registered"
        )
    signature, beside = _described(ws, files)
    with ws.objects.batch() as batch:
        entries = [trees.Entry(path=path, size=each.size, digest=each.digest) for path, each in files.items()]
        entries += [
            trees.Entry(path=path, size=len(data), digest=batch.put(data))
            for path, data in beside.items()
            if path not in files
        ]
        package = trees.put(batch, entries)
        batch.flush()
        with ws.database.write() as tx:
            if _files(tx, folder) != files:
                raise Conflict(f"the files of '{source[:200]}' changed while they were registered", hint="try again")
            if create:
                registered.ensure(tx, model, at=ws.now())
            else:
                registered.find(tx, model)
            version = models.add(
                tx,
                ws.objects,
                model=model,
                package=package,
                signature=digest.of(signature),
                origin=sources.origin_of(made_by, files),
                run=made_by.run_id if made_by else "",
                commit=made_by.tags.get("mlflow.source.git.commit", "") if made_by else "",
                metrics=_finite(made_by),
                actor=actor,
                at=ws.now(),
                source=Source(
                    uri=source, run_link=run_link, model_id=model_id or folder.model_id, description=description
                ),
            )
            tx.execute(
                "INSERT INTO registered_roots (root, path, model, number) VALUES (?, ?, ?, ?)",
                (folder.root, folder.path, model, version.number),
            )
            for key, value in (tags or {}).items():
                registered.set_version_tag(tx, model, version.number, key, value)
            _link(tx, version, folder, made_by)
    return version


def _described(ws: Workspace, files: Mapping[str, Artifact]) -> tuple[Mapping[str, Any], dict[str, bytes]]:
    """The model's signature, and what is written beside its files so that a worker can serve them: nothing, if it
    says too little of itself. Then it is registered all the same, and its gate says what it lacks."""
    if "MLmodel" not in files:
        return {}, {}
    model = mlmodel.parse(ws.objects.get(files["MLmodel"].digest))
    example = files.get(str(model.example.get("artifact_path", "")))
    small = example is not None and example.size <= mlmodel.MAX_BYTES
    try:
        return model.signature, mlflow.described(model, ws.objects.get(example.digest) if example and small else None)
    except Invalid:
        return model.signature, {}


def _files(tx: Transaction, folder: Folder) -> dict[str, Artifact]:
    start = len(folder.path) + 1 if folder.path else 0
    found = {each.path[start:]: each for each in artifacts.beneath(tx, folder.root, folder.path)}
    if len(found) > MOST_FILES:
        raise Invalid(f"'{folder.uri}' has {len(found)} files", hint=f"a package has at most {MOST_FILES}")
    return found


def _finite(run: TrackedRun | None) -> dict[str, float]:
    metrics = {} if run is None else run.metrics
    return {key: metric.value for key, metric in metrics.items() if math.isfinite(metric.value)}


def _link(tx: Transaction, version: Version, folder: Folder, run: TrackedRun | None) -> None:
    node = f"version/{version.reference}"
    if folder.model_id:
        lineage.link(tx, node, f"logged-model/{folder.model_id}", "is")
    lineage.link(tx, node, f"environment/{version.origin.environment}", "runs in")
    if run is None:
        return
    if folder.model_id:
        lineage.link(tx, f"logged-model/{folder.model_id}", f"run/{run.run_id}", "made by")
    for each in run.datasets:
        lineage.link(tx, f"run/{run.run_id}", f"dataset/{each.name}@{each.digest}", "read")
    commit = run.tags.get("mlflow.source.git.commit") or run.tags.get("mlflow.source.name", "")
    if commit:
        lineage.link(tx, f"run/{run.run_id}", f"commit/{commit}", "ran code of")
