"""Importing registered models: their versions are registered anew, from the files that were copied."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from windlass.domain.errors import Failure, Invalid
from windlass.domain.ports import Transaction
from windlass.exchange import landing, progress
from windlass.exchange.content import ModelVersion, RegisteredModel
from windlass.exchange.jobs import Importer, Wanted
from windlass.exchange.progress import REGISTERED_MODEL, VERSION
from windlass.exchange.tallying import WHOLE_STOP, Remark, Tally, sound, told
from windlass.registry import registered

IMPORTED_FROM = "windlass.imported_from"  # a version's tag: NUMBER@SOURCE
TOLD_BY_SERVERS = ("windlass.semver", "windlass.digest")  # a version's tags that a server of ours adds by itself
_OF_RUN = re.compile(r".*/([0-9a-f]{32})/artifacts(?:/(.*))?")
_OF_MODEL = re.compile(r".*/models/(m-[0-9a-f]{32})/artifacts/?")


def copy_models(job: Importer, wanted: Wanted, tally: Tally) -> None:
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
    except WHOLE_STOP:
        raise
    except Failure as failure:
        hint = f" ({failure.hint})" if failure.hint else ""
        tally.notes.append(Remark(subject=subject, what=f"not moved: {failure.message}{hint}"))
