"""Copying what an MLflow has. Killed at any instruction, the next import goes on where this one was.

Runs and logged models keep their ids. Each is written in a transaction of its own, or in a few if it is large; its
files follow, and only with the last of them is it marked as complete. What one thing lacks is told, and stops no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

from windlass.domain.errors import Failure, Invalid
from windlass.domain.ports import Transaction
from windlass.exchange import landing, progress, registering
from windlass.exchange.content import Experiment, LoggedModel, Point, Run, Source
from windlass.exchange.depot import Depot
from windlass.exchange.jobs import Importer, Wanted, experiments_of
from windlass.exchange.progress import BEGUN, EXPERIMENT, LOGGED_MODEL, RUN
from windlass.exchange.tallying import WHOLE_STOP, Remark, Tally, pace, sound, told
from windlass.exchange.watching import Watched
from windlass.registry.tracking import artifacts, experiments, names
from windlass.registry.tracking.logged_models import model_root
from windlass.registry.tracking.runs import run_root

POINTS_AT_ONCE = 20_000
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
_MODEL_HERE = "SELECT 1 AS one FROM logged_models WHERE model_id = ?"
_PURGED = "was deleted here for good: --again brings it back"


def copy_all(job: Importer, wanted: Wanted) -> Tally:
    """Import. What could not be copied is among the problems.

    Raises:
        Unavailable: the source does not answer any more; what came so far is kept.
        Denied: the source refuses.
    """
    tally = Tally()
    found = experiments_of(job.source, wanted, tally)
    with job.objects.batch() as batch:
        depot = Depot(job.db, batch, tally.failed)
        copies = {}
        for each in found:
            with told(tally, f"experiment '{each.name}'"):
                copies[each.id] = _experiment(job, each, wanted, tally)
                for run in sound(job.source.runs(each.id), tally):
                    pace(job.now, job.say, each, tally)
                    with told(tally, f"run {run.id}"):
                        _run(job, depot, run, copies[each.id], wanted, tally)
                for model in sound(job.source.logged_models(each.id), tally):
                    pace(job.now, job.say, each, tally)
                    with told(tally, f"logged model {model.id}"):
                        _logged_model(job, depot, model, copies[each.id], wanted, tally)
        depot.flush()
        registering.copy_models(job, wanted, tally)
    # At the end: what is deleted takes no runs.
    for each in found:
        if each.deleted and each.id in copies:
            with job.db.write() as tx:
                experiments.delete_experiment(tx, copies[each.id], at=job.milliseconds())
    return tally


def _experiment(job: Importer, of: Experiment, wanted: Wanted, tally: Tally) -> str:
    name = wanted.prefix + of.name
    with job.db.write() as tx:
        known = progress.find(tx, job.source.identity, EXPERIMENT, of.id)
        if known and not tx.row("SELECT 1 AS one FROM experiments WHERE id = ?", (int(known.copy),)):
            known = None  # purged here: a new one takes what comes
        copy = known.copy if known else landing.experiment_for(tx, name, at=job.milliseconds())
        landing.write_experiment(tx, of, copy, at=job.milliseconds())
        progress.note(tx, job.source.identity, EXPERIMENT, of.id, copy=copy, state="copied", at=job.milliseconds())
        called = experiments.find_experiment(tx, copy).name
    tally.experiments += 1
    if called != of.name:
        tally.names[of.name] = called
    return copy


def _run(job: Importer, depot: Depot, listed: Run, experiment: str, wanted: Wanted, tally: Tally) -> None:
    state = progress.state_of(listed)
    with job.db.read() as tx:
        known = _own(tx, job.source.identity, RUN, listed.id, "SELECT 1 AS one FROM runs WHERE run_id = ?")
        here = tx.row("SELECT experiment FROM runs WHERE run_id = ?", (listed.id,))
    if known is not None and here is None and not wanted.again:
        tally.notes.append(Remark(subject=f"run {listed.id}", what=_PURGED))
        return
    if known is not None and here is not None:
        # What was imported before stays where it is.
        experiment = str(here["experiment"])
    if known is not None and known.state == state and listed.ended and not wanted.again:
        tally.unchanged += 1
        if listed.deleted:
            # Its experiment may have been restored with all of its runs.
            depot.later(f"run {listed.id}", lambda tx: landing.end_run(tx, listed, at=job.milliseconds()))
        return
    run = job.source.whole(listed)
    tally.notes += _cut(run)
    written = False

    def begin(tx: Transaction) -> None:
        nonlocal written
        if not written:
            landing.begin_run(tx, run, experiment, job.new_id)
            progress.note(tx, job.source.identity, RUN, run.id, copy=run.id, state=BEGUN, at=job.milliseconds())
            written = True

    count = 0
    for points in _points(job.source, run):
        with job.db.write() as tx:
            begin(tx)
            landing.write_points(tx, run.id, points)
        count += len(points)
    tally.points += count

    def done(tx: Transaction) -> None:
        landing.end_run(tx, run, at=job.milliseconds())
        progress.note(tx, job.source.identity, RUN, run.id, copy=run.id, state=state, at=job.milliseconds())

    unfinished = known is not None and known.state == BEGUN
    _files(job, depot, run, run_root(experiment, run.id), done, tally, unfinished=unfinished)
    tally.runs += 1


def _cut(of: Run) -> list[Remark]:
    """What is longer than MLflow lets it be, by default, and is cut as MLflow cuts it."""
    limits = (("param", of.params, names.MAX_PARAM), ("tag", of.tags, names.MAX_TAG))
    return [
        Remark(subject=f"run {of.id}: {what} '{key[:80]}'", what=f"is cut from {len(value)} to {most} characters")
        for what, pairs, most in limits
        for key, value in pairs.items()
        if len(value) > most
    ]


def _points(source: Source, run: Run) -> Iterator[list[tuple[str, Point]]]:
    """Every point of a run with its key, in portions; at least one, if empty."""
    portion: list[tuple[str, Point]] = []
    for key in run.metrics:
        for page in source.history(run, key):
            portion += [(key, point) for point in page]
            if len(portion) >= POINTS_AT_ONCE:
                yield portion
                portion = []
    yield portion


def _logged_model(job: Importer, depot: Depot, of: LoggedModel, experiment: str, wanted: Wanted, tally: Tally) -> None:
    if not _MODEL_ID.fullmatch(of.id):
        raise Invalid(f"'{of.id[:80]}' is not the id of a logged model")
    state = progress.state_of(of)
    with job.db.write() as tx:
        known = _own(tx, job.source.identity, LOGGED_MODEL, of.id, _MODEL_HERE)
        if known is not None and known.state == state and of.status >= 2 and not wanted.again:
            return
        if known is not None and not tx.row(_MODEL_HERE, (of.id,)) and not wanted.again:
            tally.notes.append(Remark(subject=f"logged model {of.id}", what=_PURGED))
            return
        landing.write_model(tx, of, experiment)
        progress.note(tx, job.source.identity, LOGGED_MODEL, of.id, copy=of.id, state=BEGUN, at=job.milliseconds())

    def done(tx: Transaction) -> None:
        progress.note(tx, job.source.identity, LOGGED_MODEL, of.id, copy=of.id, state=state, at=job.milliseconds())

    unfinished = known is not None and known.state == BEGUN
    _files(job, depot, of, model_root(experiment, of.id), done, tally, unfinished=unfinished)
    tally.logged_models += 1


def _own(tx: Transaction, source: str, kind: str, identity: str, there: str) -> progress.Known | None:
    """How far a thing is that this source may write to.

    Raises:
        Invalid: one of that id is here, and is not from this source.
    """
    known = progress.find(tx, source, kind, identity)
    if known is None and tx.row(there, (identity,)):
        origin = progress.origin(tx, kind, identity)
        raise Invalid(
            f"there is a {kind} of that id here already, "
            + (f"imported from {origin}" if origin else "which was not imported"),
            hint="import from the same URL as before" if origin else "it is left as it is",
        )
    return known


def _files(
    job: Importer,
    depot: Depot,
    owner: Run | LoggedModel,
    root: str,
    done: Callable[[Transaction], None],
    tally: Tally,
    *,
    unfinished: bool,
) -> None:
    """Copy files, then say that their owner is complete, if it is. ``unfinished``: those that are here already came
    from an import that was broken off; what has their size needs no second download.
    """
    subject = f"{'run' if isinstance(owner, Run) else 'logged model'} {owner.id}"
    here: dict[str, int] = {}
    if unfinished:
        with job.db.read() as tx:
            here = {each.path: each.size for each in artifacts.beneath(tx, root)}
    complete = True
    listed = job.source.files(owner)
    while True:
        try:
            file = next(listed, None)
        except WHOLE_STOP:
            raise
        except Failure as failure:
            tally.failed(subject, failure)
            complete = False
            break
        if file is None:
            break
        if file.size is not None and here.get(file.path) == file.size:
            continue
        try:
            artifacts.checked_path(file.path)
            with job.source.open(owner, file) as stream:
                stored = depot.store(Watched(stream, job.meter, file))
        except WHOLE_STOP:
            raise
        except Failure as failure:
            tally.failed(f"{subject}: {file.path[:200]}", failure)
            complete = False
            continue
        depot.later(subject, partial(landing.write_files, root=root, files={file.path: stored}))
        tally.files += 1
        tally.size += stored[1]
    if complete:
        depot.later(subject, done)


def preview(job: Importer, wanted: Wanted) -> Tally:
    """What an import would copy; nothing is written. Raises as ``copy_all``."""
    tally = Tally()
    for each in experiments_of(job.source, wanted, tally):
        with told(tally, f"experiment '{each.name}'"):
            _preview(job, each, wanted, tally)
    for registered_model in sound(job.source.registered_models(), tally):
        tally.registered_models += 1
        tally.versions += sum(1 for _ in job.source.versions(registered_model.name))
    return tally


def _preview(job: Importer, of: Experiment, wanted: Wanted, tally: Tally) -> None:
    tally.experiments += 1
    with job.db.read() as tx:
        known = progress.find(tx, job.source.identity, EXPERIMENT, of.id)
        done = progress.known(tx, job.source.identity, RUN)
        models = progress.known(tx, job.source.identity, LOGGED_MODEL)
        name = wanted.prefix + of.name
        called = experiments.find_experiment(tx, known.copy).name if known else landing.free_name(tx, name)
    if called != of.name:
        tally.names[of.name] = called
    for run in sound(job.source.runs(of.id), tally):
        pace(job.now, job.say, of, tally)
        before = done.get(run.id)
        if before and before.state == progress.state_of(run) and run.ended and not wanted.again:
            tally.unchanged += 1
        else:
            tally.runs += 1
    for model in sound(job.source.logged_models(of.id), tally):
        tally.logged_models += model.id not in models or wanted.again
