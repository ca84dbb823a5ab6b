"""`windlass reproduce`, `verify`."""

from __future__ import annotations

from pathlib import Path

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, seconds, show
from windlass.domain.errors import Corrupt
from windlass.pipelines.reproduce import Reproduction
from windlass.workspace.operations.audit import Reproduce, Verify
from windlass.workspace.verification import Verification


@click.command()
@click.argument("reference")
@click.option("--into", metavar="DIR", help="Rebuild in this empty folder and keep it.")
@click.option("--here", is_flag=True, help="With the code, the settings and the interpreter as they are now.")
@json_option
def reproduce(reference: str, into: str | None, here: bool, as_json: bool) -> None:
    """Rebuild a version, or a run, from its records in an empty folder and compare the bytes.

    Checks out its code and data, builds its environment from the lock, and runs its pipeline anew. Exit code 1 when
    the result differs; it says in what.

    With --here only the data is the recorded one: it says what a change of code, package, seed or threads has done.

    \b
    Examples:
      windlass reproduce employment@1.1.0
      windlass reproduce 7f3a2c --here
      windlass reproduce employment@1.1.0 --into /tmp/rebuilt
    """
    folder = None if into is None else str(Path(into).absolute())
    result: Reproduction = call("model.reproduce", Reproduce(reference=reference, into=folder, here=here))

    def text(result: Reproduction) -> None:
        if result.identical:
            click.echo(f"{result.reference}: {click.style('identical', fg='green')}  in {seconds(result.seconds)}")
        else:
            click.echo(f"{result.reference}: {click.style('different', fg='red')}  in {seconds(result.seconds)}")
            for line in result.differences:
                click.echo(f"  {line}")
        click.echo(f"  recorded  {result.expected}")
        click.echo(f"  rebuilt   {result.actual}")

    show(result, as_json, text)
    if not result.identical:
        click.get_current_context().exit(1)


@click.command()
@json_option
def verify(as_json: bool) -> None:
    """Walk ledger, digests, lineage and prediction log; find any flipped byte.

    Exit code 4 when something is damaged; all that is found is listed.

    \b
    Example:
      windlass verify
    """
    result: Verification = call("audit.verify", Verify())

    def text(result: Verification) -> None:
        for problem in result.problems:
            click.echo(f"{click.style('damaged', fg='red')}  {problem.where}: {problem.what}")
        click.echo(
            f"{result.ledger_entries:,} ledger entries, {result.objects:,} objects, {result.trees:,} trees,"
            f" {result.lineage_edges:,} lineage edges, {result.predictions:,} predictions checked:"
            f" {click.style('all intact', fg='green') if not result.problems else f'{len(result.problems)} damaged'}"
        )

    show(result, as_json, text)
    if result.problems:
        first = result.problems[0]
        raise Corrupt(
            f"{first.where}: {first.what}" + (f" (and {len(result.problems) - 1} more)" if result.problems[1:] else ""),
            hint="restore what is listed from a backup",
        )
