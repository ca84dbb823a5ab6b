"""What ``[endpoint]`` and ``[rollback]`` in ``windlass.toml`` say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from windlass.domain.errors import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """``timeout_ms`` is how long a user waits at most, a candidate's failure and the fallback included."""

    name: str
    timeout_ms: int = 2000

    def __post_init__(self) -> None:
        if not 10 <= self.timeout_ms <= 600_000:
            raise Invalid(f"endpoint.timeout_ms is {self.timeout_ms}", hint="use 10 to 600000")


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackPolicy:
    """What takes a release back without a person. ``alertmanager``: alerts that name its endpoint and have ``labels``;
    ``whole``: also when no rollout is on; ``cooldown_seconds``: not again so soon after a rollback. ``on_crash``: its
    worker crashing again and again."""

    alertmanager: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True
    cooldown_seconds: float = 600.0
    on_crash: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.cooldown_seconds <= 86400:
            raise Invalid(f"rollback.cooldown_seconds is {self.cooldown_seconds}", hint="use 0 to 86400")
