"""Taking what was decided out of the tables: the thing itself at once, the rows that were its own by pieces.

With the transaction in which a thing goes, nobody finds it any more, nobody can restore it, and ``purging`` notes that
rows are left of it. They are removed after that, a bounded number in each transaction; whoever is killed in between
leaves the rest to the next purge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from windlass.domain import digest
from windlass.domain.ports import Database, Transaction
from windlass.governance.retention import standing
from windlass.governance.retention.deciding import Candidate
from windlass.registry.tracking import numbers

PIECE = 5000  # rows in one transaction, more or less

_DIGEST = re.compile(rf"{digest.PREFIX}[0-9a-f]{{64}}")


@dataclass(frozen=True, slots=True)
class Owned:
    """Rows that belong to a thing: those whose ``owner`` is its number, by the columns that tell them apart."""

    table: str
    owner: str
    keys: tuple[str, ...]


_OWNED: dict[str, tuple[Owned, ...]] = {
    "run": (
        Owned("run_params", "run", ("name",)),
        Owned("run_tags", "run", ("name",)),
        Owned("run_metrics", "run", ("name", "at", "step")),
        Owned("run_metrics_last", "run", ("name",)),
        Owned("run_datasets", "run", ("dataset",)),
        Owned("run_models", "run", ("direction", "seq")),
    ),
    "logged-model": (
        Owned("logged_model_params", "model", ("name",)),
        Owned("logged_model_tags", "model", ("name",)),
        Owned("logged_model_metrics", "model", ("name", "at", "step", "run_id")),
    ),
    "experiment": (
        Owned("experiment_tags", "experiment", ("name",)),
        Owned("tracked_datasets", "experiment", ("name", "digest")),
    ),
}
_TABLES = {"run": "runs", "logged-model": "logged_models", "experiment": "experiments"}
_ARTIFACTS = Owned("artifacts", "root", ("path",))

# A cell that named an object, as the database's ``mentions`` gives it.
Cell = tuple[str, str, str]


@dataclass(slots=True)
class GivenUp:
    """What is no longer kept: the names of files, and of what may be a tree; if asked for, the cells that had them."""

    names: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    cells: list[Cell] = field(default_factory=list)
    with_cells: bool = False
    _rows: set[Cell] = field(default_factory=set)

    def add(self, table: str, column: str, cell: str, row: str = "") -> None:
        """``row`` tells a row that may be given up for two reasons: it is counted once."""
        if row and self.with_cells:
            if (table, column, row) in self._rows:
                return
            self._rows.add((table, column, row))
        found = _DIGEST.findall(cell)
        (self.files if table in ("artifacts", "upload_parts") else self.names).update(found)
        if self.with_cells and found:
            self.cells.append((table, column, cell))


def remove(tx: Transaction, kind: str, going: Iterable[Candidate], given_up: GivenUp, *, at: int) -> None:
    """Let things be gone, in the caller's transaction; ``finish`` removes the rows that they leave."""
    going = list(going)
    if kind == "version":
        for each in going:
            _remove_version(tx, each, given_up, at)
        return
    if kind == "run":
        _forget_pipeline(tx, [each.thing.partition("/")[2] for each in going], given_up)
    for each in going:
        if kind == "logged-model":
            # Runs that stay would name what nobody finds.
            tx.execute("DELETE FROM run_models WHERE model_id = ?", (each.thing.partition("/")[2],))
        tx.execute(
            "INSERT INTO purging (kind, number, root) VALUES (?, ?, ?)",
            (kind, each.number, standing.root_of(tx, kind, each.number)),
        )
        tx.execute(f"DELETE FROM {_TABLES[kind]} WHERE id = ?", (each.number,))
    if going:
        numbers.retire(tx, kind, max(each.number for each in going))


def foresee(tx: Transaction, kind: str, going: Iterable[Candidate], given_up: GivenUp) -> None:
    """What things would give up if they went; nothing is changed."""
    going = list(going)
    if kind == "run":
        _pipeline(tx, [each.thing.partition("/")[2] for each in going], given_up)
    for each in going:
        if kind == "version":
            _package(tx, each, given_up)
        elif root := standing.root_of(tx, kind, each.number):
            _files(tx, root, given_up)


def _package(tx: Transaction, each: Candidate, given_up: GivenUp) -> None:
    which = (each.group, each.number)
    [(package,)] = tx.tuples("SELECT package FROM model_versions WHERE model = ? AND number = ?", which)
    given_up.add("model_versions", "package", package)


def _files(tx: Transaction, root: str, given_up: GivenUp) -> None:
    for (name,) in tx.tuples("SELECT digest FROM artifacts WHERE root = ?", (root,)):
        given_up.add("artifacts", "digest", name)
    for upload, name in tx.tuples(
        "SELECT upload, digest FROM upload_parts WHERE upload IN (SELECT id FROM uploads WHERE root = ?)", (root,)
    ):
        given_up.add("upload_parts", "digest", name, upload + name)


def _pipeline(tx: Transaction, runs: Sequence[str], given_up: GivenUp) -> list[str]:
    """What the pipeline keeps of runs: their records, and what they made for the cache; returns its recipes.

    What a run that stays has used of the cache stays too.
    """
    made: dict[str, tuple[str, str]] = {}
    for run in runs:
        for (record,) in tx.tuples("SELECT record FROM pipeline_runs WHERE id = ?", (run,)):
            given_up.add("pipeline_runs", "record", record)
            # What it only used may be of a run that went before.
            for recipe in {step["recipe"] for step in json.loads(record)["steps"]}:
                for parts, output in tx.tuples(
                    "SELECT parts, output FROM step_cache WHERE recipe = ?"
                    " AND NOT EXISTS (SELECT 1 FROM pipeline_runs WHERE pipeline_runs.id = step_cache.run)",
                    (recipe,),
                ):
                    made[recipe] = (parts, output)
        for recipe, parts, output in tx.tuples("SELECT recipe, parts, output FROM step_cache WHERE run = ?", (run,)):
            made[recipe] = (parts, output)
    last, gone = "", set(runs)
    while made and (
        found := tx.tuples("SELECT id, record FROM pipeline_runs WHERE id > ? ORDER BY id LIMIT 200", (last,))
    ):
        last = found[-1][0]
        for run, record in found:
            for step in json.loads(record)["steps"] if run not in gone else ():
                made.pop(step["recipe"], None)
    for recipe, (parts, output) in made.items():
        given_up.add("step_cache", "recipe", recipe, recipe)
        given_up.add("step_cache", "parts", parts, recipe)
        given_up.add("step_cache", "output", output, recipe)
    return sorted(made)


def _forget_pipeline(tx: Transaction, runs: Sequence[str], given_up: GivenUp) -> None:
    for recipe in _pipeline(tx, runs, given_up):
        tx.execute("DELETE FROM step_cache WHERE recipe = ?", (recipe,))
    for run in runs:
        tx.execute("DELETE FROM pipeline_runs WHERE id = ?", (run,))


def finish(db: Database, given_up: GivenUp) -> Iterator[int]:
    """Remove the rows that gone things left, a piece in each transaction; gives how many rows went with each."""
    while True:
        room = PIECE
        with db.write() as tx:
            left = tx.tuples("SELECT kind, number, root FROM purging ORDER BY kind, number LIMIT 200")
            for kind, number, root in left:
                room -= _piece(tx, kind, number, root, room, given_up)
                if room <= 0:
                    break
        if not left:
            return
        yield PIECE - room


def _remove_version(tx: Transaction, each: Candidate, given_up: GivenUp, at: int) -> None:
    """What stays is that it was there: its numbers, its record, who made it and when it was deleted."""
    _package(tx, each, given_up)
    which = (each.group, each.number)
    tx.execute(
        "UPDATE model_versions SET package = '', run = '', model_id = '', source = '', run_link = '',"
        " description = NULL, purged_at = ? WHERE model = ? AND number = ?",
        (at, *which),
    )
    tx.execute("DELETE FROM model_version_tags WHERE model = ? AND number = ?", which)
    tx.execute("DELETE FROM registered_roots WHERE model = ? AND number = ?", which)


def _piece(tx: Transaction, kind: str, number: int, root: str, room: int, given_up: GivenUp) -> int:
    """Remove up to ``room`` rows of a gone thing, and what notes it once none is left; returns how many went."""
    removed = 1
    for owned in _OWNED[kind]:
        removed += _rows(tx, owned, number, room - removed)
        if removed >= room:
            return removed
    if root:
        removed += _artifacts(tx, root, room - removed, given_up)
        if removed >= room:
            return removed
        for (upload,) in tx.tuples("SELECT id FROM uploads WHERE root = ?", (root,)):
            removed += remove_upload(tx, upload, given_up)
    tx.execute("DELETE FROM purging WHERE kind = ? AND number = ?", (kind, number))
    return removed


def remove_upload(tx: Transaction, upload: str, given_up: GivenUp) -> int:
    """Forget an upload that was never completed, and its parts; returns how many rows went."""
    for (name,) in tx.tuples("SELECT digest FROM upload_parts WHERE upload = ?", (upload,)):
        given_up.add("upload_parts", "digest", name)
    parts = tx.execute("DELETE FROM upload_parts WHERE upload = ?", (upload,))
    return parts + tx.execute("DELETE FROM uploads WHERE id = ?", (upload,))


def _artifacts(tx: Transaction, root: str, room: int, given_up: GivenUp) -> int:
    found = tx.tuples("SELECT path, digest FROM artifacts WHERE root = ? ORDER BY path LIMIT ?", (root, room))
    for _, name in found:
        given_up.add("artifacts", "digest", name)
    return _rows(tx, _ARTIFACTS, root, room) if found else 0


def _rows(tx: Transaction, owned: Owned, owner: int | str, room: int) -> int:
    """Remove the first ``room`` of the rows of an owner, by their keys (and those equal to the last of them)."""
    keys, marks = ", ".join(owned.keys), ", ".join("?" * len(owned.keys))
    last = tx.tuples(
        f"SELECT {keys} FROM {owned.table} WHERE {owned.owner} = ? ORDER BY {keys} LIMIT 1 OFFSET ?",
        (owner, max(0, room - 1)),
    )
    if not last:
        return tx.execute(f"DELETE FROM {owned.table} WHERE {owned.owner} = ?", (owner,))
    return tx.execute(f"DELETE FROM {owned.table} WHERE {owned.owner} = ? AND ({keys}) <= ({marks})", (owner, *last[0]))
