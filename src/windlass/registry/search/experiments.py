"""Searching experiments."""

from __future__ import annotations

from collections.abc import Sequence

from windlass.domain.ports import Transaction
from windlass.registry import grammar
from windlass.registry.search.clauses import Pairs, Thing, condition, sorting

EXPERIMENT = Thing(
    table="experiments",
    id="id",
    attributes={
        "experiment_id": "e.id",
        "name": "e.name",
        "creation_time": "e.at",
        "last_update_time": "e.updated_at",
    },
    pairs={"tag": Pairs("experiment_tags", "experiment")},
)


def search(
    tx: Transaction, stages: Sequence[str], text: str, order_by: Sequence[str], *, start: int, most: int
) -> list[int]:
    """The numbers of experiments from ``start`` on, ``most`` at most.

    Raises:
        Invalid: the filter or the order is malformed.
    """
    conditions = [condition(EXPERIMENT, each) for each in grammar.parse_filter(text, grammar.EXPERIMENTS)]
    sort = sorting(EXPERIMENT, grammar.parse_order(order_by, grammar.EXPERIMENTS))
    where = [f"e.stage IN ({', '.join('?' * len(stages))})", *(sql for sql, _ in conditions)]
    given = [value for _, values in conditions for value in values]
    rows = tx.tuples(
        f"SELECT e.id FROM experiments e{sort.joins} WHERE {' AND '.join(where)}"
        f" ORDER BY {sort.terms} LIMIT ? OFFSET ?",
        (*sort.params, *stages, *given, most, start),
    )
    return [number for (number,) in rows]
