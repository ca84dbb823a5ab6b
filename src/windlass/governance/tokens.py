"""Tokens: by which a person is known to the server.

Of a token only the digest is kept (``domain.credentials``).

Once a token was made, every request needs one for good: revoking the last one opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from windlass.domain import credentials, ledger
from windlass.domain.clock import Clock
from windlass.domain.errors import Conflict, Invalid, NotFound
from windlass.domain.ports import Database, Transaction

PREFIX = "wl_"
RESERVED = "windlass"  # who acts when nobody asked: the control process's own loops
USED_EVERY_US = 60_000_000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token as it stands: times in us; ``used`` is up to a minute behind. ``digest``: SHA-256, in hex."""

    name: str
    digest: str
    created: int
    used: int | None
    revoked: int | None


def digest_of(token: str) -> str:
    return credentials.digest_of(token.encode("utf-8", "surrogateescape"))


def create(
    db: Database, *, name: str, actor: str, now: Clock, entropy: Callable[[int], bytes]
) -> tuple[str, Token]:  # fmt: skip
    """Make a person's token; returns it, to be shown once, and what is kept of it. ``entropy`` gives random bytes.

    Raises:
        Invalid: the name is none of a person.
        Conflict: the person has a live token.
    """
    checked_person(name)
    token = credentials.make(PREFIX, entropy)
    with db.write() as tx:
        if _live_one(tx, name):
            raise Conflict(f"{name} has a token already", hint=f"revoke it first: windlass token revoke {name}")
        made = Token(name=name, digest=digest_of(token), created=now(), used=None, revoked=None)
        tx.execute("INSERT INTO tokens (digest, name, created) VALUES (?, ?, ?)", (made.digest, name, made.created))
        ledger.transition(
            tx,
            subject=f"token/{name}",
            action="create",
            before=None,
            after=f"sha256:{made.digest}",
            actor=actor,
            reason="token created",
            at=made.created,
        )
    return token, made


def revoke(db: Database, *, name: str, actor: str, reason: str, now: Clock) -> Token:
    """End a person's token.

    Raises:
        NotFound: the person has no live token.
    """
    with db.write() as tx:
        found = _live_one(tx, name)
        if found is None:
            raise NotFound(f"{name[:80]} has no token that could be revoked", hint="list them: windlass token ls")
        at = now()
        tx.execute("UPDATE tokens SET revoked = ? WHERE digest = ?", (at, found.digest))
        ledger.transition(
            tx,
            subject=f"token/{name}",
            action="revoke",
            before=f"sha256:{found.digest}",
            after=None,
            actor=actor,
            reason=reason or "token revoked",
            at=at,
        )
        return Token(name=name, digest=found.digest, created=found.created, used=found.used, revoked=at)


def ls(tx: Transaction) -> list[Token]:
    """Every token that there ever was, the live ones first."""
    rows = tx.rows(
        "SELECT name, digest, created, used, revoked FROM tokens"
        " ORDER BY CASE WHEN revoked IS NULL THEN 0 ELSE 1 END, name, created"
    )
    return [Token(**row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a server must know to look at a request. ``required``: whether there ever was a token."""

    required: bool
    live: Mapping[str, Token]


def standing(tx: Transaction) -> Standing:
    """The live tokens by digest."""
    rows = tx.rows("SELECT name, digest, created, used, revoked FROM tokens WHERE revoked IS NULL")
    live = {row["digest"]: Token(**row) for row in rows}
    return Standing(required=bool(live) or tx.row("SELECT 1 AS one FROM tokens LIMIT 1") is not None, live=live)


def anybody(db: Database) -> bool:
    """Whether there is a live token: somebody could say who they are."""
    with db.read() as tx:
        return bool(standing(tx).live)


def used(db: Database, digest: str, at: int) -> None:
    """Note that a token was used; nothing is written if that was noted within the last minute."""
    with db.write() as tx:
        tx.execute(
            "UPDATE tokens SET used = ? WHERE digest = ? AND (used IS NULL OR used <= ?)",
            (at, digest, at - USED_EVERY_US),
        )


def checked_person(name: str) -> str:
    """``name`` if a person may have it.

    Raises:
        Invalid: it may not.
    """
    if not _NAME.fullmatch(name) or name == RESERVED:
        raise Invalid(
            f"'{name[:80]}' is not a person's name",
            hint="use up to 64 letters, digits, '.', '_', '@', '+' or '-', as in ada or ada@example.com",
        )
    return name


def _live_one(tx: Transaction, name: str) -> Token | None:
    row = tx.row("SELECT name, digest, created, used, revoked FROM tokens WHERE name = ? AND revoked IS NULL", (name,))
    return Token(**row) if row else None
