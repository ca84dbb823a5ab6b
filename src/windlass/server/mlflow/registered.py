"""MLflow's calls on registered models and their versions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from windlass.domain.errors import Invalid
from windlass.domain.names import Reference, checked_model
from windlass.domain.ports import Transaction
from windlass.registry import moving, registered, sources
from windlass.registry.registered import RegisteredModel, VersionEntry
from windlass.registry.search import registry as searching
from windlass.server.mlflow import wire
from windlass.server.mlflow.edge import Call, Edge, Read, Step, Write
from windlass.server.mlflow.messages import (
    CreateModel,
    CreateVersion,
    LatestVersions,
    ModelAlias,
    ModelTag,
    OfModel,
    OfVersion,
    RenameModel,
    Search,
    TransitionStage,
    UpdateModel,
    UpdateVersion,
    VersionTag,
)
from windlass.workspace import adopting, promoting
from windlass.workspace.workspace import Workspace

MOST_MODELS, DEFAULT_MODELS = 1000, 100
MOST_VERSIONS, DEFAULT_VERSIONS = 200_000, 200_000


def _model(tx: Transaction, of: RegisteredModel) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": of.name,
        "creation_timestamp": of.created_at // 1000,
        "last_updated_timestamp": of.updated_at // 1000,
    }
    if of.description:
        found["description"] = of.description
    if newest := registered.latest(tx, of.name, moving.STAGES):
        # As MLflow: here without their aliases, which the model itself has.
        found["latest_versions"] = [_version(replace(each, aliases=())) for each in newest]
    if of.tags:
        found["tags"] = wire.pairs(of.tags)
    if of.aliases:
        found["aliases"] = [{"alias": alias, "version": str(number)} for alias, number in of.aliases.items()]
    return found


def _version(of: VersionEntry) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": of.model,
        "version": str(of.number),
        "creation_timestamp": of.at // 1000,
        "last_updated_timestamp": of.updated_at // 1000,
        "current_stage": of.stage,
        "description": of.description or "",
        "source": of.source,
        "run_id": of.run,
        "run_link": of.run_link,
        "status": "READY",
    }
    # What Windlass adds is told as tags: clients keep fields that they do not know out of sight.
    told = {"windlass.semver": of.semver, "windlass.digest": of.package}
    found["tags"] = wire.pairs({**of.tags, **told})
    if of.aliases:
        found["aliases"] = list(of.aliases)
    if of.model_id:
        found["model_id"] = of.model_id
    return found


# ---- models


def create(tx: Transaction, asked: CreateModel, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "name")
    tags = {each.key: each.value for each in asked.tags}
    registered.create(tx, asked.name, description=asked.description, tags=tags, at=edge.now())
    return _found(tx, asked.name)


def get(tx: Transaction, asked: OfModel, _: Edge) -> dict[str, Any]:
    wire.required(asked, "name")
    return _found(tx, asked.name)


def rename(tx: Transaction, asked: RenameModel, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "name", "new_name")
    registered.rename(tx, asked.name, asked.new_name, at=edge.now())
    return _found(tx, asked.new_name)


def update(tx: Transaction, asked: UpdateModel, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "name")
    registered.describe(tx, asked.name, asked.description or "", at=edge.now())
    return _found(tx, asked.name)


def delete(ws: Workspace, asked: OfModel, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "name")
    promoting.delete_model(ws, asked.name, actor=edge.actor)
    return {}


def search(tx: Transaction, asked: Search, _: Edge) -> dict[str, Any]:
    most = wire.checked_most(DEFAULT_MODELS if asked.max_results is None else asked.max_results, MOST_MODELS)
    start = wire.start_of(asked.page_token)
    found = searching.search_models(tx, asked.filter, asked.order_by, start=start, most=most + 1)
    page, following = wire.paged(found, start, most)
    if not page:
        return {}
    return {"registered_models": [_model(tx, each) for each in registered.read(tx, page)], **following}


def latest(tx: Transaction, asked: LatestVersions, _: Edge) -> dict[str, Any]:
    wire.required(asked, "name")
    stages = [moving.stage_named(each) for each in asked.stages] or moving.STAGES
    found = registered.latest(tx, asked.name, stages)
    return {"model_versions": [_version(each) for each in found]} if found else {}


def set_tag(tx: Transaction, asked: ModelTag, _: Edge) -> dict[str, Any]:
    wire.required(asked, "name", "key")
    registered.set_tag(tx, asked.name, asked.key, asked.value)
    return {}


def delete_tag(tx: Transaction, asked: ModelTag, _: Edge) -> dict[str, Any]:
    wire.required(asked, "name", "key")
    registered.delete_tag(tx, asked.name, asked.key)
    return {}


def set_alias(ws: Workspace, asked: ModelAlias, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "name", "alias", "version")
    reference = _reference(asked.name, asked.version)
    promoting.move_alias(ws, reference, asked.alias, actor=edge.actor, reason="through MLflow's protocol")
    return {}


def delete_alias(ws: Workspace, asked: ModelAlias, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "name", "alias")
    checked_model(asked.name)
    promoting.remove_alias(ws, asked.name, asked.alias, actor=edge.actor, reason="through MLflow's protocol")
    return {}


def by_alias(tx: Transaction, asked: ModelAlias, _: Edge) -> dict[str, Any]:
    wire.required(asked, "name", "alias")
    return {"model_version": _version(moving.aliased(tx, asked.name, asked.alias))}


# ---- versions


def create_version(ws: Workspace, asked: CreateVersion, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "name", "source")
    version = adopting.register(
        ws,
        model=asked.name,
        source=asked.source,
        run_id=asked.run_id,
        model_id=asked.model_id,
        run_link=asked.run_link,
        description=asked.description or None,
        tags={each.key: each.value for each in asked.tags},
        actor=edge.actor,
    )
    with ws.database.read() as tx:
        return {"model_version": _version(registered.entry_of(tx, version.model, version.number))}


def get_version(tx: Transaction, asked: OfVersion, _: Edge) -> dict[str, Any]:
    return {"model_version": _version(_entry(tx, asked))}


def update_version(tx: Transaction, asked: UpdateVersion, edge: Edge) -> dict[str, Any]:
    entry = _entry(tx, asked)
    registered.describe_version(tx, entry.model, entry.number, asked.description, at=edge.now())
    return {"model_version": _version(_entry(tx, asked))}


def delete_version(ws: Workspace, asked: OfVersion, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "name", "version")
    number = registered.number_of(asked.version)
    promoting.delete_version(ws, checked_model(asked.name), number, actor=edge.actor)
    return {}


def search_versions(tx: Transaction, asked: Search, _: Edge) -> dict[str, Any]:
    asked_for = DEFAULT_VERSIONS if asked.max_results is None else asked.max_results
    most, start = wire.checked_most(asked_for, MOST_VERSIONS), wire.start_of(asked.page_token)
    found = searching.search_versions(tx, asked.filter, asked.order_by, start=start, most=most + 1)
    page, following = wire.paged(found, start, most)
    if not page:
        return {}
    return {"model_versions": [_version(each) for each in registered.entries(tx, page)], **following}


def transition(ws: Workspace, asked: TransitionStage, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "name", "version", "stage")
    entry = promoting.move_stage(
        ws,
        _reference(asked.name, asked.version),
        asked.stage,
        archive_others=asked.archive_existing_versions,
        actor=edge.actor,
        reason="through MLflow's protocol",
    )
    return {"model_version": _version(entry)}


def download_uri(tx: Transaction, asked: OfVersion, _: Edge) -> dict[str, Any]:
    entry = _entry(tx, asked)
    row = tx.row("SELECT root, path FROM registered_roots WHERE model = ? AND number = ?", (entry.model, entry.number))
    if row is None:
        raise Invalid(
            f"{entry.reference} was packaged by a pipeline: its files are no artifacts", hint="windlass models --help"
        )
    return {"artifact_uri": sources.ARTIFACTS + row["root"] + (f"/{row['path']}" if row["path"] else "")}


def set_version_tag(tx: Transaction, asked: VersionTag, _: Edge) -> dict[str, Any]:
    wire.required(asked, "name", "version", "key")
    registered.set_version_tag(tx, asked.name, registered.number_of(asked.version), asked.key, asked.value)
    return {}


def delete_version_tag(tx: Transaction, asked: VersionTag, _: Edge) -> dict[str, Any]:
    wire.required(asked, "name", "version", "key")
    registered.delete_version_tag(tx, asked.name, registered.number_of(asked.version), asked.key)
    return {}


def _found(tx: Transaction, name: str) -> dict[str, Any]:
    return {"registered_model": _model(tx, registered.find(tx, name))}


def _entry(tx: Transaction, asked: OfVersion) -> VersionEntry:
    wire.required(asked, "name", "version")
    return registered.entry_of(tx, checked_model(asked.name), registered.number_of(asked.version))


def _reference(name: str, version: str) -> Reference:
    return Reference(checked_model(name), str(registered.number_of(version)))


CALLS: dict[tuple[str, str], Call] = {
    ("POST", "registered-models/create"): Write(CreateModel, create),
    ("GET", "registered-models/get"): Read(OfModel, get),
    ("GET", "registered-models/search"): Read(Search, search),
    ("POST", "registered-models/rename"): Write(RenameModel, rename),
    ("PATCH", "registered-models/update"): Write(UpdateModel, update),
    ("DELETE", "registered-models/delete"): Step(OfModel, delete),
    ("GET", "registered-models/get-latest-versions"): Read(LatestVersions, latest),
    ("POST", "registered-models/get-latest-versions"): Read(LatestVersions, latest),
    ("POST", "registered-models/set-tag"): Write(ModelTag, set_tag),
    ("DELETE", "registered-models/delete-tag"): Write(ModelTag, delete_tag),
    ("POST", "registered-models/alias"): Step(ModelAlias, set_alias),
    ("DELETE", "registered-models/alias"): Step(ModelAlias, delete_alias),
    ("GET", "registered-models/alias"): Read(ModelAlias, by_alias),
    ("POST", "model-versions/create"): Step(CreateVersion, create_version),
    ("GET", "model-versions/get"): Read(OfVersion, get_version),
    ("GET", "model-versions/search"): Read(Search, search_versions),
    ("PATCH", "model-versions/update"): Write(UpdateVersion, update_version),
    ("DELETE", "model-versions/delete"): Step(OfVersion, delete_version),
    ("POST", "model-versions/transition-stage"): Step(TransitionStage, transition),
    ("GET", "model-versions/get-download-uri"): Read(OfVersion, download_uri),
    ("POST", "model-versions/set-tag"): Write(VersionTag, set_version_tag),
    ("DELETE", "model-versions/delete-tag"): Write(VersionTag, delete_version_tag),
}
