"""What a receiver gets: the body of a transition, and the headers by which it knows whom it is from.

``X-Windlass-Signature`` is ``v1=`` and the hex HMAC-SHA256, by the webhook's secret, of the timestamp's text, a dot and
the body's bytes. docs/webhooks.md shows how to verify it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import quote

from windlass import __version__
from windlass.domain import clock, digest
from windlass.domain.clock import SECOND
from windlass.domain.errors import Invalid
from windlass.domain.ledger import Entry

FORMAT = 1
PING = "ping"
SHORTEST_SECRET = 16


def of_entry(entry: Entry, *, webhook: str, delivery: str) -> bytes:
    """The body of a transition: the same bytes at every attempt."""
    return digest.canonical(
        {
            "format": FORMAT,
            "delivery": delivery,
            "webhook": webhook,
            "event": entry.seq,
            "hash": entry.hash,
            "at": clock.text_of(entry.at),
            "action": entry.action,
            "subject": entry.subject,
            "before": entry.before,
            "after": entry.after,
            "actor": entry.actor,
            "reason": entry.reason,
            "evidence": entry.evidence,
        }
    )


def of_ping(*, webhook: str, delivery: str, actor: str, at: int) -> bytes:
    """The body of a test: no transition, so its event is 0 and it has no hash."""
    return digest.canonical(
        {
            "format": FORMAT,
            "delivery": delivery,
            "webhook": webhook,
            "event": 0,
            "hash": None,
            "at": clock.text_of(at),
            "action": PING,
            "subject": f"webhook/{webhook}",
            "before": None,
            "after": None,
            "actor": actor,
            "reason": "a test",
            "evidence": {},
        }
    )


def headers(body: bytes, *, delivery: str, kind: str, secret: str, at: int) -> dict[str, str]:
    """The headers of one attempt, made at the instant ``at``."""
    timestamp = str(at // SECOND)
    return {
        "Content-Type": "application/json",
        "User-Agent": f"windlass/{__version__}",
        "X-Windlass-Delivery": delivery,
        "X-Windlass-Event": quote(kind, safe=" :/@._-"),
        "X-Windlass-Timestamp": timestamp,
        "X-Windlass-Signature": signature(secret, timestamp, body),
    }


def kind(*, subject: str, action: str) -> str:
    """A transition in short, such as ``version:register``: receivers choose by it."""
    return f"{subject.partition('/')[0]}:{action}"


def signature(secret: str, timestamp: str, body: bytes) -> str:
    return "v1=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def secret(environ: Mapping[str, str], variable: str) -> str:
    """The webhook's secret.

    Raises:
        Invalid: there is none, or anybody could guess it: nothing is sent unsigned.
    """
    found = environ.get(variable, "")
    if len(found) < SHORTEST_SECRET:
        said = "is too short for a secret" if found else "is not set"
        raise Invalid(
            f"the environment variable {variable} {said}",
            hint=f"set it, where `windlass up` runs, to {SHORTEST_SECRET} characters or more that nobody can guess",
        )
    return found
