"""Every point of a metric, in pages or thinned out for a plot."""

from __future__ import annotations

from collections.abc import Sequence

from windlass.domain.ports import Transaction
from windlass.registry.tracking.runs import number_of

# value, nan, step, time in milliseconds
Row = tuple[float, int, int, int]


def history(tx: Transaction, run_id: str, key: str, *, start: int = 0, most: int | None = None) -> list[Row]:
    """Points of a metric by time, then step, then value.

    Raises:
        NotFound: no such run.
    """
    limit = "" if most is None else " LIMIT ? OFFSET ?"
    given = (number_of(tx, run_id), key, *(() if most is None else (most, start)))
    return tx.tuples(
        "SELECT value, nan, step, at FROM run_metrics WHERE run = ? AND name = ? ORDER BY at, step, value" + limit,
        given,
    )


def sampled(
    tx: Transaction, run_id: str, key: str, *, most: int, first_step: int | None, last_step: int | None
) -> list[Row]:
    """At most ``most`` points, evenly over all by step, with the first and the last.

    Raises:
        NotFound: no such run.
    """
    where, given = "run = ? AND name = ?", [number_of(tx, run_id), key]
    if first_step is not None and last_step is not None:
        where += " AND step >= ? AND step <= ?"
        given += [first_step, last_step]
    rows = tx.tuples(f"SELECT value, nan, step, at FROM run_metrics WHERE {where} ORDER BY step, at, value, nan", given)
    return thinned(rows, most)


def thinned(rows: Sequence[Row], most: int) -> list[Row]:
    """The first row of each of ``most`` equal parts, and the last row in the place of the last part's first.

    The parts are those of SQL's NTILE: their sizes differ by one at most, the larger first.
    """
    if len(rows) <= most:
        return list(rows)
    size, larger = divmod(len(rows), most)
    starts = [part * size + min(part, larger) for part in range(most)]
    starts[-1] = len(rows) - 1
    return [rows[start] for start in starts]
