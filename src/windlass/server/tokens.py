"""Who is asking: a request's token against the table of tokens, without asking the database for each request."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from windlass.domain.clock import Clock
from windlass.domain.errors import Failure
from windlass.domain.ports import Database
from windlass.governance import tokens
from windlass.governance.tokens import Standing
from windlass.server.errors import Unauthenticated
from windlass.server.threads import Pool

# What a server knows of the table is at most this old, plus the time to read it: a revocation is in force within two
# seconds, and so is the first token.
KNOWN_SECONDS = 1.0
# For a token that is not known the table is read again, for it may be new; but so often at most, whoever guesses.
UNKNOWN_SECONDS = 0.1
LONGEST = 1000

# From a request's Authorization headers to the person, or None where nobody needs to say who they are.
Admit = Callable[[Sequence[bytes]], Awaitable[str | None]]


class People:
    """The people that a database's tokens name. Of one event loop; ``close`` ends its threads."""

    def __init__(self, db: Database, *, now: Clock, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._db, self._now, self._elapsed = db, now, elapsed
        self._pool = Pool("tokens", workers=2)
        self._standing = Standing(required=True, live={})
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._noted: dict[str, int] = {}
        self._noting: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        self._pool.close()

    async def admit(self, given: Sequence[bytes]) -> str | None:
        """Raises:
        Unauthenticated: there is no token in the headers, or none that is live.
        Unavailable: the database does not answer.
        """
        if self._elapsed() - self._read_at > KNOWN_SECONDS:
            await self._read()
        if not given and not self._standing.required:
            return None
        token = token_of(given)
        if token is None:
            if not self._standing.required:
                return None
            raise Unauthenticated("the request has no token", hint=HINT)
        digest = tokens.digest_of(token)
        found = self._standing.live.get(digest)
        if found is None:
            await asyncio.sleep(self._read_at + UNKNOWN_SECONDS - self._elapsed())
            await self._read()
            found = self._standing.live.get(digest)
        if found is None:
            if not self._standing.required:
                return None  # a token for another server, as clients send to any
            raise Unauthenticated("the request's token is not known, or was revoked", hint=HINT)
        self._note(digest, found.used)
        return found.name

    async def _read(self) -> None:
        # One reading for all that wait for it.
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read_now())
        await asyncio.shield(self._reading)

    async def _read_now(self) -> None:
        begun = self._elapsed()

        def read() -> Standing:
            with self._db.read() as tx:
                return tokens.standing(tx)

        self._standing = await self._pool.run(read)
        self._read_at = begun

    def _note(self, digest: str, used: int | None) -> None:
        at = self._now()
        if at - max(used or 0, self._noted.get(digest, 0)) < tokens.USED_EVERY_US:
            return
        self._noted[digest] = at

        async def note() -> None:
            with suppress(Failure):  # an answer does not depend on it
                await self._pool.run(lambda: tokens.used(self._db, digest, at))

        task = asyncio.get_running_loop().create_task(note())
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)


HINT = (
    "send it as Authorization: Bearer wl_..., or as the password of HTTP Basic; the windlass command reads"
    " WINDLASS_TOKEN, MLflow's client MLFLOW_TRACKING_TOKEN"
)


def only(token: str, person: str) -> Admit:
    """The one token of a server that lives as long as one run."""
    digest = tokens.digest_of(token)

    async def admit(given: Sequence[bytes]) -> str | None:
        found = token_of(given)
        if found is None or tokens.digest_of(found) != digest:
            raise Unauthenticated("the request has not the token of this run", hint="use MLflow's client as it is")
        return person

    return admit


def token_of(given: Sequence[bytes]) -> str | None:
    """The token of Authorization headers: a bearer's, or the password of HTTP Basic, whoever its user is.

    None: there is none, or more than one header.
    """
    if len(given) != 1 or len(given[0]) > LONGEST:
        return None
    scheme, _, rest = given[0].decode("latin-1").strip().partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer":
        return rest or None
    if scheme.lower() != "basic":
        return None
    try:
        _, colon, password = base64.b64decode(rest, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return password if colon and password else None
