"""`windlass data`: add, ls, log, diff, checkout; what is about the store itself is in ``storage``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from windlass.capture.data import DataDiff, Snapshot
from windlass.capture.tables import TableDiff
from windlass.cli.call import call
from windlass.cli.output import json_option, show, size, table
from windlass.domain.clock import text_of
from windlass.domain.digest import short
from windlass.domain.errors import Invalid
from windlass.workspace.operations.data import (
    AddData,
    Added,
    CheckedOut,
    CheckoutData,
    DataLog,
    DiffData,
    ListData,
    ReadData,
)


class _Group(click.Group):
    """What is about the store itself is imported when it is called: `add` has to be quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, "verify", "gc", "rm", "push", "pull"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.commands or cmd_name not in self.list_commands(ctx):
            return super().get_command(ctx, cmd_name)
        from windlass.cli import storage  # noqa: PLC0415

        return {
            "verify": storage.verify, "gc": storage.gc, "rm": storage.remove,
            "push": storage.push, "pull": storage.pull,
        }[cmd_name]  # fmt: skip


@click.group(cls=_Group)
def data() -> None:
    """Version data: immutable snapshots, the same digest for the same bytes.

    \b
    Examples:
      windlass data add --name acs              what windlass.toml says
      windlass data add data/acs --name acs
      windlass data diff acs@1 acs@2
      windlass data checkout acs@1 /tmp/acs-1
    """


@data.command()
@click.argument("path", required=False)
@click.option("--name", required=True, help="The dataset's name.")
@click.option("--reason", default="", help="Why, for the record.")
@json_option
def add(path: str | None, name: str, reason: str, as_json: bool) -> None:
    """Version PATH (a file or a folder) as the next snapshot of a dataset.

    Data that did not change keeps its version. PATH is by default what windlass.toml says.

    \b
    Examples:
      windlass data add --name acs
      windlass data add exports/2016.parquet --name acs --reason "the year 2016"
    """

    def text(result: Added) -> None:
        snapshot = result.snapshot
        state = "added" if result.created else "unchanged:"
        click.echo(
            f"{state} {click.style(snapshot.reference, bold=True)}  {short(snapshot.tree)}  {_content(snapshot)}"
        )

    where = None if path is None else str(Path(path).absolute())
    show(call("data.add", AddData(name=name, path=where, reason=reason)), as_json, text)


@data.command()
@json_option
def ls(as_json: bool) -> None:
    """List the datasets.

    \b
    Example:
      windlass data ls --json
    """
    show(call("data.list", ListData()), as_json, _table)


@data.command()
@click.argument("name")
@json_option
def log(name: str, as_json: bool) -> None:
    """List the snapshots of a dataset.

    \b
    Example:
      windlass data log acs
    """
    show(call("data.log", DataLog(name=name)), as_json, _table)


@data.command()
@click.argument("old")
@click.argument("new")
@json_option
def diff(old: str, new: str, as_json: bool) -> None:
    """Say what changed between two snapshots.

    \b
    Example:
      windlass data diff acs@1 acs@2
    """

    def text(result: DataDiff) -> None:
        for sign, colour, paths in (
            ("+", "green", result.added), ("-", "red", result.removed), ("~", "yellow", result.changed),
        ):  # fmt: skip
            for path in paths:
                click.echo(f"{click.style(sign, fg=colour)} {path}")
        if result.rows_before is not None and result.rows_after is not None:
            change = result.rows_after - result.rows_before
            click.echo(f"rows: {result.rows_before:,} -> {result.rows_after:,} ({change:+,})")
        for table_diff in result.tables:
            click.echo(_rows(table_diff))
        for word, columns in (("added", result.columns_added), ("removed", result.columns_removed)):
            if columns:
                click.echo(f"columns {word}: {', '.join(columns)}")
        if not (result.added or result.removed or result.changed):
            click.echo("the same files")

    show(call("data.diff", DiffData(old=old, new=new)), as_json, text)


@data.command()
@click.argument("reference")
@click.argument("path")
@click.option("--range", "part", default="", metavar="FROM:TO", help="Only these bytes, as 0:100 or 4096:")
def cat(reference: str, path: str, part: str) -> None:
    """Write one file of a snapshot to stdout, straight out of the store.

    \b
    Examples:
      windlass data cat acs@1 2016.csv | head
      windlass data cat acs@1 2016.parquet --range 0:4
    """
    if not re.fullmatch(r"(\d*:\d*)?", part):
        raise Invalid(f"'{part}' is no range of bytes", hint="write it as 0:100 or 4096:")
    first, _, last = part.partition(":")
    at, stop = int(first or 0), int(last) if last else None
    while True:
        found = call("data.read", ReadData(reference=reference, path=path, start=at, stop=stop))
        sys.stdout.buffer.write(found.content)
        at += len(found.content)
        if not found.content or at >= (found.size if stop is None else min(stop, found.size)):
            return


@data.command()
@click.argument("reference")
@click.argument("destination")
@click.option("--only", default="", metavar="GLOB", help="Only files whose path fits, as '2016/*' or '*.parquet'.")
@click.option("--links", is_flag=True, help="Hard links to one read-only copy of each file, shared by checkouts.")
@json_option
def checkout(reference: str, destination: str, only: str, links: bool, as_json: bool) -> None:
    """Write a snapshot's files to an empty folder; each is checked on the way.

    \b
    Examples:
      windlass data checkout acs@1 /tmp/acs-1
      windlass data checkout acs@1 /tmp/acs-2016 --only '2016/*'
    """

    def text(result: CheckedOut) -> None:
        click.echo(f"{result.snapshot.reference} is in {result.destination}")

    request = CheckoutData(reference=reference, destination=str(Path(destination).absolute()), only=only, links=links)
    show(call("data.checkout", request), as_json, text)


def _rows(changed: TableDiff) -> str:
    counts = f"{changed.rows_before:,} -> {changed.rows_after:,} rows"
    if changed.rows_added is not None:
        counts += f", {changed.rows_added:,} added, {changed.rows_removed:,} removed"
    retyped = f"; {', '.join(changed.columns_retyped)}" if changed.columns_retyped else ""
    return f"  {changed.path}: {counts}{retyped}"


def _table(snapshots: list[Snapshot]) -> None:
    if not snapshots:
        click.echo("no snapshots yet: `windlass data add PATH --name NAME`")
    table(
        ["SNAPSHOT", "ADDED", "BY", "DIGEST", "FILES", "SIZE", "ROWS", "REASON"],
        [
            (s.reference, text_of(s.at)[:19], s.actor, short(s.tree), s.files, size(s.size), s.rows, s.reason)
            for s in snapshots
        ],
    )


def _content(snapshot: Snapshot) -> str:
    rows = "" if snapshot.rows is None else f", {snapshot.rows:,} rows"
    return f"({snapshot.files} file{'s'[: snapshot.files != 1]}, {size(snapshot.size)}{rows})"
