"""`windlass env`: ls, show, diff, vendor."""

from __future__ import annotations

import click

from windlass.capture.environment import Environment
from windlass.capture.wheels import Vendored
from windlass.cli.call import call
from windlass.cli.output import json_option, show, size, table
from windlass.domain.clock import text_of
from windlass.domain.digest import short
from windlass.workspace.operations.environments import (
    DiffEnvironments,
    Listed,
    ListEnvironments,
    ShowEnvironment,
    VendorEnvironment,
)


@click.group()
def env() -> None:
    """Environments that runs were made in. REFERENCE is a digest, a model version, or a run.

    \b
    Examples:
      windlass env ls
      windlass env diff employment@1.0.0 employment@1.1.0
      windlass env vendor employment@1.1.0
    """


@env.command()
@json_option
def ls(as_json: bool) -> None:
    """List the environments, newest first.

    \b
    Example:
      windlass env ls
    """

    def text(found: list[Listed]) -> None:
        if not found:
            click.echo("no environments yet: `windlass run` records its own")
        table(
            ["ENVIRONMENT", "FIRST SEEN", "CAN BE BUILT", "VENDORED"],
            [
                (short(e.digest), text_of(e.at)[:19], "yes" if e.locked else f"no: {e.why}", e.vendored or None)
                for e in found
            ],
        )

    show(call("environment.list", ListEnvironments()), as_json, text)


@env.command("show")
@click.argument("reference")
@json_option
def show_one(reference: str, as_json: bool) -> None:
    """Show an environment: interpreter, platform, distributions.

    \b
    Example:
      windlass env show employment@1.1.0
    """

    def text(found: Environment) -> None:
        click.echo(f"{found.implementation} {found.python} on {found.platform}, windlass {found.windlass}")
        for name, version in [*found.distributions, *found.local]:
            click.echo(f"  {name} {version}")

    show(call("environment.show", ShowEnvironment(reference=reference)), as_json, text)


@env.command()
@click.argument("old")
@click.argument("new")
@json_option
def diff(old: str, new: str, as_json: bool) -> None:
    """Say in what two environments differ.

    \b
    Example:
      windlass env diff employment@1.0.0 employment@1.1.0
    """

    def text(found: list[str]) -> None:
        for line in found or ["the same environment"]:
            click.echo(line)

    show(call("environment.diff", DiffEnvironments(old=old, new=new)), as_json, text)


@env.command()
@click.argument("reference")
@json_option
def vendor(reference: str, as_json: bool) -> None:
    """Keep an environment's files in the store: from then on it is built without a network.

    \b
    Example:
      windlass env vendor employment@1.1.0
    """

    def text(result: Vendored) -> None:
        click.echo(f"{short(result.environment)}: {result.files} files kept ({size(result.size)})")

    show(call("environment.vendor", VendorEnvironment(reference=reference)), as_json, text)
