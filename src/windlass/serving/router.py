"""Which release a user gets: sticky, and growing with the candidate's weight."""

from __future__ import annotations

from hashlib import blake2b

from windlass.domain.routing import Arm, Route

_SPACE = 1 << 64


def share_of(salt: str, user: str) -> float:
    """Where a user stands in [0, 1) in a rollout: always the same place, another in each rollout."""
    return int.from_bytes(blake2b(user.encode(), key=salt.encode()[:64], digest_size=8).digest()) / _SPACE


def assign(route: Route, user: str) -> Arm:
    """The user's arm. A user below a weight is below any greater one: ramping up only adds users."""
    if route.candidate is None or route.weight <= 0:
        return Arm.STABLE
    if route.weight >= 1:
        return Arm.CANDIDATE
    return Arm.CANDIDATE if share_of(route.salt, user) < route.weight else Arm.STABLE


def user_hash(user: str) -> str:
    """What the log keeps of a user's key: enough to tell users apart, too little to read the key from the log."""
    return blake2b(user.encode(), digest_size=12, person=b"windlass-user").hexdigest()
