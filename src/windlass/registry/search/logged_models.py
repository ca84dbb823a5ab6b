"""Searching logged models. A metric is of a model and, where the search says so, of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from windlass.domain.errors import Invalid
from windlass.domain.ports import Transaction
from windlass.registry import grammar
from windlass.registry.grammar import Comparison
from windlass.registry.search.clauses import Pairs, Thing, condition, valued
from windlass.registry.tracking.stages import ACTIVE

LOGGED_MODEL = Thing(
    table="logged_models",
    id="id",
    attributes={
        "model_id": "e.model_id",
        "name": "e.name",
        "experiment_id": "e.experiment",
        "source_run_id": "e.source_run",
        "model_type": "e.model_type",
        "status": "e.status",
        "status_message": "e.status_message",
        "creation_timestamp": "e.created_at",
        "last_updated_timestamp": "e.updated_at",
        "artifact_location": (
            "('mlflow-artifacts:/' || CAST(e.experiment AS TEXT) || '/models/' || e.model_id || '/artifacts')"
        ),
        "lifecycle_stage": "e.stage",
    },
    pairs={
        "param": Pairs("logged_model_params", "model"),
        "tag": Pairs("logged_model_tags", "model"),
        "metric": Pairs("logged_model_metrics", "model", numeric=True),
    },
)


@dataclass(frozen=True, slots=True)
class Measured:
    """An order of the search; a metric's may name the dataset that it was measured on."""

    field: str
    ascending: bool
    dataset_name: str = ""
    dataset_digest: str = ""


def search(
    tx: Transaction,
    experiments: Sequence[int],
    *,
    text: str,
    datasets: Sequence[tuple[str, str]],
    orders: Sequence[Measured],
    start: int,
    most: int,
) -> list[int]:
    """The numbers of logged models from ``start`` on, ``most`` at most.

    Raises:
        Invalid: the filter, an order or a dataset is malformed.
    """
    if not all(name for name, _ in datasets):
        raise Invalid("`dataset_name` in the `datasets` clause must be specified.")
    comparisons = grammar.parse_filter(text, grammar.LOGGED_MODELS)
    if not experiments:
        return []
    where = [f"e.experiment IN ({', '.join('?' * len(experiments))})", "e.stage = ?"]
    given: list[Any] = [*experiments, ACTIVE]
    for each in comparisons:
        sql, params = _measured(each, datasets) if each.kind == "metric" else condition(LOGGED_MODEL, each)
        where.append(sql)
        given += params
    if datasets and not any(each.kind == "metric" for each in comparisons):
        on, params = _on(datasets)
        where.append(f"EXISTS (SELECT 1 FROM logged_model_metrics x WHERE x.model = e.id AND {on})")
        given += params
    terms, sorted_by = _terms(orders)
    rows = tx.tuples(
        f"SELECT e.id FROM logged_models e WHERE {' AND '.join(where)} ORDER BY {terms} LIMIT ? OFFSET ?",
        (*given, *sorted_by, most, start),
    )
    return [number for (number,) in rows]


def _measured(each: Comparison, datasets: Sequence[tuple[str, str]]) -> tuple[str, list[Any]]:
    found, given = valued(LOGGED_MODEL.pairs["metric"], "x", each)
    on, params = _on(datasets) if datasets else ("1 = 1", [])
    return (
        f"EXISTS (SELECT 1 FROM logged_model_metrics x WHERE x.model = e.id AND x.name = ? AND {found} AND {on})",
        [each.key, *given, *params],
    )


def _on(datasets: Sequence[tuple[str, str]]) -> tuple[str, list[Any]]:
    parts, given = [], list[Any]()
    for name, digest in datasets:
        parts.append("x.dataset_name = ?" + (" AND x.dataset_digest = ?" if digest else ""))
        given += [name, digest] if digest else [name]
    return "(" + " OR ".join(f"({part})" for part in parts) + ")", given


def _terms(asked: Sequence[Measured]) -> tuple[str, list[Any]]:
    terms, given = [], list[Any]()
    total = grammar.parse_fields([(each.field, each.ascending) for each in asked], grammar.LOGGED_MODELS)
    for order, measured in zip_longest(total, asked):
        direction = "ASC" if order.ascending else "DESC"
        if order.kind == "attribute":
            column = LOGGED_MODEL.attributes[order.key]
            terms += [f"CASE WHEN {column} IS NULL THEN 1 ELSE 0 END", f"{column} {direction}"]
            continue
        on, params = "", [order.key]
        for name, value in (("dataset_name", measured.dataset_name), ("dataset_digest", measured.dataset_digest)):
            if value:
                on += f" AND x.{name} = ?"
                params.append(value)
        latest = (
            f"(SELECT x.value FROM logged_model_metrics x WHERE x.model = e.id AND x.name = ?{on}"
            " ORDER BY x.at DESC, x.step DESC, x.run_id ASC LIMIT 1)"
        )
        terms += [f"CASE WHEN {latest} IS NULL THEN 1 ELSE 0 END", f"{latest} {direction}"]
        given += [*params, *params]
    return ", ".join(terms), given
