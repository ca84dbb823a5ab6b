"""`windlass schedule`: ls, pause, resume, run."""

from __future__ import annotations

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, show, table, verdict
from windlass.domain.clock import text_of
from windlass.pipelines.schedules import Schedule
from windlass.workspace.operations.schedules import Fired, FireSchedule, ListSchedules, PauseSchedule


@click.group()
def schedule() -> None:
    """Runs of the pipeline by the clock, as [schedules.NAME] in windlass.toml says. `windlass up` fires them.

    \b
    Examples:
      windlass schedule ls
      windlass schedule pause nightly
    """


@schedule.command()
@json_option
def ls(as_json: bool) -> None:
    """List the schedules with their last and next fire (UTC).

    \b
    Example:
      windlass schedule ls --json
    """
    show(call("schedule.list", ListSchedules()), as_json, _table)


@schedule.command()
@click.argument("name")
@json_option
def pause(name: str, as_json: bool) -> None:
    """Let a schedule rest.

    \b
    Example:
      windlass schedule pause nightly
    """
    show(call("schedule.pause", PauseSchedule(name=name)), as_json, _table)


@schedule.command()
@click.argument("name")
@json_option
def resume(name: str, as_json: bool) -> None:
    """Let a schedule go on; what it missed is not caught up with.

    \b
    Example:
      windlass schedule resume nightly
    """
    show(call("schedule.pause", PauseSchedule(name=name, paused=False)), as_json, _table)


@schedule.command()
@click.argument("name")
@json_option
def run(name: str, as_json: bool) -> None:
    """Fire a schedule now.

    \b
    Example:
      windlass schedule run nightly
    """

    def text(result: Fired) -> None:
        click.echo(f"{result.name} ran: run {result.run[:8]}")
        click.echo(f"next: windlass runs show {result.run[:8]}")

    show(call("schedule.run", FireSchedule(name=name)), as_json, text)


def _table(found: list[Schedule]) -> None:
    if not found:
        click.echo('no schedules: add [schedules.nightly] with cron = "0 2 * * *" to windlass.toml')
    table(
        ["SCHEDULE", "CRON", "NEXT", "LAST", "STATE", "RUN", "ERROR"],
        [
            (
                each.name, each.cron, "paused" if each.paused else _time(each.next), _time(each.last),
                verdict(each.last_state), each.last_run[:8], each.last_error,
            )
            for each in found
        ],
    )  # fmt: skip


def _time(instant: int | None) -> str:
    return "-" if instant is None else text_of(instant)[:19]
