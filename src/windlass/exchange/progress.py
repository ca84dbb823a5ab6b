"""How far imports are: of each thing of a source, its copy here, and whether that is complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blake3 import blake3

from windlass.domain import digest
from windlass.domain.ports import Transaction
from windlass.exchange.content import LoggedModel, Run

EXPERIMENT, RUN, LOGGED_MODEL = "experiment", "run", "logged model"
REGISTERED_MODEL, VERSION = "registered model", "version"
BEGUN = ""


@dataclass(frozen=True, slots=True)
class Known:
    copy: str
    state: str


def known(tx: Transaction, source: str, kind: str) -> dict[str, Known]:
    """What was imported of a kind, by its id in the source."""
    rows = tx.tuples("SELECT id, copy, state FROM imports WHERE source = ? AND kind = ?", (source, kind))
    return {identity: Known(copy, state) for identity, copy, state in rows}


def find(tx: Transaction, source: str, kind: str, identity: str) -> Known | None:
    row = tx.row("SELECT copy, state FROM imports WHERE source = ? AND kind = ? AND id = ?", (source, kind, identity))
    return Known(row["copy"], row["state"]) if row else None


def note(tx: Transaction, source: str, kind: str, identity: str, *, copy: str, state: str, at: int) -> None:
    tx.execute(
        "INSERT INTO imports (source, kind, id, copy, state, at) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (source, kind, id) DO UPDATE SET copy = excluded.copy, state = excluded.state, at = excluded.at",
        (source, kind, identity, copy, state, at),
    )


def origin(tx: Transaction, kind: str, copy: str) -> str | None:
    """From where a thing here was imported; None if it was not."""
    row = tx.row("SELECT source FROM imports WHERE kind = ? AND copy = ?", (kind, copy))
    return str(row["source"]) if row else None


def state_of(of: Run | LoggedModel) -> str:
    """What a thing of the source is now: the same again as long as nothing that its list shows has changed. No digest
    of an object: nothing of the store is meant by it.
    """
    shown: Mapping[str, object] = {
        name: getattr(of, name) for name in of.__dataclass_fields__ if name not in ("metrics", "artifact_uri")
    }
    metrics = of.metrics.items() if isinstance(of, Run) else enumerate(of.metrics)
    measured = sorted((key, [repr(value) for value in _values(each)]) for key, each in metrics)
    return blake3(digest.canonical([shown, measured])).hexdigest()


def _values(each: object) -> list[object]:
    if isinstance(each, tuple):
        return list(each)
    return [getattr(each, name) for name in each.__dataclass_fields__]  # type: ignore[attr-defined]
