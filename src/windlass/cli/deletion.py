"""What a deletion, or taking it back, means: said in the same words for whatever was deleted."""

from __future__ import annotations

import click

from windlass.domain.clock import text_of
from windlass.workspace.operations.deletion import Deleted


def deleted(result: Deleted) -> None:
    kind, _, name = result.thing.partition("/")
    command = {"run": f"windlass runs restore {name[:8]}", "version": f"windlass models restore {name}"}[kind]
    if result.restorable_until is None:
        click.echo(f"restored {kind} {click.style(name, bold=True)}")
        return
    until = text_of(result.restorable_until)[:19]
    click.echo(f"deleted {kind} {click.style(name, bold=True)}; restorable until {until}Z, when a purge may take it")
    click.echo(f"next: {command} takes it back; windlass purge --dry-run says what a purge would free")
