"""`windlass run`, `runs`."""

from __future__ import annotations

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, seconds, show, table, verdict
from windlass.domain.clock import text_of
from windlass.domain.digest import short
from windlass.pipelines.runs import Run
from windlass.workspace.operations.pipeline import ListRuns, ShowRun, StartRun


@click.command()
@click.option("--fresh", is_flag=True, help="Run every step, whatever the cache holds.")
@json_option
def run(fresh: bool, as_json: bool) -> None:
    """Run the pipeline on the latest data.

    A step whose code, data, environment, config and seed did not change is not run again; after a failure or a
    crash, the next run starts at the step that failed.

    \b
    Examples:
      windlass run
      windlass run --fresh
    """
    show(call("run.start", StartRun(fresh=fresh)), as_json, _describe)


@click.command()
@click.argument("run", required=False)
@click.option("--limit", default=20, show_default=True, help="How many to list.")
@json_option
def runs(run: str | None, limit: int, as_json: bool) -> None:
    """List runs, newest first; or show RUN with its steps and why each ran.

    \b
    Examples:
      windlass runs
      windlass runs 7f3a2c
    """
    if run is not None:
        show(call("run.show", ShowRun(run=run)), as_json, _describe)
        return

    def text(found: list[Run]) -> None:
        if not found:
            click.echo("no runs yet: `windlass run`")
        table(
            ["RUN", "STARTED", "BY", "STATUS", "TOOK", "STEPS", "DATA", "METRICS"],
            [
                (
                    r.id[:8], text_of(r.at)[:19], r.actor, verdict(r.status), seconds(r.seconds), _steps(r),
                    ", ".join(r.snapshots), _metrics(r),
                )
                for r in found
            ],
        )  # fmt: skip

    show(call("run.list", ListRuns(limit=limit)), as_json, text)


def _describe(run: Run) -> None:
    click.echo(f"run {click.style(run.id[:8], bold=True)}  {verdict(run.status)} in {seconds(run.seconds)}")
    table(
        ["STEP", "STATE", "TOOK", "WHY"],
        [(s.name, verdict(s.state), seconds(s.seconds), s.error or s.cause) for s in run.steps],
    )
    for label, value in (
        ("data", ", ".join(f"{name} ({short(tree)})" for name, tree in run.snapshots.items())),
        ("code", f"{run.code.commit[:12]}{' + changes not committed' if run.code.dirty else ''}"),
        ("environment", short(run.environment)),
        ("metrics", _metrics(run)),
        ("model", short(run.package) if run.package else "none"),
    ):
        click.echo(f"  {label:<12}{value}")
    if all(step.state == "cached" for step in run.steps):
        click.echo("nothing changed, so nothing was run")
    elif run.package:
        click.echo("next: windlass register")


def _steps(run: Run) -> str:
    ran = sum(step.state == "done" for step in run.steps)
    return f"{ran} run, {sum(step.state == 'cached' for step in run.steps)} cached"


def _metrics(run: Run) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in sorted(run.metrics.items()))
