"""Runs: tracked executions, as they stand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from windlass.domain.errors import Conflict, Invalid, NotFound
from windlass.domain.ports import Row, Transaction
from windlass.registry.tracking import names, numbers
from windlass.registry.tracking.experiments import chunks, require_active
from windlass.registry.tracking.recording import Log, record_one, touch
from windlass.registry.tracking.stages import ACTIVE, DELETED

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_FOLLOWING = numbers.following("runs", "run")


class RunStatus(StrEnum):
    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class Metric(NamedTuple):
    """One point of a metric; the value may be infinite or NaN."""

    value: float
    step: int
    at: int


class DatasetInput(NamedTuple):
    """A dataset that a run read; ``tags`` say in which role."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str
    profile: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """A run as it stands; of each metric the last point."""

    number: int
    revision: int
    run_id: str
    experiment_id: str
    name: str
    user: str
    status: RunStatus
    started_at: int
    ended_at: int | None
    stage: str
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[DatasetInput, ...] = ()
    model_inputs: tuple[str, ...] = ()
    model_outputs: tuple[tuple[str, int], ...] = ()  # (model id, step)


def run_root(experiment_id: str, run_id: str) -> str:
    """The name of the folder of a run's artifacts."""
    return f"{experiment_id}/{run_id}/artifacts"


def create_run(
    tx: Transaction,
    *,
    run_id: str,
    experiment_id: str,
    name: str,
    user: str,
    at: int,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Begin a run; ``run_id`` is 32 hex digits.

    Raises:
        NotFound: no such experiment.
        Conflict: a run of that id exists.
        Invalid: a malformed id or tag, a deleted experiment, or a name that a tag contradicts.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise Invalid(f"'{run_id[:80]}' is not a run id", hint="a run id is 32 hex digits")
    experiment = require_active(tx, experiment_id)
    tagged = (tags or {}).get(names.RUN_NAME, "")
    if tagged and tagged != name:
        raise Invalid(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values"
            f" (run_name='{name[:80]}', mlflow.runName='{tagged[:80]}')."
        )
    if tx.row("SELECT 1 AS one FROM runs WHERE run_id = ?", (run_id,)):
        raise Conflict(f"run {run_id} exists already", hint="every run has an id of its own")
    names.checked_text(user, names.MAX_KEY, "user_id")
    tx.execute(
        "INSERT INTO runs (id, run_id, experiment, name, owner, status, started_at)"
        f" SELECT following, ?, ?, ?, ?, ?, ? FROM {_FOLLOWING}",
        (run_id, experiment, name, user, RunStatus.RUNNING.value, names.checked_time(at, "start_time")),
    )
    record_one(tx, Log.checked(run_id, tags={**(tags or {}), names.RUN_NAME: name}))


def finish(tx: Transaction, run_id: str, *, status: str, at: int) -> None:
    """End a run: FINISHED, FAILED or KILLED.

    Raises:
        NotFound: no such run.
        Invalid: no such status, or one that is no end.
    """
    if _status(status) in (RunStatus.RUNNING, RunStatus.SCHEDULED):
        raise Invalid(f"a run does not end as {status}", hint="use FINISHED, FAILED or KILLED")
    update_run(tx, run_id, status=status, ended_at=at)


def update_run(
    tx: Transaction, run_id: str, *, status: str | None = None, ended_at: int | None = None, name: str | None = None
) -> None:
    """Change what is given; the rest stays.

    Raises:
        NotFound: no such run.
        Invalid: no such status, or the run is deleted.
    """
    number = touch(tx, run_id)[0]
    if status is not None or ended_at is not None:
        tx.execute(
            "UPDATE runs SET status = COALESCE(?, status), ended_at = COALESCE(?, ended_at) WHERE id = ?",
            (
                None if status is None else _status(status).value,
                None if ended_at is None else names.checked_time(ended_at, "end_time"),
                number,
            ),
        )
    if name:
        record_one(tx, Log.checked(run_id, tags={names.RUN_NAME: name}))


def delete_run(tx: Transaction, run_id: str, *, at: int) -> None:
    """Mark a run as deleted; everything of it is kept until it is collected. Raises NotFound."""
    _restage(tx, run_id, DELETED, at)


def restore_run(tx: Transaction, run_id: str) -> None:
    """Take a deleted run back. Raises NotFound."""
    _restage(tx, run_id, ACTIVE, None)


def delete_tag(tx: Transaction, run_id: str, key: str) -> None:
    """Raises:
    NotFound: no such run, or it has no such tag.
    Invalid: the run is deleted.
    """
    number = touch(tx, run_id)[0]
    if not tx.execute("DELETE FROM run_tags WHERE run = ? AND name = ?", (number, key)):
        raise NotFound(f"No tag with name: {key[:300]} in run with id {run_id}")


def find_run(tx: Transaction, run_id: str) -> TrackedRun:
    """A run by its id, deleted or not.

    Raises:
        NotFound: no such run.
    """
    return read(tx, [number_of(tx, run_id)])[0]


def number_of(tx: Transaction, run_id: str) -> int:
    """A run's number inside of the database. Raises NotFound."""
    row = tx.row("SELECT id FROM runs WHERE run_id = ?", (run_id,))
    if row is None:
        raise NotFound(f"Run with id={run_id[:80]} not found")
    return int(row["id"])


def info(tx: Transaction, run_id: str) -> Row:
    """A run's row alone. Raises NotFound."""
    row = tx.row("SELECT * FROM runs WHERE run_id = ?", (run_id,))
    if row is None:
        raise NotFound(f"Run with id={run_id[:80]} not found")
    return row


def read(tx: Transaction, numbers: Sequence[int]) -> list[TrackedRun]:
    """Runs with everything that is logged of them, in the order of their numbers given."""
    rows: dict[int, Row] = {}
    params: dict[int, dict[str, str]] = {number: {} for number in numbers}
    tags: dict[int, dict[str, str]] = {number: {} for number in numbers}
    metrics: dict[int, dict[str, Metric]] = {number: {} for number in numbers}
    datasets: dict[int, list[DatasetInput]] = {}
    models: dict[tuple[int, str], list[tuple[str, int]]] = {}
    nan = float("nan")
    for chunk in chunks(numbers):
        marks = ", ".join("?" * len(chunk))
        for row in tx.rows(f"SELECT * FROM runs WHERE id IN ({marks})", chunk):
            rows[row["id"]] = row
        which = f"WHERE run IN ({marks})"
        for run, key, text in tx.tuples(f"SELECT run, name, value FROM run_params {which} ORDER BY run, name", chunk):
            params[run][key] = text
        for run, key, text in tx.tuples(f"SELECT run, name, value FROM run_tags {which} ORDER BY run, name", chunk):
            tags[run][key] = text
        for run, key, is_nan, value, step, at in tx.tuples(
            f"SELECT run, name, nan, value, step, at FROM run_metrics_last {which} ORDER BY run, name", chunk
        ):
            metrics[run][key] = Metric(nan if is_nan else value, step, at)
        for run, tagged, *described in tx.tuples(
            "SELECT run, tags, name, digest, source_type, source, schema, profile FROM run_datasets"
            f" JOIN tracked_datasets ON tracked_datasets.id = run_datasets.dataset {which} ORDER BY run, seq",
            chunk,
        ):
            datasets.setdefault(run, []).append(DatasetInput._make([*described, json.loads(tagged)]))
        for run, direction, model_id, step in tx.tuples(
            f"SELECT run, direction, model_id, step FROM run_models {which} ORDER BY run, direction, seq", chunk
        ):
            models.setdefault((run, direction), []).append((model_id, step))
    return [
        TrackedRun(
            number=number,
            revision=row["revision"],
            run_id=row["run_id"],
            experiment_id=str(row["experiment"]),
            name=row["name"],
            user=row["owner"],
            status=row["status"],
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            stage=row["stage"],
            params=params[number],
            metrics=metrics[number],
            tags=tags[number],
            datasets=tuple(datasets.get(number, ())),
            model_inputs=tuple(model_id for model_id, _ in models.get((number, "input"), ())),
            model_outputs=tuple(models.get((number, "output"), ())),
        )
        for number, row in ((number, rows[number]) for number in numbers if number in rows)
    ]


def _restage(tx: Transaction, run_id: str, stage: str, at: int | None) -> None:
    if not tx.execute(
        "UPDATE runs SET stage = ?, deleted_at = ?, revision = revision + 1 WHERE run_id = ?", (stage, at, run_id)
    ):
        raise NotFound(f"Run with id={run_id[:80]} not found")


def _status(text: Any) -> RunStatus:
    try:
        return RunStatus(text)
    except ValueError:
        raise Invalid(f"'{str(text)[:80]}' is not a status", hint=f"use one of {', '.join(RunStatus)}") from None
