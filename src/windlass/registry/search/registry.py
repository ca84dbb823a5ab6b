"""Searching registered models and their versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from windlass.domain.ports import Transaction
from windlass.registry import grammar
from windlass.registry.grammar import Comparison, Grammar
from windlass.registry.search.clauses import Pairs, Thing, compared, condition, sorting


def _of_version(each: Comparison) -> tuple[str, list[Any]]:
    found, given = compared("x.value", each)
    return (
        "EXISTS (SELECT 1 FROM model_version_tags x WHERE x.model = e.model AND x.number = e.number AND x.name = ?"
        f" AND {found})",
        [each.key, *given],
    )


MODEL = Thing(
    table="registered_models",
    id="name",
    attributes={"name": "e.name", "last_updated_timestamp": "e.updated_at"},
    pairs={"tag": Pairs("registered_model_tags", "model")},
)
VERSION = Thing(
    table="model_versions",
    id="number",
    attributes={
        "name": "e.model",
        "version_number": "e.number",
        "run_id": "e.run",
        "source_path": "e.source",
        "creation_timestamp": "e.at",
        "last_updated_timestamp": "e.updated_at",
    },
    pairs={},
    special={"tag": _of_version},
)


def search_models(tx: Transaction, text: str, order_by: Sequence[str], *, start: int, most: int) -> list[str]:
    """The names of models from ``start`` on, ``most`` at most. Raises Invalid."""
    rows = _search(tx, MODEL, grammar.MODELS, "e.name", text, order_by, start, most)
    return [name for (name,) in rows]


def search_versions(
    tx: Transaction, text: str, order_by: Sequence[str], *, start: int, most: int
) -> list[tuple[str, int]]:
    """Versions as (model, number) from ``start`` on, ``most`` at most. Raises Invalid."""
    rows = _search(tx, VERSION, grammar.VERSIONS, "e.model, e.number", text, order_by, start, most)
    return [(model, number) for model, number in rows]


def _search(
    tx: Transaction, thing: Thing, of: Grammar, columns: str, text: str, order_by: Sequence[str], start: int, most: int
) -> list[tuple[Any, ...]]:
    conditions = [condition(thing, each) for each in grammar.parse_filter(text, of)]
    sort = sorting(thing, grammar.parse_order(order_by, of))
    where = " AND ".join(["e.deleted_at IS NULL", *(sql for sql, _ in conditions)])
    given = [value for _, values in conditions for value in values]
    return tx.tuples(
        f"SELECT {columns} FROM {thing.table} e WHERE {where} ORDER BY {sort.terms} LIMIT ? OFFSET ?",
        (*given, most, start),
    )
