"""Copying what is here to an MLflow server. Broken off, the next export goes on where this one was.

No MLflow takes a run's id from its client: a run gets a new one there, and keeps the one from here in a tag, by which
it is found again. So do logged models, registered models and their versions.
"""

from __future__ import annotations

from dataclasses import replace

from windlass.domain.errors import Invalid
from windlass.exchange import progress
from windlass.exchange.content import Experiment, Point, Run
from windlass.exchange.exporting_models import copy_models, copy_registered
from windlass.exchange.landing import names_like
from windlass.exchange.rest import Missing
from windlass.exchange.tallying import Remark, Tally, pace, sound, told
from windlass.exchange.twins import (
    EXPERIMENT,
    EXPORTED,
    RUN_ID,
    Exporter,
    Twins,
    changed,
    clipped,
    expected,
    find_runs,
    marked,
    wanted_of,
)
from windlass.exchange.uploading import Known, state_of_files, upload
from windlass.registry.tracking import names
from windlass.registry.tracking.logged_models import ModelMetric


def copy_all(job: Exporter, only: frozenset[str]) -> Tally:
    """Export. What could not be copied is among the problems.

    Raises:
        Unavailable: the server does not answer any more; what went so far is kept.
        Denied: the server refuses.
    """
    tally = Tally()
    twins = Twins()
    wanted = wanted_of(job, only)
    found = list(sound(job.there.experiments(), tally))
    for each in wanted:
        with told(tally, f"experiment '{each.name}'"):
            twins.experiments[each.id] = _experiment(job, each, found, tally)
            _begun_runs(job, each, twins, tally)
    for each in wanted:
        if each.id in twins.experiments:
            measured = copy_models(job, each, twins, tally)
            for run in job.here.runs(each.id):
                pace(job.now, job.say, each, tally)
                if run.id in twins.runs:
                    with told(tally, f"run {run.id}"):
                        _run(job, run, twins, measured.get(run.id, []), tally)
    copy_registered(job, twins, only, tally)
    for each in wanted:
        if each.deleted and each.id in twins.experiments:
            job.writer.delete_experiment(twins.experiments[each.id].id)
    return tally


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
    find_runs(job, of, twins, tally)
    for run in job.here.runs(of.id):
        if run.id not in twins.runs:
            with told(tally, f"run {run.id}"):
                tags = {names.RUN_NAME: run.name} if run.name else {}
                made = job.writer.create_run(run, twins.experiments[of.id].id, {**tags, RUN_ID: run.id})
                twins.runs[run.id] = made
                twins.fresh.add(run.id)


def _run(job: Exporter, of: Run, twins: Twins, measured: list[tuple[str, ModelMetric]], tally: Tally) -> None:
    twin, wanted, files = twins.runs[of.id], expected(of, twins), list(job.here.files(of))
    state, files_state = progress.state_of(wanted)[:32], state_of_files(files)
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
    job.writer.log_params(twin.id, changed(wanted.params, twin.params), tally.failed)
    job.writer.log_tags(twin.id, changed(wanted.tags, twin.tags), tally.failed)
    for key in wanted.metrics:
        points = _new_points(job, wanted, twin, key)
        job.writer.log_points(twin.id, points)
        tally.points += len(points)
    job.writer.log_model_points(twin.id, measured)
    _link(job, wanted, twin, tally)
    if before_files != files_state:
        known = Known.NOTHING if fresh else Known.BYTES if before_files else Known.SIZES
        upload(job, of, files, twin, tally, known=known)
    job.writer.update_run(twin.id, wanted)
    if len(tally.problems) == before:
        # Last: whoever finds it finds the run complete.
        job.writer.log_tags(twin.id, {EXPORTED: f"{state}-{files_state}"}, tally.failed)
    if of.deleted:
        job.writer.delete_run(twin.id)
    tally.runs += 1


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
