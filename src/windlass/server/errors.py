"""Errors as HTTP sees them: one table from type to status, and one form of body."""

from __future__ import annotations

from typing import Any

from windlass.domain.errors import (
    Conflict,
    Corrupt,
    Denied,
    Failure,
    Invalid,
    NotFound,
    Refused,
    Unavailable,
    WrongState,
)


class TooLarge(Invalid):
    """A request beyond the server's limit."""


class Unauthenticated(Denied):
    """A request that does not say whose it is."""


class Encoded(Invalid):
    """A body in an encoding that is not decoded here."""


class Busy(Unavailable):
    """More is asked for at once than the server will queue."""


STATUS: dict[type[Failure], int] = {
    TooLarge: 413,
    Encoded: 415,
    Unauthenticated: 401,
    NotFound: 404,
    Conflict: 409,
    Invalid: 422,
    WrongState: 409,
    Denied: 403,
    Refused: 409,
    Corrupt: 500,
    Unavailable: 503,
    Failure: 500,
}


def status_of(error: Failure) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def body_of(error: Failure) -> dict[str, Any]:
    """``{"error": {"kind", "message", "hint", "evidence"?}}``."""
    body: dict[str, Any] = {"kind": error.kind, "message": error.message, "hint": error.hint}
    if isinstance(error, Refused):
        body["evidence"] = list(error.evidence)
    return {"error": body}


def headers_of(error: Failure) -> dict[str, str]:
    """What an answer says beside its body."""
    if isinstance(error, Unauthenticated):
        # A browser asks for a name and a password on the second; a client that has a token knows the first.
        return {"www-authenticate": 'Bearer realm="windlass", Basic realm="windlass", charset="UTF-8"'}
    return {}


def unforeseen() -> Failure:
    """What a caller learns of an error that is a fault of ours: nothing of its inside."""
    return Failure(
        "something went wrong inside the server",
        hint="its log (.windlass/logs/control.log) has the details; please report it",
    )
