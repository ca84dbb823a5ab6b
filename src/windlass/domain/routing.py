"""Routes: the immutable table that a gateway serves by. The revision only grows; it is the fence of every push."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

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
class LogPolicy:
    """What the prediction log keeps of an endpoint's requests, and what happens when it cannot.

    ``sync``: an fsync every 50 ms, or before each answer. ``queue_bytes`` wait to be written at most; ``when_full``
    says whether what does not fit, or cannot be written, is shed (and counted) or its request refused. ``sample`` is
    the share of requests whose rows and answers are kept. Of rows, the columns in ``drop`` are left out, and those in
    ``hash`` are replaced by a keyed hash.
    """

    sync: Literal["interval", "always"] = "interval"
    queue_bytes: int = 64 << 20
    when_full: Literal["shed", "refuse"] = "shed"
    sample: float = 1.0
    drop: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()

    @property
    def answers_wait(self) -> bool:
        """Whether a request is answered only after its record was taken in."""
        return self.sync == "always" or self.when_full == "refuse"


def strictest(policies: Iterable[LogPolicy]) -> LogPolicy:
    """What satisfies all of these: several releases answer one endpoint's users, whose rows are in one log."""
    given = list(policies) or [LogPolicy()]
    dropped = {column for each in given for column in each.drop}
    return LogPolicy(
        sync="always" if any(each.sync == "always" for each in given) else "interval",
        queue_bytes=max(each.queue_bytes for each in given),
        when_full="refuse" if any(each.when_full == "refuse" for each in given) else "shed",
        sample=min(each.sample for each in given),
        drop=tuple(sorted(dropped)),
        hash=tuple(sorted({column for each in given for column in each.hash} - dropped)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint's traffic. ``weight`` is the candidate's share of users, 0 to 1; ``shadow`` mirrors every
    request to the candidate without using its answer. ``salt`` is the rollout's: it spreads users afresh.
    ``timeout_ms`` is how long a user waits at most. Of ``rules`` the first that matches decides. ``keys`` are the
    SHA-256 of the API keys that open the endpoint, by which name each was given; None: it is open to all. ``log`` is
    what the prediction log keeps; None: everything."""

    stable: str
    candidate: str | None = None
    weight: float = 0.0
    shadow: bool = False
    salt: str = ""
    rollout: str | None = None
    timeout_ms: int = 2000
    rules: tuple[Rule, ...] = ()
    keys: Mapping[str, str] | None = None
    log: LogPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """``routes`` by endpoint; ``sockets`` the Unix sockets of each release's workers; ``versions`` the
    semantic version of its model, by which a client may name it."""

    revision: int
    routes: Mapping[str, Route] = field(default_factory=dict)
    sockets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = TABLE_FORMAT


def releases_of(route: Route) -> set[str]:
    """Every release that a request on the route may be sent to."""
    return {release for release in (route.stable, route.candidate, *(rule.release for rule in route.rules)) if release}
