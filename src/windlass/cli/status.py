"""`windlass status`."""

from __future__ import annotations

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, show, table, verdict
from windlass.delivery.rollouts import Rollout
from windlass.domain.clock import text_of
from windlass.workspace.operations.endpoints import ShowStatus, Status


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show everything live at a glance.

    \b
    Examples:
      windlass status
      windlass status --json
    """
    show(call("status.show", ShowStatus()), as_json, _describe)


def _describe(found: Status) -> None:
    if found.up is None:
        click.echo(f"{found.project}: down; start it with `windlass up`")
    else:
        click.echo(f"{found.project}: up (process {found.up.pid})")
        click.echo(f"  gateway  {found.up.gateway_url}")
        click.echo(f"  API      {found.up.control_url}/docs")
    if not found.endpoints:
        click.echo("no endpoint serves yet: `windlass release MODEL@VERSION`")
    table(
        ["ENDPOINT", "SERVES", "SINCE", "ROLLOUT", "ALERTS"],
        [
            (
                each.endpoint,
                each.reference,
                text_of(each.since)[:19] if each.since else None,
                _rollout(each.rollout),
                ", ".join(
                    f"{alert.column} {verdict(alert.state)}"
                    for watched in found.monitors
                    if watched.endpoint == each.endpoint
                    for alert in watched.alerts
                    if alert.state != "resolved"
                )
                or "none",
            )
            for each in found.endpoints
        ],
    )
    for endpoint, losses in found.lost.items():
        why = f": {losses.error}" if losses.error else ""
        click.echo(f"prediction log of {endpoint}: {verdict('fail')}: {losses.dropped:,} answers not logged{why}")
    table(
        ["WORKER", "RELEASE", "NO", "STATE", "PID", "RESTARTS", "MEMORY", "CPU", ""],
        [
            (
                each.reference,
                each.release[3:15],
                each.number,
                verdict(each.state),
                each.pid,
                each.restarts,
                f"{each.rss_bytes / (1 << 20):.0f} MB" if each.rss_bytes else None,
                f"{each.cpu_seconds:.0f} s" if each.cpu_seconds else None,
                each.error,
            )
            for each in found.workers
        ],
    )
    if len(found.gateways) > 1:
        table(
            ["GATEWAY", "STATE", "PID", "RESTARTS", "ROUTES", ""],
            [
                (each.name, verdict(each.state), each.pid, each.restarts, each.acknowledged or None, each.error)
                for each in found.gateways
            ],
        )


def _rollout(rollout: Rollout | None) -> str:
    if rollout is None:
        return "none"
    step = rollout.steps[-1] if rollout.steps else None
    where = f", {step.kind} {step.weight:.0%}" if step else ""
    return f"{rollout.candidate_reference} {verdict(rollout.state)}{where}"
