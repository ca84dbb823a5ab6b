"""`windlass register`, `models`, `lineage`."""

from __future__ import annotations

import click

from windlass.cli.call import call
from windlass.cli.deletion import deleted
from windlass.cli.output import json_option, show, table
from windlass.domain.clock import text_of
from windlass.domain.digest import short
from windlass.domain.errors import Invalid
from windlass.registry.models import Version
from windlass.workspace.operations.deletion import OfVersion
from windlass.workspace.operations.models import Lineage, ListModels, ShowLineage, ShowModel


@click.command()
@click.argument("run", required=False)
@json_option
def register(run: str | None, as_json: bool) -> None:
    """Register the model of RUN (the latest, if not named) as the next version.

    The number says what changed since the last one: the signature makes a major version; data, features, code or
    config a minor one; the same recipe built again a patch.

    \b
    Examples:
      windlass register
      windlass register 7f3a2c --json
    """
    from windlass.workspace.operations.pipeline import Register, Registered  # noqa: PLC0415 - loads pyarrow

    def text(result: Registered) -> None:
        version = result.version
        state = "registered" if result.created else "was registered before:"
        click.echo(f"{state} {click.style(version.reference, bold=True)}  ({version.why})")
        _describe(version)
        click.echo(f"next: windlass gate {version.reference}")

    show(call("model.register", Register(run=run)), as_json, text)


class _Models(click.Group):
    """`windlass models NAME` shows a version or lists a model's, as `windlass models show NAME` does."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            return super().resolve_command(ctx, ["show", *args])
        return super().resolve_command(ctx, args)


@click.group(cls=_Models, invoke_without_command=True)
@json_option
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List model versions; or show one, or its model card; or delete one.

    \b
    Examples:
      windlass models
      windlass models employment@1.0.0 --json
      windlass models employment@1.0.0 --card
      windlass models rm employment@1.0.0
    """
    if ctx.invoked_subcommand is None:
        show(call("model.list", ListModels()), as_json, _listed)


@models.command("show")
@click.argument("reference", required=False)
@click.option("--card", is_flag=True, help="Show its model card.")
@json_option
@click.pass_context
def show_model(ctx: click.Context, reference: str | None, card: bool, as_json: bool) -> None:
    """Show MODEL@VERSION, or list the versions of MODEL.

    \b
    Examples:
      windlass models show employment@1.0.0
      windlass models show employment@1.0.0 --card
    """
    as_json = as_json or bool(ctx.parent and ctx.parent.params.get("as_json"))
    if card:
        from windlass.packaging.card import markdown  # noqa: PLC0415 - loads the gate's families
        from windlass.workspace.operations.gates import ShowCard  # noqa: PLC0415

        if reference is None:
            raise Invalid("which version's card?", hint="windlass models MODEL@VERSION --card")
        show(call("model.card", ShowCard(reference=reference)), as_json, lambda found: click.echo(markdown(found)))
    elif reference and "@" in reference:
        show(call("model.show", ShowModel(reference=reference)), as_json, _describe)
    else:
        show(call("model.list", ListModels(model=reference)), as_json, _listed)


@models.command("rm")
@click.argument("reference")
@json_option
def remove_model(reference: str, as_json: bool) -> None:
    """Delete the version MODEL@VERSION, which serves nowhere. It can be restored until `windlass purge` takes it.

    \b
    Example:
      windlass models rm employment@1.0.0
    """
    show(call("model.remove", OfVersion(reference=reference)), as_json, deleted)


@models.command("restore")
@click.argument("reference")
@json_option
def restore_model(reference: str, as_json: bool) -> None:
    """Take the deleted version MODEL@VERSION back; aliases that it had are not set again.

    \b
    Example:
      windlass models restore employment@1.0.0
    """
    show(call("model.restore", OfVersion(reference=reference)), as_json, deleted)


@click.command()
@click.argument("thing")
@json_option
def lineage(thing: str, as_json: bool) -> None:
    """Show what THING came from and what came from it.

    \b
    Examples:
      windlass lineage employment@1.1.0
      windlass lineage acs@1            which models were trained on this snapshot?
    """

    def text(result: Lineage) -> None:
        click.echo(click.style(result.node, bold=True))
        for edge in result.up:
            click.echo(f"{'  ' * (edge.depth + 1)}{edge.relation} {_node(edge.parent)}")
        if result.down:
            click.echo("what came from it:")
        # A thing can be reached by several ways; where it is nearest is enough.
        for child, depth in {edge.child: edge.depth for edge in reversed(result.down)}.items():
            click.echo(f"{'  ' * (depth + 1)}{_node(child)}")

    show(call("lineage.show", ShowLineage(thing=thing)), as_json, text)


def _listed(versions: list[Version]) -> None:
    if not versions:
        click.echo("no versions yet: `windlass run`, then `windlass register`")
    table(
        ["VERSION", "REGISTERED", "BY", "MODEL", "METRICS", "WHY"],
        [
            (v.reference, text_of(v.at)[:19], v.actor, short(v.package), _metrics(v), v.why)
            for v in versions
        ],
    )  # fmt: skip


def _node(name: str) -> str:
    kind, _, rest = name.partition("/")
    return f"{kind}/{short(rest)}" if rest.startswith("b3:") else name


def _metrics(version: Version) -> str:
    return " ".join(f"{name}={value:.4g}" for name, value in sorted(version.metrics.items()))


def _describe(version: Version) -> None:
    data = ", ".join(f"{name} ({short(tree)})" for name, tree in version.origin.data.items())
    for label, value in (
        ("model", short(version.package)),
        ("data", data),
        ("code", f"{short(version.origin.code)}  commit {version.commit[:12]}"),
        ("environment", short(version.origin.environment)),
        ("run", version.run),
        ("metrics", _metrics(version)),
    ):
        click.echo(f"  {label:<12}{value}")
