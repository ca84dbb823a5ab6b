"""`windlass compare`."""

from __future__ import annotations

import re
from itertools import groupby

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, show, table
from windlass.domain.digest import short
from windlass.registry.comparing import Comparison, Line, Value
from windlass.workspace.operations.registry import Compare

_WIDEST = 48
_DIGEST = re.compile(r"b3:[0-9a-f]{64}")


@click.command()
@click.argument("things", metavar="A B [C...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Show what is equal too.")
@json_option
def compare(things: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Show versions or runs side by side: only what differs.

    Params, metrics with their difference from the first, tags, data, code, environment with its packages, signature,
    gate check by check, approvals, where they stand, and the files of the package.

    \b
    Examples:
      windlass compare employment@1.0.0 employment@1.1.0
      windlass compare employment@champion employment --all
      windlass compare 7f3a2c 8b01d4 90e2aa --json
    """
    show(call("registry.compare", Compare(things=things, everything=everything)), as_json, _describe)


def _describe(found: Comparison) -> None:
    for section, lines in groupby(found.lines, key=lambda each: each.section):
        table([section.upper(), *found.subjects], [_row(each) for each in lines])
        click.echo()
    if not found.lines:
        click.echo("nothing differs")
    elif found.equal and all(not each.same for each in found.lines):
        click.echo(f"{found.equal} more are equal: --all shows them")


def _row(line: Line) -> tuple[str | None, ...]:
    differences = line.differences or (None,) * len(line.values)
    shown = [_cell(value) for value in line.values]
    for number, difference in enumerate(differences):
        if number and difference:
            shown[number] = f"{shown[number]} ({difference:+.4g})"
    return (f"{line.name}{'' if not line.same else ' ='}", *shown)


def _cell(value: Value) -> str | None:
    if value is None:
        return None
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(_DIGEST.sub(lambda found: short(found.group()), str(value)).split())
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."
