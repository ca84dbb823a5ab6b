"""Feature views: what was known of each labelled event at its time.

For an event at time t, of the rows of a feature table with the event's keys that were there by then (their own time and
the time at which they were created are both at most t), the newest counts, unless it is older than the table's TTL.

One as-of join per table finds them. It knows one inequality, and a row that is created late may be older than one that
is there already; so the rows are first ranked by time, and over the moments at which they become known the best rank so
far is kept. The last such moment before the event then names the row.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from windlass.capture.config import Events, FeatureTable
from windlass.capture.sources import sql
from windlass.domain.errors import Invalid

_CSV = (".csv", ".csv.gz", ".tsv")


def materialise(
    events: Events, tables: tuple[FeatureTable, ...], folder: Path, *, root: Path, confined: bool
) -> dict[str, Any]:
    """Join the features onto the events, in ``data.parquet`` in ``folder``; returns the provenance.

    There is one row for each event, in the events' order: the events' columns, then the features'. Times without a
    zone are UTC, and are compared by the microsecond. Of rows with the same time the last created counts, then the one
    with the greatest features, in the order of ``columns``.

    Raises:
        Invalid: the view has no features, two columns of one name, or names what the tables have not.
        Denied, Unavailable: as ``sql.ask``.
    """
    _check(tables)
    result = sql.ask(query(events, tables), folder / sql.FILE, root=root, confined=confined, ordered=True)
    return {
        "kind": "features",
        "events": asdict(events),
        "features": [{**asdict(table), "keys": list(table.keys), "columns": list(table.columns)} for table in tables],
        "engine": result.engine,
        "inputs": dict(result.inputs),
    }


def query(events: Events, tables: tuple[FeatureTable, ...]) -> str:
    """The view as one statement, whose rows are in the events' order."""
    time = f"CAST({_name(events.at)} AS TIMESTAMPTZ)"
    parts = [
        f'events AS (SELECT *, row_number() OVER () AS "#row", {time} AS "#at" FROM {_reader(events.path)})',
    ]
    for number, table in enumerate(tables):
        parts += _parts(number, table)
    features = [
        f"f{number}.{_name(column)} AS {_name(table.prefix + column)}"
        for number, table in enumerate(tables)
        for column in table.columns
    ]
    joins = "".join(f' LEFT JOIN f{number} ON f{number}."#row" = e."#row"' for number in range(len(tables)))
    return (
        f'WITH {", ".join(parts)} SELECT e.* EXCLUDE ("#row", "#at"), {", ".join(features)} FROM events e{joins}'
        ' ORDER BY e."#row"'
    )


def _parts(number: int, table: FeatureTable) -> list[str]:
    keys = ", ".join(map(_name, table.keys))
    columns = ", ".join(map(_name, table.columns))
    time = f"CAST({_name(table.at)} AS TIMESTAMPTZ)"
    created = f"coalesce(CAST({_name(table.created)} AS TIMESTAMPTZ), {time})" if table.created else time
    order = ", ".join(f"{column} ASC NULLS FIRST" for column in ['"#at"', '"#created"', *map(_name, table.columns)])
    same = " AND ".join(f"e.{_name(key)} = k.{_name(key)}" for key in table.keys)
    fresh = f' AND e."#at" - r."#at" <= to_microseconds({round(table.ttl * 1e6)})' if table.ttl else ""
    return [
        f'r{number} AS (SELECT *, row_number() OVER (ORDER BY {order}) AS "#rank" FROM'
        f' (SELECT {keys}, {columns}, {time} AS "#at", {created} AS "#created" FROM {_reader(table.path)})'
        ' WHERE "#at" IS NOT NULL)',
        f'k{number} AS (SELECT {keys}, "#known", max("#best") AS "#best" FROM (SELECT {keys}, "#known", max("#rank")'
        f' OVER (PARTITION BY {keys} ORDER BY "#known" RANGE UNBOUNDED PRECEDING) AS "#best" FROM'
        f' (SELECT *, greatest("#at", "#created") AS "#known" FROM r{number})) GROUP BY {keys}, "#known")',
        f'f{number} AS (SELECT e."#row", {", ".join("r." + _name(column) for column in table.columns)} FROM events e'
        f' ASOF JOIN k{number} k ON {same} AND e."#at" >= k."#known"'
        f' JOIN r{number} r ON r."#rank" = k."#best"{fresh})',
    ]


def _check(tables: tuple[FeatureTable, ...]) -> None:
    if not tables:
        raise Invalid("a feature view has no feature tables", hint="give one as [[data.NAME.features]]")
    for table in tables:
        if not table.keys or not table.columns:
            missing = "columns" if table.keys else "keys"
            raise Invalid(f"the features of {table.path} have no {missing}", hint=f"give them as {missing} = [...]")
        if table.ttl < 0:
            raise Invalid(f"the features of {table.path} have a ttl of {table.ttl:g} s", hint="0 is without end")
    names = Counter(table.prefix + column for table in tables for column in table.columns)
    if twice := [name for name, count in names.items() if count > 1]:
        raise Invalid(f"two features are named {twice[0]}", hint="give one table a prefix")


def _reader(path: str) -> str:
    quoted = "'" + path.replace("'", "''") + "'"
    return f"read_csv({quoted})" if path.endswith(_CSV) else f"read_parquet({quoted})"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
