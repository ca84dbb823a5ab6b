"""How results look: JSON for programs, tables and short lines for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
import msgspec

VERDICT_COLOURS = {
    "pass": "green", "fail": "red", "error": "red", "inconclusive": "yellow",
    "promoted": "green", "rolled_back": "red", "failed": "red", "running": "cyan", "firing": "red",
}  # fmt: skip

F = Callable[..., Any]


def json_option(command: F) -> F:
    """``--json``: the result as one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def show(result: Any, as_json: bool, text: Callable[[Any], None]) -> None:
    """Print a result: as JSON, or by ``text``."""
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(result), indent=2))
    else:
        text(result)


def progress(line: str) -> None:
    """A line on stderr about what is going on."""
    click.echo(click.style(f"  {line}", dim=True), err=True)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A plain table, aligned; nothing but the words, so that it can be cut and searched."""
    cells = [[_cell(value) for value in row] for row in rows]
    if not cells:
        return
    widths = [max(len(headers[i]), *(len(click.unstyle(row[i])) for row in cells)) for i in range(len(headers))]
    click.echo(click.style("  ".join(h.ljust(w) for h, w in zip(headers, widths, strict=True)).rstrip(), bold=True))
    for row in cells:
        padded = (cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def verdict(word: str) -> str:
    """A verdict in its colour; the word itself says it too."""
    return click.style(word, fg=VERDICT_COLOURS.get(word))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def interactive() -> bool:
    return sys.stderr.isatty()


def size(count: int) -> str:
    """Bytes for people."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.1f} {units[0]}"


def seconds(value: float) -> str:
    """A duration for people."""
    if value < 1:
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"
