"""Webhooks, sent: what the ledger says becomes deliveries, and what is due goes out, one request a webhook at a time.

Requests are made in threads that touch nothing else, so that a slow receiver holds up no other; all that is written
down is written by the one thread that calls ``tick``. A webhook that is taken out of windlass.toml rests; put back, it
goes on where it stood.
"""

from __future__ import annotations

import logging
import os
import queue
import secrets
import threading
from collections.abc import Callable

from windlass.domain.errors import Failure
from windlass.governance.webhooks import deliveries, message, sending
from windlass.governance.webhooks.config import WebhookConfig
from windlass.governance.webhooks.deliveries import Claimed, Delivery, DeliveryState
from windlass.governance.webhooks.sending import Outcome
from windlass.workspace.workspace import Workspace

_log = logging.getLogger("windlass.webhooks")

# How long one tick waits for requests that are under way, before it looks again at what is due for others.
_PATIENCE_SECONDS = 0.2
# How many requests may end in one tick: a long queue for one webhook does not keep new entries from the others.
_AT_ONCE = 50


def identity() -> str:
    """A delivery's id."""
    return secrets.token_hex(8)


class Notifier:
    """What a control process knows of its requests under way: which webhooks have one, and those that ended."""

    def __init__(self, *, holder: str) -> None:
        self._holder = holder
        self._busy: set[str] = set()
        self._ended: queue.SimpleQueue[tuple[Claimed, Outcome]] = queue.SimpleQueue()

    def tick(self, ws: Workspace) -> None:
        """Read on in the ledger, send what is due, and write down what ended."""
        self._plan(ws)
        with ws.database.read() as tx:
            waiting = deliveries.waiting(tx, sorted(ws.config.webhooks), ws.now())
        for name in waiting:
            if name not in self._busy:
                self._next(ws, name)
        for _ in range(_AT_ONCE):
            if not self._busy:
                return
            try:
                claimed, outcome = self._ended.get(timeout=_PATIENCE_SECONDS)
            except queue.Empty:
                return
            self._busy.discard(claimed.webhook)
            self._settle(ws, claimed, outcome)
            if claimed.webhook in ws.config.webhooks:
                self._next(ws, claimed.webhook)

    def _plan(self, ws: Workspace) -> None:
        configured = ws.config.webhooks
        with ws.database.read() as tx:
            behind = deliveries.behind(tx, sorted(configured))
        while behind:
            with ws.database.write() as tx:
                deliveries.plan(tx, configured, new_id=identity, now=ws.now())
                behind = deliveries.behind(tx, sorted(configured))

    def _next(self, ws: Workspace, name: str) -> None:
        """Send the next of a webhook's deliveries, if one is due."""
        with ws.database.write() as tx:
            claimed = deliveries.claim(tx, name, holder=self._holder, now=ws.now())
        if claimed is None:
            return
        config, now, ours = ws.config.webhooks[name], ws.now, claimed
        self._busy.add(name)

        def go() -> None:
            try:
                outcome = send(config, ours, now)
            except Exception:  # noqa: BLE001 - whatever it is, the webhook must not stay busy for ever
                _log.exception("webhook %s", name)
                outcome = Outcome(status=None, error="the request could not be made: see the log", milliseconds=0)
            self._ended.put((ours, outcome))

        threading.Thread(target=go, name=f"webhook-{name}", daemon=True).start()

    def _settle(self, ws: Workspace, claimed: Claimed, outcome: Outcome) -> None:
        with ws.database.write() as tx:
            state = deliveries.settle(tx, claimed, outcome, chance=secrets.randbelow(1000) / 1000, now=ws.now())
        if state is DeliveryState.FAILED:
            _log.error("webhook %s: delivery %s failed for good: %s", claimed.webhook, claimed.id, outcome.error)
        elif outcome.error:
            _log.warning("webhook %s: delivery %s: %s", claimed.webhook, claimed.id, outcome.error)


def send(config: WebhookConfig, claimed: Claimed, now: Callable[[], int]) -> Outcome:
    """One attempt at a delivery."""
    entry = claimed.entry
    body = message.of_entry(entry, webhook=claimed.webhook, delivery=claimed.id)
    kind = message.kind(subject=entry.subject, action=entry.action)
    return _signed(config, body, delivery=claimed.id, kind=kind, at=now())


def ping(ws: Workspace, name: str) -> Delivery:
    """Send a test, once, now, and write down how it ended."""
    config, delivery, at = ws.config.webhooks[name], identity(), ws.now()
    body = message.of_ping(webhook=name, delivery=delivery, actor=ws.actor, at=at)
    outcome = _signed(config, body, delivery=delivery, kind=message.PING, at=at)
    with ws.database.write() as tx:
        return deliveries.tested(tx, delivery, name, outcome, at=at, now=ws.now())


def _signed(config: WebhookConfig, body: bytes, *, delivery: str, kind: str, at: int) -> Outcome:
    try:
        secret = message.secret(os.environ, config.secret_env)
    except Failure as error:
        return Outcome(status=None, error=error.message, milliseconds=0)
    headers = message.headers(body, delivery=delivery, kind=kind, secret=secret, at=at)
    return sending.post(config.url, body, headers, allow_private=config.allow_private)
