"""Lineage: which thing came from which, from source data to releases, walked in both directions.

Nodes are ledger subjects (``version/employment@1.0.0``, ``snapshot/acs@1``) or digests under their kind
(``environment/b3:…``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


# (child, relation, parent)
Link = tuple[str, str, str]
_MANY = 400


def link(tx: Transaction, child: str, parent: str, relation: str) -> None:
    """Record that ``child`` came from ``parent``; recording it again does nothing."""
    tx.execute(
        "INSERT INTO lineage (child, parent, relation) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (child, parent, relation),
    )


def walk(tx: Transaction, node: str, direction: Direction, derived: Iterable[Link] = ()) -> list[Edge]:
    """Every edge reachable from ``node``, nearest first; each once, also where ways meet or run in a circle.

    ``derived``: edges that are not written down, because a table of their own says them.
    """
    here, there = (0, 2) if direction is Direction.UP else (2, 0)
    leads: dict[str, list[Link]] = {}
    for each in derived:
        leads.setdefault(each[here], []).append(each)
    found: dict[str, set[Link]] = {}
    reached, asked = {node}, [node]
    # The database follows what is written down; what is derived leads to new places to ask from.
    while asked:
        for each in _written(tx, asked, direction):
            found.setdefault(each[here], set()).add(each)
            reached.add(each[there])
        asked = []
        waiting = [each for each in reached if each in leads]
        while waiting:
            for each in leads.pop(waiting.pop(), ()):
                found.setdefault(each[here], set()).add(each)
                if each[there] not in reached:
                    reached.add(each[there])
                    asked.append(each[there])
                    waiting.append(each[there])
    return _by_depth(node, found, there)


def _written(tx: Transaction, nodes: Sequence[str], direction: Direction) -> list[Link]:
    here, there = ("child", "parent") if direction is Direction.UP else ("parent", "child")
    found: list[Link] = []
    for start in range(0, len(nodes), _MANY):
        some = nodes[start : start + _MANY]
        values = ", ".join(["(CAST(? AS TEXT))"] * len(some))
        found += tx.tuples(
            f"""
            WITH RECURSIVE reached(node) AS (
                SELECT column1 FROM (VALUES {values}) given
                UNION
                SELECT lineage.{there} FROM lineage JOIN reached ON lineage.{here} = reached.node
            )
            SELECT child, relation, parent FROM lineage JOIN reached ON lineage.{here} = reached.node
            """,
            some,
        )
    return found


def _by_depth(node: str, found: dict[str, set[Link]], there: int) -> list[Edge]:
    edges, seen, level, depth = list[Edge](), {node}, [node], 0
    while level:
        following = []
        for link in sorted(link for each in level for link in found.get(each, ())):
            child, relation, parent = link
            edges.append(Edge(child=child, relation=relation, parent=parent, depth=depth))
            if link[there] not in seen:
                seen.add(link[there])
                following.append(link[there])
        level, depth = following, depth + 1
    return edges
