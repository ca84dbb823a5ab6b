"""Every point of a metric, in pages or thinned out for a plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from windlass.domain.ports import Transaction

# value, nan, step, time in milliseconds
Row = tuple[float, int, int, int]

_OF_RUN = "FROM run_metrics WHERE run = (SELECT id FROM runs WHERE run_id = ?) AND name = ?"


def history(tx: Transaction, run_id: str, key: str, *, start: int = 0, most: int | None = None) -> list[Row]:
    """Points of a metric by time, then step, then value; of a run that is not, none."""
    limit = "" if most is None else " LIMIT ? OFFSET ?"
    given = (run_id, key, *(() if most is None else (most, start)))
    return tx.tuples(f"SELECT value, nan, step, at {_OF_RUN} ORDER BY at, step, value{limit}", given)


def sampled(
    tx: Transaction, run_id: str, key: str, *, most: int, first_step: int | None, last_step: int | None
) -> list[Row]:
    """At most ``most`` points, evenly over all by step, with the first and the last; of a run that is not, none."""
    steps, given = "", list[Any]([run_id, key])
    if first_step is not None and last_step is not None:
        steps = " AND step >= ? AND step <= ?"
        given += [first_step, last_step]
    rows = tx.tuples(f"SELECT value, nan, step, at {_OF_RUN}{steps} ORDER BY step, at, value, nan", given)
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
