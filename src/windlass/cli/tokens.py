"""`windlass token`: create, ls, revoke."""

from __future__ import annotations

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, show, table
from windlass.domain.clock import text_of
from windlass.governance.tokens import Token
from windlass.workspace.operations.tokens import CreatedToken, CreateToken, ListTokens, RevokeToken


@click.group()
def token() -> None:
    """Tokens: how the server knows people. Once there is one, every request to the server needs one.

    \b
    Examples:
      windlass token create ada
      windlass token ls
      windlass token revoke ada
    """


@token.command()
@click.argument("name")
@json_option
def create(name: str, as_json: bool) -> None:
    """Make a person's token and print it, once: only its digest is kept.

    \b
    Example:
      windlass token create ada
    """

    def text(made: CreatedToken) -> None:
        click.echo(made.token)
        click.echo(f"{made.name}'s token: it is shown this once. Use it as WINDLASS_TOKEN, and", err=True)
        click.echo("with MLflow's client as MLFLOW_TRACKING_TOKEN; in a browser it is the password.", err=True)

    show(call("token.create", CreateToken(name=name)), as_json, text)


@token.command()
@json_option
def ls(as_json: bool) -> None:
    """List tokens: whose, since when, when last used, when revoked.

    \b
    Example:
      windlass token ls
    """
    show(call("token.list", ListTokens()), as_json, _tokens)


@token.command()
@click.argument("name")
@click.option("--reason", default="", help="Why, for the ledger.")
@json_option
def revoke(name: str, reason: str, as_json: bool) -> None:
    """End a person's token: every server refuses it within two seconds.

    \b
    Example:
      windlass token revoke ada --reason "left the team"
    """

    def text(done: Token) -> None:
        click.echo(f"{done.name}'s token is revoked")

    show(call("token.revoke", RevokeToken(name=name, reason=reason)), as_json, text)


def _tokens(found: list[Token]) -> None:
    if not found:
        click.echo("no tokens: the server asks nobody who they are, and listens on this machine only")
        return
    table(
        ["NAME", "DIGEST", "CREATED", "LAST USED", "REVOKED"],
        [(each.name, each.digest[:12], _time(each.created), _time(each.used), _time(each.revoked)) for each in found],
    )


def _time(instant: int | None) -> str:
    return "-" if instant is None else text_of(instant)[:19]
