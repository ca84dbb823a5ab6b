"""What the store must keep: everything that the database refers to.

By rule, any digest in any cell counts, so that a table which is new keeps what it names without further ado. The
exceptions are records that tell what once was, and do not need it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from windlass.capture import trees
from windlass.domain import digest
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.ports import Database
from windlass.store import collect, objects
from windlass.store.objects import PackedObjects

_DIGEST = re.compile(r"b3:[0-9a-f]{64}")
# What the ledger's evidence, tags and lineage tell of may be gone; so may what the ledger's records list, and a tree is
# kept by the snapshot, version or cache entry that is made of it. A record itself always stays: it proves what was.
_TELLS = {("ledger", "evidence"), ("run_tags", "value"), ("lineage", "child"), ("lineage", "parent")}
_RECORDS = {("ledger", "before"), ("ledger", "after"), ("heads", "target")}
# Whatever a file of a run or a logged model looks like, it is a file.
_FILES = {("artifacts", "digest"), ("upload_parts", "digest")}
# What the name of each stands for has to be there.
_NEEDED = {
    ("snapshots", "tree"), ("snapshots", "record"), ("model_versions", "package"), ("model_versions", "record"),
    ("gate_reports", "report"), ("gate_reports", "page"), ("releases", "id"), ("releases", "package"),
}  # fmt: skip
_LARGEST_PAGE = 4 << 20


def referred(db: Database, store: PackedObjects, without: Iterable[tuple[str, str, str]] = ()) -> set[bytes]:
    """Every object that must stay: what the database names, and of trees all that is in them.

    ``without``: cells (table, column, content), each as often as it is to be taken for gone.

    Raises:
        NotFound: a tree lacks a page: nothing can be collected safely.
    """
    roots: set[str] = set()
    leaves: set[str] = set()
    gone = Counter(without)
    for table, column, cell in db.mentions(digest.PREFIX):
        if gone and gone[table, column, cell]:
            gone[table, column, cell] -= 1
        elif (table, column) in _RECORDS | _FILES:
            leaves.update(_DIGEST.findall(cell))
        elif (table, column) == ("snapshots", "record"):
            leaves |= {cell, *_profile(store, cell)}
        elif (table, column) not in _TELLS:
            roots.update(_DIGEST.findall(_without_data(cell) if table == "pipeline_runs" else cell))
    return {objects.raw(name) for name in leaves | set(_traversed(store, roots))}


def reached(store: PackedObjects, names: set[str], files: set[str]) -> set[bytes]:
    """Objects by their names, and of those that are trees all that is in them, with the parts of large ones."""
    return collect.with_parts(store, {objects.raw(name) for name in files | set(_traversed(store, names - files))})


def _profile(store: PackedObjects, record: str) -> list[str]:
    """What a snapshot's record refers to besides its tree. Of what it was made from it only tells."""
    return [profile] if (profile := json.loads(store.get(record)).get("profile")) else []


def _without_data(record: str) -> str:
    """A run's record but for the data that it used: a snapshot is kept by its own name."""
    return json.dumps({key: value for key, value in json.loads(record).items() if key != "snapshots"})


def _traversed(store: PackedObjects, roots: set[str]) -> Iterator[str]:
    yield from roots
    for name in roots:
        try:
            if store.size(name) > _LARGEST_PAGE or not trees.is_tree(store.get(name)):
                continue
        except NotFound:
            continue  # a recipe, or a page of what was removed: not everything named is an object
        try:
            for page, files in trees.pages_of(store, name):
                yield page
                yield from files
        except Invalid:
            continue  # it only began as a tree does


def missing(db: Database, store: PackedObjects, intact: frozenset[bytes]) -> tuple[int, list[bytes]]:
    """What snapshots, versions, reports and releases need and the store has not whole, after the pages read for it."""
    found: list[bytes] = []
    trees_read = 0
    pending = [
        name
        for table, column, cell in db.mentions(digest.PREFIX)
        if (table, column) in _NEEDED
        for name in _DIGEST.findall(cell)
    ]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if (key := objects.raw(name)) not in intact:
            found.append(key)
        elif store.size(name) <= _LARGEST_PAGE and trees.is_tree(content := store.get(name)):
            files, pages = trees.parts(name, content)
            trees_read += 1
            pending += pages
            for file in files:
                if file not in seen and (key := objects.raw(file)) not in intact:
                    found.append(key)
                seen.add(file)
    return trees_read, found
