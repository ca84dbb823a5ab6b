"""Labels: the truth that arrives after the prediction; late, twice or corrected."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from windlass.domain.ports import Database, Transaction
from windlass.domain.schema import Scalar

_CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelsAdded:
    """``unknown``: of predictions that are not in the log as far as it was read; they are kept, and join later."""

    added: int
    changed: int
    unchanged: int
    unknown: int


def add(db: Database, *, endpoint: str, labels: Iterable[tuple[str, Scalar]], at: int) -> LabelsAdded:
    """Add labels by prediction id; the same again changes nothing, another value for an id corrects it."""
    given = {identity: text_of(value) for identity, value in labels}
    with db.write() as tx:
        known = _known(tx, "SELECT id, label FROM labels", endpoint, list(given))
        seen = _known(tx, "SELECT id, prediction FROM monitored_predictions", endpoint, list(given))
        new = [identity for identity in given if identity not in known]
        changed = [identity for identity in given if identity in known and known[identity] != given[identity]]
        tx.many(
            "INSERT INTO labels (endpoint, id, label, at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (endpoint, id) DO UPDATE SET label = excluded.label, at = excluded.at",
            [(endpoint, identity, given[identity], at) for identity in [*new, *changed]],
        )
    return LabelsAdded(
        added=len(new),
        changed=len(changed),
        unchanged=len(given) - len(new) - len(changed),
        unknown=sum(identity not in seen for identity in given),
    )


def values(tx: Transaction, endpoint: str, identities: list[str]) -> dict[str, str]:
    """The labels there are of these predictions, as text (JSON)."""
    return _known(tx, "SELECT id, label FROM labels", endpoint, identities)


def text_of(value: Scalar) -> str:
    """A prediction or a label as both are kept: the same text for the same value, 1.0 and true being 1."""
    if isinstance(value, bool | int | float) and float(value).is_integer():
        return str(int(value))
    return json.dumps(value)


def _known(tx: Transaction, select: str, endpoint: str, identities: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for start in range(0, len(identities), _CHUNK):
        part = identities[start : start + _CHUNK]
        rows = tx.rows(f"{select} WHERE endpoint = ? AND id IN ({', '.join('?' * len(part))})", (endpoint, *part))
        found |= {row["id"]: list(row.values())[1] for row in rows}
    return found
