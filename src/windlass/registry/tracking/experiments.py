"""Experiments: groups of runs, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from windlass.domain.errors import Conflict, Invalid, NotFound, WrongState
from windlass.domain.ports import Database, Row, Transaction
from windlass.registry.tracking import names, numbers
from windlass.registry.tracking.stages import ACTIVE, DELETED

_FOLLOWING = numbers.following("experiments", "experiment")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    id: str
    name: str
    stage: str
    created_at: int
    updated_at: int
    tags: Mapping[str, str] = field(default_factory=dict)


def create_experiment(tx: Transaction, *, name: str, at: int, tags: Mapping[str, str] | None = None) -> str:
    """Make an experiment; returns its id.

    Raises:
        Conflict: one of that name exists, deleted or not.
        Invalid: the name is empty or too long, or a tag is malformed.
    """
    _checked_name(name)
    for key, value in (tags or {}).items():
        _checked_tag(key, value)
    _refuse_taken(tx, name)
    [(number,)] = tx.tuples(f"SELECT following FROM {_FOLLOWING}")
    tx.execute(
        "INSERT INTO experiments (id, name, at, stage, updated_at) VALUES (?, ?, ?, ?, ?)",
        (number, name, at, ACTIVE, at),
    )
    tx.many(
        "INSERT INTO experiment_tags (experiment, name, value) VALUES (?, ?, ?)",
        [(number, key, value) for key, value in (tags or {}).items()],
    )
    return str(number)


def date_default(db: Database, *, at: int) -> None:
    """Say when the Default experiment was made: the migration that made it knew no time."""
    with db.read() as tx:
        dated = tx.row("SELECT id FROM experiments WHERE id = 0 AND at = 0") is None
    if not dated:
        with db.write() as tx:
            tx.execute("UPDATE experiments SET at = ?, updated_at = ? WHERE id = 0 AND at = 0", (at, at))


def experiment_id(tx: Transaction, name: str) -> str | None:
    """The id of the experiment of that name."""
    row = tx.row("SELECT id FROM experiments WHERE name = ?", (name,))
    return str(row["id"]) if row else None


def find_experiment(tx: Transaction, experiment: str) -> Experiment:
    """An experiment by its id, deleted or not.

    Raises:
        NotFound: no such experiment.
        Invalid: the id is no number.
    """
    return read(tx, [_require(tx, experiment)["id"]])[0]


def require_active(tx: Transaction, experiment: str) -> int:
    """The number of an experiment that takes runs.

    Raises:
        NotFound: no such experiment.
        Invalid: the id is no number, or the experiment is deleted.
    """
    row = _require(tx, experiment)
    if row["stage"] != ACTIVE:
        raise Invalid(f"The experiment {row['id']} must be in the 'active' state. Current state is {row['stage']}.")
    return int(row["id"])


def read(tx: Transaction, numbers: Sequence[int]) -> list[Experiment]:
    """Experiments with their tags, in the order of their numbers given."""
    rows: dict[int, Row] = {}
    tags: dict[int, dict[str, str]] = {number: {} for number in numbers}
    for chunk in chunks(numbers):
        marks = ", ".join("?" * len(chunk))
        for row in tx.rows(f"SELECT * FROM experiments WHERE id IN ({marks})", chunk):
            rows[row["id"]] = row
        for number, key, value in tx.tuples(
            f"SELECT experiment, name, value FROM experiment_tags WHERE experiment IN ({marks}) ORDER BY name", chunk
        ):
            tags[number][key] = value
    return [
        Experiment(
            id=str(number),
            name=rows[number]["name"],
            stage=rows[number]["stage"],
            created_at=rows[number]["at"],
            updated_at=rows[number]["updated_at"],
            tags=tags[number],
        )
        for number in numbers
    ]


def rename_experiment(tx: Transaction, experiment: str, name: str, *, at: int) -> None:
    """Raises:
    NotFound: no such experiment.
    Invalid: the name is empty or too long.
    WrongState: the experiment is deleted.
    Conflict: another one has the name.
    """
    _checked_name(name)
    row = _require(tx, experiment)
    if row["stage"] != ACTIVE:
        raise WrongState("Cannot rename a non-active experiment.")
    if row["name"] != name:
        _refuse_taken(tx, name)
    tx.execute("UPDATE experiments SET name = ?, updated_at = ? WHERE id = ?", (name, at, row["id"]))


def delete_experiment(tx: Transaction, experiment: str, *, at: int) -> None:
    """Mark an experiment and all of its runs as deleted; everything is kept until it is collected.

    Raises:
        NotFound: no such experiment that is not deleted.
    """
    number = _require(tx, experiment, stage=ACTIVE)["id"]
    tx.execute("UPDATE experiments SET stage = ?, updated_at = ? WHERE id = ?", (DELETED, at, number))
    tx.execute(
        "UPDATE runs SET stage = ?, deleted_at = ?, revision = revision + 1 WHERE experiment = ?",
        (DELETED, at, number),
    )


def restore_experiment(tx: Transaction, experiment: str, *, at: int) -> None:
    """Take an experiment and all of its runs back.

    Raises:
        NotFound: no such deleted experiment.
    """
    number = _require(tx, experiment, stage=DELETED)["id"]
    tx.execute("UPDATE experiments SET stage = ?, updated_at = ? WHERE id = ?", (ACTIVE, at, number))
    tx.execute(
        "UPDATE runs SET stage = ?, deleted_at = NULL, revision = revision + 1 WHERE experiment = ?", (ACTIVE, number)
    )


def set_experiment_tag(tx: Transaction, experiment: str, key: str, value: str) -> None:
    """Raises:
    NotFound: no such experiment.
    Invalid: it is deleted, or the tag is malformed.
    """
    _checked_tag(key, value)
    number = require_active(tx, experiment)
    tx.execute(
        "INSERT INTO experiment_tags (experiment, name, value) VALUES (?, ?, ?)"
        " ON CONFLICT (experiment, name) DO UPDATE SET value = excluded.value",
        (number, key, value),
    )


def delete_experiment_tag(tx: Transaction, experiment: str, key: str) -> None:
    """Raises:
    NotFound: no such experiment, or it has no such tag.
    Invalid: it is deleted.
    """
    number = require_active(tx, experiment)
    if not tx.execute("DELETE FROM experiment_tags WHERE experiment = ? AND name = ?", (number, key)):
        raise NotFound(f"No tag with name: {key[:300]} in experiment with id {number}")


def number_of(experiment: str) -> int:
    """An experiment's number from its id.

    Raises:
        Invalid: it is none.
    """
    try:
        number = int(experiment)
    except ValueError:
        number = -1
    if not 0 <= number <= names.LONG:
        raise Invalid(f"Invalid experiment ID '{experiment[:80]}'. Experiment ID must be a valid integer.")
    return number


def chunks(items: Sequence[int], size: int = 900) -> list[Sequence[int]]:
    """Pieces short enough for one statement's parameters."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def _require(tx: Transaction, experiment: str, stage: str = "") -> Row:
    row = tx.row("SELECT * FROM experiments WHERE id = ?", (number_of(experiment),))
    if row is None or (stage and row["stage"] != stage):
        raise NotFound(f"No Experiment with id={experiment} exists")
    return row


def _refuse_taken(tx: Transaction, name: str) -> None:
    row = tx.row("SELECT stage FROM experiments WHERE name = ?", (name,))
    if row is not None:
        deleted = " in deleted state" if row["stage"] == DELETED else ""
        raise Conflict(
            f"Experiment(name={name[:300]}) already exists{deleted}.",
            hint="restore it, or choose another name" if deleted else "use it, or choose another name",
        )


def _checked_name(name: str) -> None:
    if not name:
        raise Invalid("Invalid experiment name: ''")
    if len(name) > names.MAX_EXPERIMENT_NAME:
        raise Invalid(f"'name' exceeds the maximum length of {names.MAX_EXPERIMENT_NAME} characters")
    names.checked_text(name, names.MAX_EXPERIMENT_NAME, "name")


def _checked_tag(key: str, value: str) -> None:
    names.checked_key(key)
    names.checked_text(value, names.MAX_EXPERIMENT_TAG, "value")
