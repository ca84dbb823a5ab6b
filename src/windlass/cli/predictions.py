"""`windlass predictions`."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import click

from windlass.cli.call import call, workspace
from windlass.cli.output import json_option, show, table
from windlass.domain.errors import Invalid
from windlass.workspace.operations.predictions import MOST_ROWS, Found, QueryPredictions, reading

DIGEST_LENGTH, SHOWN = 67, 15


@click.command()
@click.argument("endpoint", required=False)
@click.option("--since", help="From when on: 30m, 1h, 7d ago, or a time in ISO 8601.")
@click.option("--until", help="Until when, likewise.")
@click.option("--release", help="Of this release: MODEL@VERSION, or the beginning of its id.")
@click.option("--arm", help="Of this arm: stable, candidate or chosen.")
@click.option("--where", help="Rows for which a condition holds, in SQL.")
@click.option("--sql", help="A whole SELECT over the view `predictions`.")
@click.option("--limit", type=int, help=f"So many rows at most, up to {MOST_ROWS:,}.  [default: 100]")
@click.option("--csv", "as_csv", is_flag=True, help="Print the rows as CSV.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write all rows to a Parquet file.")
@json_option
def predictions(
    endpoint: str | None, since: str | None, until: str | None, release: str | None, arm: str | None,
    where: str | None, sql: str | None, limit: int | None, as_csv: bool, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Ask the prediction log of ENDPOINT: what users got, from which release, and what a shadow said.

    Without --where or --sql, requests are counted by release, arm and status. Columns: id, row, asked_at, endpoint,
    rollout, release, arm, user, status, user_status, error, latency_us, answered_by, inputs (inputs.NAME), prediction,
    probability, shadow_release, shadow_status, shadow_error, shadow_latency_us, shadow_prediction, shadow_probability.

    \b
    Examples:
      windlass predictions --since 1h
      windlass predictions churn --where "status >= 500" --limit 20
      windlass predictions --sql "SELECT arm, avg(prediction) FROM predictions GROUP BY arm"
      windlass predictions --since 7d --where true --out week.parquet
    """
    request = QueryPredictions(
        endpoint=endpoint, since=since, until=until, release=release, arm=arm, where=where, sql=sql,
        limit=100 if limit is None else limit,
    )  # fmt: skip
    if out is not None:
        if limit is not None:
            raise Invalid("--limit is for what is printed", hint="put LIMIT into --sql")
        show(_write(request, out), as_json, lambda rows: click.echo(f"{rows:,} rows in {out}"))
        return
    found: Found = call("predictions.query", request)
    if as_csv and not as_json:
        writer = csv.writer(sys.stdout)
        writer.writerow(found.columns)
        writer.writerows(found.rows)
    else:
        show(found, as_json, _records if where is not None else _describe)


def _write(request: QueryPredictions, out: Path) -> int:
    if os.environ.get("WINDLASS_URL"):
        raise Invalid(
            "--out reads the log itself, which is on the server", hint="use --csv or --json over WINDLASS_URL"
        )
    import pyarrow.parquet as pq  # noqa: PLC0415

    partial, rows = out.with_name(f".{out.name}.{os.getpid()}.part"), 0
    try:
        with (
            reading(workspace(), request) as reader,
            pq.ParquetWriter(partial, reader.schema, compression="zstd") as file,
        ):
            for batch in reader:
                file.write_batch(batch)
                rows += batch.num_rows
        partial.replace(out)
    except OSError as error:
        raise Invalid(
            f"cannot write {out}: {error.strerror or error}", hint="name a file in a folder of yours"
        ) from None
    finally:
        partial.unlink(missing_ok=True)
    return rows


def _describe(found: Found) -> None:
    if not found.rows:
        click.echo("no predictions")
    table([name.upper() for name in found.columns], [[_short(value) for value in row] for row in found.rows])
    _more(found)


def _records(found: Found) -> None:
    """Whole predictions have more columns than a terminal: one below the other, without what is empty."""
    if not found.rows:
        click.echo("no predictions")
    width = max(map(len, found.columns))
    for row in found.rows:
        for name, value in zip(found.columns, row, strict=True):
            if value is not None and value != "":
                click.echo(f"{name:<{width}}  {_short(value)}")
        click.echo()
    _more(found)


def _more(found: Found) -> None:
    if found.truncated:
        click.echo(f"… the first {len(found.rows):,}; --limit shows more, --out FILE.parquet writes all")


def _short(value: object) -> object:
    """A release's id as it is shown everywhere; what else there is, as it is."""
    is_id = isinstance(value, str) and len(value) == DIGEST_LENGTH and value.startswith("b3:")
    return str(value)[:SHOWN] if is_id else value
