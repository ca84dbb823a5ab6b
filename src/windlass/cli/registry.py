"""`windlass stage`, `alias`."""

from __future__ import annotations

import click

from windlass.cli.call import call
from windlass.cli.groups import DefaultGroup
from windlass.cli.output import json_option, show, table
from windlass.registry.registered import VersionEntry
from windlass.workspace.operations.registry import Alias, ListAliases, MoveAlias, MoveStage, RemoveAlias

_reason = click.option("--reason", default="", help="Why, for the record.")


@click.command()
@click.argument("reference", metavar="MODEL@VERSION")
@click.argument("stage", metavar="staging|production|archived|none")
@click.option("--archive-others", is_flag=True, help="Archive the versions that stand in that stage.")
@_reason
@json_option
def stage(reference: str, stage: str, archive_others: bool, reason: str, as_json: bool) -> None:
    """Move a version to a stage.

    To production only with a passing gate report on exactly its package and the approvals that windlass.toml asks for,
    however the move is asked for.

    \b
    Examples:
      windlass stage employment@1.1.0 staging
      windlass stage employment@1.1.0 production --archive-others --reason "the board agreed"
      windlass stage employment@champion archived
    """

    def text(entry: VersionEntry) -> None:
        click.echo(f"{click.style(entry.reference, bold=True)} stands in {entry.stage}")

    request = MoveStage(reference=reference, stage=stage, archive_others=archive_others, reason=reason)
    show(call("registry.stage", request), as_json, text)


class _Alias(DefaultGroup):
    default = "set"


@click.group(cls=_Alias)
def alias() -> None:
    """Let ALIAS stand for a version, from then on: MODEL@ALIAS is accepted wherever MODEL@VERSION is.

    An alias that [registry] protected_aliases in windlass.toml names stands for cleared versions only.

    \b
    Examples:
      windlass alias employment@1.1.0 champion
      windlass alias ls
      windlass alias rm employment champion
    """


@alias.command("set", hidden=True)
@click.argument("reference", metavar="MODEL@VERSION")
@click.argument("name", metavar="ALIAS")
@_reason
@json_option
def set_alias(reference: str, name: str, reason: str, as_json: bool) -> None:
    """Let ALIAS stand for a version.

    \b
    Example:
      windlass alias set employment@1.1.0 champion
    """

    def text(entry: VersionEntry) -> None:
        click.echo(f"{click.style(f'{entry.model}@{name}', bold=True)} is {entry.reference}")

    show(call("registry.alias", MoveAlias(reference=reference, alias=name, reason=reason)), as_json, text)


@alias.command("rm")
@click.argument("model")
@click.argument("name", metavar="ALIAS")
@_reason
@json_option
def rm(model: str, name: str, reason: str, as_json: bool) -> None:
    """Take ALIAS away from MODEL.

    \b
    Example:
      windlass alias rm employment challenger
    """

    def text(left: list[Alias]) -> None:
        click.echo(f"{model} has no alias {name} any more; left: {', '.join(each.alias for each in left) or 'none'}")

    show(call("registry.unalias", RemoveAlias(model=model, alias=name, reason=reason)), as_json, text)


@alias.command("ls")
@click.argument("model", required=False)
@json_option
def ls(model: str | None, as_json: bool) -> None:
    """List the aliases of MODEL, or of all models.

    \b
    Example:
      windlass alias ls employment
    """

    def text(found: list[Alias]) -> None:
        if not found:
            click.echo("no aliases yet: `windlass alias MODEL@VERSION ALIAS`")
        table(
            ["ALIAS", "IS", ""],
            [(f"{each.model}@{each.alias}", each.reference, "protected" if each.protected else "") for each in found],
        )

    show(call("registry.aliases", ListAliases(model=model)), as_json, text)
