"""Holding an export against what is here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from windlass.exchange import comparing
from windlass.exchange.comparing import Difference, Side, missing
from windlass.exchange.content import Experiment
from windlass.exchange.exporting_models import went
from windlass.exchange.tallying import Tally, pace, sound
from windlass.exchange.twins import (
    EXPERIMENT,
    EXPORTED,
    MODEL_ID,
    OURS,
    REGISTERED_MODEL,
    TOLD_BY_MLFLOW,
    VERSION,
    Exporter,
    Twins,
    clipped,
    expected,
    find_models,
    find_runs,
    marked,
    wanted_of,
)
from windlass.registry.tracking import names


def check(job: Exporter, only: frozenset[str], tally: Tally) -> Iterator[Difference]:
    """Every difference between what is here and what was exported.

    Raises:
        Unavailable, Denied: the server does not answer.
    """
    twins = Twins()
    wanted = wanted_of(job, only)
    found = {each.tags.get(EXPERIMENT, ""): each for each in sound(job.there.experiments(), tally)}
    for each in wanted:
        tally.experiments += 1
        twin = found.get(marked(each))
        if twin is None:
            yield missing(f"experiment '{each.name}'")
            continue
        yield from comparing.experiments(replace(each, tags={**each.tags, EXPERIMENT: marked(each)}), twin)
        twins.experiments[each.id] = twin
        find_runs(job, each, twins, tally)
        find_models(job, each, twins, tally)
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
        if only and not any(went(version, twins) for version in versions):
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
