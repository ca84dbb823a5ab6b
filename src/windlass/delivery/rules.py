"""Rules of endpoints: who carries a header, or stands within a share of the users, gets a release of its own.

Testers see a candidate before anybody else; two models are served side by side under one URL. Whom a rule takes is
no evidence in a rollout: chance did not choose them. A release that a rule names and that fails is answered for by the
stable one, as a candidate is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass

from windlass.delivery import routing, workers
from windlass.delivery.routing import CANDIDATE
from windlass.domain import ledger, names
from windlass.domain.clock import Clock
from windlass.domain.errors import Conflict, Invalid, NotFound
from windlass.domain.ports import Database, Transaction

_HEADER = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRule:
    """A rule as it stands. ``to`` is MODEL@VERSION, or "candidate"; ``live``: it takes users now."""

    endpoint: str
    name: str
    to: str
    header: str
    value: str
    share: float
    at: int
    live: bool


def checked(*, endpoint: str, name: str, header: str, value: str, share: float) -> None:
    """
    Raises:
        Invalid: the rule would take nobody, or everybody, or names no header.
    """
    names.checked(endpoint, "endpoint name")
    names.checked(name, "rule name")
    if header and not _HEADER.fullmatch(header):
        raise Invalid(f"'{header[:80]}' is no header", hint="use letters, digits and '-', such as x-tester")
    if value and not header:
        raise Invalid("a value without a header", hint="name the header: --header x-tester")
    if not (value.isascii() and value.isprintable() and len(value) <= 256):
        raise Invalid("the header's value is not up to 256 printable ASCII characters", hint="choose a plainer one")
    if not 0 < share <= 1:
        raise Invalid(f"{share} is no share of the users", hint="use a number above 0, at most 1")
    if not header and share == 1:
        raise Invalid("the rule would take everybody", hint="give it a --header or a --share; or release the version")


def add(
    db: Database,
    *,
    endpoint: str,
    name: str,
    header: str,
    value: str,
    share: float,
    admit: Callable[[Transaction, int], str] | None,
    actor: str,
    reason: str,
    now: Clock,
) -> EndpointRule:
    """Put a rule after those that are there. ``admit`` lets its release be served, in the transaction and at the time
    that it is given, and returns its id; None: the rule is for the candidate.

    Raises:
        Conflict: the endpoint has a rule of that name.
        Invalid: as ``checked``.
        NotFound: the endpoint serves nothing.
    """
    checked(endpoint=endpoint, name=name, header=header, value=value, share=share)
    with db.write() as tx:
        if tx.row("SELECT name FROM endpoint_rules WHERE endpoint = ? AND name = ?", (endpoint, name)):
            raise Conflict(
                f"{endpoint} has a rule '{name}' already", hint=f"remove it first: windlass rule rm {endpoint} {name}"
            )
        if endpoint not in routing.current(tx).table.routes:
            raise NotFound(f"endpoint '{endpoint}' serves nothing", hint="release a version to it first")
        at = now()
        release = CANDIDATE if admit is None else admit(tx, at)
        tx.execute(
            "INSERT INTO endpoint_rules (endpoint, name, release, header, value, share, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (endpoint, name, release, header, value, share, at),
        )
        routing.republish(tx, endpoint)
        made = _of(tx, endpoint, name)
        ledger.transition(
            tx, subject=f"rule/{endpoint}/{name}", action="add", before=None, after=release, actor=actor,
            reason=reason or "rule added", at=at, evidence=asdict(made),
        )  # fmt: skip
        return made


def remove(db: Database, *, endpoint: str, name: str, actor: str, reason: str, now: Clock) -> EndpointRule:
    """Take a rule away; a release that only it needed is drained and ended.

    Raises:
        NotFound: no such rule.
    """
    with db.write() as tx:
        found = _of(tx, endpoint, name)
        row = tx.row("SELECT release FROM endpoint_rules WHERE endpoint = ? AND name = ?", (endpoint, name))
        assert row is not None
        tx.execute("DELETE FROM endpoint_rules WHERE endpoint = ? AND name = ?", (endpoint, name))
        routing.republish(tx, endpoint)
        if row["release"] != CANDIDATE and not routing.needed(tx, row["release"]):
            workers.unwant(tx, row["release"])
        ledger.transition(
            tx, subject=f"rule/{endpoint}/{name}", action="remove", before=row["release"], after=None, actor=actor,
            reason=reason or "rule removed", at=now(),
        )  # fmt: skip
        return found


def ls(tx: Transaction, endpoint: str | None = None) -> list[EndpointRule]:
    """The rules in the order in which they are asked; of one endpoint if named."""
    where, params = ("WHERE e.endpoint = ?", (endpoint,)) if endpoint else ("", ())
    rows = tx.rows(
        "SELECT e.endpoint, e.name, e.release, e.header, e.value, e.share, e.at, r.reference FROM endpoint_rules e"
        f" LEFT JOIN releases r ON r.id = e.release {where} ORDER BY e.endpoint, e.at, e.name",
        params,
    )
    routes = routing.current(tx).table.routes
    return [
        EndpointRule(
            endpoint=row["endpoint"], name=row["name"], to=row["reference"] or row["release"], header=row["header"],
            value=row["value"], share=row["share"], at=row["at"],
            live=row["endpoint"] in routes and any(each.name == row["name"] for each in routes[row["endpoint"]].rules),
        )
        for row in rows
    ]  # fmt: skip


def _of(tx: Transaction, endpoint: str, name: str) -> EndpointRule:
    for each in ls(tx, endpoint):
        if each.name == name:
            return each
    raise NotFound(f"{endpoint[:80]} has no rule '{name[:80]}'", hint=f"see `windlass rule ls {endpoint[:80]}`")
