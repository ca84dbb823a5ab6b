"""Experiments and runs, in MLflow's sense: params, metrics with their history, tags and artifacts.

Times are microseconds here; MLflow's milliseconds exist only in its protocol (server/mlflow_api.py).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from windlass.domain.errors import Conflict, Invalid, NotFound
from windlass.domain.ports import Row, Transaction

MAX_KEY = 250
MAX_PARAM = 6000
MAX_TAG = 8000
MAX_PATH = 1000
RUN_NAME = "mlflow.runName"
USER = "mlflow.user"

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_KEY = re.compile(r"[/\w.\- :]+")
_LONG = 2**63 - 1
# SQLite takes at most so many parameters in one statement (32,766), PostgreSQL 65,535.
_CHUNK = 900


class RunStatus(StrEnum):
    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    id: str
    name: str
    at: int
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One point of a metric; the value may be infinite or NaN."""

    value: float
    step: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    path: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """A run as it stands; of each metric the last point."""

    run_id: str
    experiment_id: str
    name: str
    user: str
    status: RunStatus
    started_at: int
    ended_at: int | None
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()


def create_experiment(tx: Transaction, *, name: str, at: int, tags: Mapping[str, str] | None = None) -> str:
    """Make an experiment; returns its id.

    Raises:
        Conflict: one of that name exists.
        Invalid: the name is empty, or too long.
    """
    if not name.strip() or len(name) > 500:
        raise Invalid("an experiment needs a name of 1 to 500 characters")
    for key, value in (tags or {}).items():
        _checked_text(key, value, "tag", MAX_TAG)
    if experiment_id(tx, name) is not None:
        raise Conflict(f"experiment '{name}' exists already", hint="use it, or choose another name")
    last = tx.row("SELECT MAX(id) AS id FROM experiments")
    number = (last["id"] if last and last["id"] is not None else 0) + 1
    tx.execute(
        "INSERT INTO experiments (id, name, at, tags) VALUES (?, ?, ?, ?)",
        (number, name, at, json.dumps(dict(tags or {}), sort_keys=True)),
    )
    return str(number)


def experiment_id(tx: Transaction, name: str) -> str | None:
    """The id of the experiment of that name."""
    row = tx.row("SELECT id FROM experiments WHERE name = ?", (name,))
    return str(row["id"]) if row else None


def find_experiment(tx: Transaction, experiment: str) -> Experiment:
    """An experiment by its id.

    Raises:
        NotFound: no such experiment.
    """
    row = tx.row("SELECT * FROM experiments WHERE id = ?", (_number(experiment),))
    if row is None:
        raise NotFound(f"no experiment with id '{experiment[:80]}'", hint="create it first")
    return _experiment(row)


def experiments(tx: Transaction) -> list[Experiment]:
    """Every experiment, newest first."""
    return [_experiment(row) for row in tx.rows("SELECT * FROM experiments ORDER BY at DESC, id DESC")]


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
        Invalid: a malformed id or tag.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise Invalid(f"'{run_id[:80]}' is not a run id", hint="a run id is 32 hex digits")
    experiment = find_experiment(tx, experiment_id)
    if tx.row("SELECT 1 AS one FROM tracked_runs WHERE run_id = ?", (run_id,)):
        raise Conflict(f"run {run_id} exists already", hint="every run has an id of its own")
    tx.execute(
        "INSERT INTO tracked_runs (run_id, experiment, name, owner, status, started_at) VALUES (?, ?, ?, ?, ?, ?)",
        (run_id, int(experiment.id), name, user, RunStatus.RUNNING, _checked_time(at)),
    )
    told = {RUN_NAME: name, USER: user, **(tags or {})}
    log(tx, run_id, tags={key: value for key, value in told.items() if value})


def log(
    tx: Transaction,
    run_id: str,
    *,
    params: Mapping[str, str] | None = None,
    metrics: Sequence[tuple[str, float, int, int]] = (),
    tags: Mapping[str, str] | None = None,
) -> None:
    """Record params (which never change), points of metrics (key, value, step, at) and tags (which may change).

    Logging the same again changes nothing, so that a request may be repeated.

    Raises:
        NotFound: no such run.
        Invalid: a malformed key or value, or a param that has another value already.
    """
    _require(tx, run_id)
    if params:
        _log_params(tx, run_id, params)
    if metrics:
        _log_metrics(tx, run_id, metrics)
    if tags:
        for key, value in tags.items():
            _checked_text(key, value, "tag", MAX_TAG)
        tx.many(
            "INSERT INTO run_tags (run_id, name, value) VALUES (?, ?, ?)"
            " ON CONFLICT (run_id, name) DO UPDATE SET value = excluded.value",
            [(run_id, key, value) for key, value in tags.items()],
        )
        if name := tags.get(RUN_NAME):
            tx.execute("UPDATE tracked_runs SET name = ? WHERE run_id = ?", (name, run_id))


def add_artifact(tx: Transaction, run_id: str, *, path: str, digest: str, size: int) -> None:
    """Give an object a path among a run's artifacts; a path written again has the new object.

    Raises:
        NotFound: no such run.
        Invalid: the path is not confined to the run, or crosses a file of it.
    """
    _require(tx, run_id)
    checked_path(path)
    above = [str(parent) for parent in PurePosixPath(path).parents if str(parent) != "."]
    marks = ", ".join("?" * len(above))
    crossed = above and tx.row(
        f"SELECT path FROM run_artifacts WHERE run_id = ? AND path IN ({marks})", (run_id, *above)
    )
    if crossed:
        raise Invalid(f"'{crossed['path']}' is a file of this run, not a folder", hint="choose another path")
    if _beneath(tx, run_id, path):
        raise Invalid(f"'{path}' is a folder of this run, not a file", hint="choose another path")
    tx.execute(
        "INSERT INTO run_artifacts (run_id, path, digest, size) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (run_id, path) DO UPDATE SET digest = excluded.digest, size = excluded.size",
        (run_id, path, digest, size),
    )


def find_artifact(tx: Transaction, run_id: str, path: str) -> Artifact:
    """A run's artifact by its path.

    Raises:
        NotFound: no such run, or nothing at that path.
        Invalid: the path is not confined to the run.
    """
    _require(tx, run_id)
    row = tx.row(
        "SELECT path, digest, size FROM run_artifacts WHERE run_id = ? AND path = ?", (run_id, checked_path(path))
    )
    if row is None:
        raise NotFound(f"run {run_id} has no artifact '{path}'", hint="list the run's artifacts")
    return Artifact(**row)


def list_artifacts(tx: Transaction, run_id: str, folder: str = "") -> list[tuple[str, int | None]]:
    """What lies directly in a folder of a run's artifacts: (path, size), the size None for a folder.

    Raises:
        NotFound: no such run.
        Invalid: the path is not confined to the run.
    """
    _require(tx, run_id)
    if folder:
        checked_path(folder)
    found: dict[str, int | None] = {}
    for path, size in _beneath(tx, run_id, folder):
        inside = path[len(folder) + 1 :] if folder else path
        head, slash, _ = inside.partition("/")
        found[f"{folder}/{head}" if folder else head] = None if slash else size
    return sorted(found.items())


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
        Invalid: no such status.
    """
    _require(tx, run_id)
    if status is not None:
        tx.execute("UPDATE tracked_runs SET status = ? WHERE run_id = ?", (_status(status), run_id))
    if ended_at is not None:
        tx.execute("UPDATE tracked_runs SET ended_at = ? WHERE run_id = ?", (_checked_time(ended_at), run_id))
    if name:
        log(tx, run_id, tags={RUN_NAME: name})


def find_run(tx: Transaction, run_id: str) -> TrackedRun:
    """A run by its id.

    Raises:
        NotFound: no such run.
    """
    return _filled(tx, [_require(tx, run_id)])[0]


def search_runs(tx: Transaction, experiment_ids: Sequence[str], limit: int) -> list[TrackedRun]:
    """The newest runs of some experiments, newest first."""
    numbers = [number for text in experiment_ids if (number := _number(text)) is not None]
    rows: list[Row] = []
    for chunk in _chunks(numbers):
        rows += tx.rows(
            f"SELECT * FROM tracked_runs WHERE experiment IN ({', '.join('?' * len(chunk))})"
            " ORDER BY started_at DESC, run_id LIMIT ?",
            (*chunk, limit),
        )
    rows.sort(key=lambda row: (-row["started_at"], row["run_id"]))
    return _filled(tx, rows[:limit])


def history(tx: Transaction, run_id: str, key: str) -> list[Metric]:
    """Every point of a metric, by step, then time.

    Raises:
        NotFound: no such run.
    """
    _require(tx, run_id)
    rows = tx.rows(
        "SELECT value, nan, step, at FROM run_metrics WHERE run_id = ? AND name = ? ORDER BY step, at, value",
        (run_id, key),
    )
    return [_metric(row) for row in rows]


def checked_path(path: str) -> str:
    """``path`` if it stays inside the run's folder whoever reads it, on whatever system, once more decoded or not.

    Raises:
        Invalid: it is absolute, leads upwards, or holds what some system reads as more than a name.
    """
    parts = path.split("/")
    escapes = "\\" in path or "%" in path or ";" in path or ":" in parts[0] or any(ord(c) < 32 for c in path)
    if not path or len(path) > MAX_PATH or escapes or any(part in ("", ".", "..") for part in parts):
        raise Invalid(f"'{path[:80]}' is not a path of an artifact", hint="write it as folder/file, without '..'")
    return path


def _log_params(tx: Transaction, run_id: str, params: Mapping[str, str]) -> None:
    for key, value in params.items():
        _checked_text(key, value, "param", MAX_PARAM)
    known = {
        row["name"]: row["value"] for row in tx.rows("SELECT name, value FROM run_params WHERE run_id = ?", (run_id,))
    }
    for key, value in params.items():
        if known.get(key, value) != value:
            raise Invalid(
                f"param '{key}' of run {run_id} is '{known[key][:80]}' already and cannot become '{value[:80]}'",
                hint="params never change: log another name, or begin another run",
            )
    tx.many(
        "INSERT INTO run_params (run_id, name, value) VALUES (?, ?, ?) ON CONFLICT (run_id, name) DO NOTHING",
        [(run_id, key, value) for key, value in params.items()],
    )


def _log_metrics(tx: Transaction, run_id: str, metrics: Sequence[tuple[str, float, int, int]]) -> None:
    rows = []
    for key, value, step, at in metrics:
        _checked_key(key, "metric")
        if not -_LONG <= step <= _LONG:
            raise Invalid(f"metric '{key}': step {step} is out of range")
        nan = math.isnan(value)
        rows.append((run_id, key, step, _checked_time(at), 0.0 if nan else float(value), int(nan)))
    tx.many(
        "INSERT INTO run_metrics (run_id, name, step, at, value, nan) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        rows,
    )
    tx.many(
        "INSERT INTO run_metrics_last (run_id, name, step, at, value, nan) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (run_id, name) DO UPDATE SET"
        " step = excluded.step, at = excluded.at, value = excluded.value, nan = excluded.nan"
        " WHERE (excluded.step, excluded.at, excluded.value)"
        " >= (run_metrics_last.step, run_metrics_last.at, run_metrics_last.value)",
        rows,
    )


def _filled(tx: Transaction, rows: Sequence[Row]) -> list[TrackedRun]:
    ids = [row["run_id"] for row in rows]
    params: dict[str, dict[str, str]] = {run_id: {} for run_id in ids}
    tags: dict[str, dict[str, str]] = {run_id: {} for run_id in ids}
    metrics: dict[str, dict[str, Metric]] = {run_id: {} for run_id in ids}
    artifacts: dict[str, list[Artifact]] = {run_id: [] for run_id in ids}
    for chunk in _chunks(ids):
        which = f"WHERE run_id IN ({', '.join('?' * len(chunk))})"
        for row in tx.rows(f"SELECT * FROM run_params {which} ORDER BY name", chunk):
            params[row["run_id"]][row["name"]] = row["value"]
        for row in tx.rows(f"SELECT * FROM run_tags {which} ORDER BY name", chunk):
            tags[row["run_id"]][row["name"]] = row["value"]
        for row in tx.rows(f"SELECT * FROM run_metrics_last {which} ORDER BY name", chunk):
            metrics[row["run_id"]][row["name"]] = _metric(row)
        for row in tx.rows(f"SELECT * FROM run_artifacts {which} ORDER BY path", chunk):
            artifacts[row["run_id"]].append(Artifact(path=row["path"], digest=row["digest"], size=row["size"]))
    return [
        TrackedRun(
            run_id=row["run_id"],
            experiment_id=str(row["experiment"]),
            name=row["name"],
            user=row["owner"],
            status=RunStatus(row["status"]),
            started_at=row["started_at"],
            ended_at=row["ended_at"],
            params=params[row["run_id"]],
            metrics=metrics[row["run_id"]],
            tags=tags[row["run_id"]],
            artifacts=tuple(artifacts[row["run_id"]]),
        )
        for row in rows
    ]


def _require(tx: Transaction, run_id: str) -> Row:
    row = tx.row("SELECT * FROM tracked_runs WHERE run_id = ?", (run_id,))
    if row is None:
        raise NotFound(f"no run with id '{run_id[:80]}'", hint="create the run first")
    return row


def _beneath(tx: Transaction, run_id: str, folder: str) -> list[tuple[str, int]]:
    # "0" is the character after "/": a range of the key's index, where LIKE would take the folder's own wildcards.
    within, params = (" AND path >= ? AND path < ?", (folder + "/", folder + "0")) if folder else ("", ())
    rows = tx.rows(f"SELECT path, size FROM run_artifacts WHERE run_id = ?{within} ORDER BY path", (run_id, *params))
    return [(row["path"], row["size"]) for row in rows]


def _experiment(row: Row) -> Experiment:
    return Experiment(id=str(row["id"]), name=row["name"], at=row["at"], tags=json.loads(row["tags"]))


def _metric(row: Row) -> Metric:
    return Metric(value=math.nan if row["nan"] else row["value"], step=row["step"], at=row["at"])


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _status(text: str) -> RunStatus:
    try:
        return RunStatus(text)
    except ValueError:
        raise Invalid(f"'{text[:80]}' is not the status of a run", hint=f"one of: {', '.join(RunStatus)}") from None


def _checked_key(key: str, what: str) -> None:
    if not _KEY.fullmatch(key) or len(key) > MAX_KEY or PurePosixPath(key).is_absolute() or ".." in key.split("/"):
        raise Invalid(
            f"'{key[:80]}' is not the name of a {what}",
            hint=f"use up to {MAX_KEY} letters, digits, spaces and . _ - : /",
        )


def _checked_text(key: str, value: str, what: str, longest: int) -> None:
    _checked_key(key, what)
    if len(value) > longest:
        raise Invalid(f"{what} '{key}' has {len(value)} characters, more than {longest}", hint="log it as an artifact")


def _checked_time(at: int) -> int:
    if not 0 <= at <= _LONG:
        raise Invalid(f"{at} is not a time", hint="microseconds since 1970")
    return at


def _chunks(values: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
