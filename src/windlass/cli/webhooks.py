"""`windlass webhooks`: list, deliveries, test, redeliver."""

from __future__ import annotations

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, show, table, verdict
from windlass.domain.clock import text_of
from windlass.governance.webhooks.deliveries import Delivery
from windlass.workspace.operations.webhooks import ListDeliveries, ListWebhooks, Redeliver, SendTest, Webhook


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def webhooks(ctx: click.Context, as_json: bool) -> None:
    """Webhooks: transitions, told to other systems, as [webhooks.NAME] in windlass.toml says. `windlass up` sends them.

    Without a command: list them, and how their deliveries stand.

    \b
    Examples:
      windlass webhooks
      windlass webhooks test chat
      windlass webhooks deliveries chat
    """
    if ctx.invoked_subcommand is None:
        show(call("webhook.list", ListWebhooks()), as_json, _webhooks)


@webhooks.command()
@click.argument("name")
@click.option("--state", type=click.Choice(["pending", "delivered", "failed"]), help="Only these.")
@click.option("--limit", type=int, default=50, show_default=True, help="How many at most.")
@json_option
def deliveries(name: str, state: str | None, limit: int, as_json: bool) -> None:
    """List what was sent, and what will be, the newest first; --json has every attempt.

    \b
    Example:
      windlass webhooks deliveries chat --state failed
    """
    found = call("webhook.deliveries", ListDeliveries(name=name, state=state or "", limit=limit))
    show(found, as_json, _deliveries)


@webhooks.command()
@click.argument("name")
@json_option
def test(name: str, as_json: bool) -> None:
    """Send a test now, once; the secret is the one of this command's own environment.

    \b
    Example:
      windlass webhooks test chat
    """

    def text(done: Delivery) -> None:
        click.echo(f"{name} got the test: {done.attempts[-1].status} in {done.attempts[-1].milliseconds} ms")

    show(call("webhook.test", SendTest(name=name)), as_json, text)


@webhooks.command()
@click.argument("identity", metavar="ID")
@json_option
def redeliver(identity: str, as_json: bool) -> None:
    """Send a delivery again, by the same id: one that failed, or that its receiver lost.

    \b
    Example:
      windlass webhooks redeliver 3f9a0c5d7e1b2a48
    """

    def text(done: Delivery) -> None:
        click.echo(f"{done.id} ({done.action} {done.subject}) is sent again to {done.webhook}")
        click.echo(f"next: windlass webhooks deliveries {done.webhook}")

    show(call("webhook.redeliver", Redeliver(id=identity)), as_json, text)


def _webhooks(found: list[Webhook]) -> None:
    if not found:
        click.echo('no webhooks: add [webhooks.NAME] with url, events = ["*"] and secret_env to windlass.toml')
    table(
        ["WEBHOOK", "URL", "EVENTS", "PENDING", "DELIVERED", "FAILED"],
        [(each.name, each.url, ", ".join(each.events), each.pending, each.delivered, each.failed) for each in found],
    )
    for each in found:
        if each.secret:
            click.echo(f"{each.name}: {each.secret} here; it has to be where `windlass up` runs")


def _deliveries(found: list[Delivery]) -> None:
    if not found:
        click.echo("no deliveries")
    table(
        ["DELIVERY", "EVENT", "ACTION", "SUBJECT", "AT", "STATE", "ATTEMPTS", "STATUS", "NEXT", "ERROR"],
        [
            (
                each.id, each.event or "-", each.action, each.subject, _time(each.at), verdict(each.state),
                len(each.attempts), each.attempts[-1].status if each.attempts else None, _time(each.due),
                each.attempts[-1].error if each.attempts else "",
            )
            for each in found
        ],
    )  # fmt: skip


def _time(instant: int | None) -> str:
    return "-" if instant is None else text_of(instant)[:19]
