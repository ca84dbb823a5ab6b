"""`windlass data` on the store itself: verify, gc, rm, push, pull."""

from __future__ import annotations

import re
import sys

import click

from windlass.capture.data import Snapshot
from windlass.capture.sharing import Exchanged
from windlass.cli.call import call
from windlass.cli.output import json_option, show, size
from windlass.domain.errors import Invalid
from windlass.store.collect import Collected
from windlass.workspace.operations.storage import (
    CheckStore,
    CollectGarbage,
    PullData,
    PushData,
    RemoveData,
    StoreCheck,
)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command()
@click.option("--repair", metavar="REMOTE", help="Take what is damaged or missing from this remote.")
@json_option
def verify(repair: str | None, as_json: bool) -> None:
    """Read and hash every byte of the store; exit code 1 if anything is damaged or missing.

    \b
    Examples:
      windlass data verify
      windlass data verify --repair origin
    """

    def text(result: StoreCheck) -> None:
        for each in result.damaged:
            click.echo(f"{click.style('damaged', fg='red')} {each.digest}: {each.what}")
        if result.repaired:
            click.echo(f"repaired {result.repaired:,} objects")
        state = click.style("whole", fg="green") if result.ok else click.style("not whole", fg="red")
        click.echo(f"{state}: {result.objects:,} objects in {result.packs} packs, {size(result.size)} read")
        if not result.ok:
            click.echo("next: windlass data verify --repair REMOTE, or restore the objects from a backup")

    result: StoreCheck = call("data.verify", CheckStore(repair_from=repair))
    show(result, as_json, text)
    if not result.ok:
        sys.exit(1)


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@click.option("--grace", default="1d", show_default=True, help="How long garbage is kept back: 30m, 12h, 7d, 0s.")
@json_option
def gc(dry_run: bool, grace: str, as_json: bool) -> None:
    """Delete what nothing refers to. It goes into quarantine first, and is deleted after the grace period.

    Others may add, read and train meanwhile: what they need again leaves the quarantine by itself.

    \b
    Examples:
      windlass data gc --dry-run
      windlass data gc --grace 7d
    """

    def text(result: Collected) -> None:
        would = "would delete" if result.dry_run else "deleted"
        click.echo(f"{would} {result.deleted:,} objects ({size(result.deleted_bytes)})")
        waiting = "would wait" if result.dry_run else "wait"
        click.echo(f"{result.quarantined:,} {waiting} in quarantine ({size(result.quarantined_bytes)}), for {grace}")
        if result.released:
            click.echo(f"{result.released:,} are needed again")
        if result.waiting_for:
            click.echo(f"nothing newer than its start is deleted while {result.waiting_for}")
        if not result.dry_run:
            click.echo(f"freed {size(result.freed_bytes)}; {result.packs_rewritten} packs written anew")
        click.echo(f"{result.live:,} objects are in use")

    show(call("data.gc", CollectGarbage(dry_run=dry_run, grace_seconds=_seconds(grace))), as_json, text)


@click.command("rm")
@click.argument("reference")
@click.option("--reason", default="", help="Why, for the record.")
@click.option("--force", is_flag=True, help="Also what a model version was trained on.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@json_option
def remove(reference: str, reason: str, force: bool, dry_run: bool, as_json: bool) -> None:
    """Take a snapshot's name away; `windlass data gc` then frees what nothing else needs.

    \b
    Example:
      windlass data rm acs@3 --reason "a wrong export"
    """

    def text(result: Snapshot) -> None:
        would = "would remove" if dry_run else "removed"
        click.echo(f"{would} {result.reference} ({result.files} files, {size(result.size)})")
        if not dry_run:
            click.echo("next: windlass data gc --dry-run")

    request = RemoveData(reference=reference, reason=reason, force=force, dry_run=dry_run)
    show(call("data.remove", request), as_json, text)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--to", "remote", default="origin", show_default=True, help="A remote of windlass.toml, or its URL.")
@json_option
def push(names: tuple[str, ...], remote: str, as_json: bool) -> None:
    """Copy datasets to another store; what it has already is not sent again.

    \b
    Examples:
      windlass data push                      every dataset, to origin
      windlass data push acs@2 --to /mnt/store/windlass
    """
    show(
        call("data.push", PushData(names=names, remote=remote)),
        as_json,
        lambda result: _exchanged("pushed", result),
    )


@click.command()
@click.argument("names", nargs=-1)
@click.option("--from", "remote", default="origin", show_default=True, help="A remote of windlass.toml, or its URL.")
@json_option
def pull(names: tuple[str, ...], remote: str, as_json: bool) -> None:
    """Copy datasets from another store; what is here already is not fetched again.

    \b
    Example:
      windlass data pull acs
    """
    show(
        call("data.pull", PullData(names=names, remote=remote)),
        as_json,
        lambda result: _exchanged("pulled", result),
    )


def _exchanged(word: str, result: Exchanged) -> None:
    named = ", ".join(result.snapshots) or "no new snapshot"
    click.echo(f"{word} {named}: {result.objects:,} objects, {size(result.size)} ({result.there:,} were there)")


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise Invalid(f"'{text}' is not a duration", hint="write it as 30m, 12h or 7d")
    return int(match.group(1)) * _UNITS[match.group(2)]
