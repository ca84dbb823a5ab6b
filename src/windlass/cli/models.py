"""`windlass register`, `models`."""

from __future__ import annotations

from collections.abc import Mapping

import click

from windlass.cli.call import call
from windlass.cli.deletion import deleted
from windlass.cli.groups import DefaultGroup
from windlass.cli.output import json_option, show, table
from windlass.domain.clock import text_of
from windlass.domain.digest import short
from windlass.domain.errors import Invalid
from windlass.registry.models import Version
from windlass.registry.registered import RegisteredModel
from windlass.workspace.operations.deletion import OfVersion
from windlass.workspace.operations.models import Listed, ListModels, ShowModel, Shown
from windlass.workspace.operations.registry import Adopt, SearchModels, Tag

MOST_METRICS = 3  # in a list; what shows one version, or --json, has all


@click.command()
@click.argument("run", required=False)
@click.option("--from", "source", metavar="SOURCE", help="Files logged through MLflow: runs:/RUN/PATH or models:/ID.")
@click.option("--model", metavar="NAME", help="With --from: the model; it is made if there is none of that name.")
@json_option
def register(run: str | None, source: str | None, model: str | None, as_json: bool) -> None:
    """Register the model of RUN (the latest, if not named), or with --from files that were logged, as the next version.

    The number says what changed since the last one: the signature makes a major version; data, features, code or
    config a minor one; the same recipe built again a patch.

    \b
    Examples:
      windlass register
      windlass register 7f3a2c --json
      windlass register --from runs:/0b7d5f0e4a2b4c7f8a1d2e3f4a5b6c7d/model --model churn
    """
    if source is not None or model is not None:
        _adopt(run, source, model, as_json)
        return
    from windlass.workspace.operations.pipeline import Register, Registered  # noqa: PLC0415 - loads pyarrow

    def text(result: Registered) -> None:
        version = result.version
        state = "registered" if result.created else "was registered before:"
        click.echo(f"{state} {click.style(version.reference, bold=True)}  ({version.why})")
        _describe(version)
        click.echo(f"next: windlass gate {version.reference}")

    show(call("model.register", Register(run=run)), as_json, text)


def _adopt(run: str | None, source: str | None, model: str | None, as_json: bool) -> None:
    if source is None or model is None or run is not None:
        raise Invalid(
            "--from and --model go together, and without RUN",
            hint="windlass register --from runs:/RUN/PATH --model NAME",
        )

    def text(version: Version) -> None:
        click.echo(f"registered {click.style(version.reference, bold=True)}  ({version.why})")
        _describe(version)

    show(call("registry.adopt", Adopt(source=source, model=model)), as_json, text)


@click.group(cls=DefaultGroup)
def models() -> None:
    """List model versions, or show one, or its model card.

    FILTER and TERM are in MLflow's grammar for model versions.

    \b
    Examples:
      windlass models
      windlass models --filter "tags.team = 'a'" --order-by "version_number DESC"
      windlass models employment@1.0.0 --json
      windlass models employment@1.0.0 --card
      windlass models tag employment@1.0.0 team=a
      windlass models rm employment@1.0.0
    """


@models.command("show", hidden=True)
@click.argument("reference", required=False)
@click.option("--card", is_flag=True, help="Show its model card.")
@click.option("--filter", "wanted", default="", metavar="FILTER", help="List only versions that are like this.")
@click.option("--order-by", multiple=True, metavar="TERM", help='As "version_number DESC"; may be repeated.')
@json_option
def show_models(reference: str | None, card: bool, wanted: str, order_by: tuple[str, ...], as_json: bool) -> None:
    """List model versions, or show one, or its model card.

    \b
    Example:
      windlass models show employment@1.0.0
    """
    if card:
        from windlass.packaging.card import markdown  # noqa: PLC0415 - loads the gate's families
        from windlass.workspace.operations.gates import ShowCard  # noqa: PLC0415

        if reference is None:
            raise Invalid("which version's card?", hint="windlass models MODEL@VERSION --card")
        show(call("model.card", ShowCard(reference=reference)), as_json, lambda found: click.echo(markdown(found)))
        return
    if reference and "@" in reference:
        show(call("model.show", ShowModel(reference=reference)), as_json, _describe_shown)
        return

    def text(versions: list[Listed]) -> None:
        if not versions and (wanted or reference):
            click.echo("no version is like that: `windlass models` lists all")
        elif not versions:
            click.echo("no versions yet: `windlass run`, then `windlass register`")
        table(
            ["VERSION", "STANDS", "REGISTERED", "BY", "MODEL", "METRICS", "TAGS", "WHY"],
            [
                (
                    v.reference, _standing(v), text_of(v.at)[:19], v.actor, short(v.package), _metrics(v, MOST_METRICS),
                    _pairs(v.tags), v.why,
                )
                for v in versions
            ],
        )  # fmt: skip

    show(call("model.list", ListModels(model=reference, filter=wanted, order_by=order_by)), as_json, text)


@models.command("ls")
@click.option("--filter", "wanted", default="", metavar="FILTER", help="List only models that are like this.")
@click.option("--order-by", multiple=True, metavar="TERM", help='As "name DESC"; may be repeated.')
@json_option
def ls(wanted: str, order_by: tuple[str, ...], as_json: bool) -> None:
    """List registered models, one line each, with their tags and aliases.

    \b
    Examples:
      windlass models ls
      windlass models ls --filter "name LIKE 'emp%' and tags.team = 'a'"
    """

    def text(found: list[RegisteredModel]) -> None:
        if not found:
            click.echo("no model is like that" if wanted else "no models yet: `windlass register`")
        table(
            ["MODEL", "UPDATED", "ALIASES", "TAGS", "DESCRIPTION"],
            [
                (m.name, text_of(m.updated_at)[:19], " ".join(m.aliases), _pairs(m.tags), m.description[:60])
                for m in found
            ],
        )

    show(call("registry.models", SearchModels(filter=wanted, order_by=order_by)), as_json, text)


@models.command("tag")
@click.argument("thing", metavar="MODEL[@VERSION]")
@click.argument("tags", metavar="KEY=VALUE", nargs=-1)
@click.option("--remove", multiple=True, metavar="KEY", help="Take this tag away; may be repeated.")
@json_option
def tag(thing: str, tags: tuple[str, ...], remove: tuple[str, ...], as_json: bool) -> None:
    """Set tags of a model or of a version; without any, show them.

    \b
    Examples:
      windlass models tag employment team=a
      windlass models tag employment@1.1.0 reviewed=yes --remove draft
    """
    given = dict[str, str]()
    for each in tags:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise Invalid(f"'{each[:80]}' is no tag", hint="write it as KEY=VALUE")
        given[key] = value
    show(
        call("registry.tag", Tag(thing=thing, tags=given, remove=remove)),
        as_json,
        lambda found: click.echo(_pairs(found) or f"{thing} has no tags"),
    )


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


def _standing(version: Listed) -> str:
    """Where it stands: its stage and its aliases."""
    return " ".join([*([] if version.stage == "None" else [version.stage]), *(f"@{each}" for each in version.aliases)])


def _pairs(tags: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in tags.items())


def _describe_shown(version: Shown) -> None:
    from windlass.packaging.card import compiled_text  # noqa: PLC0415 - loads the gate's families

    _describe(version)
    for label, value in (
        ("stands", _standing(version)),
        ("tags", _pairs(version.tags)),
        ("compiled", compiled_text(version.onnx) if version.onnx else ""),
        ("about", version.description or ""),
    ):
        if value:
            click.echo(f"  {label:<12}{value}")


def _metrics(version: Version, most: int = 1000) -> str:
    named = [f"{name}={value:.4g}" for name, value in sorted(version.metrics.items())]
    more = [f"+{len(named) - most}"] if len(named) > most else []
    return " ".join([*named[:most], *more])


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
