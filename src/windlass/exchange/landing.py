"""Writing what was imported: in the registry's words where it has them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from windlass.domain.errors import Conflict, Invalid
from windlass.domain.ports import Transaction
from windlass.exchange.content import Experiment, LoggedModel, Point, Run
from windlass.registry.tracking import artifacts, experiments, inputs, logged_models, names, recording, runs
from windlass.registry.tracking.stages import ACTIVE, DELETED

MOST_NAMES = 1000


def experiment_for(tx: Transaction, name: str, *, at: int) -> str:
    """An experiment that can take the runs of one of a source: new, or there and empty.

    Raises:
        Invalid: the name is beyond what can be kept.
        Conflict: every name that could be taken is.
    """
    free = free_name(tx, name)
    return experiments.experiment_id(tx, free) or experiments.create_experiment(tx, name=free, at=at)


def free_name(tx: Transaction, name: str) -> str:
    """``name``, or the first like it that no experiment has with something in it. Raises Conflict."""
    for wanted in names_like(name):
        found = experiments.experiment_id(tx, wanted)
        if found is None or _is_empty(tx, found):
            return wanted
    raise Conflict(f"'{name[:200]}' and every name like it is taken", hint="import with --into PREFIX")


def names_like(name: str, how: str = "imported") -> Iterator[str]:
    yield name
    yield f"{name} ({how})"
    yield from (f"{name} ({how} {number})" for number in range(2, MOST_NAMES))


def _is_empty(tx: Transaction, experiment: str) -> bool:
    number = experiments.number_of(experiment)
    row = tx.row("SELECT stage FROM experiments WHERE id = ?", (number,))
    used = (
        tx.row("SELECT 1 AS one FROM runs WHERE experiment = ?", (number,))
        or tx.row("SELECT 1 AS one FROM logged_models WHERE experiment = ?", (number,))
        or tx.row("SELECT 1 AS one FROM imports WHERE kind = 'experiment' AND copy = ?", (experiment,))
    )
    return row is not None and row["stage"] == ACTIVE and not used


def write_experiment(tx: Transaction, of: Experiment, copy: str, *, at: int) -> None:
    """The tags and times of an experiment, which is made active, so that it takes runs."""
    if experiments.find_experiment(tx, copy).stage == DELETED:
        experiments.restore_experiment(tx, copy, at=at)
    for key, value in of.tags.items():
        experiments.set_experiment_tag(tx, copy, key, value)
    tx.execute(
        "UPDATE experiments SET at = ?, updated_at = ? WHERE id = ?",
        (_time(of.created_at), _time(of.updated_at or of.created_at), experiments.number_of(copy)),
    )


def begin_run(tx: Transaction, of: Run, experiment: str, new_id: Callable[[], str]) -> None:
    """A run with all but its points and its files; one that is there already takes what is new.

    Raises:
        Invalid: something is beyond what can be kept, or a param has another value here.
    """
    row = tx.row("SELECT id, stage FROM runs WHERE run_id = ?", (of.id,))
    if row is None:
        runs.create_run(
            tx, run_id=of.id, experiment_id=experiment, name=of.name, user=of.user, at=of.started_at, tags={}
        )
    elif row["stage"] == DELETED:
        runs.restore_run(tx, of.id)
    recording.log(tx, of.id, params=of.params, tags=of.tags)
    before = runs.find_run(tx, of.id)
    inputs.log_inputs(
        tx,
        of.id,
        [(new_id(), each) for each in of.datasets],
        [each for each in dict.fromkeys(of.model_inputs) if each not in before.model_inputs],
    )
    if made := [each for each in dict.fromkeys(of.model_outputs) if each not in before.model_outputs]:
        inputs.log_outputs(tx, of.id, made)
    tx.execute(
        "UPDATE runs SET status = ?, ended_at = ?, started_at = ?, owner = ? WHERE run_id = ?",
        (
            runs.RunStatus(of.status).value if of.status in set(runs.RunStatus) else _no_status(of),
            None if of.ended_at is None else _time(of.ended_at),
            _time(of.started_at),
            names.checked_text(of.user, names.MAX_KEY, "user_id"),
            of.id,
        ),
    )


def _no_status(of: Run) -> str:
    raise Invalid(f"'{of.status[:80]}' is not a status of a run")


def write_points(tx: Transaction, run_id: str, points: Sequence[tuple[str, Point]]) -> None:
    """Points of metrics by key; those that are there stay as they are. Raises Invalid."""
    recording.log(tx, run_id, metrics=[(key, each.value, each.step, each.at) for key, each in points])


def end_run(tx: Transaction, of: Run, *, at: int) -> None:
    """Delete a run that is deleted in the source: it was active to be written."""
    if of.deleted:
        runs.delete_run(tx, of.id, at=at)


def write_model(tx: Transaction, of: LoggedModel, experiment: str) -> None:
    """A logged model with all but its files; one that is there already takes what is new.

    Raises:
        Invalid: something is beyond what can be kept, or a param has another value here.
    """
    if not tx.row("SELECT 1 AS one FROM logged_models WHERE model_id = ?", (of.id,)):
        logged_models.create_logged_model(
            tx,
            model_id=of.id,
            experiment_id=experiment,
            name=of.name,
            source_run_id=names.checked_text(of.source_run_id, names.MAX_KEY, "source_run_id"),
            model_type=names.checked_text(of.model_type, names.MAX_EXPERIMENT_NAME, "model_type"),
            params=of.params,
            tags=of.tags,
            at=_time(of.created_at),
        )
    else:
        logged_models.log_params(tx, of.id, of.params)
        logged_models.set_tags(tx, of.id, of.tags)
    if of.status not in set(logged_models.ModelStatus):
        raise Invalid(f"{of.status} is not a status of a logged model")
    tx.execute(
        "UPDATE logged_models SET status = ?, status_message = ?, updated_at = ?, stage = ? WHERE model_id = ?",
        (
            of.status, names.checked_text(of.status_message, names.MAX_TAG, "status_message"),
            _time(of.updated_at or of.created_at), ACTIVE, of.id,
        ),
    )  # fmt: skip
    number = logged_models.require(tx, of.id)["id"]
    for each in of.metrics:
        names.checked_key(each.key)
        names.checked_text(each.run_id, names.MAX_KEY, "run_id")
        nan = math.isnan(each.value)
        tx.execute(
            "INSERT INTO logged_model_metrics"
            " (model, name, at, step, run_id, value, nan, dataset_name, dataset_digest)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                number, each.key, _time(each.at), names.checked_time(each.step, "step"), each.run_id,
                0.0 if nan else each.value, int(nan), each.dataset_name, each.dataset_digest,
            ),
        )  # fmt: skip


def write_files(tx: Transaction, root: str, files: Mapping[str, tuple[str, int]]) -> None:
    """Files below a root: path to digest and size.

    Raises:
        Invalid: a path crosses another.
        Conflict: a registered version is made of what would change.
    """
    for path, (digest, size) in files.items():
        there = tx.row("SELECT digest FROM artifacts WHERE root = ? AND path = ?", (root, path))
        if there is not None and there["digest"] == digest:
            continue
        if is_registered(tx, root, path):
            raise Conflict(
                f"'{path}' in {root} belongs to a registered model version: its files never change",
                hint="the source has another file there now; the version keeps what it was made of",
            )
        artifacts.add_artifact(tx, root, path=path, digest=digest, size=size)


def is_registered(tx: Transaction, root: str, path: str) -> bool:
    rows = tx.tuples("SELECT path FROM registered_roots WHERE root = ?", (root,))
    return any(not folder or path.startswith(f"{folder}/") for (folder,) in rows)


def _time(value: int) -> int:
    return names.checked_time(value, "time")
