"""`windlass key` and `windlass rule`: who may call an endpoint, and whom a rule gives which release."""

from __future__ import annotations

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, show, table
from windlass.delivery.keys import Key
from windlass.delivery.rules import EndpointRule
from windlass.domain.clock import text_of
from windlass.workspace.operations.access import (
    AddRule,
    CreatedKey,
    CreateKey,
    ListKeys,
    ListRules,
    RemoveRule,
    RevokedKey,
    RevokeKey,
)

endpoint_option = click.option("--endpoint", default=None, help="The endpoint.  [default: the project's]")


@click.group()
def key() -> None:
    """API keys: once an endpoint has one, every request for a prediction needs one.

    \b
    Examples:
      windlass key create billing
      windlass key ls
      windlass key revoke billing
    """


@key.command("create")
@click.argument("name")
@endpoint_option
@json_option
def create_key(name: str, endpoint: str | None, as_json: bool) -> None:
    """Make a key and print it, once: only its digest is kept.

    \b
    Example:
      windlass key create billing
    """

    def text(made: CreatedKey) -> None:
        click.echo(made.key)
        click.echo(f"a key of {made.endpoint}: it is shown this once. Send it as: authorization: Bearer KEY", err=True)
        if not made.live:
            click.echo("the gateway is not up: it knows the key as soon as it is", err=True)

    show(call("key.create", CreateKey(name=name, endpoint=endpoint)), as_json, text)


@key.command("ls")
@click.option("--endpoint", default=None, help="Of one endpoint only.")
@json_option
def list_keys(endpoint: str | None, as_json: bool) -> None:
    """List keys: of which endpoint, since when, when revoked.

    \b
    Example:
      windlass key ls
    """
    show(call("key.list", ListKeys(endpoint=endpoint)), as_json, _keys)


@key.command("revoke")
@click.argument("name")
@endpoint_option
@click.option("--reason", default="", help="Why, for the ledger.")
@json_option
def revoke_key(name: str, endpoint: str | None, reason: str, as_json: bool) -> None:
    """End a key: the gateways refuse it when this returns.

    \b
    Example:
      windlass key revoke billing --reason "it was in a log"
    """

    def text(done: RevokedKey) -> None:
        click.echo(f"key '{done.name}' of {done.endpoint} is revoked")
        if not done.refused:
            click.echo("a gateway was not reached: it refuses the key as soon as it is", err=True)

    show(call("key.revoke", RevokeKey(name=name, endpoint=endpoint, reason=reason)), as_json, text)


@click.group()
def rule() -> None:
    """Rules: who carries a header, or a share of the users, gets a release of their own.

    \b
    Examples:
      windlass rule add testers --header x-tester
      windlass rule add half --share 0.5 --to employment@1.2.0
      windlass rule ls
    """


@rule.command("add")
@click.argument("name")
@click.option("--to", default="candidate", show_default=True, help="MODEL@VERSION, or what is on trial.")
@click.option("--header", default="", help="A header that the request must carry.")
@click.option("--value", default="", help="The value that it must have.  [default: any]")
@click.option("--share", type=float, default=1.0, show_default=True, help="The part of users whom it takes.")
@endpoint_option
@click.option("--reason", default="", help="Why, for the ledger.")
@json_option
def add_rule(
    name: str, to: str, header: str, value: str, share: float, endpoint: str | None, reason: str, as_json: bool
) -> None:
    """Add a rule after those that are there; the first that matches decides.

    Whom a rule takes is no evidence in a rollout. If the rule's release fails, the stable one answers.

    \b
    Example:
      windlass rule add testers --header x-tester --value yes
    """
    asked = AddRule(name=name, to=to, header=header, value=value, share=share, endpoint=endpoint, reason=reason)
    show(call("rule.add", asked), as_json, lambda made: _rules([made]))


@rule.command("ls")
@click.option("--endpoint", default=None, help="Of one endpoint only.")
@json_option
def list_rules(endpoint: str | None, as_json: bool) -> None:
    """List rules in the order in which they are asked.

    \b
    Example:
      windlass rule ls
    """
    show(call("rule.list", ListRules(endpoint=endpoint)), as_json, _rules)


@rule.command("rm")
@click.argument("name")
@endpoint_option
@click.option("--reason", default="", help="Why, for the ledger.")
@json_option
def remove_rule(name: str, endpoint: str | None, reason: str, as_json: bool) -> None:
    """Take a rule away: its users are treated as all others again.

    \b
    Example:
      windlass rule rm testers
    """

    def text(gone: EndpointRule) -> None:
        click.echo(f"rule '{gone.name}' of {gone.endpoint} is gone")

    show(call("rule.remove", RemoveRule(name=name, endpoint=endpoint, reason=reason)), as_json, text)


def _keys(found: list[Key]) -> None:
    if not found:
        click.echo("no keys: the endpoints answer everybody who reaches the gateway")
        return
    table(
        ["ENDPOINT", "NAME", "DIGEST", "CREATED", "REVOKED"],
        [(each.endpoint, each.name, each.digest[:12], _time(each.created), _time(each.revoked)) for each in found],
    )


def _rules(found: list[EndpointRule]) -> None:
    if not found:
        click.echo("no rules: users are divided by the rollout alone")
        return
    table(
        ["ENDPOINT", "NAME", "WHO", "TO", "NOW"],
        [(each.endpoint, each.name, _who(each), each.to, "live" if each.live else "waits") for each in found],
    )


def _who(rule: EndpointRule) -> str:
    header = f"{rule.header}: {rule.value or '*'}" if rule.header else ""
    share = f"{rule.share:.4g} of the users" if rule.share < 1 else ""
    return ", ".join(part for part in (header, share) if part)


def _time(instant: int | None) -> str:
    return "-" if instant is None else text_of(instant)[:19]
