"""Searching runs, by the way that reads least.

Three ways: from the few rows of an index that satisfy one of the comparisons; along the index of the order that is
asked for, until the page is full; or over all runs. Which one is decided by counting, up to a bound, how many rows
each comparison leaves: the same on every database, whatever its planner believes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from windlass.domain.ports import Transaction
from windlass.registry.grammar import RUNS, Comparison, Order
from windlass.registry.search.clauses import Pairs, Thing, compared, condition, sorting, valued

FEW = 4000
PREFIX = 200  # characters of a value are in its index (migration 0012)
_NEWEST = "e.started_at DESC, e.run_id ASC"
_OLDEST = (Order("attribute", "start_time", True), Order("attribute", "run_id", True))


def _of_dataset(each: Comparison) -> tuple[str, list[Any]]:
    column = "x.context" if each.key == "context" else f"d.{each.key}"
    found, given = compared(column, each)
    return (
        "EXISTS (SELECT 1 FROM run_datasets x JOIN tracked_datasets d ON d.id = x.dataset"
        f" WHERE x.run = e.id AND {found})",
        given,
    )


RUN = Thing(
    table="runs",
    id="id",
    attributes={
        "run_id": "e.run_id",
        "run_name": "e.name",
        "user_id": "e.owner",
        "status": "e.status",
        "start_time": "e.started_at",
        "end_time": "e.ended_at",
        "experiment_id": "e.experiment",
        "artifact_uri": "('mlflow-artifacts:/' || CAST(e.experiment AS TEXT) || '/' || e.run_id || '/artifacts')",
    },
    pairs={
        "metric": Pairs("run_metrics_last", "run", numeric=True),
        "param": Pairs("run_params", "run"),
        "tag": Pairs("run_tags", "run"),
    },
    special={"dataset": _of_dataset},
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which runs: of experiments by number, in some stages; ``orders`` is a total order (``parse_order``)."""

    experiments: Sequence[int]
    stages: Sequence[str]
    filters: tuple[Comparison, ...]
    orders: tuple[Order, ...]


@dataclass(frozen=True, slots=True)
class _Driver:
    """A FROM whose rows are (run): where a search starts."""

    sql: str
    params: list[Any]


def search(tx: Transaction, asked: Asked, *, start: int, most: int) -> list[tuple[int, int]]:
    """(number, revision) of the runs from ``start`` on, ``most`` at most, in the order asked for."""
    if not asked.experiments or not asked.stages:
        return []
    driver = _few(tx, asked.filters)
    if driver is not None:
        return _sorted(tx, asked, driver, start, most)
    if asked.orders == RUNS.default:
        return _by_start(tx, asked, start, most, newest_first=True)
    if asked.orders == _OLDEST:
        return _by_start(tx, asked, start, most, newest_first=False)
    if asked.orders[0].kind == "metric" and asked.orders[1:] == RUNS.ties:
        return _by_metric(tx, asked, asked.orders[0], start, most)
    return _sorted(tx, asked, None, start, most)


def _few(tx: Transaction, filters: tuple[Comparison, ...]) -> _Driver | None:
    """The comparison that leaves the fewest rows, if those are few."""
    best, fewest = None, FEW
    for each in filters:
        driver = _driver(each)
        if driver is None:
            continue
        count = tx.tuples(f"SELECT COUNT(*) FROM ({driver.sql} LIMIT ?) c", (*driver.params, fewest))[0][0]
        if count < fewest:
            best, fewest = driver, count
        if not fewest:
            break
    return best


def _driver(each: Comparison) -> _Driver | None:
    """Where an index finds the rows of a comparison, and maybe a few more: all comparisons are held against them."""
    if each.kind == "attribute":
        if each.key not in ("run_id", "run_name") or each.operator not in ("=", "IN"):
            return None
        found, given = compared(RUN.attributes[each.key], each)
        return _Driver(f"SELECT e.id AS run FROM runs e WHERE {found}", given)
    pairs = RUN.pairs.get(each.kind)
    if pairs is None:
        return None
    source = f"SELECT p.run AS run FROM {pairs.table} p WHERE p.name = ?"
    if pairs.numeric and each.operator in ("=", "<", "<=", ">", ">="):
        found, given = valued(pairs, "p", each)
        return _Driver(f"{source} AND {found}", [each.key, *given])
    if not pairs.numeric and each.operator == "=":
        # Not the whole value as well: SQLite would put it into the expression, which is then no longer the index's.
        return _Driver(f"{source} AND substr(p.value, 1, {PREFIX}) = ?", [each.key, str(each.value)[:PREFIX]])
    return None


def _sorted(tx: Transaction, asked: Asked, driver: _Driver | None, start: int, most: int) -> list[tuple[int, int]]:
    """Everything that fits, sorted."""
    where, given = _where(asked)
    order = sorting(RUN, asked.orders)
    # CROSS JOIN: SQLite keeps the order of tables that it names; to PostgreSQL it is one more inner join.
    source = "FROM runs e" if driver is None else f"FROM ({driver.sql}) f CROSS JOIN runs e"
    joined = [] if driver is None else ["e.id = f.run"]
    found = tx.tuples(
        f"SELECT e.id, e.revision {source}{order.joins} WHERE {' AND '.join([*joined, *where])}"
        f" ORDER BY {order.terms} LIMIT ? OFFSET ?",
        ([] if driver is None else driver.params) + order.params + given + [most, start],
    )
    return [(number, revision) for number, revision in found]


def _by_start(tx: Transaction, asked: Asked, start: int, most: int, *, newest_first: bool) -> list[tuple[int, int]]:
    """Along the index of start times, experiment by experiment and stage by stage, then merged."""
    conditions, given = _conditions(asked.filters)
    order, sign = (_NEWEST, -1) if newest_first else ("e.started_at ASC, e.run_id ASC", 1)
    found: list[tuple[int, str, int, int]] = []
    for experiment in asked.experiments:
        for stage in asked.stages:
            found += [
                (sign * started_at, run_id, number, revision)
                for started_at, run_id, number, revision in tx.tuples(
                    "SELECT e.started_at, e.run_id, e.id, e.revision FROM runs e"
                    f" WHERE {' AND '.join(['e.experiment = ?', 'e.stage = ?', *conditions])} ORDER BY {order} LIMIT ?",
                    (experiment, stage, *given, start + most),
                )
            ]
    found.sort()
    return [(number, revision) for _, _, number, revision in found[start : start + most]]


def _by_metric(tx: Transaction, asked: Asked, order: Order, start: int, most: int) -> list[tuple[int, int]]:
    """Along the index of a metric's values: numbers, then NaN, then the runs that lack it."""
    where, given = _where(asked)
    direction = "ASC" if order.ascending else "DESC"
    has = "FROM run_metrics_last o CROSS JOIN runs e WHERE o.name = ? AND o.nan = {} AND e.id = o.run AND "
    lacks = "FROM runs e WHERE NOT EXISTS (SELECT 1 FROM run_metrics_last o WHERE o.run = e.id AND o.name = ?) AND "
    rest = " AND ".join(where)
    found: list[tuple[int, int]] = []
    for source, term in (
        (has.format(0), f"o.value {direction}, {_NEWEST}"),
        (has.format(1), _NEWEST),
        (lacks, _NEWEST),
    ):
        rows = tx.tuples(
            f"SELECT e.id, e.revision {source}{rest} ORDER BY {term} LIMIT ? OFFSET ?",
            (order.key, *given, most - len(found), start),
        )
        found += [(number, revision) for number, revision in rows]
        if len(found) == most:
            break
        if rows:
            start = 0
        elif start:
            start -= tx.tuples(f"SELECT COUNT(*) {source}{rest}", (order.key, *given))[0][0]
    return found


def _where(asked: Asked) -> tuple[list[str], list[Any]]:
    conditions, given = _conditions(asked.filters)
    experiments = f"e.experiment IN ({', '.join('?' * len(asked.experiments))})"
    stages = f"e.stage IN ({', '.join('?' * len(asked.stages))})"
    return [experiments, stages, *conditions], [*asked.experiments, *asked.stages, *given]


def _conditions(filters: tuple[Comparison, ...]) -> tuple[list[str], list[Any]]:
    found, given = list[str](), list[Any]()
    for each in filters:
        sql, params = condition(RUN, each)
        found.append(sql)
        given += params
    return found, given
