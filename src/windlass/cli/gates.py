"""`windlass gate`, `approve`."""

from __future__ import annotations

from pathlib import Path

import click

from windlass.cli.call import call
from windlass.cli.output import json_option, seconds, show, table, verdict
from windlass.domain.digest import short
from windlass.domain.errors import Refused
from windlass.domain.evidence import CheckResult, Verdict
from windlass.governance.approvals import Approval
from windlass.workspace.operations.gates import Approve, Gated, RunGate, ShowGate


@click.command()
@click.argument("reference")
@click.option("--show", "stored", is_flag=True, help="Show the latest report instead of checking again.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write the report as a page.")
@json_option
def gate(reference: str, stored: bool, html: Path | None, as_json: bool) -> None:
    """Check a version against the policy in windlass.toml and store the report.

    Exit code 3 when the verdict is not pass.

    \b
    Examples:
      windlass gate employment@1.0.0
      windlass gate employment@1.0.0 --show --html report.html
    """
    result: Gated = (
        call("gate.show", ShowGate(reference=reference)) if stored else call("gate.run", RunGate(reference=reference))
    )
    if html is not None:
        html.write_text(call("gate.html", ShowGate(reference=result.reference)), encoding="utf-8")
    show(result, as_json, _describe)
    if result.verdict is not Verdict.PASS and not stored:
        raise Refused(
            f"the gate of {result.reference} says {result.verdict}",
            hint=f"see the whole report: windlass gate {result.reference} --show --html report.html",
            evidence=[f"{r.name}: {r.summary}" for r in result.results if r.blocking and r.verdict is not Verdict.PASS],
        )


@click.command()
@click.argument("reference")
@click.option("--reason", default="", help="Why, for the record.")
@json_option
def approve(reference: str, reason: str, as_json: bool) -> None:
    """Approve the latest gate report of a version; who registered it may not.

    With [gates] approval_group in windlass.toml, only people of that group of [groups] may.

    \b
    Examples:
      windlass approve employment@1.0.0 --reason "reviewed with the fairness board"
      WINDLASS_ACTOR=alex windlass approve employment@1.0.0
    """

    def text(result: Approval) -> None:
        click.echo(f"{result.actor} approved {result.reference} on report {short(result.report)}")
        click.echo(f"next: windlass release {result.reference}")

    show(call("gate.approve", Approve(reference=reference, reason=reason)), as_json, text)


def _describe(result: Gated) -> None:
    click.echo(f"gate of {click.style(result.reference, bold=True)}: {verdict(result.verdict)}"
               f"  ({seconds(result.seconds)}, report {short(result.report)})")  # fmt: skip
    table(
        ["FAMILY", "CHECK", "VERDICT", "VALUE", "INTERVAL", "LIMIT", "N", ""],
        [
            (
                r.family,
                r.name, verdict(r.verdict) + ("" if r.blocking else " *"), r.value, _interval(r),
                r.threshold, f"{r.n:,}" if r.n else None, r.summary,
            )
            for r in result.results
        ],
    )  # fmt: skip
    if any(not r.blocking for r in result.results):
        click.echo("* reported for the approver; does not decide the gate")
    for given in result.approvals:
        click.echo(f"approved by {given.actor}{f': {given.reason}' if given.reason else ''}")
    if result.verdict is Verdict.PASS and result.missing:
        who = f", by {result.missing} of '{result.group}'" if result.group else ""
        click.echo(f"next: windlass approve {result.reference}{who}")


def _interval(result: CheckResult) -> str | None:
    if result.low is None and result.high is None:
        return None
    low = "" if result.low is None else f"{result.low:.4g}"
    high = "" if result.high is None else f"{result.high:.4g}"
    return f"{low} .. {high}"
