"""Operations on the webhooks of windlass.toml."""

from __future__ import annotations

import os
from dataclasses import dataclass

from windlass.domain.errors import Failure, Invalid, NotFound, Unavailable
from windlass.governance.webhooks import addresses, deliveries, message
from windlass.governance.webhooks.deliveries import Delivery, DeliveryState
from windlass.workspace import notifying
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace

_MOST = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook as it stands. ``url`` without its path and query, which may hold a secret; ``secret``: what is wrong
    with the secret where this runs, empty if nothing; ``position``: the last ledger entry that it has read, None before
    the control process has seen it.
    """

    name: str
    url: str
    events: tuple[str, ...]
    allow_private: bool
    secret: str
    position: int | None
    pending: int
    delivered: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListWebhooks:
    pass


@operation("webhook.list", reads_only=True)
def ls(ws: Workspace, _: ListWebhooks) -> list[Webhook]:
    """List the webhooks, how far each has read the ledger, and how its deliveries stand."""
    found = []
    with ws.database.read() as tx:
        for name, config in sorted(ws.config.webhooks.items()):
            standing = deliveries.standing(tx, name)
            found.append(
                Webhook(
                    name=name,
                    url=addresses.parsed(config.url).shown,
                    events=config.events,
                    allow_private=config.allow_private,
                    secret=_trouble(config.secret_env),
                    position=standing.position,
                    pending=standing.counts.get(DeliveryState.PENDING, 0),
                    delivered=standing.counts.get(DeliveryState.DELIVERED, 0),
                    failed=standing.counts.get(DeliveryState.FAILED, 0),
                )
            )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ListDeliveries:
    """``state``: pending, delivered or failed; empty means all."""

    name: str
    state: str = ""
    limit: int = 50


@operation("webhook.deliveries", reads_only=True)
def list_deliveries(ws: Workspace, request: ListDeliveries) -> list[Delivery]:
    """List a webhook's latest deliveries with every attempt, the newest first."""
    if request.state and request.state not in set(DeliveryState):
        raise Invalid(f"'{request.state[:80]}' is no state of a delivery", hint=f"use {', '.join(DeliveryState)}")
    if not 1 <= request.limit <= _MOST:
        raise Invalid(f"limit is {request.limit}", hint=f"use 1 to {_MOST}")
    state = DeliveryState(request.state) if request.state else None
    with ws.database.read() as tx:
        found = deliveries.ls(tx, request.name, state=state, limit=request.limit)
    if not found:
        _known(ws, request.name)  # one that is configured no more still has its log
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SendTest:
    name: str


@operation("webhook.test")
def test(ws: Workspace, request: SendTest) -> Delivery:
    """Send a test to a webhook now, once."""
    _known(ws, request.name)
    done = notifying.ping(ws, request.name)
    error = done.attempts[-1].error
    if error:
        raise Unavailable(
            f"webhook '{request.name}' did not get the test: {error}",
            hint=f"see docs/webhooks.md; the log: windlass webhooks deliveries {request.name}",
        )
    return done


@dataclass(frozen=True, slots=True, kw_only=True)
class Redeliver:
    id: str


@operation("webhook.redeliver")
def redeliver(ws: Workspace, request: Redeliver) -> Delivery:
    """Send a delivery again, by the same id, as soon as the control process runs."""
    with ws.database.write() as tx:
        _known(ws, deliveries.find(tx, request.id).webhook)
        return deliveries.redeliver(tx, request.id, now=ws.now())


def _known(ws: Workspace, name: str) -> None:
    if name not in ws.config.webhooks:
        raise NotFound(
            f"windlass.toml has no webhook '{name[:80]}' (it has: {', '.join(ws.config.webhooks) or 'none'})",
            hint='add to windlass.toml: [webhooks.NAME] with url, events = ["*"] and secret_env',
        )


def _trouble(variable: str) -> str:
    try:
        message.secret(os.environ, variable)
    except Failure as error:
        return error.message
    return ""
