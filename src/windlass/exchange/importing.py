"""Copying what an MLflow has. Killed at any instruction, the next import goes on where this one was.

Runs and logged models keep their ids. Each is written in a transaction of its own, or in a few if it is large; its
files follow, and only with the last of them is it marked as complete. What one thing lacks is told, and stops no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, TypeVar

from windlass.domain.clock import SECOND, Clock
from windlass.domain.errors import Denied, Failure, Invalid, Unavailable
from windlass.domain.ports import Database, ObjectStore, Transaction
from windlass.domain.progress import Meter
from windlass.exchange import landing, progress
from windlass.exchange.content import Experiment, Flaw, LoggedModel, ModelVersion, Point, RegisteredModel, Run, Source
from windlass.exchange.depot import Depot
from windlass.exchange.progress import BEGUN, EXPERIMENT, LOGGED_MODEL, REGISTERED_MODEL, RUN, VERSION
from windlass.exchange.watching import Watched
from windlass.registry import registered
from windlass.registry.tracking import artifacts, experiments, names
from windlass.registry.tracking.logged_models import model_root
from windlass.registry.tracking.runs import run_root

T = TypeVar("T")

POINTS_AT_ONCE = 20_000
SAID_EVERY = 2 * SECOND
Say = Callable[[str], None]
IMPORTED_FROM = "windlass.imported_from"  # a version's tag: NUMBER@SOURCE
TOLD_BY_SERVERS = ("windlass.semver", "windlass.digest")  # a version's tags that a server of ours adds by itself
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")
_OF_RUN = re.compile(r".*/([0-9a-f]{32})/artifacts(?:/(.*))?")
_OF_MODEL = re.compile(r".*/models/(m-[0-9a-f]{32})/artifacts/?")
_MODEL_HERE = "SELECT 1 AS one FROM logged_models WHERE model_id = ?"
_PURGED = "was deleted here for good: --again brings it back"
_WHOLE_STOP = (Unavailable, Denied)  # nothing more can come


class Registrar(Protocol):
    """By whom versions are registered and moved: policy decides there."""

    def register(self, of: ModelVersion, *, model: str, source: str, tags: Mapping[str, str]) -> int:
        """Raises Failure."""

    def move_stage(self, model: str, number: int, stage: str) -> None: ...

    def move_alias(self, model: str, number: int, alias: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """Something about one thing: why it was not copied, or not as it was."""

    subject: str
    what: str


@dataclass(slots=True, kw_only=True)
class Tally:
    """What an import did. ``unchanged``: runs that were here already."""

    experiments: int = 0
    runs: int = 0
    unchanged: int = 0
    points: int = 0
    files: int = 0
    size: int = 0
    logged_models: int = 0
    registered_models: int = 0
    versions: int = 0
    names: dict[str, str] = field(default_factory=dict)  # experiments that have another name here
    problems: list[Remark] = field(default_factory=list)
    notes: list[Remark] = field(default_factory=list)
    said: int = 0  # when it was last told how far it is

    def failed(self, subject: str, failure: Failure) -> None:
        hint = f" ({failure.hint})" if failure.hint else ""
        self.problems.append(Remark(subject=subject, what=f"{failure.message}{hint}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to import: ``only`` experiments of these names, all if empty; ``prefix``: put before the names of
    experiments and registered models; ``again``: what is complete and did not change, too.
    """

    only: frozenset[str] = frozenset()
    prefix: str = ""
    again: bool = False

    def takes(self, of: Experiment) -> bool:
        return not self.only or of.name in self.only


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    db: Database
    objects: ObjectStore
    source: Source
    registrar: Registrar
    now: Clock
    new_id: Callable[[], str]
    say: Say
    meter: Meter

    def milliseconds(self) -> int:
        return self.now() // 1000


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
        _registered_models(job, wanted, tally)
    # At the end: what is deleted takes no runs.
    for each in found:
        if each.deleted and each.id in copies:
            with job.db.write() as tx:
                experiments.delete_experiment(tx, copies[each.id], at=job.milliseconds())
    return tally


def sound(found: Iterable[T | Flaw], tally: Tally) -> Iterator[T]:
    """What can be read; the rest is told."""
    for each in found:
        if isinstance(each, Flaw):
            tally.failed(each.subject, each.failure)
        else:
            yield each


def experiments_of(source: Source, wanted: Wanted, tally: Tally) -> list[Experiment]:
    """The experiments that are wanted.

    Raises:
        Invalid: the source has not one that is asked for by its name.
    """
    found = [each for each in sound(source.experiments(), tally) if wanted.takes(each)]
    missing = sorted(wanted.only - {each.name for each in found})
    if missing:
        raise Invalid(f"the source has no experiment '{missing[0][:200]}'", hint="names are exact; see --dry-run")
    return found


class told:  # noqa: N801 - reads as a statement
    """What fails inside is a problem of its subject, and of nothing else."""

    def __init__(self, tally: Tally, subject: str) -> None:
        self._tally, self._subject = tally, subject

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Failure) and not isinstance(error, _WHOLE_STOP):
            self._tally.failed(self._subject, error)
            return True
        return False


def pace(now: Clock, say: Say, of: Experiment, done: Tally) -> None:
    """Say now and then how far it is."""
    at = now()
    if at - done.said < SAID_EVERY:
        return
    if done.said:
        unchanged = f", {done.unchanged} were there already" if done.unchanged else ""
        say(
            f"experiment '{of.name}': {done.runs} runs{unchanged}, {done.points} points,"
            f" {done.files} files ({done.size / 1e6:.1f} MB)"
        )
    done.said = at


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
        except _WHOLE_STOP:
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
        except _WHOLE_STOP:
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


# ---- registered models


def _registered_models(job: Importer, wanted: Wanted, tally: Tally) -> None:
    models: dict[str, tuple[RegisteredModel, str]] = {}
    versions: list[ModelVersion] = []
    for each in sound(job.source.registered_models(), tally):
        with told(tally, f"registered model '{each.name}'"):
            of_model = list(job.source.versions(each.name))
            if wanted.only and not any(is_here(job, version) for version in of_model):
                continue
            models[each.name] = (each, _model(job, each, wanted, tally))
            versions += of_model
            tally.registered_models += 1
    numbers: dict[tuple[str, int], int] = {}
    # In the order in which they were made: a version that is made of another one comes after it.
    for version in sorted(versions, key=lambda each: (each.created_at, each.name, each.number)):
        with told(tally, f"version {version.number} of '{version.name}'"):
            number = _version(job, version, models, numbers, tally)
            if number is None:
                continue
            numbers[version.name, version.number] = number
            if number != version.number:
                tally.notes.append(
                    Remark(
                        subject=f"version {version.number} of '{version.name}'",
                        what=f"is {number} here: those before it are gone in the source",
                    )
                )
    _moves(job, models, versions, numbers, tally)


def is_here(job: Importer, version: ModelVersion) -> bool:
    with job.db.read() as tx:
        return bool(
            (version.run_id and tx.row("SELECT 1 AS one FROM runs WHERE run_id = ?", (version.run_id,)))
            or tx.row("SELECT 1 AS one FROM logged_models WHERE model_id = ?", (version.model_id,))
        )


def _model(job: Importer, of: RegisteredModel, wanted: Wanted, tally: Tally) -> str:
    with job.db.write() as tx:
        known = progress.find(tx, job.source.identity, REGISTERED_MODEL, of.name)
        name = known.copy if known else _free_name(tx, wanted.prefix + of.name)
        row = tx.row("SELECT deleted_at FROM registered_models WHERE name = ?", (name,))
        if row is None or row["deleted_at"] is not None:
            registered.create(tx, name, description=of.description, tags=of.tags, at=job.now())
        else:
            registered.describe(tx, name, of.description, at=job.now())
            for key, value in of.tags.items():
                registered.set_tag(tx, name, key, value)
        tx.execute("UPDATE registered_models SET created_at = ? WHERE name = ?", (1000 * of.created_at, name))
        progress.note(
            tx, job.source.identity, REGISTERED_MODEL, of.name, copy=name, state="copied", at=job.milliseconds()
        )
    if name != of.name:
        tally.notes.append(Remark(subject=f"registered model '{of.name}'", what=f"is called '{name}' here"))
    return name


def _free_name(tx: Transaction, name: str) -> str:
    for wanted in landing.names_like(name):
        # One that was deleted has numbers, too, that mean its versions for ever.
        if not tx.row("SELECT 1 AS one FROM model_versions WHERE model = ?", (wanted,)) and not tx.row(
            "SELECT 1 AS one FROM imports WHERE kind = ? AND copy = ?", (REGISTERED_MODEL, wanted)
        ):
            return wanted
    raise Invalid(f"'{name[:200]}' and every name like it is taken", hint="import with --into PREFIX")


def _version(
    job: Importer,
    of: ModelVersion,
    models: Mapping[str, tuple[RegisteredModel, str]],
    numbers: Mapping[tuple[str, int], int],
    tally: Tally,
) -> int | None:
    """The number of a version's copy; None if that was deleted here."""
    model, mark = models[of.name][1], f"{of.number}@{job.source.identity}"
    with job.db.read() as tx:
        row = tx.row(
            "SELECT number FROM model_version_tags WHERE model = ? AND name = ? AND value = ?",
            (model, IMPORTED_FROM, mark),
        )
        gone = row is None and progress.find(tx, job.source.identity, VERSION, f"{of.number} of {of.name}")
        source = "" if gone else local_source(tx, of, models, numbers)
    tags = {key: value for key, value in of.tags.items() if key not in TOLD_BY_SERVERS}
    if gone:
        _tell_deleted(of, tally)
        return None
    if row is not None:
        number = int(row["number"])
        with job.db.write() as tx:
            found = registered.entries(tx, [(model, number)])
            if not found:
                _tell_deleted(of, tally)
                return None
            entry = found[0]
            if (entry.description or "") != of.description:
                registered.describe_version(tx, model, number, of.description, at=job.now())
            for key, value in tags.items():
                if entry.tags.get(key) != value and key != IMPORTED_FROM:
                    registered.set_version_tag(tx, model, number, key, value)
        return number
    number = job.registrar.register(
        replace(of, source=source), model=model, source=source, tags={**tags, IMPORTED_FROM: mark}
    )
    with job.db.write() as tx:
        progress.note(
            tx, job.source.identity, VERSION, f"{of.number} of {of.name}", copy=f"{number} of {model}", state="copied",
            at=job.milliseconds(),
        )  # fmt: skip
    tally.versions += 1
    return number


def _tell_deleted(of: ModelVersion, tally: Tally) -> None:
    what = "was deleted here: a version's number means one thing for ever, and it is not made again"
    tally.notes.append(Remark(subject=f"version {of.number} of '{of.name}'", what=what))


def local_source(
    tx: Transaction,
    of: ModelVersion,
    models: Mapping[str, tuple[RegisteredModel, str]],
    numbers: Mapping[tuple[str, int], int],
) -> str:
    """Where the files of a version are here, from where its source says that they are there.

    Raises:
        Invalid: they were not copied.
    """
    if of.model_id and tx.row("SELECT 1 AS one FROM logged_models WHERE model_id = ?", (of.model_id,)):
        return f"models:/{of.model_id}"
    scheme, _, rest = of.source.partition(":/")
    if scheme == "models":
        name, slash, number = rest.lstrip("/").rpartition("/")
        if not slash:
            return of.source
        if number.isascii() and number.isdigit() and (name, int(number[:9])) in numbers:
            return f"models:/{models[name][1]}/{numbers[name, int(number[:9])]}"
    if scheme == "runs":
        return of.source
    path = of.source.rstrip("/")
    if match := _OF_MODEL.fullmatch(path):
        return f"models:/{match.group(1)}"
    if match := _OF_RUN.fullmatch(path):
        return f"runs:/{match.group(1)}/{match.group(2) or ''}"
    raise Invalid(
        f"its files are in '{of.source[:200]}', which is no run's and no logged model's",
        hint="log them to a run in the source, and register that",
    )


def _moves(
    job: Importer,
    models: Mapping[str, tuple[RegisteredModel, str]],
    versions: list[ModelVersion],
    numbers: Mapping[tuple[str, int], int],
    tally: Tally,
) -> None:
    """Stages and aliases; those that policy protects only where it lets them."""
    for version in versions:
        number = numbers.get((version.name, version.number))
        if number is None:
            continue
        model = models[version.name][1]
        with job.db.read() as tx:
            stage = registered.entry_of(tx, model, number).stage
        if stage != version.stage:
            _moved(
                tally, f"version {version.number} of '{version.name}' in stage {version.stage}",
                partial(job.registrar.move_stage, model, number, version.stage),
            )  # fmt: skip
    for of, model in models.values():
        with job.db.read() as tx:
            standing = registered.find(tx, model).aliases
        for alias, there in of.aliases.items():
            number = numbers.get((of.name, there))
            if number is not None and standing.get(alias) != number:
                _moved(
                    tally, f"alias '{alias}' of '{of.name}'",
                    partial(job.registrar.move_alias, model, number, alias),
                )  # fmt: skip


def _moved(tally: Tally, subject: str, move: Callable[[], None]) -> None:
    try:
        move()
    except _WHOLE_STOP:
        raise
    except Failure as failure:
        hint = f" ({failure.hint})" if failure.hint else ""
        tally.notes.append(Remark(subject=subject, what=f"not moved: {failure.message}{hint}"))
