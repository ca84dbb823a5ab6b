"""Lineage: which thing came from which, from source data to releases, walked in both directions.

Nodes are ledger subjects (``version/employment@1.0.0``, ``snapshot/acs@1``) or digests under their kind
(``environment/b3:…``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from windlass.domain.ports import Transaction


class Direction(StrEnum):
    UP = "up"  # what it came from
    DOWN = "down"  # what came from it


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    child: str
    relation: str
    parent: str
    depth: int


def link(tx: Transaction, child: str, parent: str, relation: str) -> None:
    """Record that ``child`` came from ``parent``; recording it again does nothing."""
    tx.execute(
        "INSERT INTO lineage (child, parent, relation) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (child, parent, relation),
    )


def walk(tx: Transaction, node: str, direction: Direction) -> list[Edge]:
    """Every edge reachable from ``node``, nearest first."""
    here, there = ("child", "parent") if direction is Direction.UP else ("parent", "child")
    rows = tx.rows(
        f"""
        WITH RECURSIVE reached(node, depth) AS (
            SELECT CAST(? AS TEXT), 0
            UNION
            SELECT lineage.{there}, reached.depth + 1
            FROM lineage JOIN reached ON lineage.{here} = reached.node
            WHERE reached.depth < 32
        )
        SELECT child, relation, parent, MIN(depth) AS depth
        FROM lineage JOIN reached ON lineage.{here} = reached.node
        GROUP BY child, relation, parent
        ORDER BY MIN(depth), child, parent
        """,
        (node,),
    )
    return [Edge(**row) for row in rows]
