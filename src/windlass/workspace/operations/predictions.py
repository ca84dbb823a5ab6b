"""Operations on the prediction log: asking it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from windlass.domain import clock
from windlass.domain.clock import SECOND
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.names import checked
from windlass.domain.routing import Arm
from windlass.predictions import querying
from windlass.predictions.querying import Interval
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace

MOST_ROWS = 10_000
MOST_BYTES = 64 << 20
_AGO = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPredictions:
    """``since`` and ``until`` are times in ISO 8601, or how long ago: ``30m``, ``1h``, ``7d``. ``release`` is
    MODEL@VERSION or the beginning of a release's id. ``where`` is a condition, ``sql`` a whole SELECT over the view
    ``predictions``; with neither, requests are counted by release, arm and status. At most ``limit`` rows come back."""

    endpoint: str | None = None
    since: str | None = None
    until: str | None = None
    release: str | None = None
    arm: str | None = None
    where: str | None = None
    sql: str | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Rows as lists, by ``columns``; times are ISO 8601. ``truncated``: there were more."""

    endpoint: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool


@operation("predictions.query", reads_only=True)
def query(ws: Workspace, request: QueryPredictions) -> Found:
    """Ask the prediction log of an endpoint: a summary, rows by a condition, or SQL."""
    if not 1 <= request.limit <= MOST_ROWS:
        raise Invalid(f"limit is {request.limit}", hint=f"use 1 to {MOST_ROWS}; `--out FILE.parquet` writes all")
    rows: list[tuple[Any, ...]] = []
    with reading(ws, request) as reader:
        names = tuple(reader.schema.names)
        size = 0
        for batch in reader:
            size += batch.nbytes
            if size > MOST_BYTES:
                raise Invalid(
                    f"the answer is too large: over {MOST_BYTES >> 20} MB", hint="ask for fewer columns or rows"
                )
            columns = [column.to_pylist() for column in batch.columns]
            rows += (tuple(map(_plain, row)) for row in zip(*columns, strict=True))
            if len(rows) > request.limit:
                break
    return Found(
        endpoint=request.endpoint or ws.config.endpoint.name, columns=names, rows=tuple(rows[: request.limit]),
        truncated=len(rows) > request.limit,
    )  # fmt: skip


@contextmanager
def reading(ws: Workspace, request: QueryPredictions) -> Iterator[Any]:
    """The answer as an Arrow reader, without a limit."""
    endpoint = checked(request.endpoint or ws.config.endpoint.name, "endpoint name")
    if request.arm is not None and request.arm not in list(Arm):
        raise Invalid(f"'{request.arm[:40]}' is no arm", hint=f"arms: {', '.join(Arm)}")
    if request.sql is not None and request.where is not None:
        raise Invalid("sql and where are both given", hint="put the condition into the SELECT")
    interval = Interval(
        since=_instant(request.since, ws.now()), until=_instant(request.until, ws.now()),
        releases=_releases(ws, endpoint, request.release), arm=request.arm,
    )  # fmt: skip
    if request.sql is not None:
        sql = request.sql
    elif request.where is not None:
        sql = f'SELECT * FROM predictions WHERE (\n{request.where}\n) ORDER BY asked_at, id, "row"'
    else:
        sql = querying.SUMMARY
    folder, parquet = ws.layout.predictions / endpoint, ws.layout.parquet / endpoint
    with querying.answered(folder, parquet, interval, sql) as reader:
        yield reader


def _instant(text: str | None, now: int) -> int | None:
    if text is None:
        return None
    if ago := _AGO.fullmatch(text):
        return now - int(ago[1]) * _UNITS[ago[2]] * SECOND
    return clock.parse(text)


def _releases(ws: Workspace, endpoint: str, named: str | None) -> tuple[str, ...] | None:
    if named is None:
        return None
    with ws.database.read() as tx:
        known = tx.rows("SELECT id, reference FROM releases WHERE endpoint = ?", (endpoint,))
    beginning = named if named.startswith("b3:") else f"b3:{named}"
    found = tuple(
        row["id"] for row in known if row["reference"] == named or (len(named) >= 6 and row["id"].startswith(beginning))
    )
    if not found:
        raise NotFound(f"{endpoint} had no release '{named[:80]}'", hint=f"see `windlass history {endpoint}`")
    return found


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - JSON has no NaN
        return None
    return value if isinstance(value, bool | int | float | str | None) else str(value)
