"""An export: what it is done with, and what of here is what there."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from windlass.domain.clock import Clock
from windlass.domain.errors import Invalid
from windlass.domain.progress import Meter
from windlass.exchange.content import Experiment, LoggedModel, Run
from windlass.exchange.local import LocalSource
from windlass.exchange.server import ServerSource
from windlass.exchange.tallying import Say, Tally, sound
from windlass.exchange.writing import Writer
from windlass.registry.tracking import names

RUN_ID, EXPORTED = "windlass.run_id", "windlass.exported"
EXPERIMENT, MODEL_ID = "windlass.experiment", "windlass.model_id"
REGISTERED_MODEL, VERSION = "windlass.registered_model", "windlass.version"
OURS = "windlass."
TOLD_BY_MLFLOW = "mlflow.modelVersions"  # a logged model's tag that MLflow's server writes by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporter:
    here: LocalSource
    there: ServerSource
    writer: Writer
    now: Clock
    say: Say
    meter: Meter


@dataclass(slots=True)
class Twins:
    """What of here is what there: by the ids from here."""

    experiments: dict[str, Experiment] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)  # runs that were made just now, and have nothing in them
    models: dict[str, LoggedModel] = field(default_factory=dict)
    as_files: dict[str, tuple[str, str]] = field(default_factory=dict)  # models that are a run's files there: run, URI

    def run_id(self, run_id: str) -> str:
        found = self.runs.get(run_id)
        return found.id if found else run_id

    def model_id(self, model_id: str) -> str:
        found = self.models.get(model_id)
        return found.id if found else model_id


def marked(of: Experiment) -> str:
    """What an experiment is known by there."""
    return f"{of.id} of {of.created_at}"


def clipped(value: float) -> float:
    """A metric's value as MLflow's databases keep it: they have no infinity."""
    if math.isinf(value):
        return math.copysign(sys.float_info.max, value)
    return value


def wanted_of(job: Exporter, only: frozenset[str]) -> list[Experiment]:
    """The experiments here, or only those of some names. Raises Invalid."""
    found = [each for each in job.here.experiments() if not only or each.name in only]
    unknown = sorted(only - {each.name for each in found})
    if unknown:
        raise Invalid(f"there is no experiment '{unknown[0][:200]}' here", hint="names are exact")
    return found


def find_runs(job: Exporter, of: Experiment, twins: Twins, tally: Tally) -> None:
    """Learn which of an experiment's runs are there."""
    for run in sound(job.there.runs(twins.experiments[of.id].id), tally):
        if RUN_ID in run.tags:
            twins.runs[run.tags[RUN_ID]] = run


def expected(of: Run, twins: Twins) -> Run:
    """A run as it should be there, but for the tag that says that it is complete."""
    tags = {**of.tags, RUN_ID: of.id}
    if names.PARENT in tags:
        tags[names.PARENT] = twins.run_id(tags[names.PARENT])
    if not of.name:
        tags.pop(names.RUN_NAME, None)  # MLflow makes a name up
    return replace(
        of,
        tags=tags,
        model_inputs=tuple(twins.model_id(each) for each in of.model_inputs),
        model_outputs=tuple((twins.model_id(each), step) for each, step in of.model_outputs),
    )


def find_models(job: Exporter, of: Experiment, twins: Twins, tally: Tally) -> None:
    """Learn which of an experiment's logged models are there."""
    for model in sound(job.there.logged_models(twins.experiments[of.id].id), tally):
        if MODEL_ID in model.tags:
            twins.models[model.tags[MODEL_ID]] = model


def changed(wanted: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    """The pairs that are not there, or have another value."""
    return {key: value for key, value in wanted.items() if there.get(key) != value}
