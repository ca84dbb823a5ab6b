"""Which release a user gets: sticky, and growing with the candidate's weight."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType

from windlass.domain.routing import Arm, Route, Rule

NO_HEADERS: Mapping[bytes, bytes] = MappingProxyType({})
_SPACE = 1 << 64


def share_of(salt: str, user: str) -> float:
    """Where a user stands in [0, 1) in a rollout: always the same place, another in each rollout."""
    return int.from_bytes(blake2b(user.encode(), key=salt.encode()[:64], digest_size=8).digest()) / _SPACE


def assign(route: Route, user: str, headers: Mapping[bytes, bytes] = NO_HEADERS) -> tuple[Arm, str]:
    """The user's arm, and its release. A user below a weight is below any greater one: ramping up only adds users."""
    for rule in route.rules:
        if _matches(rule, user, headers):
            return Arm.CHOSEN, rule.release
    if route.candidate is None or route.weight <= 0:
        return Arm.STABLE, route.stable
    if route.weight >= 1 or share_of(route.salt, user) < route.weight:
        return Arm.CANDIDATE, route.candidate
    return Arm.STABLE, route.stable


def _matches(rule: Rule, user: str, headers: Mapping[bytes, bytes]) -> bool:
    if rule.header:
        sent = headers.get(rule.header.encode())
        if sent is None or (rule.value and sent.decode("latin-1") != rule.value):
            return False
    # The rule's name spreads users as a rollout's salt does: two rules divide them independently.
    return rule.share >= 1 or share_of(rule.name, user) < rule.share


def user_hash(user: str) -> str:
    """What the log keeps of a user's key: enough to tell users apart, too little to read the key from the log."""
    return blake2b(user.encode(), digest_size=12, person=b"windlass-user").hexdigest()
