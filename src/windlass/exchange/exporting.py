"""Copying what is here to an MLflow server. Broken off, the next export goes on where this one was.

No MLflow takes a run's id from its client: a run gets a new one there, and keeps the one from here in a tag, by which
it is found again. So do logged models, registered models and their versions.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from typing import BinaryIO, cast

from blake3 import blake3

from windlass.domain.clock import Clock
from windlass.domain.errors import Denied, Failure, Invalid, NotFound, Unavailable
from windlass.domain.progress import Meter
from windlass.exchange import comparing, progress
from windlass.exchange.comparing import Difference, Side, missing
from windlass.exchange.content import Experiment, File, LoggedModel, ModelVersion, Point, RegisteredModel, Run
from windlass.exchange.importing import Remark, Say, Tally, pace, sound, told
from windlass.exchange.landing import names_like
from windlass.exchange.local import LocalSource
from windlass.exchange.rest import Missing
from windlass.exchange.server import ServerSource
from windlass.exchange.writing import Writer
from windlass.registry.tracking import names
from windlass.registry.tracking.logged_models import ModelMetric

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


def copy_all(job: Exporter, only: frozenset[str]) -> Tally:
    """Export. What could not be copied is among the problems.

    Raises:
        Unavailable: the server does not answer any more; what went so far is kept.
        Denied: the server refuses.
    """
    tally = Tally()
    twins = Twins()
    wanted = _wanted(job, only)
    found = list(sound(job.there.experiments(), tally))
    for each in wanted:
        with told(tally, f"experiment '{each.name}'"):
            twins.experiments[each.id] = _experiment(job, each, found, tally)
            _begun_runs(job, each, twins, tally)
    for each in wanted:
        if each.id in twins.experiments:
            measured = _logged_models(job, each, twins, tally)
            for run in job.here.runs(each.id):
                pace(job.now, job.say, each, tally)
                if run.id in twins.runs:
                    with told(tally, f"run {run.id}"):
                        _run(job, run, twins, measured.get(run.id, []), tally)
    _registered_models(job, twins, only, tally)
    for each in wanted:
        if each.deleted and each.id in twins.experiments:
            job.writer.delete_experiment(twins.experiments[each.id].id)
    return tally


def _wanted(job: Exporter, only: frozenset[str]) -> list[Experiment]:
    found = [each for each in job.here.experiments() if not only or each.name in only]
    unknown = sorted(only - {each.name for each in found})
    if unknown:
        raise Invalid(f"there is no experiment '{unknown[0][:200]}' here", hint="names are exact")
    return found


# ---- experiments and runs


def _experiment(job: Exporter, of: Experiment, found: list[Experiment], tally: Tally) -> Experiment:
    tags = {**of.tags, EXPERIMENT: marked(of)}
    twin = next((each for each in found if each.tags.get(EXPERIMENT) == tags[EXPERIMENT]), None)
    for name in names_like(of.name, "exported"):
        if twin is not None:
            break
        there = next((each for each in found if each.name == name), None)
        if there is None:
            twin = Experiment(id=job.writer.create_experiment(name, tags), name=name, tags=tags)
        elif not there.deleted and EXPERIMENT not in there.tags and not job.writer.has_runs(there.id):
            twin = there
    if twin is None:
        raise Invalid(f"'{of.name[:200]}' and every name like it is taken there")
    if twin.deleted:
        job.writer.restore_experiment(twin.id)
    for key, value in tags.items():
        if twin.tags.get(key) != value:
            job.writer.set_experiment_tag(twin.id, key, value)
    tally.experiments += 1
    if twin.name != of.name:
        tally.names[of.name] = twin.name
    return twin


def _begun_runs(job: Exporter, of: Experiment, twins: Twins, tally: Tally) -> None:
    """Make the runs that are not there yet, so that everything else can name them."""
    _find_runs(job, of, twins, tally)
    for run in job.here.runs(of.id):
        if run.id not in twins.runs:
            with told(tally, f"run {run.id}"):
                tags = {names.RUN_NAME: run.name} if run.name else {}
                made = job.writer.create_run(run, twins.experiments[of.id].id, {**tags, RUN_ID: run.id})
                twins.runs[run.id] = made
                twins.fresh.add(run.id)


def _find_runs(job: Exporter, of: Experiment, twins: Twins, tally: Tally) -> None:
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


def _run(job: Exporter, of: Run, twins: Twins, measured: list[tuple[str, ModelMetric]], tally: Tally) -> None:
    twin, wanted, files = twins.runs[of.id], expected(of, twins), list(job.here.files(of))
    state, files_state = progress.state_of(wanted)[:32], _state(files)
    before_state, _, before_files = twin.tags.get(EXPORTED, "").partition("-")
    if (before_state, before_files) == (state, files_state):
        tally.unchanged += 1
        if of.deleted and not twin.deleted:
            job.writer.delete_run(twin.id)
        return
    fresh = of.id in twins.fresh
    if twin.deleted:
        job.writer.restore_run(twin.id)
    if not fresh:
        twin = replace(job.there.whole(twin), artifact_uri=twin.artifact_uri)
    before = len(tally.problems)
    job.writer.log_params(twin.id, _missing(wanted.params, twin.params), tally.failed)
    job.writer.log_tags(twin.id, _missing(wanted.tags, twin.tags), tally.failed)
    for key in wanted.metrics:
        points = _new_points(job, wanted, twin, key)
        job.writer.log_points(twin.id, points)
        tally.points += len(points)
    job.writer.log_model_points(twin.id, measured)
    _link(job, wanted, twin, tally)
    if before_files != files_state:
        known = Known.NOTHING if fresh else Known.BYTES if before_files else Known.SIZES
        _files(job, of, files, twin, tally, known=known)
    job.writer.update_run(twin.id, wanted)
    if len(tally.problems) == before:
        # Last: whoever finds it finds the run complete.
        job.writer.log_tags(twin.id, {EXPORTED: f"{state}-{files_state}"}, tally.failed)
    if of.deleted:
        job.writer.delete_run(twin.id)
    tally.runs += 1


def _state(files: list[File]) -> str:
    hasher = blake3()
    for file in files:
        hasher.update(f"{file.path}\n{file.digest}\n".encode())
    return hasher.hexdigest()[:32]


def _missing(wanted: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in wanted.items() if there.get(key) != value}


def _new_points(job: Exporter, of: Run, twin: Run, key: str) -> list[tuple[str, Point]]:
    """The points that are not there yet: some of MLflow's stores would keep them twice."""
    there: set[tuple[int, int, str]] = set()
    if key in twin.metrics:
        there = {_known(point) for page in job.there.history(twin, key) for point in page}
    return [(key, point) for page in job.here.history(of, key) for point in page if _known(point) not in there]


def _known(point: Point) -> tuple[int, int, str]:
    return point.at, point.step, repr(clipped(point.value) + 0.0)


def _link(job: Exporter, wanted: Run, twin: Run, tally: Tally) -> None:
    there = {(each.name, each.digest) for each in twin.datasets}
    datasets = [each for each in wanted.datasets if (each.name, each.digest) not in there]
    inputs = [each for each in wanted.model_inputs if each not in twin.model_inputs]
    if datasets or inputs:
        job.writer.log_inputs(twin.id, datasets, inputs)
    if outputs := [each for each in wanted.model_outputs if each not in twin.model_outputs]:
        try:
            job.writer.log_outputs(twin.id, outputs)
        except Missing:
            what = "the server is older than 3.0: which logged models it made is not told there"
            tally.notes.append(Remark(subject=f"run {wanted.id}", what=what))


class Known(Enum):
    """What tells whether a file is there already: nothing is; by its size, where an export was broken off, which
    uploads whole files; or by its bytes, where an earlier export was complete, and files here may have changed.
    """

    NOTHING, SIZES, BYTES = range(3)


def _files(
    job: Exporter, of: Run | LoggedModel, files: list[File], twin: Run | LoggedModel, tally: Tally, *, known: Known
) -> None:
    subject = f"{'run' if isinstance(of, Run) else 'logged model'} {of.id}"
    there = {} if known is Known.NOTHING else {each.path: each for each in job.there.files(twin)}
    for file in files:
        copy = there.get(file.path)
        if (
            copy is not None
            and copy.size == file.size
            and (known is Known.SIZES or comparing.digest_of(job.there, twin, copy, job.meter) == file.digest)
        ):
            continue
        try:
            job.writer.upload(twin.artifact_uri, file.path, partial(_opened, job, of, file), file.size or 0)
        except (Unavailable, Denied):
            raise
        except Failure as failure:
            tally.failed(f"{subject}: {file.path[:200]}", failure)
            continue
        tally.files += 1
        tally.size += file.size or 0


@contextmanager
def _opened(job: Exporter, of: Run | LoggedModel, file: File) -> Iterator[BinaryIO]:
    with job.here.open(of, file) as opened:
        yield cast(BinaryIO, _Metered(cast(BinaryIO, opened), job.meter, file))


class _Metered:
    def __init__(self, file: BinaryIO, meter: Meter, of: File) -> None:
        self._file, self._meter, self._of, self._done = file, meter, of, 0

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._done += len(data)
        if self._of.size:
            self._meter(self._of.path, self._done, self._of.size)
        return data


# ---- logged models


def _logged_models(
    job: Exporter, of: Experiment, twins: Twins, tally: Tally
) -> dict[str, list[tuple[str, ModelMetric]]]:
    """Copy an experiment's logged models; returns what was measured on them, by the runs that measured it, which is
    logged to those.
    """
    measured: dict[str, list[tuple[str, ModelMetric]]] = {}
    _find_models(job, of, twins, tally)
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
    _files(job, model, missing_files, place, tally, known=Known.NOTHING)
    if owner.deleted:
        job.writer.delete_run(owner.id)
    twins.as_files[model.id] = owner.id, place.artifact_uri
    what = f"the server is older than 3.0: only its files were copied, to '{model.name}' of its run"
    tally.notes.append(Remark(subject=subject, what=what))


def _find_models(job: Exporter, of: Experiment, twins: Twins, tally: Tally) -> None:
    for model in sound(job.there.logged_models(twins.experiments[of.id].id), tally):
        if MODEL_ID in model.tags:
            twins.models[model.tags[MODEL_ID]] = model


def _measure(of: ModelMetric) -> tuple[str, int, int, str, str]:
    return of.key, of.step, of.at, of.run_id, repr(clipped(of.value) + 0.0)


def _logged_model(job: Exporter, of: Experiment, model: LoggedModel, twins: Twins, tally: Tally) -> LoggedModel:
    twin, files = twins.models.get(model.id), list(job.here.files(model))
    tags = {**model.tags, MODEL_ID: model.id}
    state, files_state = progress.state_of(model)[:32], _state(files)
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
        if changed := _missing(tags, twin.tags):
            job.writer.set_logged_model_tags(twin.id, changed)
    problems = len(tally.problems)
    if before_files != files_state:
        _files(job, model, files, twin, tally, known=known)
    if len(tally.problems) == problems:
        if model.status in (2, 3) and twin.status != model.status:
            job.writer.finalize_logged_model(twin.id, model.status)
        job.writer.set_logged_model_tags(twin.id, {EXPORTED: f"{state}-{files_state}"})
    tally.logged_models += 1
    return twin


# ---- registered models


def _registered_models(job: Exporter, twins: Twins, only: frozenset[str], tally: Tally) -> None:
    found = {each.name: each for each in sound(job.there.registered_models(), tally)}
    models: dict[str, tuple[RegisteredModel, RegisteredModel]] = {}
    versions: list[ModelVersion] = []
    for each in job.here.registered_models():
        of_model = list(job.here.versions(each.name))
        if only and not any(_went(version, twins) for version in of_model):
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
                for key, value in _missing(version.tags, made.tags).items():
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


def _went(version: ModelVersion, twins: Twins) -> bool:
    return version.run_id in twins.runs or version.model_id in twins.models


def _registered_model(
    job: Exporter, of: RegisteredModel, found: dict[str, RegisteredModel], tally: Tally
) -> RegisteredModel:
    mark = f"{of.name} of {of.created_at}"
    tags = {**of.tags, REGISTERED_MODEL: mark}
    twin = next((each for each in found.values() if each.tags.get(REGISTERED_MODEL) == mark), None)
    if twin is not None:
        for key, value in _missing(tags, twin.tags).items():
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


# ---- holding it against what is here


def check(job: Exporter, only: frozenset[str], tally: Tally) -> Iterator[Difference]:
    """Every difference between what is here and what was exported.

    Raises:
        Unavailable, Denied: the server does not answer.
    """
    twins = Twins()
    wanted = _wanted(job, only)
    found = {each.tags.get(EXPERIMENT, ""): each for each in sound(job.there.experiments(), tally)}
    for each in wanted:
        tally.experiments += 1
        twin = found.get(marked(each))
        if twin is None:
            yield missing(f"experiment '{each.name}'")
            continue
        yield from comparing.experiments(replace(each, tags={**each.tags, EXPERIMENT: marked(each)}), twin)
        twins.experiments[each.id] = twin
        _find_runs(job, each, twins, tally)
        _find_models(job, each, twins, tally)
    for each in wanted:
        if each.id in twins.experiments:
            yield from _check_runs(job, each, twins, tally)
            # Of what a deleted experiment made, no server tells.
            if not each.deleted:
                yield from _check_models(job, each, twins, tally)
    yield from _check_registered(job, twins, only, tally)


def _check_runs(job: Exporter, of: Experiment, twins: Twins, tally: Tally) -> Iterator[Difference]:
    for run in job.here.runs(of.id):
        pace(job.now, job.say, of, tally)
        tally.runs += 1
        twin = twins.runs.get(run.id)
        if twin is None:
            yield missing(f"run {run.id}")
            continue
        whole = job.there.whole(twin)
        wanted = expected(run, twins)
        tags = {key: value for key, value in whole.tags.items() if key != EXPORTED}
        if not run.name:
            wanted, tags = replace(wanted, name=whole.name), {k: v for k, v in tags.items() if k != names.RUN_NAME}
        yield from comparing.runs(wanted, replace(whole, tags=tags))
        yield from comparing.histories(wanted, Side(job.here, clipped), whole, Side(job.there, clipped))
        yield from comparing.files(run, job.here, whole, job.there, job.meter)


def _check_models(job: Exporter, of: Experiment, twins: Twins, tally: Tally) -> Iterator[Difference]:
    for model in job.here.logged_models(of.id):
        tally.logged_models += 1
        twin = twins.models.get(model.id)
        if twin is None:
            yield missing(f"logged model {model.id}")
            continue
        ours = {EXPORTED} if TOLD_BY_MLFLOW in model.tags else {EXPORTED, TOLD_BY_MLFLOW}
        copied = {key: value for key, value in twin.tags.items() if key not in ours}
        wanted = replace(
            model,
            source_run_id=twins.run_id(model.source_run_id),
            tags={**model.tags, MODEL_ID: model.id},
            metrics=tuple(
                replace(each, value=clipped(each.value), run_id=twins.run_id(each.run_id)) for each in model.metrics
            ),
        )
        clip = tuple(replace(each, value=clipped(each.value)) for each in twin.metrics)
        yield from comparing.logged_models(wanted, replace(twin, metrics=clip, tags=copied))
        yield from comparing.files(model, job.here, twin, job.there, job.meter)


def _check_registered(job: Exporter, twins: Twins, only: frozenset[str], tally: Tally) -> Iterator[Difference]:
    found = {each.tags.get(REGISTERED_MODEL, ""): each for each in sound(job.there.registered_models(), tally)}
    for each in job.here.registered_models():
        versions = list(job.here.versions(each.name))
        if only and not any(_went(version, twins) for version in versions):
            continue
        tally.registered_models += 1
        twin = found.get(f"{each.name} of {each.created_at}")
        subject = f"registered model '{each.name}'"
        if twin is None:
            yield missing(subject)
            continue
        yield from comparing.mappings(subject, "description", {"": each.description}, {"": twin.description})
        yield from comparing.mappings(subject, "tag", _foreign(each.tags), _foreign(twin.tags))
        there = {version.tags.get(VERSION, ""): version for version in job.there.versions(twin.name)}
        numbers = {}
        for version in versions:
            tally.versions += 1
            copy = there.get(str(version.number))
            if copy is None:
                yield missing(f"version {version.number} of '{each.name}'")
                continue
            numbers[copy.number] = version.number
            wanted = replace(version, run_id=twins.run_id(version.run_id), tags=_foreign(version.tags))
            yield from comparing.versions(wanted, replace(copy, tags=_foreign(copy.tags)))
        aliases = {alias: numbers.get(number) for alias, number in twin.aliases.items()}
        yield from comparing.mappings(subject, "alias", each.aliases, aliases)


def _foreign(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags but for those that the two sides say of themselves."""
    return {key: value for key, value in tags.items() if not key.startswith(OURS)}
