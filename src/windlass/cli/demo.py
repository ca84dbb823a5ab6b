"""`windlass demo`."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click

from windlass.demo.story import tell
from windlass.demo.timeline import Timeline
from windlass.demo.tour import Tour
from windlass.domain.errors import Invalid


@click.command()
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path, file_okay=False), help="An empty folder.  [default: a new one]"
)
@click.option("--keep-serving", is_flag=True, help="Leave everything up at the end, for exploring.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def demo(folder: Path | None, keep_serving: bool, as_json: bool) -> None:
    """Watch a model go from data to production and back, on real census data; takes about two minutes.

    \b
    Examples:
      windlass demo
      windlass demo --dir /tmp/demo --keep-serving
      windlass demo --json
    """
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="windlass-demo-"))
    elif folder.exists() and next(folder.iterdir(), None) is not None:
        raise Invalid(f"{folder} is not empty", hint="give a folder that does not exist yet")
    timeline = Timeline()
    tour = Tour(folder=folder.resolve(), timeline=timeline)
    done = False
    try:
        with timeline:
            summary = tell(tour)
        done = True
    finally:
        if not (keep_serving and done):
            tour.down()
    if as_json:
        click.echo(json.dumps(summary, indent=2))
    else:
        _show(summary, tour if keep_serving else None)


def _show(summary: dict[str, Any], serving: Tour | None) -> None:
    folder = summary["folder"]
    ended = [each["end_state"].replace("_", " ") for each in summary["rollouts"]]
    versions = ", ".join(each["semver"] for each in summary["versions"])
    click.echo()
    click.secho(f"What was proved, in {summary['seconds']:.0f} s", bold=True)
    for line in (
        f"versions {versions}; rollouts: {', '.join(ended)}",
        f"{summary['requests']:,} requests of users, {summary['failed_user_requests']} failed",
        f"a harmful release left traffic {1000 * summary['rollback_seconds']:.0f} ms after the verdict",
        f"drift found in {', '.join(summary['drifted_columns'])}; retraining {summary['retraining']['state']}",
        f"employment@1.1.0 rebuilt: {'identical' if summary['reproduced'] else 'different'}",
        f"ledger, digests and lineage: {'intact' if summary['ledger_verified'] else 'damaged'}",
    ):
        click.echo(f"  {line}")
    click.secho("What to try next", bold=True)
    # The demo has a database of its own, whichever the shell is set to.
    windlass = f"{'WINDLASS_DATABASE= ' if os.environ.get('WINDLASS_DATABASE') else ''}windlass --project {folder}"
    for command in ("status", "rollout ls", "lineage employment@1.1.0", "history employment", "runs"):
        click.echo(f"  {windlass} {command}")
    if serving is not None and serving.server is not None:
        click.echo(f"  {serving.control_url}/docs is up; end it with: kill {serving.server.pid}")
    else:
        click.echo(f"  {windlass} up")
