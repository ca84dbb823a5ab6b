"""Operations on the tokens by which people are known to the server."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from windlass.domain.errors import Denied
from windlass.governance import tokens
from windlass.governance.tokens import Token
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateToken:
    """``name``: the person who will ask with it."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedToken:
    """``token`` is told once and kept nowhere; ``created`` in us."""

    name: str
    token: str
    created: int


@operation("token.create")
def create(ws: Workspace, request: CreateToken) -> CreatedToken:
    """Make a person's token, and tell it once."""
    _known(ws)
    token, made = tokens.create(ws.database, name=request.name, actor=ws.actor, now=ws.now, entropy=secrets.token_bytes)
    return CreatedToken(name=made.name, token=token, created=made.created)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTokens:
    pass


@operation("token.list", reads_only=True)
def ls(ws: Workspace, _: ListTokens) -> list[Token]:
    """List tokens by their digests: whose, since when, when last used, when revoked."""
    with ws.database.read() as tx:
        return tokens.ls(tx)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeToken:
    name: str
    reason: str = ""


@operation("token.revoke")
def revoke(ws: Workspace, request: RevokeToken) -> Token:
    """End a person's token; every server refuses it within two seconds."""
    _known(ws)
    return tokens.revoke(ws.database, name=request.name, actor=ws.actor, reason=request.reason, now=ws.now)


def _known(ws: Workspace) -> None:
    """Over HTTP nobody makes himself known to a server that knows nobody.

    Raises:
        Denied: the request has no token.
    """
    if ws.remote and not ws.authenticated:
        raise Denied(
            "the request has no token, and so cannot make or revoke one",
            hint="make the first one on the server's own machine, in the project's folder: windlass token create NAME",
        )
