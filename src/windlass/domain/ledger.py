"""The ledger: the hash-chained, append-only record of every transition.

A *subject* is a name that moves (``endpoint/employment``, ``alias/employment/champion``,
``rollout/7f3a…``, ``snapshot/acs@2``), a *head* is what it points at now. ``transition`` is the only function
that moves one: it writes the entry and the head in the caller's transaction, so that no name ever moves
without its record, and no record exists of a move that did not happen.

Chain (format 1): ``hash(n) = b3(canonical(entry n without its hash))``; each entry holds the hash of the one
before, the first holds ``GENESIS``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from windlass.domain import digest
from windlass.domain.errors import Conflict, Corrupt
from windlass.domain.ports import Row, Transaction

FORMAT = 1
GENESIS = "b3:" + "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One transition: ``subject`` went from ``before`` to ``after``; None means it did not, or no longer, exist."""

    seq: int
    at: int
    actor: str
    action: str
    subject: str
    before: str | None
    after: str | None
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    previous: str
    hash: str = ""


def sealed(entry: Entry) -> Entry:
    """The entry with its hash."""
    body = {"format": FORMAT, **asdict(entry)}
    del body["hash"]
    return replace(entry, hash=digest.of(body))


def transition(
    tx: Transaction,
    *,
    subject: str,
    action: str,
    before: str | None,
    after: str | None,
    actor: str,
    reason: str,
    at: int,
    evidence: Mapping[str, Any] | None = None,
) -> Entry:
    """Move ``subject`` from ``before`` to ``after`` and record it, in the caller's write transaction.

    Raises:
        Conflict: the subject does not stand at ``before``.
    """
    head = tx.row("SELECT target FROM heads WHERE subject = ?", (subject,))
    current = head["target"] if head else None
    if current != before:
        raise Conflict(
            f"{subject} stands at {current or 'nothing'}, not at {before or 'nothing'}",
            hint="it moved meanwhile: look again, then retry",
        )
    last = tx.row("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1")
    entry = sealed(
        Entry(
            seq=(last["seq"] + 1) if last else 1,
            at=at,
            actor=actor,
            action=action,
            subject=subject,
            before=before,
            after=after,
            reason=reason,
            evidence=dict(evidence or {}),
            previous=last["hash"] if last else GENESIS,
        )
    )
    tx.execute(
        "INSERT INTO ledger (seq, at, actor, action, subject, before, after, reason, evidence, previous, hash)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.seq, entry.at, entry.actor, entry.action, entry.subject, entry.before, entry.after,
            entry.reason, digest.canonical(entry.evidence).decode(), entry.previous, entry.hash,
        ),
    )  # fmt: skip
    tx.execute(
        "INSERT INTO heads (subject, target, seq) VALUES (?, ?, ?)"
        " ON CONFLICT (subject) DO UPDATE SET target = excluded.target, seq = excluded.seq",
        (subject, after, entry.seq),
    )
    return entry


def head(tx: Transaction, subject: str) -> str | None:
    """What a name points at now."""
    row = tx.row("SELECT target FROM heads WHERE subject = ?", (subject,))
    return row["target"] if row else None


def entries(tx: Transaction, *, subject: str | None = None, until: int | None = None) -> list[Entry]:
    """The entries in order; of one subject, or up to an instant."""
    where: list[str] = ["1 = 1"]
    params: list[Any] = []
    if subject is not None:
        where.append("subject = ?")
        params.append(subject)
    if until is not None:
        where.append("at <= ?")
        params.append(until)
    rows = tx.rows(f"SELECT * FROM ledger WHERE {' AND '.join(where)} ORDER BY seq", params)
    return [entry_of(row) for row in rows]


def following(tx: Transaction, seq: int, *, limit: int) -> list[Entry]:
    """The next entries after one, in order; 0 starts at the beginning."""
    rows = tx.rows("SELECT * FROM ledger WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit))
    return [entry_of(row) for row in rows]


def entry_of(row: Row) -> Entry:
    return Entry(**{**row, "evidence": json.loads(row["evidence"])})


def verify(chain: Iterable[Entry], heads: Mapping[str, str | None]) -> int:
    """Walk a whole chain and hold the heads against it; returns how many entries it has.

    Raises:
        Corrupt: an entry was changed, removed, added or reordered, or a head moved without an entry.
    """
    previous, replayed, count = GENESIS, dict[str, str | None](), 0
    for count, entry in enumerate(chain, start=1):
        if entry.seq != count or entry.previous != previous:
            raise Corrupt(
                f"ledger entry {entry.seq} does not follow the one before it",
                hint="an entry was removed, added or reordered: restore the database from a backup",
                expected=previous,
                actual=entry.previous,
            )
        expected = sealed(entry).hash
        if entry.hash != expected:
            raise Corrupt(
                f"ledger entry {entry.seq} ({entry.action} {entry.subject}) was changed after it was written",
                hint="restore the database from a backup",
                expected=entry.hash,
                actual=expected,
            )
        if replayed.get(entry.subject) != entry.before:
            raise Corrupt(f"ledger entry {entry.seq} starts from a state {entry.subject} was not in")
        replayed[entry.subject] = entry.after
        previous = entry.hash
    if replayed != dict(heads):
        moved = sorted(s for s in {*replayed, *heads} if replayed.get(s) != heads.get(s))
        raise Corrupt(
            f"{', '.join(moved[:5])}: moved without a ledger entry",
            hint="restore the database from a backup",
        )
    return count
