"""Comparisons and orders as SQL over one table and the tables of its names and values.

A thing (a run, an experiment, a model) is a row ``e`` of ``Thing.table``; its attributes are columns, its params, tags
and metrics are rows of other tables. The SQL is the same for every database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from windlass.registry.grammar import Comparison, Order


@dataclass(frozen=True, slots=True)
class Pairs:
    """A table of names and values: ``owner`` is the column with the thing's id. Numeric ones have a ``nan`` column."""

    table: str
    owner: str
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Thing:
    """``attributes`` are expressions over ``e``; ``special`` compiles what is neither one of them nor a pair."""

    table: str
    id: str
    attributes: Mapping[str, str]
    pairs: Mapping[str, Pairs]
    special: Mapping[str, Callable[[Comparison], tuple[str, list[Any]]]] = field(default_factory=dict)


def condition(thing: Thing, each: Comparison) -> tuple[str, list[Any]]:
    """A comparison as a condition on ``e``."""
    if each.kind in thing.special:
        return thing.special[each.kind](each)
    if each.kind == "attribute":
        return compared(thing.attributes[each.key], each)
    pairs = thing.pairs[each.kind]
    exists = f"EXISTS (SELECT 1 FROM {pairs.table} x WHERE x.{pairs.owner} = e.{thing.id} AND x.name = ?"
    if each.operator == "IS NULL":
        return f"NOT {exists})", [each.key]
    if each.operator == "IS NOT NULL":
        return f"{exists})", [each.key]
    found, given = valued(pairs, "x", each)
    return f"{exists} AND {found})", [each.key, *given]


def valued(pairs: Pairs, alias: str, each: Comparison) -> tuple[str, list[Any]]:
    """The condition on the value of one row of ``pairs``."""
    found, given = compared(f"{alias}.value", each)
    if pairs.numeric:
        # A NaN is kept as 0 with a mark; it equals nothing and differs from everything.
        found = f"({found} OR {alias}.nan = 1)" if each.operator == "!=" else f"{alias}.nan = 0 AND {found}"
    return found, given


def compared(column: str, each: Comparison) -> tuple[str, list[Any]]:
    """``column`` held against a comparison's value."""
    match each.operator:
        case "LIKE":
            return f"{column} LIKE ?", [each.value]
        case "ILIKE":
            return f"LOWER({column}) LIKE LOWER(?)", [each.value]
        case "IN" | "NOT IN":
            assert isinstance(each.value, tuple)
            if not each.value:
                return ("1 = 0" if each.operator == "IN" else "1 = 1"), []
            return f"{column} {each.operator} ({', '.join('?' * len(each.value))})", list(each.value)
        case "IS NULL" | "IS NOT NULL":
            return f"{column} {each.operator}", []
        case _:
            return f"{column} {each.operator} ?", [each.value]


@dataclass(frozen=True, slots=True)
class Sorting:
    """``joins`` bring what is sorted by; their parameters come before those of the conditions."""

    joins: str
    params: list[Any]
    terms: str


def sorting(thing: Thing, orders: tuple[Order, ...]) -> Sorting:
    """ORDER BY: what lacks the value last, NaN before that."""
    joins, params, terms = [], list[Any](), []
    for number, each in enumerate(orders):
        if each.kind == "attribute":
            value, last = thing.attributes[each.key], "CASE WHEN {} IS NULL THEN 1 ELSE 0 END"
        else:
            pairs, alias = thing.pairs[each.kind], f"o{number}"
            joins.append(
                f" LEFT JOIN {pairs.table} {alias} ON {alias}.{pairs.owner} = e.{thing.id} AND {alias}.name = ?"
            )
            params.append(each.key)
            value = f"{alias}.value"
            nan = f"WHEN {alias}.nan = 1 THEN 1 " if pairs.numeric else ""
            last = "CASE " + nan + "WHEN {} IS NULL THEN 2 ELSE 0 END"
        terms += [last.format(value), f"{value} {'ASC' if each.ascending else 'DESC'}"]
    return Sorting("".join(joins), params, ", ".join(terms))
