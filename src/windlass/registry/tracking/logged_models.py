"""Logged models: models that runs made, before anybody gives them a registered name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from windlass.domain.errors import Invalid, NotFound
from windlass.domain.ports import Row, Transaction
from windlass.registry.tracking import names, numbers
from windlass.registry.tracking.experiments import chunks, require_active
from windlass.registry.tracking.stages import ACTIVE, DELETED

_FOLLOWING = numbers.following("logged_models", "logged-model")
_BAD = set("/:.%\"'")


class ModelStatus(IntEnum):
    UNSPECIFIED = 0
    PENDING = 1
    READY = 2
    FAILED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMetric:
    key: str
    value: float
    step: int
    at: int
    run_id: str
    dataset_name: str | None
    dataset_digest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedModel:
    number: int
    model_id: str
    experiment_id: str
    name: str
    source_run_id: str
    model_type: str
    status: ModelStatus
    status_message: str
    stage: str
    created_at: int
    updated_at: int
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[ModelMetric, ...] = ()


def model_root(experiment_id: str, model_id: str) -> str:
    """The name of the folder of a logged model's artifacts."""
    return f"{experiment_id}/models/{model_id}/artifacts"


def create_logged_model(
    tx: Transaction,
    *,
    model_id: str,
    experiment_id: str,
    name: str,
    source_run_id: str,
    model_type: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    at: int,
) -> None:
    """Raises:
    NotFound: no such experiment.
    Invalid: a malformed name, param or tag, or the experiment is deleted.
    """
    if not name or _BAD & set(name):
        raise Invalid(
            f'Invalid model name ("{name[:80]}") provided. Model name must be a non-empty string and cannot contain'
            " the following characters: ('/', ':', '.', '%', '\"', \"'\")"
        )
    experiment = require_active(tx, experiment_id)
    for key, value in params.items():
        names.checked_text(key, names.MAX_KEY, "params.key")
        names.checked_text(value, names.MAX_PARAM, "params.value")
    names.checked_text(name, names.MAX_EXPERIMENT_NAME, "name")
    tx.execute(
        "INSERT INTO logged_models (id, model_id, experiment, name, source_run, model_type, status, status_message,"
        " stage, created_at, updated_at)"
        f" SELECT following, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM {_FOLLOWING}",
        (model_id, experiment, name, source_run_id, model_type, int(ModelStatus.PENDING), "", ACTIVE, at, at),
    )
    number = require(tx, model_id)["id"]
    _add_params(tx, number, params)
    _set_tags(tx, number, tags)


def find_logged_model(tx: Transaction, model_id: str, *, deleted: bool = False) -> LoggedModel:
    """A logged model by its id; a deleted one only if ``deleted``. Raises NotFound."""
    row = require(tx, model_id)
    if row["stage"] == DELETED and not deleted:
        raise _missing(model_id)
    return read(tx, [row["id"]])[0]


def finalize(tx: Transaction, model_id: str, status: int, *, at: int) -> None:
    """Say how the making of a model ended.

    Raises:
        NotFound: no such model.
        Invalid: no such status.
    """
    if status not in set(ModelStatus):
        raise Invalid(f"{status} is not a status of a logged model", hint="2 is READY, 3 is UPLOAD_FAILED")
    number = require(tx, model_id)["id"]
    tx.execute("UPDATE logged_models SET status = ?, updated_at = ? WHERE id = ?", (int(status), at, number))


def delete_logged_model(tx: Transaction, model_id: str, *, at: int) -> None:
    """Mark a model as deleted. Raises NotFound."""
    number = require(tx, model_id)["id"]
    tx.execute("UPDATE logged_models SET stage = ?, updated_at = ? WHERE id = ?", (DELETED, at, number))


def log_params(tx: Transaction, model_id: str, params: Mapping[str, str]) -> None:
    """Raises:
    NotFound: no such model.
    Invalid: a malformed param, or one that has another value already.
    """
    _add_params(tx, require(tx, model_id)["id"], params)


def set_tags(tx: Transaction, model_id: str, tags: Mapping[str, str]) -> None:
    """Raises NotFound, Invalid."""
    _set_tags(tx, require(tx, model_id)["id"], tags)


def delete_tag(tx: Transaction, model_id: str, key: str) -> None:
    """Raises NotFound: no such model, or it has no such tag."""
    number = require(tx, model_id)["id"]
    if not tx.execute("DELETE FROM logged_model_tags WHERE model = ? AND name = ?", (number, key)):
        raise NotFound(f"No tag with key '{key[:300]}' found for model with ID '{model_id}'.")


def require(tx: Transaction, model_id: str) -> Row:
    """A logged model's row. Raises NotFound."""
    row = tx.row("SELECT * FROM logged_models WHERE model_id = ?", (model_id,))
    if row is None:
        raise _missing(model_id)
    return row


def read(tx: Transaction, numbers: Sequence[int]) -> list[LoggedModel]:
    """Logged models with everything of them, in the order of their numbers given."""
    rows: dict[int, Row] = {}
    params: dict[int, dict[str, str]] = {number: {} for number in numbers}
    tags: dict[int, dict[str, str]] = {number: {} for number in numbers}
    metrics: dict[int, list[ModelMetric]] = {number: [] for number in numbers}
    for chunk in chunks(numbers):
        marks = ", ".join("?" * len(chunk))
        for row in tx.rows(f"SELECT * FROM logged_models WHERE id IN ({marks})", chunk):
            rows[row["id"]] = row
        which = f"WHERE model IN ({marks})"
        for model, key, value in tx.tuples(
            f"SELECT model, name, value FROM logged_model_params {which} ORDER BY model, name", chunk
        ):
            params[model][key] = value
        for model, key, value in tx.tuples(
            f"SELECT model, name, value FROM logged_model_tags {which} ORDER BY model, name", chunk
        ):
            tags[model][key] = value
        for model, key, value, nan, step, at, run_id, name, digest in tx.tuples(
            "SELECT model, name, value, nan, step, at, run_id, dataset_name, dataset_digest"
            f" FROM logged_model_metrics {which} ORDER BY model, name, at, step, run_id",
            chunk,
        ):
            metrics[model].append(
                ModelMetric(
                    key=key,
                    value=math.nan if nan else value,
                    step=step,
                    at=at,
                    run_id=run_id,
                    dataset_name=name,
                    dataset_digest=digest,
                )
            )
    return [
        LoggedModel(
            number=number,
            model_id=row["model_id"],
            experiment_id=str(row["experiment"]),
            name=row["name"],
            source_run_id=row["source_run"],
            model_type=row["model_type"],
            status=ModelStatus(row["status"]),
            status_message=row["status_message"],
            stage=row["stage"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            params=params[number],
            tags=tags[number],
            metrics=tuple(metrics[number]),
        )
        for number, row in ((number, rows[number]) for number in numbers if number in rows)
    ]


def _missing(model_id: str) -> NotFound:
    return NotFound(f"Logged model with ID '{model_id[:80]}' not found.")


def _add_params(tx: Transaction, number: int, params: Mapping[str, str]) -> None:
    known = dict(tx.tuples("SELECT name, value FROM logged_model_params WHERE model = ?", (number,)))
    for key, value in params.items():
        names.checked_text(key, names.MAX_KEY, "params.key")
        names.checked_text(value, names.MAX_PARAM, "params.value")
        if known.get(key, value) != value:
            raise Invalid(f"param '{key[:80]}' of the model is '{known[key][:80]}' already", hint="params never change")
    tx.many(
        "INSERT INTO logged_model_params (model, name, value) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(number, key, value) for key, value in params.items()],
    )


def _set_tags(tx: Transaction, number: int, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        names.checked_text(key, names.MAX_KEY, "tags.key")
        names.checked_text(value, names.MAX_TAG, "tags.value")
    tx.many(
        "INSERT INTO logged_model_tags (model, name, value) VALUES (?, ?, ?)"
        " ON CONFLICT (model, name) DO UPDATE SET value = excluded.value",
        [(number, key, value) for key, value in tags.items()],
    )
