"""`windlass runs search`."""

from __future__ import annotations

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, show, table, verdict
from windlass.domain.clock import text_of
from windlass.workspace.operations.registry import FoundRun, FoundRuns, SearchRuns

_WIDEST = 5  # columns of metrics and params; `--json` has all


@click.command("search")
@click.argument("filter", metavar="FILTER", default="")
@click.option("--experiment", metavar="NAME", help="Of this experiment only.")
@click.option("--order-by", multiple=True, metavar="TERM", help='As "metrics.acc DESC"; may be repeated.')
@click.option("--limit", default=50, show_default=True, help="How many at most.")
@json_option
def search_runs(filter: str, experiment: str | None, order_by: tuple[str, ...], limit: int, as_json: bool) -> None:  # noqa: A002 - its name in the help
    """Search runs with MLflow's grammar: metrics, params, tags, datasets and attributes, compared and joined by AND.

    \b
    Examples:
      windlass runs search "metrics.accuracy > 0.8 and params.kind = 'tree'" --order-by "metrics.accuracy DESC"
      windlass runs search "tags.team = 'a' and attributes.status = 'FINISHED'" --experiment employment
      windlass runs search --limit 5 --json
    """

    def text(found: FoundRuns) -> None:
        if not found.runs:
            click.echo("no run is like that")
        columns = found.columns[:_WIDEST]
        table(
            ["RUN", "NAME", "EXPERIMENT", "STATUS", "STARTED", *columns],
            [
                (
                    each.run[:8], each.name, each.experiment, verdict(each.status.lower()),
                    text_of(each.started_at)[:19], *(_value(each, column) for column in columns),
                )
                for each in found.runs
            ],
        )  # fmt: skip
        if rest := found.columns[_WIDEST:]:
            click.echo(f"and {len(rest)} more: --json has them all")

    request = SearchRuns(filter=filter, experiment=experiment, order_by=order_by, limit=limit)
    show(call("registry.runs", request), as_json, text)


def _value(run: FoundRun, column: str) -> str | float | None:
    kind, _, name = column.partition(".")
    return {"metrics": run.metrics, "params": run.params, "tags": run.tags}[kind].get(name)
