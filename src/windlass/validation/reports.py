"""Gate reports in the store: immutable, found by the version they are about, readable as a page.

``gate/MODEL@SEMVER`` in the ledger points at the latest report; every older one stays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec

from windlass.domain import digest, ledger
from windlass.domain.clock import Clock
from windlass.domain.errors import Corrupt, NotFound
from windlass.domain.ports import Database, ObjectStore, Transaction
from windlass.registry import lineage
from windlass.validation import html as page
from windlass.validation.gate import GateReport


def save(
    db: Database, objects: ObjectStore, report: GateReport, *, measured_on: Sequence[str] = (), actor: str, now: Clock
) -> str:
    """Store a report and its page, and let the version's gate point at it; returns the report's digest.

    ``measured_on``: snapshots whose rows the version was checked against.
    """
    name = objects.put(digest.canonical(report))
    rendered = objects.put(page.render(report, name).encode())
    subject = f"gate/{report.reference}"
    with db.write() as tx:
        at, before = now(), ledger.head(tx, subject)
        tx.execute(
            "INSERT INTO gate_reports (report, reference, verdict, page, at, actor) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (report) DO NOTHING",
            (name, report.reference, report.verdict.value, rendered, at, actor),
        )
        ledger.transition(
            tx,
            subject=subject,
            action="gate",
            before=before,
            after=name,
            actor=actor,
            reason=f"the gate says {report.verdict.value}",
            at=at,
            evidence={"package": report.package, "policy": report.policy, "verdict": report.verdict.value},
        )
        lineage.link(tx, f"object/{name}", f"version/{report.reference}", "checked")
        for snapshot in measured_on:
            lineage.link(tx, f"object/{name}", f"snapshot/{snapshot}", "measured on")
    return name


def find(tx: Transaction, objects: ObjectStore, reference: str) -> tuple[str, GateReport]:
    """A version's latest report, with its digest.

    Raises:
        NotFound: no gate was run on it.
    """
    name = ledger.head(tx, f"gate/{reference}")
    if name is None:
        raise NotFound(f"no gate was run on {reference}", hint=f"run `windlass gate {reference}`")
    return name, load(objects, name)


def load(objects: ObjectStore, report: str) -> GateReport:
    """A report by its digest."""
    try:
        return msgspec.convert(json.loads(objects.get(report)), GateReport)
    except (ValueError, msgspec.ValidationError) as error:
        raise Corrupt(f"{digest.short(report)} is no gate report: {error}") from None


def html(tx: Transaction, objects: ObjectStore, report: str) -> str:
    """A report's page.

    Raises:
        NotFound: no such report.
    """
    row = tx.row("SELECT page FROM gate_reports WHERE report = ?", (report,))
    if row is None:
        raise NotFound(f"no gate report {digest.short(report)}", hint="`windlass gate MODEL@VERSION` makes one")
    return objects.get(row["page"]).decode()
