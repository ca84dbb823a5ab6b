"""`windlass verify`: everything that is kept, held against its digests and against each other.

It never stops at the first damage: what is found wrong is listed, each with where it is and what it means.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from windlass.domain import digest, ledger
from windlass.domain.errors import Corrupt, Failure
from windlass.domain.ports import ObjectStore, Transaction
from windlass.serving import log as prediction_log
from windlass.store import check, objects
from windlass.workspace import collecting
from windlass.workspace.workspace import Workspace

# The subjects whose target is an object in the store.
_OBJECTS = ("snapshot/", "version/", "gate/", "endpoint/", "purge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    where: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was walked, and every problem found."""

    ledger_entries: int
    objects: int
    trees: int
    lineage_edges: int
    predictions: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(ws: Workspace) -> Verification:
    """Walk ledger, store, records, lineage and prediction log."""
    problems: list[Problem] = []
    try:
        problems += [Problem(where="database", what=line) for line in ws.database.damage()]
        with ws.database.read() as tx:
            ws.progress("walking the ledger")
            chain = ledger.entries(tx)
            heads = {row["subject"]: row["target"] for row in tx.rows("SELECT subject, target FROM heads")}
            versions = tx.rows(
                "SELECT model, number, semver, record, package, run, deleted_at, purged_at FROM model_versions"
                " ORDER BY model, number"
            )
            standing = _standing_rows(tx)
            edges = tx.rows("SELECT child, parent, relation FROM lineage ORDER BY child, parent, relation")
    except (Corrupt, sqlite3.DatabaseError, ValueError, TypeError) as error:
        unreadable = Problem(where="database", what=f"cannot be read: {error}")
        return Verification(
            ledger_entries=0, objects=0, trees=0, lineage_edges=0, predictions=0, problems=(*problems, unreadable)
        )
    problems += _ledger(chain, heads)
    ws.progress("hashing every object")
    found = check.check(ws.store, meter=ws.meter)
    intact = {objects.text(key) for key in found.intact}
    problems += [Problem(where=f"object {objects.text(key)}", what=why) for key, why in found.damaged.items()]
    problems += [Problem(where=f"pack {name}", what=why) for name, why in found.unreadable.items()]
    problems += _targets(heads, intact)
    problems += _versions(ws.objects, versions, heads, intact)
    problems += _standing(standing, heads)
    trees, lost = collecting.missing(ws.database, ws.store, found.intact)
    problems += [
        Problem(where=f"object {objects.text(key)}", what="a tree needs it, and it is missing")
        for key in lost
        if key not in found.damaged
    ]
    problems += _lineage(edges, heads, intact | _given_up(ws.objects, versions, intact))
    ws.progress("reading the prediction log")
    predictions, broken = _predictions(ws)
    problems += broken
    return Verification(
        ledger_entries=len(chain),
        objects=len(intact),
        trees=trees,
        lineage_edges=len(edges),
        predictions=predictions,
        problems=tuple(problems),
    )


def _ledger(chain: list[ledger.Entry], heads: Mapping[str, str | None]) -> Iterator[Problem]:
    try:
        ledger.verify(chain, heads)
    except Corrupt as error:
        yield Problem(where="ledger", what=error.message)


def _targets(heads: Mapping[str, str | None], intact: set[str]) -> Iterator[Problem]:
    for subject, target in heads.items():
        if target is not None and subject.startswith(_OBJECTS) and target not in intact:
            yield Problem(where=subject, what=f"points at {digest.short(target)}, which the store has not whole")


def _versions(
    store: ObjectStore, rows: list[dict[str, object]], heads: Mapping[str, str | None], intact: set[str]
) -> Iterator[Problem]:
    for row in rows:
        subject = f"version/{row['model']}@{row['semver']}"
        record = str(row["record"])
        is_purged = row["purged_at"] is not None
        if subject not in heads or heads[subject] != (record if row["deleted_at"] is None else None):
            yield Problem(where=subject, what="its row names another record than the ledger")
        elif record in intact:
            said = json.loads(store.get(record))
            told = ("model", "number", "semver") if is_purged else ("model", "number", "semver", "package", "run")
            if wrong := [key for key in told if said[key] != row[key]]:
                yield Problem(where=subject, what=f"its row differs from its record in {', '.join(wrong)}")
        elif row["deleted_at"] is not None:  # of the others the ledger points at it, which was looked at
            yield Problem(where=subject, what="its record is not whole in the store")
        if row["package"] not in intact and not is_purged:
            yield Problem(where=subject, what="its package is not whole in the store")


def _given_up(store: ObjectStore, rows: list[dict[str, object]], intact: set[str]) -> set[str]:
    """The packages of purged versions: lineage goes on telling of them."""
    records = [str(row["record"]) for row in rows if row["purged_at"] is not None]
    return {json.loads(store.get(record))["package"] for record in records if record in intact}


def _standing_rows(tx: Transaction) -> dict[str, str | None]:
    """Where aliases and stages stand by their tables, as ledger subjects with their targets."""
    found: dict[str, str | None] = {}
    for model, alias, semver in tx.tuples(
        "SELECT a.model, a.alias, v.semver FROM model_aliases a"
        " JOIN model_versions v ON v.model = a.model AND v.number = a.number"
    ):
        found[f"alias/{model}/{alias}"] = f"{model}@{semver}"
    for model, semver, stage in tx.tuples("SELECT model, semver, stage FROM model_versions WHERE stage <> 'None'"):
        found[f"stage/{model}@{semver}"] = stage
    return found


def _standing(found: Mapping[str, str | None], heads: Mapping[str, str | None]) -> Iterator[Problem]:
    """An alias or a stage that was moved past the ledger was moved past policy."""
    told = {subject: target for subject, target in heads.items() if subject.startswith(("alias/", "stage/"))}
    for subject in sorted({*told, *found}):
        if told.get(subject) != found.get(subject):
            where = f"{found.get(subject) or 'nothing'}, and by the ledger at {told.get(subject) or 'nothing'}"
            yield Problem(where=subject, what=f"it stands at {where}")


def _lineage(edges: list[dict[str, object]], heads: Mapping[str, str | None], intact: set[str]) -> Iterator[Problem]:
    for edge in edges:
        for node in (str(edge["child"]), str(edge["parent"])):
            if node.startswith(("version/", "snapshot/")) and node not in heads:
                yield Problem(where="lineage", what=f"{node} is not in the ledger")
            elif node.startswith("object/") and node.removeprefix("object/") not in intact:
                yield Problem(where="lineage", what=f"{node[:24]} is not whole in the store")


def _predictions(ws: Workspace) -> tuple[int, list[Problem]]:
    count, problems = 0, list[Problem]()
    if not ws.layout.predictions.is_dir():
        return 0, problems
    for folder in sorted(path for path in ws.layout.predictions.iterdir() if path.is_dir()):
        try:
            position = prediction_log.START
            while True:
                records, after = prediction_log.read(folder, position, 10_000)
                count += len(records)
                if after == position:
                    break
                position = after
        except Failure as error:
            problems.append(Problem(where=f"prediction log {folder.name}", what=error.message))
    return count, problems
