"""`windlass data`: add, split, transform, ls, log, diff, checkout; what is about the store is in ``storage``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from windlass.capture.config import Parameter
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
    SplitData,
    TransformData,
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
      windlass data split acs@1 --into train=0.8,test=0.2 --seed 7
      windlass data diff acs@1 acs@2
      windlass data checkout acs@1 /tmp/acs-1
    """


@data.command()
@click.argument("source", required=False)
@click.option("--name", required=True, help="The dataset's name.")
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="A value for $NAME in the query.")
@click.option("--attach", multiple=True, metavar="NAME=URL", help="A database or files that the query may name.")
@click.option("--reason", default="", help="Why, for the record.")
@json_option
def add(
    source: str | None, name: str, parameters: tuple[str, ...], attach: tuple[str, ...], reason: str, as_json: bool
) -> None:
    """Version SOURCE as the next snapshot of a dataset: a file or a folder, an s3:// URL, or SQL.

    Data that did not change keeps its version. SOURCE is by default what windlass.toml says. SQL is run once by
    DuckDB; its rows are kept sorted, as Parquet.

    \b
    Examples:
      windlass data add --name acs
      windlass data add exports/2016.parquet --name acs --reason "the year 2016"
      windlass data add s3://bucket/exports --name exports
      windlass data add "SELECT * FROM 'data/*.parquet' WHERE age >= :least" --name adults --param least=18
      windlass data add queries/orders.sql --name orders --attach 'shop=postgresql://me:${PASSWORD}@db/shop'
    """
    request = AddData(
        name=name, path=_place(source), reason=reason, parameters=_parameters(parameters), attach=_urls(attach)
    )
    show(call("data.add", request), as_json, _added)


@data.command()
@click.argument("reference")
@click.option("--into", required=True, metavar="PART=SHARE,...", help="The parts and their shares, which make up 1.")
@click.option("--seed", default=0, show_default=True, help="Another seed is another split.")
@click.option("--by", default="", metavar="COLUMN", help="Rows with equal values of it stay in one part.")
@click.option("--stratify", default="", metavar="COLUMN", help="Each of its values has the shares exactly.")
@click.option("--reason", default="", help="Why, for the record.")
@json_option
def split(reference: str, into: str, seed: int, by: str, stratify: str, reason: str, as_json: bool) -> None:
    """Split a snapshot's rows into datasets NAME-PART.

    Which part a row goes to depends on the seed and on its place in its table (or its group) alone: rows that are added
    later move none.

    \b
    Examples:
      windlass data split acs@1 --into train=0.8,validation=0.1,test=0.1 --seed 7
      windlass data split visits --into train=0.9,test=0.1 --by user
    """

    def text(results: list[Added]) -> None:
        for result in results:
            _added(result)

    request = SplitData(
        reference=reference, into=_shares(into), seed=seed, by=by, stratify=stratify, reason=reason
    )  # fmt: skip
    show(call("data.split", request), as_json, text)


@data.command()
@click.argument("reference")
@click.option("--sql", required=True, help="A query over the snapshot's tables, or a file that ends with .sql.")
@click.option("--name", required=True, help="The name of the dataset that is made.")
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="A value for $NAME in the query.")
@click.option("--reason", default="", help="Why, for the record.")
@json_option
def transform(reference: str, sql: str, name: str, parameters: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Derive a dataset from a snapshot by a query over its tables.

    The query names all tables together `data`, or by the dataset's name, and sees nothing else.

    \b
    Examples:
      windlass data transform acs@1 --sql "SELECT * FROM acs WHERE age >= 18" --name acs-adults
      windlass data transform acs --sql queries/adults.sql --name acs-adults --param least=18
    """
    request = TransformData(
        reference=reference, sql=_place(sql) or sql, name=name, parameters=_parameters(parameters), reason=reason
    )
    show(call("data.transform", request), as_json, _added)


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
        for line in result.profiles:
            click.echo(f"  {line}")
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
        ["SNAPSHOT", "ADDED", "BY", "DIGEST", "FILES", "SIZE", "ROWS", "SOURCE", "REASON"],
        [
            (
                s.reference,
                text_of(s.at)[:19],
                s.actor,
                short(s.tree),
                s.files,
                size(s.size),
                s.rows,
                _source(s),
                s.reason,
            )
            for s in snapshots
        ],
    )


def _source(snapshot: Snapshot) -> str:
    """What it was made from, in a word or two."""
    kind = snapshot.source.get("kind", "files")
    return f"{kind} of {snapshot.source['of']}" if "of" in snapshot.source else str(kind)


def _added(result: Added) -> None:
    snapshot = result.snapshot
    state = "added" if result.created else "unchanged:"
    click.echo(f"{state} {click.style(snapshot.reference, bold=True)}  {short(snapshot.tree)}  {_content(snapshot)}")


def _place(source: str | None) -> str | None:
    """A path from where the user stands, as one that means the same elsewhere; SQL and URLs as they are."""
    from windlass.capture.sources import objects, sql  # noqa: PLC0415 - only what a command uses is loaded

    if source is None or objects.is_url(source) or (sql.is_query(source) and not sql.is_file(source)):
        return source
    return str(Path(source).absolute())


def _parameters(texts: tuple[str, ...]) -> dict[str, Parameter]:
    from windlass.capture.sources import parameters  # noqa: PLC0415

    return dict(map(parameters.parsed, texts))


def _urls(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, url = text.partition("=")
        if not equals:
            raise click.UsageError("write what is attached as NAME=URL")
        found[name] = url
    return found


def _shares(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in text.split(","):
        part, _, share = each.partition("=")
        try:
            found[part.strip()] = float(share)
        except ValueError:
            raise Invalid(
                f"'{each[:80]}' is not a part and its share", hint="write them as train=0.8,test=0.2"
            ) from None
    return found


def _content(snapshot: Snapshot) -> str:
    rows = "" if snapshot.rows is None else f", {snapshot.rows:,} rows"
    return f"({snapshot.files} file{'s'[: snapshot.files != 1]}, {size(snapshot.size)}{rows})"
