"""The things that can be deleted or held, by the names under which lineage and ledger know them."""

from __future__ import annotations

from collections.abc import Callable

from windlass.domain.errors import Invalid, NotFound
from windlass.domain.names import Reference
from windlass.domain.ports import Row, Transaction
from windlass.registry.tracking import experiments

_LEAST = 4  # characters of an id
KINDS = ("run", "experiment", "version", "model", "snapshot", "logged-model")


def checked(tx: Transaction, text: str) -> str:
    """The full name of a thing that exists, deleted or not, from how somebody wrote it.

    Raises:
        Invalid: it has not the form ``KIND/NAME``.
        NotFound: there is no such thing.
    """
    kind, slash, name = text.partition("/")
    if not slash or kind not in KINDS or not name:
        raise Invalid(
            f"'{text[:80]}' is not the name of a thing",
            hint="write run/ID, experiment/ID, version/MODEL@SEMVER, model/NAME, snapshot/NAME@N or logged-model/ID",
        )
    found = _FINDERS[kind](tx, name)
    if found is None:
        raise NotFound(f"there is no {kind} '{name[:80]}'", hint="it may have been purged: see `windlass purge --help`")
    return f"{kind}/{found}"


def run_named(tx: Transaction, text: str) -> Row:
    """A run's row by its id or the beginning of it, deleted or not.

    Raises:
        NotFound: no such run.
        Invalid: more than one begins so.
    """
    rows = []
    if _LEAST <= len(text) <= 32 and not text.strip("0123456789abcdef"):
        # 'g' is the letter after the last hex digit.
        rows = tx.rows(
            "SELECT * FROM runs WHERE run_id >= ? AND run_id < ? ORDER BY run_id LIMIT 2", (text, f"{text}g")
        )
    if not rows:
        raise NotFound(f"no run '{text[:80]}'", hint="`windlass runs` lists those of the pipeline")
    if len(rows) > 1:
        raise Invalid(f"more than one run begins with '{text[:80]}'", hint="give more of its id")
    return rows[0]


def version_row(tx: Transaction, reference: Reference) -> Row:
    """A model version's row, deleted or purged or neither.

    Raises:
        Invalid: the reference names no version.
        NotFound: there never was such a version.
    """
    if reference.version is None:
        raise Invalid(f"'{reference}' names no version", hint=f"say which: {reference}@1.0.0")
    column = "number" if reference.version.isdigit() else "semver"
    value = int(reference.version) if column == "number" else reference.version
    row = tx.row(f"SELECT * FROM model_versions WHERE model = ? AND {column} = ?", (reference.name, value))
    if row is None:
        raise NotFound(f"no model version {reference}", hint="`windlass models` lists what is registered")
    return row


def _run(tx: Transaction, name: str) -> str:
    return str(run_named(tx, name)["run_id"])


def _experiment(tx: Transaction, name: str) -> str:
    return experiments.find_experiment(tx, name).id


def _version(tx: Transaction, name: str) -> str:
    row = version_row(tx, Reference.parse(name))
    return f"{row['model']}@{row['semver']}"


def _model(tx: Transaction, name: str) -> str | None:
    return name if tx.row("SELECT 1 AS one FROM registered_models WHERE name = ?", (name,)) else None


def _snapshot(tx: Transaction, name: str) -> str | None:
    reference = Reference.parse(name)
    number = int(reference.version) if reference.version and reference.version.isdigit() else -1
    found = tx.row("SELECT 1 AS one FROM snapshots WHERE name = ? AND version = ?", (reference.name, number))
    return f"{reference.name}@{number}" if found else None


def _logged_model(tx: Transaction, name: str) -> str | None:
    return name if tx.row("SELECT 1 AS one FROM logged_models WHERE model_id = ?", (name,)) else None


_FINDERS: dict[str, Callable[[Transaction, str], str | None]] = {
    "run": _run,
    "experiment": _experiment,
    "version": _version,
    "model": _model,
    "snapshot": _snapshot,
    "logged-model": _logged_model,
}
