"""`windlass init`."""

from __future__ import annotations

from pathlib import Path

import click

from windlass.cli.output import json_option, show
from windlass.workspace.project import Created, create


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=Path())
@click.option("--name", help="The model's and endpoint's name.  [default: the folder's]")
@click.option("--example", is_flag=True, help="Lay out the employment example with its real data.")
@json_option
def init(folder: Path, name: str | None, example: bool, as_json: bool) -> None:
    """Make a project in FOLDER: windlass.toml, pipeline.py, features.py and a Git repository.

    Nothing that is there already is changed.

    \b
    Examples:
      windlass init
      windlass init churn --name churn
      windlass init employment --example
    """

    def text(result: Created) -> None:
        for path in result.created:
            click.echo(f"  {click.style('+', fg='green')} {path}")
        for path in result.kept:
            click.echo(f"    {path} (kept as it was)")
        click.echo(f"a project in {result.folder}")
        click.echo("next: put data where windlass.toml says, then `windlass data add PATH --name NAME`")

    show(create(folder, name=name, example=example), as_json, text)
