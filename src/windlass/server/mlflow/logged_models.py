"""MLflow's calls on logged models."""

from __future__ import annotations

from typing import Any

from windlass.domain.ports import Transaction
from windlass.registry.search import logged_models as searching
from windlass.registry.tracking import artifacts, experiments, logged_models
from windlass.registry.tracking.logged_models import ModelStatus, model_root
from windlass.server.mlflow import forms, wire
from windlass.server.mlflow.edge import Call, Edge, Read, Write
from windlass.server.mlflow.messages import (
    CreateLoggedModel,
    FinalizeLoggedModel,
    ListLoggedModelArtifacts,
    LoggedModelParams,
    LoggedModelTag,
    LoggedModelTags,
    OfLoggedModel,
    SearchLoggedModels,
)

DEFAULT_MOST = 100
MOST = 50_000
_STATUS = {
    "LOGGED_MODEL_STATUS_UNSPECIFIED": ModelStatus.UNSPECIFIED,
    "LOGGED_MODEL_PENDING": ModelStatus.PENDING,
    "LOGGED_MODEL_READY": ModelStatus.READY,
    "LOGGED_MODEL_UPLOAD_FAILED": ModelStatus.FAILED,
}


def create(tx: Transaction, asked: CreateLoggedModel, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "experiment_id")
    model_id = f"m-{edge.new_id()}"
    logged_models.create_logged_model(
        tx,
        model_id=model_id,
        experiment_id=asked.experiment_id,
        name=asked.name or f"model-{model_id[2:10]}",
        source_run_id=asked.source_run_id,
        model_type=asked.model_type,
        params={each.key: each.value for each in asked.params},
        tags={each.key: each.value for each in asked.tags},
        at=edge.milliseconds,
    )
    return _found(tx, model_id)


def get(tx: Transaction, asked: OfLoggedModel, _: Edge) -> dict[str, Any]:
    return _found(tx, asked.model_id, deleted=asked.allow_deleted)


def finalize(tx: Transaction, asked: FinalizeLoggedModel, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "status")
    text = str(asked.status)
    status = int(text) if text.isdigit() else int(_STATUS.get(text, -1))
    logged_models.finalize(tx, asked.model_id, status, at=edge.milliseconds)
    return _found(tx, asked.model_id, deleted=True)


def delete(tx: Transaction, asked: OfLoggedModel, edge: Edge) -> dict[str, Any]:
    logged_models.delete_logged_model(tx, asked.model_id, at=edge.milliseconds)
    return {}


def set_tags(tx: Transaction, asked: LoggedModelTags, _: Edge) -> dict[str, Any]:
    logged_models.set_tags(tx, asked.model_id, {each.key: each.value for each in asked.tags})
    return {}


def delete_tag(tx: Transaction, asked: LoggedModelTag, _: Edge) -> dict[str, Any]:
    logged_models.delete_tag(tx, asked.model_id, asked.tag_key)
    return {}


def log_params(tx: Transaction, asked: LoggedModelParams, _: Edge) -> dict[str, Any]:
    logged_models.log_params(tx, asked.model_id, {each.key: each.value for each in asked.params})
    return {}


def search(tx: Transaction, asked: SearchLoggedModels, _: Edge) -> dict[str, Any]:
    if asked.experiment_ids is None:
        wire.required(asked, "experiment_ids")
    most, start = wire.checked_most(asked.max_results or DEFAULT_MOST, MOST), wire.start_of(asked.page_token)
    found = searching.search(
        tx,
        [experiments.number_of(each) for each in asked.experiment_ids or ()],
        text=asked.filter,
        datasets=[(each.dataset_name, each.dataset_digest) for each in asked.datasets],
        orders=[
            searching.Measured(each.field_name, each.ascending, each.dataset_name, each.dataset_digest)
            for each in asked.order_by
        ],
        start=start,
        most=most + 1,
    )
    page, following = wire.paged(found, start, most)
    if not page:
        return {}
    return {"models": [forms.logged_model(each) for each in logged_models.read(tx, page)], **following}


def list_artifacts(tx: Transaction, asked: ListLoggedModelArtifacts, _: Edge) -> dict[str, Any]:
    row = logged_models.require(tx, asked.model_id)
    root = model_root(str(row["experiment"]), asked.model_id)
    files = artifacts.list_artifacts(tx, root, asked.artifact_directory_path.strip("/"))
    found = [forms.file(path, size) for path, size in files]
    return {"root_uri": forms.SCHEME + root, **({"files": found} if found else {})}


def _found(tx: Transaction, model_id: str, *, deleted: bool = False) -> dict[str, Any]:
    return {"model": forms.logged_model(logged_models.find_logged_model(tx, model_id, deleted=deleted))}


CALLS: dict[tuple[str, str], Call] = {
    ("POST", "logged-models"): Write(CreateLoggedModel, create),
    ("POST", "logged-models/search"): Read(SearchLoggedModels, search),
    ("GET", "logged-models/{model_id}"): Read(OfLoggedModel, get),
    ("PATCH", "logged-models/{model_id}"): Write(FinalizeLoggedModel, finalize),
    ("DELETE", "logged-models/{model_id}"): Write(OfLoggedModel, delete),
    ("PATCH", "logged-models/{model_id}/tags"): Write(LoggedModelTags, set_tags),
    ("DELETE", "logged-models/{model_id}/tags/{tag_key}"): Write(LoggedModelTag, delete_tag),
    ("POST", "logged-models/{model_id}/params"): Write(LoggedModelParams, log_params),
    ("GET", "logged-models/{model_id}/artifacts/directories"): Read(ListLoggedModelArtifacts, list_artifacts),
}
