"""`windlass predict`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, seconds, show

if TYPE_CHECKING:
    from windlass.workspace.scoring import Scored


@click.command()
@click.argument("reference", metavar="MODEL@VERSION")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option("--columns", multiple=True, metavar="NAME,...", help="Columns of IN to keep in OUT; may be repeated.")
@click.option("--batch-rows", type=int, default=10_000, show_default=True, help="Rows that are scored at a time.")
@click.option("--workers", type=int, default=0, help="Processes that score.  [default: one a processor, at most 8]")
@click.option(
    "--on-error", type=click.Choice(["fail", "null"]), default="fail", show_default=True,
    help="Of a row without an answer: fail, or null and a column with the error.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace OUT, if it is there.")
@json_option
def predict(
    reference: str, source: str, target: str, columns: tuple[str, ...], batch_rows: int, workers: int, on_error: str,
    force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Score the rows of IN with a version, in its own environment; OUT has an answer a row, in order.

    IN and OUT are Parquet, CSV or JSON lines, by their suffix; IN may be a snapshot's file. OUT is there whole or not
    at all. Columns of IN that the model does not take are left out unless kept.

    \b
    Examples:
      windlass predict employment@1.0.0 people.parquet answers.parquet
      windlass predict employment@champion people.csv answers.jsonl --columns id --on-error null
      windlass predict employment@1.0.0 windlass://acs@2/people.parquet answers.csv --workers 4 --json
    """
    from windlass.workspace.operations.scoring import Predict  # noqa: PLC0415 - loads pyarrow

    def text(scored: Scored) -> None:
        rate = scored.rows / max(scored.seconds, 1e-9)
        said = f"{scored.rows:,} rows scored by {scored.reference} in {seconds(scored.seconds)} ({rate:,.0f} rows/s)"
        click.echo(f"{said}: {scored.path}")
        if scored.errors:
            click.echo(f"{scored.errors:,} of them have no answer: see the column 'error'")

    request = Predict(
        reference=reference, source=_path(source), target=_path(target), columns=columns, batch_rows=batch_rows,
        workers=workers, on_error=on_error, force=force,
    )  # fmt: skip
    show(call("model.predict", request), as_json, text)


def _path(given: str) -> str:
    """A path as the operation understands it: of this folder; on a server, of the project's."""
    if "://" in given or os.environ.get("WINDLASS_URL"):
        return given
    return str(Path(given).absolute())
