"""Errors in MLflow's form: one table from type to its code and status."""

from __future__ import annotations

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
from windlass.server.errors import Encoded, TooLarge, Unauthenticated


class Unserved(Failure):
    """A call of MLflow's protocol that is not served."""


class NoSuchCall(Failure):
    """Nothing of MLflow's protocol."""


class WrongMethod(Failure):
    """A call of MLflow's protocol, by another method."""


CODES: dict[type[Failure], tuple[str, int]] = {
    Unserved: ("NOT_IMPLEMENTED", 501),
    NoSuchCall: ("ENDPOINT_NOT_FOUND", 404),
    WrongMethod: ("BAD_REQUEST", 405),
    TooLarge: ("INVALID_PARAMETER_VALUE", 413),
    Encoded: ("BAD_REQUEST", 415),
    Unauthenticated: ("UNAUTHENTICATED", 401),
    NotFound: ("RESOURCE_DOES_NOT_EXIST", 404),
    Conflict: ("RESOURCE_ALREADY_EXISTS", 400),
    Invalid: ("INVALID_PARAMETER_VALUE", 400),
    WrongState: ("INVALID_STATE", 500),
    Denied: ("PERMISSION_DENIED", 403),
    Refused: ("PERMISSION_DENIED", 403),
    Corrupt: ("INTERNAL_ERROR", 500),
    Unavailable: ("TEMPORARILY_UNAVAILABLE", 503),
    Failure: ("INTERNAL_ERROR", 500),
}


def described(error: Failure) -> tuple[dict[str, str], int]:
    """A failure as MLflow's body and status."""
    code, status = next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    if isinstance(error, Refused) and error.evidence:
        message += "".join(f"\n- {line}" for line in error.evidence)
    return {"error_code": code, "message": message}, status
