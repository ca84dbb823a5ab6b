"""Registered models and what may change about them and their versions: descriptions, tags; and what is deleted.

Times are microseconds. Names that move (stages, aliases) are in ``moving``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from windlass.domain import ledger, names
from windlass.domain.errors import Conflict, Invalid, NotFound, WrongState
from windlass.domain.ports import Row, Transaction
from windlass.registry.tracking.names import MAX_REGISTRY_TAG, checked_key, checked_text

MAX_DESCRIPTION = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    name: str
    description: str
    created_at: int
    updated_at: int
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionEntry:
    """A version's row in the registry: what it is (``record`` names it), and what is said of it."""

    model: str
    number: int
    semver: str
    record: str
    package: str
    run: str
    source: str
    run_link: str
    model_id: str
    stage: str
    description: str | None
    actor: str
    at: int
    updated_at: int
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        return f"{self.model}@{self.semver}"


def create(tx: Transaction, name: str, *, description: str = "", tags: Mapping[str, str], at: int) -> None:
    """Make a model. One that was deleted goes on with its next number: a reference means one thing for ever.

    Raises:
        Conflict: one of that name exists.
        Invalid: a malformed name or tag.
    """
    names.checked_model(name)
    checked_text(description, MAX_DESCRIPTION, "description")
    for key, value in tags.items():
        _checked_tag(key, value)
    row = tx.row("SELECT deleted_at FROM registered_models WHERE name = ?", (name,))
    if row is not None and row["deleted_at"] is None:
        raise Conflict(f"Registered Model (name={name}) already exists.")
    tx.execute(
        "INSERT INTO registered_models (name, description, created_at, updated_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET description = excluded.description, created_at = excluded.created_at,"
        " updated_at = excluded.updated_at, deleted_at = NULL",
        (name, description, at, at),
    )
    for key, value in tags.items():
        set_tag(tx, name, key, value)


def ensure(tx: Transaction, name: str, *, at: int) -> None:
    """Make a model unless it is there."""
    row = tx.row("SELECT deleted_at FROM registered_models WHERE name = ?", (name,))
    if row is None or row["deleted_at"] is not None:
        create(tx, name, tags={}, at=at)


def touch(tx: Transaction, name: str, *, at: int) -> None:
    tx.execute("UPDATE registered_models SET updated_at = ? WHERE name = ?", (at, name))


def find(tx: Transaction, name: str) -> RegisteredModel:
    """Raises NotFound."""
    return read(tx, [_require(tx, name)["name"]])[0]


def read(tx: Transaction, models: Sequence[str]) -> list[RegisteredModel]:
    """Models by name, in that order."""
    found = []
    for name in models:
        row = _require(tx, name)
        tags = tx.tuples("SELECT name, value FROM registered_model_tags WHERE model = ? ORDER BY name", (name,))
        aliases = tx.tuples("SELECT alias, number FROM model_aliases WHERE model = ? ORDER BY alias", (name,))
        found.append(
            RegisteredModel(
                name=name,
                description=row["description"],
                created_at=row["created_at"],
                updated_at=row["updated_at"],
                tags=dict(tags),
                aliases=dict(aliases),
            )
        )
    return found


def describe(tx: Transaction, name: str, description: str, *, at: int) -> None:
    """Raises NotFound, Invalid."""
    _require(tx, name)
    checked_text(description, MAX_DESCRIPTION, "description")
    tx.execute("UPDATE registered_models SET description = ?, updated_at = ? WHERE name = ?", (description, at, name))


def rename(tx: Transaction, name: str, new_name: str, *, at: int) -> None:
    """Give a model that has no versions another name.

    Raises:
        NotFound: no such model.
        Conflict: another one has the name.
        WrongState: it has versions: their references are in records that never change.
    """
    _require(tx, name)
    if tx.row("SELECT 1 AS one FROM model_versions WHERE model = ?", (name,)):
        raise WrongState(
            f"model '{name}' has versions, and '{name}@…' is what records and the ledger call them for ever",
            hint=f"register the next version under '{new_name[:80]}'",
        )
    before = find(tx, name)
    create(tx, new_name, description=before.description, tags=before.tags, at=before.created_at)
    touch(tx, new_name, at=at)
    tx.execute("DELETE FROM registered_model_tags WHERE model = ?", (name,))
    tx.execute("DELETE FROM registered_models WHERE name = ?", (name,))


def delete(tx: Transaction, name: str, *, actor: str, at: int) -> None:
    """Delete a model with all of its versions; their records stay.

    Raises:
        NotFound: no such model.
        WrongState: one of its versions is in production, or in a release.
    """
    _require(tx, name)
    for row in tx.rows("SELECT number FROM model_versions WHERE model = ? AND deleted_at IS NULL", (name,)):
        delete_version(tx, name, row["number"], actor=actor, at=at)
    tx.execute("UPDATE registered_models SET deleted_at = ? WHERE name = ?", (at, name))
    tx.execute("DELETE FROM registered_model_tags WHERE model = ?", (name,))


def delete_version(tx: Transaction, model: str, number: int, *, actor: str, at: int) -> None:
    """Delete a version: nobody finds it any more; its record and the ledger stay, its files until they are collected.

    Raises:
        NotFound: no such version.
        WrongState: it is in production, or in the release of an endpoint.
    """
    entry = entry_of(tx, model, number)
    serving = tx.row(
        "SELECT endpoints.name FROM endpoints JOIN releases ON releases.id = endpoints.release"
        " WHERE releases.reference = ?",
        (entry.reference,),
    )
    if serving:
        raise WrongState(f"{entry.reference} serves endpoint '{serving['name']}'", hint="release another version first")
    if entry.stage == "Production":
        raise WrongState(
            f"{entry.reference} is in production", hint=f"archive it first: windlass stage {entry.reference} archived"
        )
    for alias in entry.aliases:
        subject = f"alias/{model}/{alias}"
        ledger.transition(
            tx, subject=subject, action="delete", before=ledger.head(tx, subject), after=None, actor=actor,
            reason=f"{entry.reference} was deleted", at=at,
        )  # fmt: skip
    tx.execute("DELETE FROM model_aliases WHERE model = ? AND number = ?", (model, number))
    subject = f"version/{entry.reference}"
    ledger.transition(
        tx, subject=subject, action="delete", before=ledger.head(tx, subject), after=None, actor=actor,
        reason="deleted", at=at, evidence={"record": entry.record},
    )  # fmt: skip
    tx.execute("UPDATE model_versions SET deleted_at = ? WHERE model = ? AND number = ?", (at, model, number))
    touch(tx, model, at=at)


def entry_of(tx: Transaction, model: str, number: int) -> VersionEntry:
    """Raises NotFound."""
    found = entries(tx, [(model, number)])
    if not found:
        raise NotFound(f"Model Version (name={model}, version={number}) not found")
    return found[0]


def entries(tx: Transaction, versions: Sequence[tuple[str, int]]) -> list[VersionEntry]:
    """Versions that are not deleted, in the order asked for."""
    found = []
    for model, number in versions:
        row = tx.row("SELECT * FROM model_versions WHERE model = ? AND number = ?", (model, number))
        if row is None or row["deleted_at"] is not None:
            continue
        tags = tx.tuples(
            "SELECT name, value FROM model_version_tags WHERE model = ? AND number = ? ORDER BY name", (model, number)
        )
        aliases = tx.tuples(
            "SELECT alias FROM model_aliases WHERE model = ? AND number = ? ORDER BY alias", (model, number)
        )
        kept = {name: row[name] for name in VersionEntry.__dataclass_fields__ if name in row}
        found.append(VersionEntry(**kept, tags=dict(tags), aliases=tuple(alias for (alias,) in aliases)))
    return found


def describe_version(tx: Transaction, model: str, number: int, description: str | None, *, at: int) -> None:
    """Raises NotFound, Invalid."""
    entry_of(tx, model, number)
    if description is not None:
        checked_text(description, MAX_DESCRIPTION, "description")
    tx.execute(
        "UPDATE model_versions SET description = ?, updated_at = ? WHERE model = ? AND number = ?",
        (description, at, model, number),
    )


def set_tag(tx: Transaction, model: str, key: str, value: str) -> None:
    """Raises NotFound, Invalid."""
    _checked_tag(key, value)
    _require(tx, model)
    tx.execute(
        "INSERT INTO registered_model_tags (model, name, value) VALUES (?, ?, ?)"
        " ON CONFLICT (model, name) DO UPDATE SET value = excluded.value",
        (model, key, value),
    )


def delete_tag(tx: Transaction, model: str, key: str) -> None:
    """Raises NotFound: no such model. A tag that is not there is no error."""
    checked_key(key)
    _require(tx, model)
    tx.execute("DELETE FROM registered_model_tags WHERE model = ? AND name = ?", (model, key))


def set_version_tag(tx: Transaction, model: str, number: int, key: str, value: str) -> None:
    """Raises NotFound, Invalid."""
    _checked_tag(key, value)
    entry_of(tx, model, number)
    tx.execute(
        "INSERT INTO model_version_tags (model, number, name, value) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (model, number, name) DO UPDATE SET value = excluded.value",
        (model, number, key, value),
    )


def delete_version_tag(tx: Transaction, model: str, number: int, key: str) -> None:
    """Raises NotFound: no such version. A tag that is not there is no error."""
    checked_key(key)
    entry_of(tx, model, number)
    tx.execute("DELETE FROM model_version_tags WHERE model = ? AND number = ? AND name = ?", (model, number, key))


def latest(tx: Transaction, model: str, stages: Sequence[str]) -> list[VersionEntry]:
    """The newest version in each of some stages. Raises NotFound."""
    _require(tx, model)
    found = []
    for stage in sorted(stages):
        row = tx.row(
            "SELECT MAX(number) AS number FROM model_versions WHERE model = ? AND stage = ? AND deleted_at IS NULL",
            (model, stage),
        )
        if row and row["number"] is not None:
            found.append(entry_of(tx, model, row["number"]))
    return found


def number_of(text: str) -> int:
    """A version's number as MLflow's clients write it. Raises Invalid."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Invalid(f"Parameter 'version' must be an integer, got '{text[:80]}'.")
    return int(text)


def _require(tx: Transaction, name: str) -> Row:
    row = tx.row("SELECT * FROM registered_models WHERE name = ? AND deleted_at IS NULL", (name,))
    if row is None:
        raise NotFound(f"Registered Model with name={name[:300]} not found")
    return row


def _checked_tag(key: str, value: str) -> None:
    checked_key(key)
    checked_text(value, MAX_REGISTRY_TAG, "value")
