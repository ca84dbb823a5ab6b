"""A pipeline's run in tracking: what MLflow's clients see of it."""

from __future__ import annotations

from collections.abc import Mapping

from windlass.domain.ports import ObjectStore, Transaction
from windlass.pipelines import stored
from windlass.pipelines.runs import Run, RunStatus
from windlass.pipelines.stored import Stored
from windlass.registry import tracking


def begin(tx: Transaction, run: Run) -> None:
    """Open the run in the experiment of its model."""
    experiment = tracking.experiment_id(tx, run.experiment)
    if experiment is None:
        experiment = tracking.create_experiment(tx, name=run.experiment, at=run.at // 1000)
    tracking.create_run(
        tx,
        run_id=run.id,
        experiment_id=experiment,
        name=f"{run.experiment} {run.id[:8]}",
        user=run.actor,
        at=run.at // 1000,
        tags={
            "mlflow.source.git.commit": run.code.commit,
            "windlass.code": run.code.snapshot,
            "windlass.environment": run.environment,
            "windlass.data": ", ".join(f"{name} {tree}" for name, tree in run.snapshots.items()),
        },
    )
    params = {**{name: str(value) for name, value in run.config.items()}, "seed": str(run.seed)}
    tracking.log(tx, run.id, params=params)


def end(tx: Transaction, objects: ObjectStore, run: Run, outputs: Mapping[str, Stored]) -> None:
    """Record metrics, artifacts and how it ended."""
    at = run.at // 1000 + int(run.seconds * 1000)  # in tracking, milliseconds
    root = tracking.run_root(tracking.find_run(tx, run.id).experiment_id, run.id)
    tracking.log(tx, run.id, metrics=[(name, value, 0, at) for name, value in run.metrics.items()])
    for name, output in outputs.items():
        for path, kept, size in stored.files(objects, name, output):
            tracking.add_artifact(tx, root, path=path, digest=kept, size=size)
    tracking.finish(tx, run.id, status="FINISHED" if run.status is RunStatus.FINISHED else "FAILED", at=at)
