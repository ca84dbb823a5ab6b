"""Routes: the immutable table that a gateway serves by. The revision only grows; it is the fence of every push."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

TABLE_FORMAT = 1


class Arm(StrEnum):
    STABLE = "stable"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint's traffic. ``weight`` is the candidate's share of users, 0 to 1; ``shadow`` mirrors every
    request to the candidate without using its answer. ``salt`` is the rollout's: it spreads users afresh.
    ``timeout_ms`` is how long a user waits at most."""

    stable: str
    candidate: str | None = None
    weight: float = 0.0
    shadow: bool = False
    salt: str = ""
    rollout: str | None = None
    timeout_ms: int = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """``routes`` by endpoint; ``sockets`` the Unix socket of each release's worker."""

    revision: int
    routes: Mapping[str, Route] = field(default_factory=dict)
    sockets: Mapping[str, str] = field(default_factory=dict)
    format: int = TABLE_FORMAT
