"""Holding an import against its source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from windlass.exchange import comparing, importing, progress
from windlass.exchange.comparing import Difference, Side, missing
from windlass.exchange.content import Experiment, ModelVersion, RegisteredModel, Run
from windlass.exchange.importing import IMPORTED_FROM, Importer, Tally, Wanted, sound
from windlass.exchange.local import LocalSource

OURS = "windlass."


def check(job: Importer, wanted: Wanted, tally: Tally) -> Iterator[Difference]:
    """Every difference between what is wanted of the source and its copy; counted in the tally, where also what cannot
    be read is a problem.

    Raises:
        Unavailable, Denied: the source does not answer.
    """
    here = LocalSource(job.db, job.objects)
    for each in importing.experiments_of(job.source, wanted, tally):
        tally.experiments += 1
        with job.db.read() as tx:
            known = progress.find(tx, job.source.identity, progress.EXPERIMENT, each.id)
        copy = here.experiment(known.copy) if known else None
        if copy is None:
            yield missing(f"experiment '{each.name}'")
            continue
        yield from comparing.experiments(each, copy)
        yield from _runs(job, each, here, tally)
        for model in sound(job.source.logged_models(each.id), tally):
            tally.logged_models += 1
            twin = here.logged_model(model.id)
            if twin is None:
                yield missing(f"logged model {model.id}")
                continue
            yield from comparing.logged_models(model, twin)
            yield from comparing.files(model, job.source, twin, here, job.meter)
    for registered in sound(job.source.registered_models(), tally):
        yield from _registered(job, wanted, registered, here, tally)


def _runs(job: Importer, of: Experiment, here: LocalSource, tally: Tally) -> Iterator[Difference]:
    seen = set()
    for listed in sound(job.source.runs(of.id), tally):
        importing.pace(job.now, job.say, of, tally)
        tally.runs += 1
        seen.add(listed.id)
        copy = here.run(listed.id)
        if copy is None:
            yield missing(f"run {listed.id}")
            continue
        run = job.source.whole(listed)
        # With its experiment, a run is deleted.
        yield from comparing.runs(replace(run, deleted=run.deleted or of.deleted), copy)
        yield from comparing.histories(run, Side(job.source), copy, Side(here))
        yield from comparing.files(run, job.source, copy, here, job.meter)
    with job.db.read() as tx:
        known = progress.find(tx, job.source.identity, progress.EXPERIMENT, of.id)
        imported = progress.known(tx, job.source.identity, progress.RUN)
    copies: Iterator[Run] = here.runs(known.copy) if known else iter(())
    for run in copies:
        if run.id not in seen and run.id in imported:
            yield Difference(subject=f"run {run.id}", what="", source="missing", copy="there")


def _registered(
    job: Importer, wanted: Wanted, of: RegisteredModel, here: LocalSource, tally: Tally
) -> Iterator[Difference]:
    subject = f"registered model '{of.name}'"
    versions = list(job.source.versions(of.name))
    if wanted.only and not any(importing.is_here(job, version) for version in versions):
        return
    tally.registered_models += 1
    with job.db.read() as tx:
        known = progress.find(tx, job.source.identity, progress.REGISTERED_MODEL, of.name)
    copy = next((each for each in here.registered_models() if known and each.name == known.copy), None)
    if copy is None:
        yield missing(subject)
        return
    twins = {each.tags.get(IMPORTED_FROM, ""): each for each in here.versions(copy.name)}
    numbers = {}
    for version in versions:
        tally.versions += 1
        twin = twins.get(f"{version.number}@{job.source.identity}")
        if twin is None:
            yield missing(f"version {version.number} of '{of.name}'")
            continue
        numbers[twin.number] = version.number
        yield from comparing.versions(_plain(version), _plain(twin))
    yield from comparing.mappings(subject, "description", {"": of.description}, {"": copy.description})
    yield from comparing.mappings(subject, "tag", of.tags, copy.tags)
    yield from comparing.mappings(
        subject, "alias", of.aliases, {alias: numbers.get(number) for alias, number in copy.aliases.items()}
    )


def _plain(of: ModelVersion) -> ModelVersion:
    """Without the tags that the two sides say of themselves."""
    return replace(of, tags={key: value for key, value in of.tags.items() if not key.startswith(OURS)})
