"""Models and their immutable versions.

A version is a *record*, an object in the store that names everything it came from; its digest is what
``version/MODEL@SEMVER`` points at in the ledger. The table row is an index over the records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from windlass.domain import digest, ledger
from windlass.domain.clock import Clock
from windlass.domain.errors import NotFound
from windlass.domain.names import Reference, SemVer
from windlass.domain.ports import Database, ObjectStore, Row, Transaction
from windlass.registry import lineage, moving, registered

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Everything that determines a model: two models of equal origin have the same recipe."""

    data: Mapping[str, str]  # dataset@version -> tree digest
    code: str  # digest over the closures of the steps that made it
    environment: str
    config: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable model version."""

    model: str
    number: int
    semver: str
    package: str
    signature: str  # digest of the signature
    origin: Origin
    run: str
    commit: str
    metrics: Mapping[str, float]
    why: str  # what made this the next number
    at: int
    actor: str
    format: int = FORMAT
    record: str = field(default="", compare=False)

    @property
    def reference(self) -> str:
        return f"{self.model}@{self.semver}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What whoever registered a version said of it; no part of what it is."""

    uri: str = ""
    run_link: str = ""
    model_id: str = ""
    description: str | None = None


def numbered(previous: Version | None, *, signature: str, origin: Origin) -> tuple[SemVer, str]:
    """The next version's number, and what made it so.

    The signature changed: major. Data, code, config, seed or environment changed: minor. The same recipe, built
    again: patch.
    """
    if previous is None:
        return SemVer(1, 0, 0), "first version"
    last = SemVer.parse(previous.semver)
    if previous.signature != signature:
        return SemVer(last.major + 1, 0, 0), "the signature changed"
    changed = differences(previous.origin, origin)
    if changed:
        return SemVer(last.major, last.minor + 1, 0), ", ".join(changed) + " changed"
    return SemVer(last.major, last.minor, last.patch + 1), "the same recipe, built again"


def differences(old: Origin, new: Origin) -> list[str]:
    """The parts of the recipe that differ, by name."""
    return [name for name in ("data", "code", "config", "seed", "environment") if _part(old, name) != _part(new, name)]


def _part(origin: Origin, name: str) -> Any:
    value = getattr(origin, name)
    # A dataset's version number is a name; what it holds is its digest.
    return sorted(value.values()) if name == "data" else value


def register(
    db: Database,
    objects: ObjectStore,
    *,
    model: str,
    package: str,
    signature: str,
    origin: Origin,
    run: str,
    commit: str,
    metrics: Mapping[str, float],
    actor: str,
    now: Clock,
) -> tuple[Version, bool]:
    """Register a run's model under its next number; returns it, and whether it is new.

    Registering the same run again returns the version it made. The model is made if there is none of that name.
    """
    with db.write() as tx:
        if row := tx.row(
            "SELECT record FROM model_versions WHERE model = ? AND run = ? AND deleted_at IS NULL", (model, run)
        ):
            return _load(objects, row["record"]), False
        registered.ensure(tx, model, at=now())
        made = add(
            tx,
            objects,
            model=model,
            package=package,
            signature=signature,
            origin=origin,
            run=run,
            commit=commit,
            metrics=metrics,
            actor=actor,
            at=now(),
        )
        for snapshot in origin.data:
            lineage.link(tx, f"run/{run}", f"snapshot/{snapshot}", "read")
        lineage.link(tx, f"run/{run}", f"environment/{origin.environment}", "ran in")
        lineage.link(tx, f"run/{run}", f"commit/{commit}", "ran code of")
    return made, True


def add(
    tx: Transaction,
    objects: ObjectStore,
    *,
    model: str,
    package: str,
    signature: str,
    origin: Origin,
    run: str,
    commit: str,
    metrics: Mapping[str, float],
    actor: str,
    at: int,
    source: Source | None = None,
) -> Version:
    """Give a package the next number of a model that exists. ``run`` may be empty: nobody said which run made it."""
    row = tx.row("SELECT * FROM model_versions WHERE model = ? ORDER BY number DESC LIMIT 1", (model,))
    previous = _load(objects, row["record"]) if row else None
    semver, why = numbered(previous, signature=signature, origin=origin)
    version = Version(
        model=model,
        number=previous.number + 1 if previous else 1,
        semver=str(semver),
        package=package,
        signature=signature,
        origin=origin,
        run=run,
        commit=commit,
        metrics=dict(metrics),
        why=why,
        at=at,
        actor=actor,
    )
    body = asdict(version)
    del body["record"]
    record = objects.put(digest.canonical(body))
    said = source or Source()
    tx.execute(
        "INSERT INTO model_versions (model, number, semver, record, package, run, at, actor, updated_at, description,"
        " source, run_link, model_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            model, version.number, version.semver, record, package, run, at, actor, at, said.description, said.uri,
            said.run_link, said.model_id,
        ),
    )  # fmt: skip
    ledger.transition(
        tx,
        subject=f"version/{version.reference}",
        action="register",
        before=None,
        after=record,
        actor=actor,
        reason=why,
        at=at,
        evidence={"run": run, "package": package},
    )
    lineage.link(tx, f"version/{version.reference}", f"object/{package}", "is")
    if run:
        lineage.link(tx, f"version/{version.reference}", f"run/{run}", "made by")
    registered.touch(tx, model, at=at)
    return _load(objects, record)


def find(tx: Transaction, objects: ObjectStore, reference: Reference) -> Version:
    """A version by semver, by MLflow's integer, by an alias, or the latest when the reference names none.

    What reads as a semver or an integer is never an alias.

    Raises:
        NotFound: no such model or version.
    """
    row = _row(tx, reference)
    if row is None or row["deleted_at"] is not None:
        known = [r["semver"] for r in tx.rows(
            "SELECT semver FROM model_versions WHERE model = ? AND deleted_at IS NULL ORDER BY number",
            (reference.name,),
        )]  # fmt: skip
        names = [alias for (alias,) in tx.tuples(
            "SELECT alias FROM model_aliases WHERE model = ? ORDER BY alias", (reference.name,)
        )]  # fmt: skip
        hint = f"it has: {', '.join([*known, *names])}" if known else "`windlass models` lists what is registered"
        raise NotFound(f"no model version {reference}", hint=hint)
    return _load(objects, row["record"])


def _row(tx: Transaction, reference: Reference) -> Row | None:
    if reference.version is None:
        return tx.row(
            "SELECT * FROM model_versions WHERE model = ? AND deleted_at IS NULL ORDER BY number DESC LIMIT 1",
            (reference.name,),
        )
    if SemVer.fits(reference.version):
        return tx.row(
            "SELECT * FROM model_versions WHERE model = ? AND semver = ?", (reference.name, reference.version)
        )
    if reference.version.isascii() and reference.version.isdigit():
        number: int | None = int(reference.version[:18])
    else:
        number = moving.stood_for(tx, reference.name, reference.version)
    return tx.row("SELECT * FROM model_versions WHERE model = ? AND number = ?", (reference.name, number))


def ls(tx: Transaction, objects: ObjectStore, model: str | None = None) -> list[Version]:
    """Every version, oldest first; of one model if named."""
    where, params = ("AND model = ?", (model,)) if model else ("", ())
    return [_load(objects, row["record"]) for row in tx.rows(
        f"SELECT record FROM model_versions WHERE deleted_at IS NULL {where} ORDER BY model, number", params
    )]  # fmt: skip


def _load(objects: ObjectStore, record: str) -> Version:
    return msgspec.convert({**json.loads(objects.get(record)), "record": record}, Version)
