"""What ``[endpoint]`` and ``[predictions]`` in ``windlass.toml`` say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from windlass.domain.errors import Invalid
from windlass.domain.routing import LogPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """``timeout_ms`` is how long a user waits at most, a candidate's failure and the fallback included."""

    name: str
    timeout_ms: int = 2000

    def __post_init__(self) -> None:
        if not 10 <= self.timeout_ms <= 600_000:
            raise Invalid(f"endpoint.timeout_ms is {self.timeout_ms}", hint="use 10 to 600000")


LEAST_QUEUE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionsConfig:
    """What the prediction log keeps. But for ``keep_days``, which is the log's, it travels with the release, and is in
    force from its first request on. ``queue_bytes`` is of one gateway's memory. See ``domain.routing.LogPolicy``."""

    sync: Literal["interval", "always"] = "interval"
    queue_bytes: int = 64 << 20
    when_full: Literal["shed", "refuse"] = "shed"
    sample: float = 1.0
    drop: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()
    keep_days: int = 30

    def __post_init__(self) -> None:
        if self.queue_bytes < LEAST_QUEUE:
            raise Invalid(f"predictions.queue_bytes is {self.queue_bytes}", hint=f"use {LEAST_QUEUE} or more")
        if not 0 <= self.sample <= 1:
            raise Invalid(f"predictions.sample is {self.sample}", hint="use a share of the requests, 0 to 1")
        if self.keep_days < 1:
            raise Invalid(f"predictions.keep_days is {self.keep_days}", hint="use 1 or more")
        for key, columns in (("drop", self.drop), ("hash", self.hash)):
            if repeated := sorted({column for column in columns if columns.count(column) > 1}):
                raise Invalid(f"predictions.{key} names '{repeated[0]}' twice", hint="once is enough")
        if both := sorted(set(self.drop) & set(self.hash)):
            raise Invalid(f"predictions.hash names '{both[0]}', which is dropped", hint="name it in one of the two")

    @property
    def policy(self) -> LogPolicy:
        """What the gateway needs to know of it."""
        return LogPolicy(
            sync=self.sync, queue_bytes=self.queue_bytes, when_full=self.when_full, sample=self.sample,
            drop=self.drop, hash=self.hash,
        )  # fmt: skip
