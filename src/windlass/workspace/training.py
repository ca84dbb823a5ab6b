"""Running the pipeline and registering what it made: shared by `windlass run` and by retraining."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from windlass.capture import code as code_capture
from windlass.capture import data, environment
from windlass.capture.code import Code
from windlass.capture.data import Snapshot
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.names import Reference
from windlass.pipelines import runner, runs
from windlass.pipelines.runs import Run
from windlass.registry import models
from windlass.registry.models import Version
from windlass.workspace.config import Config, load
from windlass.workspace.layout import CONFIG_FILE
from windlass.workspace.workspace import Workspace


def latest_snapshots(ws: Workspace, config: Config) -> dict[str, Snapshot]:
    """The newest snapshot of every dataset that the configuration names.

    Raises:
        NotFound: one has none yet.
    """
    found = {}
    with ws.database.read() as tx:
        for name in config.data:
            try:
                found[name] = data.find(tx, ws.objects, Reference(name, None))
            except NotFound:
                raise NotFound(
                    f"dataset '{name}' has no snapshot yet", hint=f"make one: windlass data add --name {name}"
                ) from None
    return found


def train(
    ws: Workspace,
    *,
    root: Path,
    config: Config,
    code: Code,
    snapshots: Mapping[str, Snapshot],
    cached: bool = True,
    dry_run: bool = False,
) -> Run:
    """Run the pipeline of the code captured from ``root`` in the environment that runs now."""
    found = environment.store(
        ws.database,
        ws.objects,
        environment.capture(ws.layout.installed),
        project=root,
        actor=ws.actor,
        now=ws.now,
        progress=ws.progress,
    )
    return runner.run(
        ws.database,
        ws.objects,
        root=root,
        config=config.pipeline,
        model=config.model,
        snapshots=snapshots,
        environment_digest=found,
        code=code,
        folder=ws.layout.runs,
        environments=ws.layout.environments,
        tracking=ws.tracking,
        cached=cached,
        dry_run=dry_run,
        actor=ws.actor,
        now=ws.now,
        progress=ws.progress,
    )


def train_here(ws: Workspace, *, cached: bool = True, dry_run: bool = False) -> Run:
    """Run the project as it stands: its working tree, its latest data."""
    return train(
        ws,
        root=ws.layout.root,
        config=ws.config,
        code=code_capture.capture(ws.layout.root),
        snapshots=latest_snapshots(ws, ws.config),
        cached=cached,
        dry_run=dry_run,
    )


def config_of(ws: Workspace, run: Run) -> Config:
    """The configuration that was part of a run's code.

    Raises:
        NotFound: the repository no longer has the code.
    """
    with tempfile.TemporaryDirectory(prefix="windlass-code-") as folder:
        code_capture.checkout(ws.layout.root, run.code.snapshot, Path(folder))
        return load(Path(folder) / CONFIG_FILE)


def register(ws: Workspace, run: Run, model: str) -> tuple[Version, bool]:
    """Register a run's model; a second time, the version that it made already.

    Raises:
        Invalid: the run made no model.
    """
    if run.status != "finished" or run.package is None or run.signature is None:
        raise Invalid(
            f"run {run.id[:8]} ({run.status}) made no model",
            hint=f"the step '{ws.config.model.step}' returns a windlass.Model; see `windlass runs {run.id[:8]}`",
        )
    return models.register(
        ws.database,
        ws.objects,
        model=model,
        package=run.package,
        signature=run.signature,
        origin=runs.origin(run),
        run=run.id,
        commit=run.code.commit,
        metrics=run.metrics,
        actor=ws.actor,
        now=ws.now,
    )
