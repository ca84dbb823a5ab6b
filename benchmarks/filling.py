"""Fills a tracking server's tables with runs: in one big step where a server's API would take an hour.

`python filling.py mlflow URL EXPERIMENT FIRST RUNS PARAMS METRICS TAGS` runs in MLflow's own environment and fills its
tables by SQL; `windlass` in the place of `mlflow`, in ours, takes the project's folder in the place of the URL. Both
give run number i the same name and values, which are those that `values` says.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

STARTED_MS = 1_700_000_000_000
CHUNK = 20_000  # runs of one transaction
VALUES = {2: 100, 3: 1000, 4: 10_000}
Pairs = list[tuple[str, Any]]


def mixed(run: int, column: int) -> int:
    """A fixed number of 32 bits that looks random."""
    value = (run * 2_654_435_761 + column * 2_246_822_519 + 374_761_393) & 0xFFFFFFFF
    value = ((value ^ (value >> 15)) * 2_246_822_519) & 0xFFFFFFFF
    value = ((value ^ (value >> 13)) * 3_266_489_917) & 0xFFFFFFFF
    return value ^ (value >> 16)


def param(run: int, at: int) -> int:
    """Of 10 values; p2, p3 and p4 have 100, 1,000 and 10,000."""
    return mixed(run, at) % VALUES.get(at, 10)


def metric(run: int, at: int) -> float:
    """From 0 to 1."""
    return mixed(run, 1000 + at) / 2**32


def tag(run: int, at: int) -> int:
    return mixed(run, 2000 + at) % 5


def values(run: int, params: int, metrics: int, tags: int) -> tuple[Pairs, Pairs, Pairs]:
    """A run's params (p1 = 'v0' ...), metrics (m1 ...) and tags (t1 = 'w0' ...)."""
    return (
        [(f"p{at}", f"v{param(run, at)}") for at in range(1, params + 1)],
        [(f"m{at}", metric(run, at)) for at in range(1, metrics + 1)],
        [(f"t{at}", f"w{tag(run, at)}") for at in range(1, tags + 1)],
    )


def name(run: int) -> str:
    return f"bench-{run}"


def run_id(run: int) -> str:
    return f"{mixed(run, 3000):08x}{run:024x}"


def ended(run: int) -> str:
    return "FAILED" if mixed(run, 4000) % 100 == 0 else "FINISHED"


def _chunks(runs: range) -> Iterator[range]:
    for start in range(0, len(runs), CHUNK):
        yield runs[start : start + CHUNK]


def mlflow_rows(url: str, experiment: int, runs: range, counts: tuple[int, int, int]) -> None:
    """Into MLflow's own tables, as its server writes them (seen in MLflow 3.17)."""
    import sqlalchemy  # type: ignore[import-not-found,unused-ignore]  # of MLflow's environment

    engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg2:", 1))
    schema = sqlalchemy.MetaData()
    schema.reflect(engine, only=["runs", "params", "metrics", "latest_metrics", "tags"])
    for chunk in _chunks(runs):
        rows: dict[str, list[dict[str, Any]]] = {table: [] for table in schema.tables}
        for at in chunk:
            run, started = run_id(at), STARTED_MS + at
            params, metrics, tags = values(at, *counts)
            rows["runs"].append({
                "run_uuid": run, "name": name(at), "source_type": "UNKNOWN", "source_name": "", "entry_point_name": "",
                "user_id": "bench", "status": ended(at), "start_time": started, "end_time": started + 1000,
                "source_version": "", "lifecycle_stage": "active", "experiment_id": experiment,
                "artifact_uri": f"mlflow-artifacts:/{experiment}/{run}/artifacts",
            })  # fmt: skip
            rows["params"] += [{"key": key, "value": value, "run_uuid": run} for key, value in params]
            points = [
                {"key": key, "value": value, "timestamp": started, "step": 0, "is_nan": False, "run_uuid": run}
                for key, value in metrics
            ]
            rows["metrics"] += points
            rows["latest_metrics"] += points
            named = [*tags, ("mlflow.runName", name(at))]
            rows["tags"] += [{"key": key, "value": value, "run_uuid": run} for key, value in named]
        with engine.begin() as connection:
            for table, filled in rows.items():
                if filled:
                    connection.execute(sqlalchemy.insert(schema.tables[table]), filled)
    if engine.dialect.name == "postgresql":
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(sqlalchemy.text("ANALYZE"))  # what its own autovacuum would soon have done


def windlass_rows(folder: Path, experiment: int, runs: range, counts: tuple[int, int, int]) -> None:
    """Into our tables, as registry.tracking writes them; the one place here that knows our schema."""
    from windlass.workspace.layout import Layout
    from windlass.workspace.workspace import Workspace, current_actor

    database = Workspace(Layout(folder), actor=current_actor(), remote=True).database
    with database.read() as tx:
        top = tx.row("SELECT coalesce(max(id), 0) AS id FROM runs")
    first = (top["id"] if top else 0) + 1 - runs.start
    for chunk in _chunks(runs):
        made, params, metrics, tags = list[Any](), list[Any](), list[Any](), list[Any]()
        for at in chunk:
            number, started = first + at, STARTED_MS + at
            given = values(at, *counts)
            made.append((number, run_id(at), experiment, name(at), "bench", ended(at), started, started + 1000))
            params += [(number, key, value) for key, value in given[0]]
            metrics += [(number, key, started, 0, value, 0) for key, value in given[1]]
            tags += [(number, key, value) for key, value in (*given[2], ("mlflow.runName", name(at)))]
        with database.write() as tx:
            tx.many(
                "INSERT INTO runs (id, run_id, experiment, name, owner, status, started_at, ended_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                made,
            )
            tx.many("INSERT INTO run_params (run, name, value) VALUES (?, ?, ?)", params)
            for table in ("run_metrics", "run_metrics_last"):
                tx.many(f"INSERT INTO {table} (run, name, at, step, value, nan) VALUES (?, ?, ?, ?, ?, ?)", metrics)
            tx.many("INSERT INTO run_tags (run, name, value) VALUES (?, ?, ?)", tags)
    if os.environ.get("WINDLASS_DATABASE"):
        with database.write() as tx:
            tx.execute("ANALYZE")


def main() -> None:
    which, where, *numbers = sys.argv[1:]
    experiment, first, count, *counts = map(int, numbers)
    runs = range(first, first + count)
    asked = (counts[0], counts[1], counts[2])
    if which == "mlflow":
        mlflow_rows(where, experiment, runs, asked)
    else:
        windlass_rows(Path(where), experiment, runs, asked)


if __name__ == "__main__":
    main()
