"""Experiments and runs, in MLflow's sense: params, metrics with their history, tags, datasets, models and artifacts.

Times in this package are MLflow's: milliseconds since the epoch, as clients sent them.
"""

from windlass.registry.tracking.artifacts import Artifact, add_artifact, find_artifact, list_artifacts
from windlass.registry.tracking.experiments import (
    Experiment,
    create_experiment,
    experiment_id,
    find_experiment,
)
from windlass.registry.tracking.names import RUN_NAME, USER
from windlass.registry.tracking.recording import log
from windlass.registry.tracking.runs import (
    Metric,
    RunStatus,
    TrackedRun,
    create_run,
    find_run,
    finish,
    run_root,
    update_run,
)

__all__ = [
    "RUN_NAME",
    "USER",
    "Artifact",
    "Experiment",
    "Metric",
    "RunStatus",
    "TrackedRun",
    "add_artifact",
    "create_experiment",
    "create_run",
    "experiment_id",
    "find_artifact",
    "find_experiment",
    "find_run",
    "finish",
    "list_artifacts",
    "log",
    "run_root",
    "update_run",
]
