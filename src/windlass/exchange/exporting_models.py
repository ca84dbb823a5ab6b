"""Exporting logged and registered models."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from windlass.domain.errors import Invalid, NotFound
from windlass.exchange import progress
from windlass.exchange.content import Experiment, LoggedModel, ModelVersion, RegisteredModel
from windlass.exchange.landing import names_like
from windlass.exchange.rest import Missing
from windlass.exchange.tallying import Remark, Tally, sound, told
from windlass.exchange.twins import (
    EXPORTED,
    MODEL_ID,
    REGISTERED_MODEL,
    VERSION,
    Exporter,
    Twins,
    changed,
    clipped,
    find_models,
)
from windlass.exchange.uploading import Known, state_of_files, upload
from windlass.registry.tracking.logged_models import ModelMetric


def copy_models(job: Exporter, of: Experiment, twins: Twins, tally: Tally) -> dict[str, list[tuple[str, ModelMetric]]]:
    """Copy an experiment's logged models; returns what was measured on them, by the runs that measured it, which is
    logged to those.
    """
    measured: dict[str, list[tuple[str, ModelMetric]]] = {}
    find_models(job, of, twins, tally)
    for model in job.here.logged_models(of.id):
        with told(tally, f"logged model {model.id}"):
            try:
                twin = _logged_model(job, of, model, twins, tally)
            except Missing:
                _model_as_files(job, model, twins, tally)
                continue
            there = {_measure(each) for each in twin.metrics}
            for each in model.metrics:
                if _measure(replace(each, run_id=twins.run_id(each.run_id))) not in there:
                    measured.setdefault(each.run_id, []).append((twin.id, each))
    return measured


def _model_as_files(job: Exporter, model: LoggedModel, twins: Twins, tally: Tally) -> None:
    """For a server before 3.0, which knows no logged models: the model's files, where clients of its time put them."""
    subject = f"logged model {model.id}"
    owner = twins.runs.get(model.source_run_id)
    if owner is None:
        raise NotFound("the server is older than 3.0 and keeps models with their run: this one has none there")
    there = {each.path: each.size for each in job.there.files(owner)}
    missing_files = [f for f in job.here.files(model) if there.get(f"{model.name}/{f.path}") != f.size]
    place = replace(owner, artifact_uri=f"{owner.artifact_uri}/{model.name}")
    if owner.deleted:
        job.writer.restore_run(owner.id)
    upload(job, model, missing_files, place, tally, known=Known.NOTHING)
    if owner.deleted:
        job.writer.delete_run(owner.id)
    twins.as_files[model.id] = owner.id, place.artifact_uri
    what = f"the server is older than 3.0: only its files were copied, to '{model.name}' of its run"
    tally.notes.append(Remark(subject=subject, what=what))


def _measure(of: ModelMetric) -> tuple[str, int, int, str, str]:
    return of.key, of.step, of.at, of.run_id, repr(clipped(of.value) + 0.0)


def _logged_model(job: Exporter, of: Experiment, model: LoggedModel, twins: Twins, tally: Tally) -> LoggedModel:
    twin, files = twins.models.get(model.id), list(job.here.files(model))
    tags = {**model.tags, MODEL_ID: model.id}
    state, files_state = progress.state_of(model)[:32], state_of_files(files)
    known, before_files = Known.NOTHING, ""
    if twin is None:
        source = twins.run_id(model.source_run_id)
        twin = job.writer.create_logged_model(model, twins.experiments[of.id].id, source, tags)
        twins.models[model.id] = twin
    else:
        before, _, before_files = twin.tags.get(EXPORTED, "").partition("-")
        if (before, before_files) == (state, files_state):
            return twin
        known = Known.BYTES if before_files else Known.SIZES
        if new := changed(tags, twin.tags):
            job.writer.set_logged_model_tags(twin.id, new)
    problems = len(tally.problems)
    if before_files != files_state:
        upload(job, model, files, twin, tally, known=known)
    if len(tally.problems) == problems:
        if model.status in (2, 3) and twin.status != model.status:
            job.writer.finalize_logged_model(twin.id, model.status)
        job.writer.set_logged_model_tags(twin.id, {EXPORTED: f"{state}-{files_state}"})
    tally.logged_models += 1
    return twin


def copy_registered(job: Exporter, twins: Twins, only: frozenset[str], tally: Tally) -> None:
    found = {each.name: each for each in sound(job.there.registered_models(), tally)}
    models: dict[str, tuple[RegisteredModel, RegisteredModel]] = {}
    versions: list[ModelVersion] = []
    for each in job.here.registered_models():
        of_model = list(job.here.versions(each.name))
        if only and not any(went(version, twins) for version in of_model):
            continue
        with told(tally, f"registered model '{each.name}'"):
            models[each.name] = each, _registered_model(job, each, found, tally)
            versions += of_model
            tally.registered_models += 1
    known = {
        (each.name, version.tags[VERSION]): version
        for each, twin in models.values()
        for version in job.there.versions(twin.name)
        if VERSION in version.tags
    }
    numbers: dict[tuple[str, int], int] = {}
    for version in sorted(versions, key=lambda each: (each.created_at, each.name, each.number)):
        twin = models[version.name][1]
        with told(tally, f"version {version.number} of '{version.name}'"):
            made = known.get((version.name, str(version.number)))
            if made is None:
                made = _version(job, version, twin.name, twins)
                tally.versions += 1
            else:
                for key, value in changed(version.tags, made.tags).items():
                    job.writer.set_version_tag(twin.name, made.number, key, value)
                if made.description != version.description:
                    job.writer.describe_version(twin.name, made.number, version.description)
            numbers[version.name, version.number] = made.number
            if made.number != version.number:
                what = f"is {made.number} there: those before it are gone here"
                tally.notes.append(Remark(subject=f"version {version.number} of '{version.name}'", what=what))
            if made.stage != version.stage:
                _moved(tally, version, partial(job.writer.move_stage, twin.name, made.number, version.stage))
    for each, twin in models.values():
        for alias, number in each.aliases.items():
            there = numbers.get((each.name, number))
            if there is not None and twin.aliases.get(alias) != there:
                with told(tally, f"alias '{alias}' of '{each.name}'"):
                    job.writer.set_alias(twin.name, alias, there)


def went(version: ModelVersion, twins: Twins) -> bool:
    return version.run_id in twins.runs or version.model_id in twins.models


def _registered_model(
    job: Exporter, of: RegisteredModel, found: dict[str, RegisteredModel], tally: Tally
) -> RegisteredModel:
    mark = f"{of.name} of {of.created_at}"
    tags = {**of.tags, REGISTERED_MODEL: mark}
    twin = next((each for each in found.values() if each.tags.get(REGISTERED_MODEL) == mark), None)
    if twin is not None:
        for key, value in changed(tags, twin.tags).items():
            job.writer.set_registered_model_tag(twin.name, key, value)
        if twin.description != of.description:
            job.writer.describe_registered_model(twin.name, of.description)
        return twin
    name = next(each for each in names_like(of.name, "exported") if each not in found)
    if name != of.name:
        tally.notes.append(Remark(subject=f"registered model '{of.name}'", what=f"is called '{name}' there"))
    return job.writer.create_registered_model(name, of.description, tags)


def _version(job: Exporter, of: ModelVersion, model: str, twins: Twins) -> ModelVersion:
    kind, identity, path = job.here.files_of_version(of)
    tags = {**of.tags, VERSION: str(of.number)}
    run = twins.runs.get(of.run_id)
    run_id = run.id if run else ""
    if kind == "model":
        twin = twins.models.get(identity)
        if twin is None and identity in twins.as_files:
            owner_id, uri = twins.as_files[identity]
            return job.writer.create_version(of, model, source=uri, run_id=owner_id, model_id="", tags=tags)
        if twin is None:
            raise NotFound(f"its logged model {identity} was not copied")
        return job.writer.create_version(
            of, model, source=f"models:/{twin.id}", run_id=run_id, model_id=twin.id, tags=tags
        )
    owner = twins.runs.get(identity)
    if owner is None:
        raise NotFound(f"its run {identity} was not copied")
    source = owner.artifact_uri + (f"/{path}" if path else "")
    return job.writer.create_version(of, model, source=source, run_id=run_id or owner.id, model_id="", tags=tags)


def _moved(tally: Tally, of: ModelVersion, move: partial[None]) -> None:
    try:
        move()
    except (Invalid, NotFound) as failure:
        what = f"not moved to {of.stage}: {failure.message}"
        tally.notes.append(Remark(subject=f"version {of.number} of '{of.name}'", what=what))
