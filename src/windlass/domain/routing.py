"""Routes: the immutable table that a gateway serves by. The revision only grows; it is the fence of every push."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

TABLE_FORMAT = 2


class Arm(StrEnum):
    STABLE = "stable"
    CANDIDATE = "candidate"
    CHOSEN = "chosen"  # by a rule, not by chance: no evidence for or against a candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Who matches is answered by ``release`` and by no other. ``header`` and ``value`` (empty: any) are what a request
    has to carry; ``share`` is the part of users that the rule takes, 0 to 1, each user always or never."""

    name: str
    release: str
    header: str = ""
    value: str = ""
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint's traffic. ``weight`` is the candidate's share of users, 0 to 1; ``shadow`` mirrors every
    request to the candidate without using its answer. ``salt`` is the rollout's: it spreads users afresh.
    ``timeout_ms`` is how long a user waits at most. Of ``rules`` the first that matches decides. ``keys`` are the
    SHA-256 of the API keys that open the endpoint, by which name each was given; None: it is open to all."""

    stable: str
    candidate: str | None = None
    weight: float = 0.0
    shadow: bool = False
    salt: str = ""
    rollout: str | None = None
    timeout_ms: int = 2000
    rules: tuple[Rule, ...] = ()
    keys: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """``routes`` by endpoint; ``sockets`` the Unix sockets of each release's workers."""

    revision: int
    routes: Mapping[str, Route] = field(default_factory=dict)
    sockets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    format: int = TABLE_FORMAT


def releases_of(route: Route) -> set[str]:
    """Every release that a request on the route may be sent to."""
    return {release for release in (route.stable, route.candidate, *(rule.release for rule in route.rules)) if release}
