"""`windlass release`, `rollout`, `rollback`, `history`."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from windlass.cli.call import call
from windlass.cli.output import interactive, json_option, progress, seconds, show, table, verdict
from windlass.cli.simulating import simulate
from windlass.delivery.explain import Explanation
from windlass.delivery.history import Served
from windlass.delivery.rollback import RollbackResult
from windlass.delivery.rollouts import Rollout
from windlass.delivery.strategy import Phase
from windlass.domain import clock
from windlass.domain.clock import text_of
from windlass.domain.digest import short
from windlass.domain.states import ROLLOUT, RolloutState
from windlass.workspace.operations.endpoints import History
from windlass.workspace.operations.releases import (
    ListRollouts,
    MoveRollout,
    PlannedRollout,
    PlanRollout,
    PromoteRollout,
    Rollback,
    ShowRollout,
    StartRelease,
)

POLL_SECONDS = 0.3
STRATEGIES = ["progressive", "canary", "shadow", "blue-green"]
PRESETS = ["low", "medium", "high"]


def _steps(_: click.Context, __: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    """Percent of users, as people say it: 1,10,100."""
    if text is None:
        return None
    try:
        return tuple(float(part.strip().removesuffix("%")) / 100 for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"'{text}' is no list of percentages such as 1,10,100") from None


def _way(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say how a release takes over."""
    for option in (
        click.option("--steps", callback=_steps, metavar="LIST", help="A canary by percent of users, e.g. 1,10,100."),
        click.option("--preset", type=click.Choice(PRESETS), help="By how much harm a bad release could do."),
        click.option("--strategy", type=click.Choice(STRATEGIES), help="[default: as windlass.toml has it]"),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("reference")
@click.option("--to", metavar="ENDPOINT", help="The endpoint.  [default: the project's]")
@_way
@click.option("--reason", default="", help="Why, for the record.")
@click.option("--force", is_flag=True, help="Even if it was rolled back before; needs --reason.")
@click.option("--wait", is_flag=True, help="Stay until the rollout has ended.")
@json_option
def release(
    reference: str,
    to: str | None,
    strategy: str | None,
    preset: str | None,
    steps: tuple[float, ...] | None,
    reason: str,
    force: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Roll a version out to an endpoint; `windlass up` must run for it to move.

    The first release of an endpoint is blue-green; later ones take over as windlass.toml or the options have it.

    Refused (exit code 3) unless the version's gate passed and the approvals are there.

    \b
    Examples:
      windlass release employment@1.0.0 --to employment
      windlass release employment@1.1.0 --wait
      windlass release employment@1.2.0 --strategy canary
      windlass release employment@1.2.0 --preset high
      windlass release employment@1.2.0 --steps 1,10,100
    """
    request = StartRelease(
        reference=reference, to=to, strategy=strategy, preset=preset, steps=steps, force=force, reason=reason
    )
    rollout: Rollout = call("release.start", request)
    if wait:
        rollout = _until_ended(rollout)
    show(rollout, as_json, _describe)
    if not wait and not as_json:
        click.echo(f"it moves while `windlass up` runs; watch it: windlass rollout show {rollout.id[:8]}")


@click.group()
def rollout() -> None:
    """Plan, show, explain, hold, approve, promote or abort a rollout; ROLLOUT is by default the latest.

    \b
    Examples:
      windlass rollout ls
      windlass rollout show
      windlass rollout explain 7f3a2c
      windlass rollout pause --reason "maintenance"
    """


@rollout.command()
@click.option("--to", metavar="ENDPOINT", help="The endpoint.  [default: the project's]")
@_way
@json_option
def plan(
    to: str | None, strategy: str | None, preset: str | None, steps: tuple[float, ...] | None, as_json: bool
) -> None:
    """Show the phases that a release would go through, and change nothing.

    \b
    Examples:
      windlass rollout plan
      windlass rollout plan --preset high
      windlass rollout plan --steps 1,10,100
    """

    def text(found: PlannedRollout) -> None:
        click.echo(f"{found.endpoint}, {click.style(found.name, bold=True)}:")
        table(
            ["PHASE", "SHARE", "ENDS WHEN", ""],
            [
                (p.kind, f"{p.share:.0%}", _ends(p), "needs an approval first" if p.approval else "")
                for p in found.phases
            ],
        )
        if found.first:
            click.echo("nothing serves there yet: the first release takes over as soon as its worker is ready")

    show(call("rollout.plan", PlanRollout(to=to, strategy=strategy, preset=preset, steps=steps)), as_json, text)


def _ends(phase: Phase) -> str:
    """What has to be there before a phase is over, in words."""
    parts = [f"it fails at most {phase.margin:.1%} more often"] if phase.by_evidence else []
    if phase.users:
        parts.append(f"{phase.users:,} users were seen")
    if phase.seconds:
        parts.append(f"{seconds(phase.seconds)} have passed")
    return ", ".join(parts) or "at once"


@rollout.command()
@click.argument("endpoint", required=False)
@json_option
def ls(endpoint: str | None, as_json: bool) -> None:
    """List rollouts.

    \b
    Example:
      windlass rollout ls employment
    """

    def text(found: list[Rollout]) -> None:
        if not found:
            click.echo("no rollouts yet: `windlass release MODEL@VERSION`")
        table(
            ["ROLLOUT", "STARTED", "CANDIDATE", "STABLE", "STRATEGY", "STATE", "WHY"],
            [
                (
                    r.id[:8], text_of(r.started_at)[:19], r.candidate_reference, r.stable_reference, r.strategy,
                    verdict(r.state), r.verdict or r.reason,
                )
                for r in found
            ],
        )  # fmt: skip

    show(call("rollout.list", ListRollouts(endpoint=endpoint)), as_json, text)


@rollout.command(name="show")
@click.argument("rollout_id", metavar="[ROLLOUT]", required=False)
@click.option("--watch", is_flag=True, help="Stay until it has ended.")
@json_option
def show_(rollout_id: str | None, watch: bool, as_json: bool) -> None:
    """Show a rollout: each phase with its evidence and what was decided.

    \b
    Example:
      windlass rollout show --watch
    """
    found: Rollout = call("rollout.show", ShowRollout(rollout=rollout_id))
    show(_until_ended(found) if watch else found, as_json, _describe)


@rollout.command()
@click.argument("rollout_id", metavar="[ROLLOUT]", required=False)
@json_option
def explain(rollout_id: str | None, as_json: bool) -> None:
    """Recompute each decision from the prediction log and say whether it agrees; exit code 1 if it does not.

    \b
    Example:
      windlass rollout explain
    """

    def text(result: Explanation) -> None:
        _describe(result.rollout)
        click.echo("recomputed from the prediction log:")
        for step in result.steps:
            agrees = "agrees" if step.agrees else click.style("DIFFERS", fg="red", bold=True)
            decided = f"E safe {step.promote_e:.4g}: {step.decision} ({agrees})"
            click.echo(
                f"phase {step.recorded.phase}, {step.kind} {step.weight:.0%}: {step.requests:,} requests,"
                f" {step.users:,} users, {step.errors:,} failed; {decided}"
            )
            table(
                ["  SIGNAL", "USERS", "VALUE", "STABLE USERS", "VALUE", "E HARM", "LIMIT", "FINDING", ""],
                [
                    (
                        f"  {each.signal}", f"{each.users:,}", each.value, f"{each.stable_users:,}", each.stable_value,
                        each.e_value, each.limit, each.finding, each.note,
                    )
                    for each in step.signals
                ],
            )  # fmt: skip
        for note in result.notes:
            click.echo(note)
        if result.agrees:
            click.echo("every decision follows from the log as it was decided")
        else:
            click.echo(click.style("THIS IS NOT WHAT WAS DECIDED:", fg="red", bold=True))
            for difference in result.differences:
                click.echo(f"  {difference}")

    found: Explanation = call("rollout.explain", ShowRollout(rollout=rollout_id))
    show(found, as_json, text)
    if not found.agrees:
        click.get_current_context().exit(1)


def _mover(name: str, summary: str) -> click.Command:
    @click.command(name=name, help=f"{summary}\n\n\b\nExample:\n  windlass rollout {name} --reason REASON")
    @click.argument("rollout_id", metavar="[ROLLOUT]", required=False)
    @click.option("--reason", default="", help="Why, for the record.")
    @json_option
    def move(rollout_id: str | None, reason: str, as_json: bool) -> None:
        show(call(f"rollout.{name}", MoveRollout(rollout=rollout_id, reason=reason)), as_json, _describe)

    return move


rollout.add_command(simulate)
rollout.add_command(_mover("pause", "Hold a rollout where it is; a verdict of harm still rolls it back."))
rollout.add_command(_mover("resume", "Let a paused rollout go on."))
rollout.add_command(_mover("abort", "End a rollout: all traffic goes back to the stable release."))
rollout.add_command(_mover("approve", "Approve the phase that a rollout waits to enter; not for who released it."))


@rollout.command()
@click.argument("rollout_id", metavar="[ROLLOUT]", required=False)
@click.option("--full", is_flag=True, help="Straight to its end, past every phase that is left.")
@click.option("--reason", default="", help="Why, for the record.")
@json_option
def promote(rollout_id: str | None, full: bool, reason: str, as_json: bool) -> None:
    """Take a rollout to its next phase, whatever evidence is lacking; refused (exit code 3) where it is of harm.

    The ledger has it as done by hand. Where the phase asks for an approval, this is one, if you may give it.

    \b
    Examples:
      windlass rollout promote --reason "seen enough"
      windlass rollout promote 7f3a2c --full --reason "the stable release is broken"
    """
    request = PromoteRollout(rollout=rollout_id, full=full, reason=reason)
    show(call("rollout.promote", request), as_json, _describe)


@click.command()
@click.argument("endpoint", required=False)
@click.option("--to", metavar="VERSION", help="An older version.  [default: the last good release]")
@click.option("--partial", is_flag=True, help="Only take back the share of the rollout that is live.")
@click.option("--reason", default="", help="Why, for the record.")
@json_option
def rollback(endpoint: str | None, to: str | None, partial: bool, reason: str, as_json: bool) -> None:
    """Put an endpoint back to its last good release, whole or in part.

    The release must answer its golden rows before it takes traffic; if it does not, the one before is tried.

    \b
    Examples:
      windlass rollback employment
      windlass rollback employment --partial
      windlass rollback employment --to employment@1.0.0 --reason "incident 17"
    """

    def text(result: RollbackResult) -> None:
        checked = ", its golden rows checked" if result.revalidated else ""
        click.echo(
            f"{result.endpoint}: {result.from_reference} -> {click.style(result.to_reference, bold=True)}"
            f" in {seconds(result.seconds)}{checked}"
        )

    request = Rollback(endpoint=endpoint, to=to, partial=partial, reason=reason)
    show(call("endpoint.rollback", request), as_json, text)


@click.command()
@click.argument("endpoint", required=False)
@click.option("--at", metavar="TIME", help="What served at this time, e.g. 2026-11-20T15:04:05Z.")
@json_option
def history(endpoint: str | None, at: str | None, as_json: bool) -> None:
    """Say what served an endpoint, since when, and who or what put it there.

    \b
    Examples:
      windlass history employment
      windlass history employment --at 2026-11-20T15:04:05Z
    """

    def text(found: list[Served]) -> None:
        if not found:
            click.echo("nothing served there yet")
        table(
            ["SINCE", "VERSION", "RELEASE", "BY", "HOW", "WHY"],
            [(text_of(s.since), s.reference, short(s.release), s.actor, s.action, s.reason) for s in found],
        )

    show(call("endpoint.history", History(endpoint=endpoint, at=at)), as_json, text)


def _until_ended(found: Rollout) -> Rollout:
    said = ""
    while not ROLLOUT.ends(RolloutState(found.state)):
        line = _now(found)
        if line != said and interactive():
            progress(line)
        said = line
        time.sleep(POLL_SECONDS)
        found = call("rollout.show", ShowRollout(rollout=found.id))
    return found


def _now(found: Rollout) -> str:
    if not found.steps:
        return f"{found.candidate_reference}: {found.state}"
    step = found.steps[-1]
    where = f"{step.kind} {step.weight:.0%}, {step.requests} requests"
    return f"{found.candidate_reference}: {found.state}, {where}, {step.needed}"


def _describe(found: Rollout) -> None:
    stable = f" over {found.stable_reference}" if found.stable_reference else ""
    click.echo(
        f"rollout {click.style(found.id[:8], bold=True)}: {found.candidate_reference}{stable} at {found.endpoint},"
        f" {found.strategy}: {verdict(found.state)}"
    )
    if found.verdict:
        click.echo(f"  {found.verdict}")
    table(
        ["PHASE", "SHARE", "REQUESTS", "USERS", "E HARM", "E SAFE", "DECISION", ""],
        [
            (
                s.kind, f"{s.weight:.0%}", f"{s.requests:,}", f"{s.users:,}", s.e_value, s.promote_e,
                verdict(s.decision), f"by hand: {s.hand}" if s.hand else s.needed,
            )
            for s in found.steps
        ],
    )  # fmt: skip
    if found.awaiting is not None:
        click.echo(
            f"  phase {found.awaiting + 1}, {found.phases[found.awaiting].kind}, waits for somebody's approval:"
            f" windlass rollout approve {found.id[:8]}"
        )
    if found.ended_at is not None:
        took = seconds((found.ended_at - found.started_at) / clock.SECOND)
        click.echo(f"  ended {text_of(found.ended_at)[:19]} after {took}")
    if found.rollback_seconds is not None and found.steps:
        click.echo(f"  from the verdict to the last candidate answer: {seconds(found.rollback_seconds)}")
