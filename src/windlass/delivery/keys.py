"""API keys of endpoints: who may ask for predictions.

Of a key only the digest is kept (``domain.credentials``). The digests travel with the routes, so that gateways ask
nobody, and a revoked key is refused from the next table on. Once an endpoint had a key, it stays closed to those
without one: revoking the last one opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from windlass.delivery import routing
from windlass.domain import credentials, ledger, names
from windlass.domain.clock import Clock
from windlass.domain.errors import Conflict, NotFound
from windlass.domain.ports import Database, Transaction

PREFIX = "wlk_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as it stands: times in us. ``digest``: SHA-256, in hex."""

    endpoint: str
    name: str
    digest: str
    created: int
    revoked: int | None


def create(
    db: Database, *, endpoint: str, name: str, actor: str, now: Clock, entropy: Callable[[int], bytes]
) -> tuple[str, Key]:
    """Make a key; returns it, to be shown once, and what is kept of it. ``entropy`` gives random bytes.

    Raises:
        Invalid: the name is none.
        Conflict: the endpoint has a live key of that name.
    """
    names.checked(endpoint, "endpoint name")
    names.checked(name, "key name")
    key = credentials.make(PREFIX, entropy)
    with db.write() as tx:
        if _live(tx, endpoint, name):
            raise Conflict(
                f"{endpoint} has a key '{name}' already",
                hint=f"choose another name, or revoke it: windlass key revoke {endpoint} {name}",
            )
        digest = credentials.digest_of(key.encode())
        made = Key(endpoint=endpoint, name=name, digest=digest, created=now(), revoked=None)
        tx.execute(
            "INSERT INTO endpoint_keys (digest, endpoint, name, created) VALUES (?, ?, ?, ?)",
            (digest, endpoint, name, made.created),
        )
        _record(tx, made, "create", None, f"sha256:{digest}", actor, "key created", made.created)
        routing.republish(tx, endpoint)
    return key, made


def revoke(db: Database, *, endpoint: str, name: str, actor: str, reason: str, now: Clock) -> Key:
    """End a key: gateways refuse it as soon as they have the next table.

    Raises:
        NotFound: the endpoint has no live key of that name.
    """
    with db.write() as tx:
        found = _live(tx, endpoint, name)
        if found is None:
            raise NotFound(
                f"{endpoint[:80]} has no key '{name[:80]}' that could be revoked", hint="list them: windlass key ls"
            )
        at = now()
        tx.execute("UPDATE endpoint_keys SET revoked = ? WHERE digest = ?", (at, found.digest))
        _record(tx, found, "revoke", f"sha256:{found.digest}", None, actor, reason or "key revoked", at)
        routing.republish(tx, endpoint)
        return replace(found, revoked=at)


def ls(tx: Transaction, endpoint: str | None = None) -> list[Key]:
    """Every key that there ever was, the live ones first; of one endpoint if named."""
    where, params = ("WHERE endpoint = ?", (endpoint,)) if endpoint else ("", ())
    rows = tx.rows(
        f"SELECT endpoint, name, digest, created, revoked FROM endpoint_keys {where}"
        " ORDER BY CASE WHEN revoked IS NULL THEN 0 ELSE 1 END, endpoint, name, created",
        params,
    )
    return [Key(**row) for row in rows]


def _live(tx: Transaction, endpoint: str, name: str) -> Key | None:
    row = tx.row(
        "SELECT endpoint, name, digest, created, revoked FROM endpoint_keys"
        " WHERE endpoint = ? AND name = ? AND revoked IS NULL",
        (endpoint, name),
    )
    return Key(**row) if row else None


def _record(
    tx: Transaction, key: Key, action: str, before: str | None, after: str | None, actor: str, reason: str, at: int
) -> None:
    ledger.transition(
        tx,
        subject=f"key/{key.endpoint}/{key.name}",
        action=action,
        before=before,
        after=after,
        actor=actor,
        reason=reason,
        at=at,
    )
