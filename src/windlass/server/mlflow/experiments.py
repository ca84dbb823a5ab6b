"""MLflow's calls on experiments."""

from __future__ import annotations

from typing import Any

from windlass.domain.errors import Invalid, NotFound
from windlass.domain.ports import Transaction
from windlass.registry.search import experiments as searching
from windlass.registry.tracking import experiments
from windlass.registry.tracking.stages import VIEWS
from windlass.server.mlflow import forms, wire
from windlass.server.mlflow.edge import Call, Edge, Read, Write
from windlass.server.mlflow.messages import (
    CreateExperiment,
    ExperimentByName,
    ExperimentTag,
    OfExperiment,
    SearchExperiments,
    UpdateExperiment,
)

MOST = 50_000
_VIEWS = {0: "ACTIVE_ONLY", 1: "ACTIVE_ONLY", 2: "DELETED_ONLY", 3: "ALL"}


def stages(view: str | int) -> tuple[str, ...]:
    """The stages that a view of MLflow's shows. Raises Invalid."""
    text = str(view)
    found = VIEWS.get(_VIEWS.get(int(text), "") if text.isdigit() else text)
    if found is None:
        raise Invalid(f"Invalid value \"{text[:80]}\" for parameter 'view_type' supplied", hint="use ACTIVE_ONLY")
    return found


def create(tx: Transaction, asked: CreateExperiment, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "name")
    if asked.artifact_location:
        raise Invalid(
            "artifacts are kept in Windlass's own store, not at an artifact_location",
            hint="leave artifact_location out",
        )
    tags = {each.key: each.value for each in asked.tags}
    return {"experiment_id": experiments.create_experiment(tx, name=asked.name, at=edge.milliseconds, tags=tags)}


def get(tx: Transaction, asked: OfExperiment, _: Edge) -> dict[str, Any]:
    wire.required(asked, "experiment_id")
    return {"experiment": forms.experiment(experiments.find_experiment(tx, asked.experiment_id))}


def by_name(tx: Transaction, asked: ExperimentByName, _: Edge) -> dict[str, Any]:
    wire.required(asked, "experiment_name")
    found = experiments.experiment_id(tx, asked.experiment_name)
    if found is None:
        raise NotFound(f"Could not find experiment with name '{asked.experiment_name[:300]}'")
    return {"experiment": forms.experiment(experiments.find_experiment(tx, found))}


def search(tx: Transaction, asked: SearchExperiments, _: Edge) -> dict[str, Any]:
    most, start = wire.checked_most(asked.max_results, MOST), wire.start_of(asked.page_token)
    found = searching.search(tx, stages(asked.view_type), asked.filter, asked.order_by, start=start, most=most + 1)
    page, following = wire.paged(found, start, most)
    if not page:
        return {}
    return {"experiments": [forms.experiment(each) for each in experiments.read(tx, page)], **following}


def update(tx: Transaction, asked: UpdateExperiment, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "experiment_id", "new_name")
    experiments.rename_experiment(tx, asked.experiment_id, asked.new_name, at=edge.milliseconds)
    return {}


def delete(tx: Transaction, asked: OfExperiment, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "experiment_id")
    experiments.delete_experiment(tx, asked.experiment_id, at=edge.milliseconds)
    return {}


def restore(tx: Transaction, asked: OfExperiment, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "experiment_id")
    experiments.restore_experiment(tx, asked.experiment_id, at=edge.milliseconds)
    return {}


def set_tag(tx: Transaction, asked: ExperimentTag, _: Edge) -> dict[str, Any]:
    wire.required(asked, "experiment_id", "key")
    experiments.set_experiment_tag(tx, asked.experiment_id, asked.key, asked.value)
    return {}


def delete_tag(tx: Transaction, asked: ExperimentTag, _: Edge) -> dict[str, Any]:
    wire.required(asked, "experiment_id", "key")
    experiments.delete_experiment_tag(tx, asked.experiment_id, asked.key)
    return {}


CALLS: dict[tuple[str, str], Call] = {
    ("POST", "experiments/create"): Write(CreateExperiment, create),
    ("GET", "experiments/get"): Read(OfExperiment, get),
    ("GET", "experiments/get-by-name"): Read(ExperimentByName, by_name),
    ("GET", "experiments/search"): Read(SearchExperiments, search),
    ("POST", "experiments/search"): Read(SearchExperiments, search),
    ("POST", "experiments/update"): Write(UpdateExperiment, update),
    ("POST", "experiments/delete"): Write(OfExperiment, delete),
    ("POST", "experiments/restore"): Write(OfExperiment, restore),
    ("POST", "experiments/set-experiment-tag"): Write(ExperimentTag, set_tag),
    ("POST", "experiments/delete-experiment-tag"): Write(ExperimentTag, delete_tag),
}
