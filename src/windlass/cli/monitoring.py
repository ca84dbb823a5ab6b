"""`windlass labels`, `monitor`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, show, table, verdict
from windlass.domain.clock import text_of
from windlass.domain.errors import Invalid, NotFound
from windlass.monitoring.labels import LabelsAdded
from windlass.monitoring.monitor import MonitorStatus
from windlass.workspace.operations.monitoring import AddLabels, Label, ShowMonitor

BATCH = 10_000


@click.group()
def labels() -> None:
    """Add labels that arrived for answered predictions.

    \b
    Example:
      windlass labels add labels-2016.jsonl
    """


@labels.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--endpoint", help="The endpoint.  [default: the project's]")
@json_option
def add(file: Path, endpoint: str | None, as_json: bool) -> None:
    """Add the labels in FILE: JSON lines {"id": ..., "label": ...}, the id as the answer carried it.

    Labels may come late, twice or corrected; adding the same file again changes nothing.

    \b
    Example:
      windlass labels add labels-2016.jsonl
    """

    def text(result: LabelsAdded) -> None:
        click.echo(
            f"{result.added:,} added, {result.changed:,} corrected, {result.unchanged:,} as they were,"
            f" {result.unknown:,} of predictions not seen yet"
        )

    total = LabelsAdded(added=0, changed=0, unchanged=0, unknown=0)
    found = _read(file)
    for start in range(0, len(found), BATCH):
        part: LabelsAdded = call("labels.add", AddLabels(labels=tuple(found[start : start + BATCH]), endpoint=endpoint))
        total = LabelsAdded(
            added=total.added + part.added,
            changed=total.changed + part.changed,
            unchanged=total.unchanged + part.unchanged,
            unknown=total.unknown + part.unknown,
        )
    show(total, as_json, text)


def _read(file: Path) -> list[Label]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise NotFound(f"no file {file}", hint="give a file of JSON lines with id and label") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise Invalid(f"{file} is not a text file", hint="give a file of JSON lines with id and label") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            found.append(Label(id=str(row["id"]), label=row["label"]))
        except (ValueError, KeyError, TypeError):
            raise Invalid(f"{file}:{number}: not a label", hint='each line is {"id": "...", "label": ...}') from None
    return found


@click.command()
@click.argument("endpoint", required=False)
@json_option
def monitor(endpoint: str | None, as_json: bool) -> None:
    """Show an endpoint's drift, estimated and realised performance, alerts and retraining.

    \b
    Examples:
      windlass monitor
      windlass monitor employment --json
    """
    show(call("monitor.show", ShowMonitor(endpoint=endpoint)), as_json, describe)


def describe(status: MonitorStatus) -> None:
    click.echo(f"monitor of {click.style(status.endpoint, bold=True)}")
    if not status.windows:
        click.echo("  no window of predictions is full yet")
    table(
        ["UNTIL", "RELEASE", "ROWS", "DRIFTED", "ACCURACY (EST.)", "ACCURACY (REAL)", "LABELS"],
        [
            (
                text_of(w.last_at)[:19], w.release[3:15], f"{w.rows:,}", ", ".join(w.drifted) or "none",
                w.estimated_accuracy, w.realised_accuracy, f"{w.labels:,}",
            )
            for w in status.windows
        ],
    )  # fmt: skip
    for alert in status.alerts:
        click.echo(f"  alert {verdict(alert.state)}: {alert.column} since {text_of(alert.since)[:19]}  {alert.detail}")
    for each in status.retrainings:
        made = f" -> {each.reference}" if each.reference else ""
        click.echo(f"  retraining {each.id[:8]} {verdict(each.state)}{made}: {each.detail or each.cause}")
