"""Logging to runs: the path that every training loop takes, made for many requests in one transaction.

What a request logs is checked before any database is asked (``Log.checked``); ``record`` then writes the logs of many
requests with a few statements, and says of each whether it was refused. A refused log leaves nothing behind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from windlass.domain.errors import Failure, Invalid, NotFound
from windlass.domain.ports import Transaction
from windlass.registry.tracking import names
from windlass.registry.tracking.stages import ACTIVE

Point = tuple[str, float, int, int]  # key, value, step, time in milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPoint:
    """A point of a metric that was measured on a logged model, and maybe on a dataset."""

    model_id: str
    point: Point
    dataset_name: str | None
    dataset_digest: str | None


@dataclass(frozen=True, slots=True)
class Log:
    """What one request logs to one run; already checked."""

    run_id: str
    points: Sequence[tuple[str, int, int, float, int]] = ()  # key, time, step, value, nan: a row's order
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    of_models: Sequence[ModelPoint] = ()

    @classmethod
    def checked(
        cls,
        run_id: str,
        *,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        of_models: Sequence[ModelPoint] = (),
    ) -> Log:
        """Raises:
        Invalid: a malformed key, or a value out of its limits.
        """
        names.checked_text(run_id, names.MAX_KEY, "run_id")
        for each in of_models:
            names.checked_text(each.model_id, names.MAX_KEY, "model_id")
            names.checked_text(each.dataset_name or "", names.MAX_EXPERIMENT_NAME, "dataset_name")
            names.checked_text(each.dataset_digest or "", names.MAX_KEY, "dataset_digest")
        rows = []
        for index, point in enumerate(points):
            key, value, step, at = point
            # All that most points need, in one line: a batch has a thousand of them.
            if not (names.is_key(key) and 0 <= at <= names.LONG and -names.LONG <= step <= names.LONG):
                _refuse(point, f"metrics[{index}]." if len(points) > 1 else "")
            rows.append((key, at, step, value, 0) if value == value else (key, at, step, 0.0, 1))  # noqa: PLR0124 - NaN
        return cls(
            run_id,
            rows,
            {
                names.checked_key(key, f"params[{index}].key"): names.cut(text, names.MAX_PARAM, "Param value")
                for index, (key, text) in enumerate((params or {}).items())
            },
            {
                names.checked_key(key, f"tags[{index}].key"): names.cut(text, names.MAX_TAG, f"tags[{index}].value")
                for index, (key, text) in enumerate((tags or {}).items())
            },
            of_models,
        )


def _refuse(point: Point, where: str) -> None:
    """Say what is wrong with a point."""
    key, value, step, at = point
    names.checked_key(key, f"{where}name")
    if at < 0:
        raise Invalid(
            f"Invalid value {at} for parameter '{where}timestamp' supplied: metric '{key}' (value={value})."
            " Timestamp must be a nonnegative long (64-bit integer) "
        )
    names.checked_time(at, f"{where}timestamp")
    names.checked_time(step, f"{where}step")


def log(
    tx: Transaction,
    run_id: str,
    *,
    params: Mapping[str, str] | None = None,
    metrics: Sequence[Point] = (),
    tags: Mapping[str, str] | None = None,
) -> None:
    """Record params (which never change), points of metrics and tags (which may change).

    Logging the same again changes nothing, so that a request may be repeated.

    Raises:
        NotFound: no such run.
        Invalid: a malformed key or value, a param that has another value already, or a deleted run.
    """
    record_one(tx, Log.checked(run_id, points=metrics, params=params, tags=tags))


def record_one(tx: Transaction, entry: Log) -> None:
    """``record`` of one log. Raises what was wrong with it."""
    problem = record(tx, [entry])[0]
    if problem is not None:
        raise problem


def record(tx: Transaction, entries: Sequence[Log]) -> list[Failure | None]:
    """Write logs in their order; returns for each why it was refused, or None."""
    runs: dict[str, tuple[int, int] | Failure] = {}
    for entry in entries:
        if entry.run_id not in runs:
            try:
                runs[entry.run_id] = touch(tx, entry.run_id)
            except Failure as failure:
                runs[entry.run_id] = failure
    known = _known_params(tx, entries, runs)
    problems: list[Failure | None] = []
    params: list[tuple[int, str, str]] = []
    points: list[tuple[int, str, int, int, float, int]] = []
    tags: dict[tuple[int, str], str] = {}
    of_models: list[tuple[str, ModelPoint]] = []
    for entry in entries:
        run = runs[entry.run_id]
        if isinstance(run, Failure):
            problems.append(run)
            continue
        number = run[0]
        if entry.params:
            problem = _contradiction(entry, known[number])
            if problem is not None:
                problems.append(problem)
                continue
            params.extend((number, key, text) for key, text in entry.params.items() if key not in known[number])
            known[number].update(entry.params)
        problems.append(None)
        points.extend((number, *point) for point in entry.points)
        tags.update(((number, key), text) for key, text in entry.tags.items())
        of_models.extend((entry.run_id, each) for each in entry.of_models)
    _write_params(tx, params)
    _write_points(tx, points)
    _write_tags(tx, tags)
    _write_of_models(tx, of_models)
    return problems


def touch(tx: Transaction, run_id: str) -> tuple[int, int]:
    """Raise the revision of a run that may be written to; returns its number and its experiment's.

    Raises:
        NotFound: no such run.
        Invalid: it is deleted.
    """
    found = tx.tuples(
        "UPDATE runs SET revision = revision + 1 WHERE run_id = ? RETURNING id, experiment, stage", (run_id,)
    )
    if not found:
        raise NotFound(f"Run with id={run_id[:80]} not found")
    number, experiment, stage = found[0]
    if stage != ACTIVE:
        raise Invalid(f"The run {run_id} must be in the 'active' state. Current state is {stage}.")
    return number, experiment


def _known_params(
    tx: Transaction, entries: Sequence[Log], runs: Mapping[str, tuple[int, int] | Failure]
) -> dict[int, dict[str, str]]:
    known: dict[int, dict[str, str]] = {}
    for entry in entries:
        run = runs[entry.run_id]
        if entry.params and not isinstance(run, Failure) and run[0] not in known:
            known[run[0]] = dict(tx.tuples("SELECT name, value FROM run_params WHERE run = ?", (run[0],)))
    return known


def _contradiction(entry: Log, known: Mapping[str, str]) -> Failure | None:
    wrong = [(key, text) for key, text in entry.params.items() if known.get(key, text) != text]
    if not wrong:
        return None
    if len(entry.params) == 1:
        key, text = wrong[0]
        return Invalid(
            f"Changing param values is not allowed. Param with key='{key}' was already logged with"
            f" value='{known[key][:300]}' for run ID='{entry.run_id}'. Attempted logging new value '{text[:300]}'."
        )
    told = [{"key": key, "old_value": known[key][:300], "new_value": text[:300]} for key, text in wrong[:20]]
    return Invalid(
        f"Changing param values is not allowed. Params were already logged='{told}' for run ID='{entry.run_id}'."
    )


def _write_params(tx: Transaction, rows: Sequence[tuple[int, str, str]]) -> None:
    if rows:
        tx.many("INSERT INTO run_params (run, name, value) VALUES (?, ?, ?) ON CONFLICT (run, name) DO NOTHING", rows)


def _write_points(tx: Transaction, rows: Sequence[tuple[int, str, int, int, float, int]]) -> None:
    if not rows:
        return
    tx.many(
        "INSERT INTO run_metrics (run, name, at, step, value, nan) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        rows,
    )
    newest: dict[tuple[int, str], tuple[int, str, int, int, float, int]] = {}
    for row in rows:
        before = newest.get(row[:2])
        if before is None or (row[3], row[2], row[4]) > (before[3], before[2], before[4]):
            newest[row[:2]] = row
    tx.many(
        "INSERT INTO run_metrics_last (run, name, at, step, value, nan) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (run, name) DO UPDATE SET"
        " step = excluded.step, at = excluded.at, value = excluded.value, nan = excluded.nan"
        " WHERE (excluded.step, excluded.at, excluded.value)"
        " > (run_metrics_last.step, run_metrics_last.at, run_metrics_last.value)",
        list(newest.values()),
    )


def _write_tags(tx: Transaction, tags: Mapping[tuple[int, str], str]) -> None:
    if not tags:
        return
    tx.many(
        "INSERT INTO run_tags (run, name, value) VALUES (?, ?, ?)"
        " ON CONFLICT (run, name) DO UPDATE SET value = excluded.value",
        [(run, key, text) for (run, key), text in tags.items()],
    )
    for (run, key), text in tags.items():
        if key == names.RUN_NAME:
            tx.execute("UPDATE runs SET name = ? WHERE id = ?", (text, run))


def _write_of_models(tx: Transaction, points: Sequence[tuple[str, ModelPoint]]) -> None:
    for run_id, each in points:
        key, value, step, at = each.point
        nan = math.isnan(value)
        tx.execute(
            "INSERT INTO logged_model_metrics"
            " (model, name, at, step, run_id, value, nan, dataset_name, dataset_digest)"
            " SELECT id, ?, ?, ?, ?, ?, ?, ?, ? FROM logged_models WHERE model_id = ? ON CONFLICT DO NOTHING",
            (
                key, at, step, run_id, 0.0 if nan else value, int(nan),
                each.dataset_name, each.dataset_digest, each.model_id,
            ),
        )  # fmt: skip
