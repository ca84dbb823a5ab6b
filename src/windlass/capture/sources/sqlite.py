"""SQLite tables as Parquet, read by Python's own SQLite.

DuckDB reads SQLite by an extension that it downloads. Python's needs no network, gives the same rows everywhere, and
reads all tables in one transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from windlass.capture.sources import parquet
from windlass.domain.errors import Invalid, NotFound

_BATCH = 10_000  # rows


def export(file: Path, tables: Iterable[str], folder: Path) -> dict[str, Path]:
    """Write the named tables and views of a SQLite file to ``folder``; names are matched as SQLite does, caseless.

    A column is a whole number, a number, bytes or text by the values that it has: SQLite's declared types bind nothing.

    Raises:
        NotFound: there is no such table.
        Invalid: the file is no SQLite database.
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy

    try:
        # A database that somebody writes to is read as of the start of this transaction.
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            known = {
                name.lower(): name
                for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
            }
            written = {}
            for number, table in enumerate(sorted(set(tables))):
                if table.lower() not in known:
                    raise NotFound(
                        f"{file.name} has no table '{table}' (it has: {', '.join(sorted(known.values())) or 'none'})"
                    )
                written[table] = folder / f"{number}.parquet"
                _write(connection, known[table.lower()], written[table])
            return written
    except (sqlite3.Error, pa.ArrowException) as error:
        raise Invalid(f"{file.name} cannot be read as SQLite: {error}", hint="check the file") from None


def _write(connection: sqlite3.Connection, table: str, destination: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415 - heavy

    quoted = _quoted(table)
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({quoted})")]
    types = ", ".join(f"group_concat(DISTINCT typeof({_quoted(name)}))" for name in columns)
    found = connection.execute(f"SELECT {types} FROM {quoted}").fetchone()
    kinds = [_kind(set((each or "null").split(","))) for each in found]
    schema = pa.schema([pa.field(name, getattr(pa, kind)()) for name, kind in zip(columns, kinds, strict=True)])
    chosen = ", ".join(
        f"CAST({_quoted(name)} AS TEXT)" if kind == "string" else _quoted(name)
        for name, kind in zip(columns, kinds, strict=True)
    )
    cursor = connection.execute(f"SELECT {chosen} FROM {quoted}")
    parquet.write(schema, _batches(cursor, schema), destination)


def _batches(cursor: sqlite3.Cursor, schema: Any) -> Iterator[Any]:
    import pyarrow as pa  # noqa: PLC0415

    while rows := cursor.fetchmany(_BATCH):
        columns = zip(*rows, strict=True)
        yield pa.record_batch(
            [pa.array(values, type=field.type) for field, values in zip(schema, columns, strict=True)], schema=schema
        )


def _kind(types: set[str]) -> str:
    """The narrowest of Arrow's types that holds values of all these types of SQLite's."""
    held = types - {"null"}
    if held == {"integer"}:
        return "int64"
    if held and held <= {"integer", "real"}:
        return "float64"
    return "binary" if held == {"blob"} else "string"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
