"""`windlass rollout simulate`."""

from __future__ import annotations

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, seconds, show, table
from windlass.delivery.simulation import Outcome, Simulation
from windlass.workspace.operations.simulating import SimulateRollout


@click.command()
@click.option("--log", metavar="ENDPOINT", help="Draw the users from this endpoint's prediction log.")
@click.option("--rate", metavar="RATE", help="New users, such as 50/s, 600/min or 5000/h.  [default: 50/s]")
@click.option("--errors", type=float, metavar="SHARE", help="Of them the share that fails.  [default: 0.01]")
@click.option("--latency", "latency_ms", type=float, default=20.0, show_default=True, help="Median latency, in ms.")
@click.option("--labels", type=float, default=0.0, show_default=True, help="Share of answers that get a label.")
@click.option("--label-seconds", type=float, default=0.0, show_default=True, help="How late a label comes.")
@click.option("--disagree", type=float, default=0.0, show_default=True, help="Share of an innocent's other answers.")
@click.option("--fault", "faults", multiple=True, metavar="FAULT", help="A faulty candidate; may be repeated.")
@click.option("--strategy", metavar="STRATEGY", help="As of a release.  [default: the policy's phases]")
@click.option("--runs", type=int, default=500, show_default=True, help="Rollouts of each candidate.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same answer.")
@json_option
def simulate(
    log: str | None,
    rate: str | None,
    errors: float | None,
    latency_ms: float,
    labels: float,
    label_seconds: float,
    disagree: float,
    faults: tuple[str, ...],
    strategy: str | None,
    runs: int,
    seed: int,
    as_json: bool,
) -> None:
    """Say what the rollout policy of windlass.toml would do to an innocent candidate, and to faulty ones.

    A fault is errors=RATE, latency=TIMESx, quality=-SHARE or answers=+SHARE; with a comma several are one candidate.

    \b
    Examples:
      windlass rollout simulate --fault errors=0.02 --fault latency=2x
      windlass rollout simulate --rate 600/min --errors 0.005 --fault errors=0.01
      windlass rollout simulate --log employment --labels 0.5 --fault quality=-0.02
    """
    request = SimulateRollout(
        log=log, rate=rate, errors=errors, latency_ms=latency_ms, labels=labels, label_seconds=label_seconds,
        disagree=disagree, faults=faults, strategy=strategy, runs=runs, seed=seed,
    )  # fmt: skip
    show(call("rollout.simulate", request), as_json, _told)


def _told(found: Simulation) -> None:
    limits = ", ".join(f"{name} {limit:.4g}" for name, limit in found.limits.items())
    click.echo(f"{found.runs:,} rollouts of each candidate, {found.traffic}; seed {found.seed}")
    click.echo(f"alpha {found.alpha:g}; rolled back at evidence of: {limits}")
    click.echo()
    innocent = found.innocent
    click.echo(
        f"innocent: {innocent.share:.2%} rolled back ({innocent.low:.2%} to {innocent.high:.2%}),"
        f" {innocent.promoted / innocent.runs:.2%} promoted, in {_time(innocent.promoted_seconds)}"
    )
    _phases(innocent)
    if found.faults:
        click.echo()
        table(
            ["FAULT", "FOUND", "BETWEEN", "REQUESTS", "LABELS", "AFTER", "BY", "PROMOTED"],
            [
                (
                    each.fault, f"{each.share:.1%}", f"{each.low:.1%} and {each.high:.1%}",
                    _count(each.median_requests), _count(each.median_labels), _time(each.median_seconds),
                    ", ".join(each.by_signal), f"{each.promoted / each.runs:.1%}",
                )
                for each in found.faults
            ],
        )  # fmt: skip
        for each in found.faults:
            click.echo()
            click.echo(f"{each.fault}:")
            _phases(each)
        click.echo()
        click.echo("requests, labels and times are medians of what was found; requests are the candidate's")


def _phases(found: Outcome) -> None:
    table(
        ["  PHASE", "SHARE", "ENTERED", "ROLLED BACK", "NOT ENDED", "IN IT"],
        [
            (
                f"  {each.kind}", f"{each.weight:.0%}", f"{each.entered:,}", f"{each.rolled_back:,}",
                f"{each.stuck:,}", _time(each.median_seconds),
            )
            for each in found.phases
        ],
    )  # fmt: skip


def _count(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}"


def _time(value: float | None) -> str | None:
    return None if value is None else seconds(value)
