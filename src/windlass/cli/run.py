"""Runs a command and turns what went wrong into one clear message and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from windlass.domain.errors import (
    Conflict,
    Corrupt,
    Denied,
    Failure,
    Invalid,
    NotFound,
    Refused,
    Unavailable,
    WrongState,
)

EXIT_CODES: dict[type[Failure], int] = {
    Failure: 1,
    Conflict: 1,
    WrongState: 1,
    NotFound: 2,
    Invalid: 2,
    Denied: 3,
    Refused: 3,
    Corrupt: 4,
    Unavailable: 5,
}


def guarded(command: click.Command, args: Sequence[str]) -> int:
    """Run ``command``; returns its exit code. A failure is a message, a bug is a traceback."""
    try:
        return command.main(list(args), prog_name="windlass", standalone_mode=False) or 0
    except Failure as failure:
        report(failure)
        return next(EXIT_CODES[kind] for kind in type(failure).__mro__ if kind in EXIT_CODES)
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        # The reader of our output left (`| head`): not a failure, and nobody is there to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        report(Unavailable(f"{place}{error.strerror or error}", hint="check the path, its permissions and the disk"))
        return 5


def report(failure: Failure) -> None:
    """Print a failure on stderr: what is wrong, the evidence, what to do next."""
    click.echo(f"{click.style('error', fg='red', bold=True)}: {failure.message}", err=True)
    for line in failure.evidence if isinstance(failure, Refused) else ():
        click.echo(f"  - {line}", err=True)
    if failure.hint:
        click.echo(f"{click.style('next', bold=True)}: {failure.hint}", err=True)
