"""What has to be delivered, and how far that is: the ledger is the outbox, and each webhook has a place in it.

A delivery is one row for a webhook and a ledger entry, made in the transaction that moves the webhook's place: none is
missed and none is made twice. It is *sent* at least once: whoever holds a row's lease sends it, and one that ended
between sending and writing so down leaves a lease that runs out, and the same delivery, by the same id, is sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from windlass.domain import ledger
from windlass.domain.clock import SECOND
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.ledger import Entry
from windlass.domain.ports import Row, Transaction
from windlass.domain.states import Machine
from windlass.governance.webhooks import matching, retrying
from windlass.governance.webhooks.config import WebhookConfig
from windlass.governance.webhooks.message import PING
from windlass.governance.webhooks.sending import Outcome

# An attempt ends well within it.
LEASE_SECONDS = 60
_READ_AT_ONCE = 500
_UNKNOWN = "it is not known how this attempt ended"


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class DeliveryEvent(StrEnum):
    SUCCEED = "succeed"
    RETRY = "retry"
    GIVE_UP = "give_up"
    REDELIVER = "redeliver"


DELIVERY: Machine[DeliveryState, DeliveryEvent] = Machine(
    "delivery",
    {
        (DeliveryState.PENDING, DeliveryEvent.SUCCEED): DeliveryState.DELIVERED,
        (DeliveryState.PENDING, DeliveryEvent.RETRY): DeliveryState.PENDING,
        (DeliveryState.PENDING, DeliveryEvent.GIVE_UP): DeliveryState.FAILED,
        (DeliveryState.PENDING, DeliveryEvent.REDELIVER): DeliveryState.PENDING,
        (DeliveryState.DELIVERED, DeliveryEvent.REDELIVER): DeliveryState.PENDING,
        (DeliveryState.FAILED, DeliveryEvent.REDELIVER): DeliveryState.PENDING,
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """``milliseconds`` is None while it goes on, and if whoever made it ended before it did."""

    attempt: int
    at: int
    status: int | None
    milliseconds: int | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """``event`` is the ledger entry's number, 0 for a test; ``due`` is when it is sent next (us), None once ended."""

    id: str
    webhook: str
    event: int
    action: str
    subject: str
    state: DeliveryState
    at: int
    due: int | None
    ended_at: int | None
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A delivery that is ours to send, once."""

    id: str
    webhook: str
    entry: Entry
    attempt: int
    holder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a webhook stands: its place in the ledger, None before it is first seen, and how many deliveries there are
    in each state.
    """

    position: int | None
    counts: Mapping[str, int]


def behind(tx: Transaction, names: Sequence[str]) -> bool:
    """Whether the ledger has entries that one of the webhooks has not read, or one is new."""
    last = _last(tx)
    places = _places(tx)
    return any(places.get(name, -1) < last for name in names)


def plan(
    tx: Transaction, configured: Mapping[str, WebhookConfig], *, new_id: Callable[[], str], now: int
) -> list[Delivery]:
    """Read on in the ledger for every webhook, and make a delivery of each entry that it is to be told of.

    A new webhook begins now. Of a long ledger only a part is read at once: go on for as long as it is ``behind``.
    """
    last, places = _last(tx), _places(tx)
    made: list[str] = []
    for name, config in configured.items():
        if name not in places:
            tx.execute("INSERT INTO webhooks (name, position) VALUES (?, ?)", (name, last))
            continue
        read = ledger.following(tx, places[name], limit=_READ_AT_ONCE)
        for entry in read:
            if matching.fits(config.events, subject=entry.subject, action=entry.action):
                identity = new_id()
                tx.execute(
                    "INSERT INTO webhook_deliveries"
                    " (id, webhook, seq, state, attempts, remaining, due, holder, until, at)"
                    " VALUES (?, ?, ?, ?, 0, ?, ?, '', 0, ?)",
                    (identity, name, entry.seq, DeliveryState.PENDING, retrying.ATTEMPTS, now, now),
                )
                made.append(identity)
        if read:
            tx.execute("UPDATE webhooks SET position = ? WHERE name = ?", (read[-1].seq, name))
    return [find(tx, identity) for identity in made]


def waiting(tx: Transaction, names: Sequence[str], now: int) -> list[str]:
    """The webhooks that have something to send now, which nobody is sending."""
    rows = tx.rows(
        "SELECT DISTINCT webhook FROM webhook_deliveries WHERE state = ? AND due <= ? AND until <= ?",
        (DeliveryState.PENDING, now, now),
    )
    found = {row["webhook"] for row in rows}
    return [name for name in names if name in found]


def claim(tx: Transaction, webhook: str, *, holder: str, now: int) -> Claimed | None:
    """Take the next delivery of a webhook that is due and that nobody holds; it is ours for LEASE_SECONDS."""
    while True:
        row = tx.row(
            "SELECT * FROM webhook_deliveries WHERE webhook = ? AND state = ? AND due <= ? AND until <= ?"
            " ORDER BY due, seq LIMIT 1",
            (webhook, DeliveryState.PENDING, now, now),
        )
        if row is None:
            return None
        if row["remaining"] < 1:
            # Whoever made the last attempt has gone, and did not say how it ended.
            _end(tx, row["id"], DELIVERY.next(DeliveryState.PENDING, DeliveryEvent.GIVE_UP), now)
            continue
        attempt = row["attempts"] + 1
        tx.execute(
            "UPDATE webhook_deliveries SET attempts = ?, remaining = remaining - 1, holder = ?, until = ? WHERE id = ?",
            (attempt, holder, now + LEASE_SECONDS * SECOND, row["id"]),
        )
        _attempted(tx, row["id"], attempt, now, Outcome(status=None, error=_UNKNOWN, milliseconds=0), ended=False)
        [entry] = ledger.following(tx, row["seq"] - 1, limit=1)
        return Claimed(id=row["id"], webhook=webhook, entry=entry, attempt=attempt, holder=holder)


def settle(tx: Transaction, claimed: Claimed, outcome: Outcome, *, chance: float, now: int) -> DeliveryState | None:
    """Write down how an attempt ended; ``chance`` in [0, 1) spreads the next one. None: it is not ours any more."""
    row = tx.row(
        "SELECT * FROM webhook_deliveries WHERE id = ? AND state = ? AND holder = ? AND attempts = ?",
        (claimed.id, DeliveryState.PENDING, claimed.holder, claimed.attempt),
    )
    if row is None:
        return None
    tx.execute(
        "UPDATE webhook_attempts SET status = ?, milliseconds = ?, error = ? WHERE delivery = ? AND attempt = ?",
        (outcome.status, outcome.milliseconds, outcome.error, claimed.id, claimed.attempt),
    )
    if not outcome.error:
        event = DeliveryEvent.SUCCEED
    else:
        event = DeliveryEvent.RETRY if row["remaining"] > 0 else DeliveryEvent.GIVE_UP
    state = DELIVERY.next(DeliveryState.PENDING, event)
    if state is DeliveryState.PENDING:
        due = now + retrying.pause(retrying.ATTEMPTS - row["remaining"], chance)
        tx.execute("UPDATE webhook_deliveries SET due = ?, holder = '', until = 0 WHERE id = ?", (due, claimed.id))
    else:
        _end(tx, claimed.id, state, now)
    return state


def redeliver(tx: Transaction, identity: str, *, now: int) -> Delivery:
    """Send a delivery again, by the same id, with all its attempts.

    Raises:
        NotFound: there is no such delivery.
        Invalid: it was a test.
    """
    found = find(tx, identity)
    if found.event == 0:
        raise Invalid(
            f"delivery {identity} was a test", hint=f"send another one: windlass webhooks test {found.webhook}"
        )
    tx.execute(
        "UPDATE webhook_deliveries SET state = ?, remaining = ?, due = ?, ended_at = NULL WHERE id = ?",
        (DELIVERY.next(found.state, DeliveryEvent.REDELIVER), retrying.ATTEMPTS, now, identity),
    )
    return find(tx, identity)


def tested(tx: Transaction, identity: str, webhook: str, outcome: Outcome, *, at: int, now: int) -> Delivery:
    """Write down a test: it is sent once, from ``at`` to ``now``, and is of no ledger entry."""
    state = DELIVERY.next(DeliveryState.PENDING, DeliveryEvent.GIVE_UP if outcome.error else DeliveryEvent.SUCCEED)
    tx.execute(
        "INSERT INTO webhook_deliveries"
        " (id, webhook, seq, state, attempts, remaining, due, holder, until, at, ended_at)"
        " VALUES (?, ?, NULL, ?, 1, 0, ?, '', 0, ?, ?)",
        (identity, webhook, state, at, at, now),
    )
    _attempted(tx, identity, 1, at, outcome)
    return find(tx, identity)


def find(tx: Transaction, identity: str) -> Delivery:
    """One delivery.

    Raises:
        NotFound: there is none of this id.
    """
    row = tx.row(f"{_SELECT} WHERE d.id = ?", (identity,))
    if row is None:
        raise NotFound(f"no delivery '{identity[:80]}'", hint="`windlass webhooks deliveries NAME` lists them")
    return _delivery(tx, row)


def ls(tx: Transaction, webhook: str, *, state: DeliveryState | None, limit: int) -> list[Delivery]:
    """The latest deliveries of a webhook, the newest first; of one state, or of all."""
    states = [state] if state else list(DeliveryState)
    rows = tx.rows(
        f"{_SELECT} WHERE d.webhook = ? AND d.state IN ({', '.join('?' for _ in states)})"
        " ORDER BY d.at DESC, d.seq DESC LIMIT ?",
        (webhook, *states, limit),
    )
    return [_delivery(tx, row) for row in rows]


def standing(tx: Transaction, webhook: str) -> Standing:
    """How a webhook stands."""
    rows = tx.rows(
        "SELECT state, COUNT(*) AS number FROM webhook_deliveries WHERE webhook = ? GROUP BY state", (webhook,)
    )
    return Standing(position=_places(tx).get(webhook), counts={row["state"]: row["number"] for row in rows})


_SELECT = (
    "SELECT d.id, d.webhook, d.seq, d.state, d.due, d.at, d.ended_at, l.action, l.subject"
    " FROM webhook_deliveries d LEFT JOIN ledger l ON l.seq = d.seq"
)


def _delivery(tx: Transaction, row: Row) -> Delivery:
    attempts = tx.rows(
        "SELECT attempt, at, status, milliseconds, error FROM webhook_attempts WHERE delivery = ? ORDER BY attempt",
        (row["id"],),
    )
    return Delivery(
        id=row["id"],
        webhook=row["webhook"],
        event=row["seq"] or 0,
        action=row["action"] or PING,
        subject=row["subject"] or f"webhook/{row['webhook']}",
        state=DeliveryState(row["state"]),
        at=row["at"],
        due=row["due"] if row["state"] == DeliveryState.PENDING else None,
        ended_at=row["ended_at"],
        attempts=tuple(Attempt(**attempt) for attempt in attempts),
    )


def _attempted(tx: Transaction, identity: str, attempt: int, at: int, outcome: Outcome, *, ended: bool = True) -> None:
    tx.execute(
        "INSERT INTO webhook_attempts (delivery, attempt, at, status, milliseconds, error) VALUES (?, ?, ?, ?, ?, ?)",
        (identity, attempt, at, outcome.status, outcome.milliseconds if ended else None, outcome.error),
    )


def _end(tx: Transaction, identity: str, state: DeliveryState, now: int) -> None:
    tx.execute(
        "UPDATE webhook_deliveries SET state = ?, ended_at = ?, holder = '', until = 0 WHERE id = ?",
        (state, now, identity),
    )


def _last(tx: Transaction) -> int:
    row = tx.row("SELECT COALESCE(MAX(seq), 0) AS last FROM ledger")
    return int(row["last"]) if row else 0


def _places(tx: Transaction) -> dict[str, int]:
    return {row["name"]: int(row["position"]) for row in tx.rows("SELECT name, position FROM webhooks")}
