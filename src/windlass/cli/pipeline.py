"""`windlass run`, `explain`, `runs`."""

from __future__ import annotations

import click

from windlass.cli.call import call
from windlass.cli.deletion import deleted
from windlass.cli.output import json_option, seconds, show, size, table, verdict
from windlass.cli.searching import search_runs
from windlass.domain.clock import text_of
from windlass.domain.digest import short
from windlass.pipelines.recipe import Change
from windlass.pipelines.runs import Run, StepResult
from windlass.workspace.explaining import Explanation
from windlass.workspace.operations.deletion import OfRun
from windlass.workspace.operations.pipeline import ExplainStep, ListRuns, ShowRun, StartRun


@click.command()
@click.option("--fresh", is_flag=True, help="Run every step, whatever the cache holds.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and why; run and record nothing.")
@json_option
def run(fresh: bool, dry_run: bool, as_json: bool) -> None:
    """Run the pipeline on the latest data.

    A step whose code, data, environment, config and seed did not change is not run again; after a failure or a
    crash, the next run starts at the step that failed.

    \b
    Examples:
      windlass run
      windlass run --dry-run
      windlass run --fresh
    """
    show(call("run.start", StartRun(fresh=fresh, dry_run=dry_run)), as_json, _planned if dry_run else _describe)


@click.command()
@click.argument("step")
@json_option
def explain(step: str, as_json: bool) -> None:
    """Say whether STEP would run now, and exactly what of its recipe changed since it ran last.

    \b
    Examples:
      windlass explain train
      windlass explain 'train[depth=3]'
    """

    def text(found: list[Explanation]) -> None:
        for each in found:
            click.echo(f"{click.style(each.step, bold=True)}  {verdict(each.state)}: {each.cause}")
            table(["PART", "NAME", "BEFORE", "NOW"], [_row(change) for change in each.changes])

    show(call("run.explain", ExplainStep(step=step)), as_json, text)


class _Runs(click.Group):
    """`windlass runs 7f3a2c` shows a run, as `windlass runs show 7f3a2c` does."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            return super().resolve_command(ctx, ["show", *args])
        return super().resolve_command(ctx, args)


@click.group(cls=_Runs, invoke_without_command=True)
@click.option("--limit", default=20, show_default=True, help="How many to list.")
@json_option
@click.pass_context
def runs(ctx: click.Context, limit: int, as_json: bool) -> None:
    """List runs, newest first; or show one with its steps and why each ran; or delete one.

    \b
    Examples:
      windlass runs
      windlass runs show 7f3a2c
      windlass runs rm 7f3a2c
      windlass runs search "metrics.accuracy > 0.8"
    """
    if ctx.invoked_subcommand is not None:
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


runs.add_command(search_runs)


@runs.command("show")
@click.argument("run", required=False)
@json_option
def show_run(run: str | None, as_json: bool) -> None:
    """Show RUN (the latest, if none is given): its steps as they depend on each other, with times and causes.

    \b
    Example:
      windlass runs show 7f3a2c
    """
    show(call("run.show", ShowRun(run=run)), as_json, _describe)


@runs.command("rm")
@click.argument("run")
@json_option
def remove_run(run: str, as_json: bool) -> None:
    """Delete RUN, of the pipeline or of MLflow's clients. It can be restored until `windlass purge` takes it.

    \b
    Example:
      windlass runs rm 7f3a2c
    """
    show(call("run.remove", OfRun(run=run)), as_json, deleted)


@runs.command("restore")
@click.argument("run")
@json_option
def restore_run(run: str, as_json: bool) -> None:
    """Take a deleted RUN back.

    \b
    Example:
      windlass runs restore 7f3a2c
    """
    show(call("run.restore", OfRun(run=run)), as_json, deleted)


def _planned(run: Run) -> None:
    table(["STEP", "WOULD", "WHY"], [(_drawn(run.steps)[s.name], _would(s), s.error or s.cause) for s in run.steps])
    if all(step.state == "cached" for step in run.steps):
        click.echo("nothing changed, so nothing would run")


def _would(step: StepResult) -> str:
    return {"planned": click.style("run", fg="yellow"), "cached": "be reused"}.get(step.state, verdict(step.state))


def _describe(run: Run) -> None:
    click.echo(f"run {click.style(run.id[:8], bold=True)}  {verdict(run.status)} in {seconds(run.seconds)}")
    drawn = _drawn(run.steps)
    table(
        ["STEP", "STATE", "TOOK", "MEMORY", "WHY"],
        [
            (
                drawn[s.name], verdict(s.state), seconds(s.seconds) if s.attempts else None,
                size(s.memory) if s.memory else None, s.error or s.cause,
            )
            for s in run.steps
        ],
    )  # fmt: skip
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


def _drawn(steps: tuple[StepResult, ...]) -> dict[str, str]:
    """Each step below the last of those that it needs, which it names if there are more."""
    depth: dict[str, int] = {}
    drawn = {}
    for each in steps:
        depths = {name: depth.get(name, 0) for name in each.needs}
        at = 1 + max(depths.values()) if depths else 0
        depth[each.name.partition("[")[0]] = at
        also = f"  (needs {', '.join(each.needs)})" if len(each.needs) in range(2, 6) else ""
        drawn[each.name] = f"{'   ' * (at - 1)}└─ {each.name}{also}" if at else f"{each.name}{also}"
    return drawn


def _row(change: Change) -> tuple[str, str, str, str]:
    return change.part, change.name, _value(change.before), _value(change.after)


def _value(value: object) -> str:
    if value is None:
        return "-"
    text = str(value)
    return short(text) if text.startswith("b3:") else text


def _steps(run: Run) -> str:
    ran = sum(step.state == "done" for step in run.steps)
    return f"{ran} run, {sum(step.state == 'cached' for step in run.steps)} cached"


def _metrics(run: Run) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in sorted(run.metrics.items()))
