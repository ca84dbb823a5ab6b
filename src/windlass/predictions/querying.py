"""SQL over an endpoint's predictions: what is in Parquet and what is still in the log, as one view.

The SQL may be anybody's. DuckDB gets the rows as Arrow, and nothing else: no files, no network, no extensions, no
settings; one SELECT, so many rows, so much memory and time.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from windlass.domain.clock import text_of
from windlass.domain.errors import Denied, Failure, Invalid, NotFound, Unavailable
from windlass.predictions import converting
from windlass.serving.log import segments, writers
from windlass.serving.log.segments import records

MEMORY = "1GB"  # more is spilled to a scratch folder
SECONDS = 60.0
SUMMARY = """
SELECT release, arm, status, count(*) AS requests, sum(n) AS "rows", count(DISTINCT "user") AS users,
       quantile_cont(latency_us, 0.5) / 1000 AS p50_ms, quantile_cont(latency_us, 0.99) / 1000 AS p99_ms
FROM (SELECT id, release, arm, status, "user", asked_at, max(latency_us) AS latency_us, count("row") AS n
      FROM predictions GROUP BY ALL)
GROUP BY ALL ORDER BY requests DESC, release, arm, status
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Which predictions are asked of: from ``since`` (us since the epoch) to before ``until``, of the releases given;
    None: all."""

    since: int | None = None
    until: int | None = None
    releases: tuple[str, ...] | None = None
    arm: str | None = None


@contextmanager
def answered(folder: Path, parquet: Path, interval: Interval, sql: str, batch: int = 16_384) -> Iterator[Any]:
    """Run one SELECT over the view ``predictions``; gives the rows as an Arrow reader.

    Raises:
        NotFound: the endpoint has no log.
        Invalid: it is not one SELECT, or DuckDB cannot make sense of it.
        Denied: it wants more than the view.
        Unavailable: DuckDB is not installed; or it takes more memory or time than it may.
    """
    try:
        import duckdb  # noqa: PLC0415 - heavy, and an extra
    except ImportError:
        raise Unavailable("queries need DuckDB", hint="install windlass[sql]") from None
    with tempfile.TemporaryDirectory(prefix="windlass-predictions-") as scratch:
        connection: Any = duckdb.connect(
            config={
                "memory_limit": MEMORY,
                "temp_directory": f"{scratch}/spilled",
                "python_enable_replacements": False,  # a table's name is no variable of ours
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        timer = threading.Timer(SECONDS, connection.interrupt)
        try:
            connection.execute("SET TimeZone = 'UTC'")
            query = _one_select(connection, sql)
            _register(connection, folder, parquet, interval)
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            timer.start()
            yield connection.sql(query).to_arrow_reader(batch)
        except duckdb.Error as error:
            raise _failure(error) from None
        except OSError as error:  # what DuckDB says while its rows are fetched
            raise Invalid(str(error)[:500], hint="`windlass predictions` without SQL shows what there is") from None
        finally:
            timer.cancel()
            connection.close()


def _one_select(connection: Any, text: str) -> str:
    import duckdb  # noqa: PLC0415

    statements = connection.extract_statements(text)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Invalid(
            "one SELECT statement is wanted" + (f", not {len(statements)}" if len(statements) != 1 else ""),
            hint="such as: SELECT arm, count(*) FROM predictions GROUP BY arm",
        )
    query: str = statements[0].query
    return query


def _register(connection: Any, folder: Path, parquet: Path, interval: Interval) -> None:
    """The view: stored and live rows, each with its shadow's answer, of the interval."""
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.dataset as ds  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    from windlass.predictions import rows  # noqa: PLC0415

    # Listed before the notes are read: a segment that is converted in between is taken from its parts, and only there.
    live = {
        (writer, segment.number): segment.path
        for writer, where in writers(folder).items()
        for segment in segments(where)
    }
    if not live and not parquet.is_dir():
        raise NotFound(f"endpoint '{folder.name}' has no predictions", hint="`windlass status` shows the endpoints")
    notes = converting.notes(parquet)
    for note in notes:
        live.pop((note.writer, note.segment), None)
    found = []
    for path in live.values():
        try:
            found += records(path, 0, None, None)[0]
        except FileNotFoundError:
            continue  # kept no longer
    pairs, unpaired = rows.paired(found)
    now = rows.table(pairs)
    paths = [parquet / part for note in notes for part in note.parts if _may_have(part, interval)]
    schema = rows.unified([now.schema, *(pq.read_schema(path) for path in paths)])
    stored = ds.dataset([str(path) for path in paths], schema=schema) if paths else schema.empty_table()
    connection.register("stored_predictions", stored)
    connection.register("live_predictions", rows.fitted(now, schema))
    late = [pq.read_table(parquet / note.late) for note in notes if note.late] + [rows.late(unpaired)]
    late_schema = rows.unified([*(each.schema for each in late), pa.schema([("prediction", pa.null())])])
    beside = pa.concat_tables([rows.fitted(each, late_schema) for each in late])
    connection.execute("CREATE VIEW log_rows AS FROM stored_predictions UNION ALL FROM live_predictions")
    where = _where(interval)
    if not beside.num_rows:
        connection.execute(f"CREATE VIEW predictions AS SELECT * FROM log_rows {where}")
        return
    connection.register("late_shadows", beside)
    names = [name for name in rows.LATE if name.startswith("shadow_")]
    replaced = ", ".join(f"coalesce(p.{name}, l.{name}) AS {name}" for name in names)
    connection.execute(
        f"""CREATE VIEW predictions AS SELECT p.* REPLACE ({replaced}) FROM (FROM log_rows {where}) p
        LEFT JOIN (FROM late_shadows QUALIFY row_number() OVER (PARTITION BY id, "user", "row") = 1) l
        ON l.id = p.id AND l."user" = p."user" AND (l."row" IS NULL OR l."row" = p."row")
        AND p.shadow_release IS NULL"""
    )


def _may_have(part: str, interval: Interval) -> bool:
    """Whether a file ``date=2026-01-31/release=0123456789ab/part-...`` may hold rows of the interval."""
    date, release = (piece.partition("=")[2] for piece in part.split("/")[:2])
    if interval.since is not None and date < text_of(interval.since)[:10]:
        return False
    if interval.until is not None and date > text_of(interval.until)[:10]:
        return False
    wanted = interval.releases
    return wanted is None or any(each.removeprefix("b3:")[:12] == release for each in wanted)


def _where(interval: Interval) -> str:
    conditions = []
    if interval.since is not None:
        conditions.append(f"asked_at >= TIMESTAMPTZ '{text_of(interval.since)}'")
    if interval.until is not None:
        conditions.append(f"asked_at < TIMESTAMPTZ '{text_of(interval.until)}'")
    if interval.releases is not None:
        conditions.append(f"release IN ({_texts(interval.releases)})" if interval.releases else "false")
    if interval.arm is not None:
        conditions.append(f"arm = {_texts([interval.arm])}")
    return f"WHERE {' AND '.join(conditions)}" if conditions else ""


def _texts(values: Sequence[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def _failure(error: Exception) -> Failure:
    import duckdb  # noqa: PLC0415

    message = str(error).strip().partition("\n\nLINE ")[0].replace("\n", " ")[:500]
    if isinstance(error, duckdb.PermissionException) or "disabled by configuration" in message:
        return Denied(message, hint="a query reads the view `predictions` and nothing else")
    if isinstance(error, duckdb.InterruptException):
        return Unavailable(f"the query took longer than {SECONDS:.0f} s", hint="narrow it: --since, --release, --arm")
    if isinstance(error, duckdb.OutOfMemoryException):
        return Unavailable(f"the query needs more memory than {MEMORY}", hint="narrow it: --since, --release, --arm")
    return Invalid(message, hint="`windlass predictions --help` shows examples")
