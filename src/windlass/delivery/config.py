"""What ``[endpoint]`` in ``windlass.toml`` says."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.domain.errors import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """``timeout_ms`` is how long a user waits at most, a candidate's failure and the fallback included."""

    name: str
    timeout_ms: int = 2000

    def __post_init__(self) -> None:
        if not 10 <= self.timeout_ms <= 600_000:
            raise Invalid(f"endpoint.timeout_ms is {self.timeout_ms}", hint="use 10 to 600000")
