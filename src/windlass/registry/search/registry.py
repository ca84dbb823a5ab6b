"""Searching registered models and their versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from windlass.domain.ports import Transaction
from windlass.registry import grammar
from windlass.registry.grammar import Comparison, Grammar
from windlass.registry.search.clauses import Pairs, Thing, compared, condition, sorting

# MLflow keeps prompts among models, by this tag; a search finds them only if it asks for it, whatever it compares.
_PROMPT = "mlflow.prompt.is_prompt"
_NO_PROMPT = (
    "NOT EXISTS (SELECT 1 FROM registered_model_tags p WHERE p.model = {} AND p.name = ? AND LOWER(p.value) = 'true')"
)


def _asks_for_prompts(each: Comparison) -> bool:
    wanted = {"=": "true", "!=": "false"}.get(each.operator)
    return each.key == _PROMPT and wanted == str(each.value).lower()


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
    comparisons = grammar.parse_filter(text, of)
    conditions = [condition(thing, each) for each in comparisons if each.key != _PROMPT]
    if not any(_asks_for_prompts(each) for each in comparisons):
        conditions.append((_NO_PROMPT.format("e.model" if thing is VERSION else "e.name"), [_PROMPT]))
    sort = sorting(thing, grammar.parse_order(order_by, of))
    where = " AND ".join(["e.deleted_at IS NULL", *(sql for sql, _ in conditions)])
    given = [value for _, values in conditions for value in values]
    return tx.tuples(
        f"SELECT {columns} FROM {thing.table} e WHERE {where} ORDER BY {sort.terms} LIMIT ? OFFSET ?",
        (*given, most, start),
    )
