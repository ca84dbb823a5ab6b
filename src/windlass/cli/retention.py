"""`windlass hold` and `windlass purge`."""

from __future__ import annotations

import click

from windlass.cli.call import call
from windlass.cli.groups import DefaultGroup
from windlass.cli.output import json_option, show, size, table
from windlass.domain.clock import text_of
from windlass.governance.retention.holds import Hold
from windlass.workspace.operations.deletion import ListHolds, OfHold, PurgeDeleted
from windlass.workspace.purging import Purged

_LISTED = 10


class _Hold(DefaultGroup):
    default = "on"


@click.group(cls=_Hold)
def hold() -> None:
    """Legal holds: what is held, and all that it came from, is never purged.

    A hold on a model holds its versions; on a version its run, logged model, package and snapshots; on an experiment
    its runs and logged models.

    \b
    Examples:
      windlass hold version/employment@1.1.0 --reason "case 2026-17"
      windlass hold ls
      windlass hold release version/employment@1.1.0 --reason "case closed"
    """


@hold.command("on", hidden=True)
@click.argument("thing")
@click.option("--reason", required=True, help="Why, for the record.")
@json_option
def on(thing: str, reason: str, as_json: bool) -> None:
    """Hold THING: run/ID, experiment/ID, version/MODEL@SEMVER, model/NAME, snapshot/NAME@N or logged-model/ID.

    \b
    Example:
      windlass hold run/7f3a2c --reason "case 2026-17"
    """

    def text(held: Hold) -> None:
        click.echo(f"held: {click.style(held.thing, bold=True)}; it and what it came from stays until it is released")

    show(call("hold.place", OfHold(thing=thing, reason=reason)), as_json, text)


@hold.command("release")
@click.argument("thing")
@click.option("--reason", required=True, help="Why, for the record.")
@json_option
def release(thing: str, reason: str, as_json: bool) -> None:
    """Release the hold on THING; the retention counts again.

    \b
    Example:
      windlass hold release run/7f3a2c --reason "case closed"
    """

    def text(held: Hold) -> None:
        click.echo(f"released: {held.thing} (held since {text_of(held.at)[:10]} by {held.actor}: {held.reason})")

    show(call("hold.release", OfHold(thing=thing, reason=reason)), as_json, text)


@hold.command("ls")
@click.option("--all", "released", is_flag=True, help="Those that were released, too.")
@json_option
def ls(released: bool, as_json: bool) -> None:
    """List what is held, by whom and why.

    \b
    Example:
      windlass hold ls --all
    """

    def text(found: list[Hold]) -> None:
        if not found:
            click.echo("nothing is held")
        table(
            ["THING", "SINCE", "BY", "REASON", "RELEASED"],
            [
                (
                    each.thing, text_of(each.at)[:19], each.actor, each.reason,
                    f"{text_of(each.released_at)[:19]} {each.released_by}" if each.released_at else None,
                )
                for each in found
            ],
        )  # fmt: skip

    show(call("hold.list", ListHolds(released=released)), as_json, text)


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would go and how much it would free; change nothing.")
@click.option("--older-than", type=int, metavar="DAYS", help="Deleted this long ago; [retention] says it otherwise.")
@json_option
def purge(dry_run: bool, older_than: int | None, as_json: bool) -> None:
    """Remove for good what was deleted longer ago than the retention, and free its space.

    What is held, what was released or approved, and what a version that stays came from is kept. Killed in the middle,
    it goes on when it is called again.

    \b
    Examples:
      windlass purge --dry-run
      windlass purge --older-than 90
    """
    show(call("retention.purge", PurgeDeleted(dry_run=dry_run, older_than=older_than)), as_json, _purged)


def _purged(result: Purged) -> None:
    would = "would purge" if result.dry_run else "purged"
    counts = ", ".join(f"{count:,} {kind}{'s'[: count != 1]}" for kind, count in result.counts.items())
    ago = f"deleted {result.days} days ago or before" if result.days else "deleted"
    click.echo(f"{would} {counts or 'nothing'} ({ago})")
    for thing in result.things[:_LISTED]:
        click.echo(f"  {thing}")
    _more(sum(result.counts.values()))
    for name, count in result.expired.items():
        click.echo(f"{'would drop' if result.dry_run else 'dropped'} {count:,} {name} that expired")
    if result.kept:
        click.echo(f"{result.kept_count:,} {'would stay' if result.dry_run else 'stay'}:")
        for each in result.kept[:_LISTED]:
            click.echo(f"  {each.thing}: {each.why}")
        _more(result.kept_count)
    if result.dry_run:
        click.echo(f"would free {size(result.collected.deleted_bytes)}")
    else:
        click.echo(f"freed {size(result.collected.freed_bytes)}")
        if result.collected.waiting_for:
            click.echo(f"the rest is freed later, for {result.collected.waiting_for}: windlass data gc")


def _more(count: int) -> None:
    if count > _LISTED:
        click.echo(f"  and {count - _LISTED:,} more; --json has them")
