"""`windlass import mlflow` and `windlass export mlflow`."""

from __future__ import annotations

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, show, size
from windlass.workspace.operations.exchange import Exchanged, ExportMlflow, ImportMlflow

PARTLY, DIFFERENT = 1, 4
_MOST_SHOWN = 50


@click.group(name="import")
def import_() -> None:
    """Copy tracking in from another system.

    \b
    Example:
      windlass import mlflow http://127.0.0.1:5000
    """


@import_.command("mlflow")
@click.argument("uri")
@click.option("--experiments", "names", multiple=True, metavar="NAME", help="Only this experiment; may be repeated.")
@click.option("--into", default="", metavar="PREFIX", help="Put PREFIX before the names of experiments and models.")
@click.option("--dry-run", is_flag=True, help="Only say what would be copied.")
@click.option("--verify", is_flag=True, help="Copy nothing: compare all that was copied with the source, byte by byte.")
@click.option("--again", is_flag=True, help="Copy what is complete and unchanged too.")
@json_option
@click.pass_context
def import_mlflow(
    ctx: click.Context,
    uri: str,
    names: tuple[str, ...],
    into: str,
    dry_run: bool,
    verify: bool,
    again: bool,
    as_json: bool,
) -> None:
    """Copy experiments, runs, metrics, artifacts and registered models out of an MLflow.

    URI is a server's URL or an mlruns folder. Runs keep their ids. Killed, it goes on where it was; called again, it
    copies what is new. Exit code 1 if something could not be copied, 4 if --verify finds a difference.

    \b
    The server's credentials: MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
    Examples:
      windlass import mlflow http://127.0.0.1:5000
      windlass import mlflow ./mlruns --experiments churn --dry-run
      windlass import mlflow http://127.0.0.1:5000 --verify
    """
    request = ImportMlflow(uri=uri, experiments=names, into=into, dry_run=dry_run, verify=verify, again=again)
    _finish(ctx, call("exchange.import", request), as_json)


@click.group()
def export() -> None:
    """Copy tracking out to another system.

    \b
    Example:
      windlass export mlflow http://127.0.0.1:5000
    """


@export.command("mlflow")
@click.argument("url")
@click.option("--experiments", "names", multiple=True, metavar="NAME", help="Only this experiment; may be repeated.")
@click.option("--verify", is_flag=True, help="Copy nothing: compare all that went with what is here, byte by byte.")
@json_option
@click.pass_context
def export_mlflow(ctx: click.Context, url: str, names: tuple[str, ...], verify: bool, as_json: bool) -> None:
    """Copy experiments, runs, metrics, artifacts and registered models to an MLflow server.

    Runs get new ids there, and have those from here in the tag windlass.run_id. Broken off, it goes on where it was;
    called again, it copies what is new. Exit code 1 if something could not be copied, 4 if --verify finds a difference.

    \b
    The server's credentials: MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
    Examples:
      windlass export mlflow http://127.0.0.1:5000
      windlass export mlflow http://127.0.0.1:5000 --verify
    """
    _finish(ctx, call("exchange.export", ExportMlflow(url=url, experiments=names, verify=verify)), as_json)


def _finish(ctx: click.Context, done: Exchanged, as_json: bool) -> None:
    show(done, as_json, _text)
    if done.different:
        ctx.exit(DIFFERENT)
    if done.problems:
        ctx.exit(PARTLY)


def _text(done: Exchanged) -> None:
    unchanged = f" ({done.unchanged} more were there already)" if done.unchanged else ""
    click.echo(f"{done.did} from {done.source} to {done.target}:")
    click.echo(f"  {done.experiments} experiments, {done.runs} runs{unchanged}, {done.logged_models} logged models")
    if done.did == "copied":
        click.echo(f"  {done.points} points of metrics, {done.files} files ({size(done.size)})")
    click.echo(f"  {done.registered_models} registered models, {done.versions} versions")
    for name, called in done.names.items():
        click.echo(f"  experiment '{name}' is called '{called}' there")
    _some("note", [f"{each.subject}: {each.what}" for each in done.notes])
    _some("not copied", [f"{each.subject}: {each.what}" for each in done.problems])
    lines = [
        f"{each.subject}{f': {each.what}' if each.what else ''}: {each.source} in the source, {each.copy} in the copy"
        for each in done.differences
    ]
    _some("different", lines, of=done.different)
    if done.did == "compared" and not done.different and not done.problems:
        click.echo("everything is the same")


def _some(what: str, lines: list[str], of: int | None = None) -> None:
    for line in lines[:_MOST_SHOWN]:
        click.echo(f"{what}: {line}")
    total = len(lines) if of is None else of
    if total > _MOST_SHOWN:
        click.echo(f"{what}: {total - _MOST_SHOWN} more (--json lists them)")
