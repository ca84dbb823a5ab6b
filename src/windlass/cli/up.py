"""`windlass up`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from windlass.cli.output import progress

if TYPE_CHECKING:
    from windlass.delivery.workers import Wanted
    from windlass.workspace.workspace import Workspace


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Beyond the loopback once there is a token.")
@click.option("--allow-host", "names", multiple=True, metavar="NAME", help="A name that clients call the server by.")
@click.option(
    "--gateway-host", help="Beyond the loopback with TLS, and then every endpoint needs a key. [default: loopback]"
)
@click.option("--gateway-port", default=8800, show_default=True, help="0 takes a free one.")
@click.option("--control-port", default=8801, show_default=True, help="0 takes a free one.")
@click.option(
    "--gateways", type=click.IntRange(1, 32), help="Processes on that port. [default: gateway.processes, or 1]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the addresses as JSON, once ready.")
@click.pass_context
def up(
    ctx: click.Context,
    host: str,
    names: tuple[str, ...],
    gateway_host: str | None,
    gateway_port: int,
    control_port: int,
    gateways: int | None,
    as_json: bool,
) -> None:
    """Start gateway, workers and control process here and keep them running; Ctrl-C ends all in order.

    \b
    Examples:
      windlass up
      windlass up --gateway-port 0 --control-port 0 --json
      windlass up --host 0.0.0.0 --allow-host models.example.com
    """
    from windlass.server import supervisor  # noqa: PLC0415 - the server's weight is for this command alone
    from windlass.workspace import layout  # noqa: PLC0415
    from windlass.workspace.workspace import Workspace, current_actor  # noqa: PLC0415

    folder: Path = ctx.find_root().obj
    place = layout.find_or_here(folder.resolve())
    workspace = Workspace(place, actor=current_actor(), progress=progress)
    stop = supervisor.stop_on_signals()

    def ready(gateway_url: str, control_url: str) -> None:
        if as_json:
            sys.stdout.write(json.dumps({"gateway_url": gateway_url, "control_url": control_url}) + "\n")
            sys.stdout.flush()
        else:
            click.echo(f"gateway  {gateway_url}\nAPI      {control_url}/docs\nCtrl-C ends all")

    supervisor.supervise(
        place,
        host=host,
        names=names,
        gateway_host=gateway_host,
        gateway_port=gateway_port,
        control_port=control_port,
        gateway_processes=gateways,
        progress=progress,
        ready=ready,
        prepare=lambda wanted: _prepare(workspace, wanted),
        stop=stop,
    )


def _prepare(workspace: Workspace, wanted: Wanted) -> tuple[str, str]:
    from windlass.workspace.packages import prepare  # noqa: PLC0415 - not before gateway and control are started

    return prepare(workspace, wanted)
