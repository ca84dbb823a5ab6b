"""What ``[endpoint]``, ``[serving]``, ``[gateway]``, ``[predictions]`` and ``[rollback]`` in ``windlass.toml`` say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from windlass.domain.errors import Invalid
from windlass.domain.routing import LogPolicy

MOST_WORKERS = 64
MOST_GATEWAYS = 32
MOST_BODY_KB = 16 << 10  # as much as a worker is sent at once


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """``timeout_ms`` is how long a user waits at most, a candidate's failure and the fallback included."""

    name: str
    timeout_ms: int = 2000

    def __post_init__(self) -> None:
        if not 10 <= self.timeout_ms <= 600_000:
            raise Invalid(f"endpoint.timeout_ms is {self.timeout_ms}", hint="use 10 to 600000")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingConfig:
    """How a release is run; it is a part of the release, and rolled out and back with it.

    ``workers`` is a fixed number of processes; ``min_workers`` and ``max_workers`` let the number follow the load.
    Without either there is one: on a small machine the second costs its memory and brings little.
    ``memory_mb`` is what a worker may allocate, ``cpu`` how many of the machine's cores it may run on, ``nice`` how
    much it stands back for others (0 to 19). A worker that has sat in one call for ``hang_seconds`` while deadlines of
    those who wait passed, or that has not answered a ping for as long, is killed and started again.
    """

    workers: int | None = None
    min_workers: int | None = None
    max_workers: int | None = None
    memory_mb: int | None = None
    cpu: int | None = None
    nice: int = 0
    hang_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.workers is not None and not (self.min_workers is None and self.max_workers is None):
            raise Invalid(
                "serving.workers is given, and min_workers or max_workers too", hint="a fixed number, or limits"
            )
        _within("serving.workers", self.workers, 1, MOST_WORKERS)
        _within("serving.min_workers", self.min_workers, 1, MOST_WORKERS)
        _within("serving.max_workers", self.max_workers, 1, MOST_WORKERS)
        _within("serving.memory_mb", self.memory_mb, 64, 1 << 24)
        _within("serving.cpu", self.cpu, 1, 1024)
        _within("serving.nice", self.nice, 0, 19)
        _within("serving.hang_seconds", self.hang_seconds, 1, 3600)
        if self.least > self.most:
            raise Invalid(
                f"serving.min_workers is {self.least}, more than max_workers ({self.most})",
                hint="raise the one or lower the other",
            )

    @property
    def least(self) -> int:
        return self.workers or self.min_workers or 1

    @property
    def most(self) -> int:
        return self.workers or self.max_workers or self.least

    def as_released(self) -> dict[str, Any]:
        """As a release holds it: what is said, without what is left open."""
        said = {"memory_mb": self.memory_mb, "cpu": self.cpu, "nice": self.nice or None}
        return {
            "min_workers": self.least,
            "max_workers": self.most,
            "hang_seconds": self.hang_seconds,
            **{name: value for name, value in said.items() if value is not None},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """``processes`` listen on one port, and the kernel shares the connections among them; one a core is enough.

    ``tls_certificate`` and ``tls_key`` are PEM files, in the project or anywhere: with both, predictions are served by
    https. ``max_body_kb`` and ``max_header_kb`` are of one request, ``max_connections`` of one process.
    """

    processes: int = 1
    tls_certificate: str = ""
    tls_key: str = ""
    max_body_kb: int = 1024
    max_header_kb: int = 16
    max_connections: int = 16_384

    def __post_init__(self) -> None:
        _within("gateway.processes", self.processes, 1, MOST_GATEWAYS)
        _within("gateway.max_body_kb", self.max_body_kb, 1, MOST_BODY_KB)
        _within("gateway.max_header_kb", self.max_header_kb, 1, 64)
        _within("gateway.max_connections", self.max_connections, 1, 1 << 20)
        if bool(self.tls_certificate) != bool(self.tls_key):
            given, missing = ("tls_certificate", "tls_key") if self.tls_certificate else ("tls_key", "tls_certificate")
            raise Invalid(f"gateway.{given} is given, and gateway.{missing} is not", hint="give both, or neither")

    def tls(self, root: Path) -> tuple[Path, Path] | None:
        """The files of certificate and key, for a project in ``root``; None: http is served."""
        return (root / self.tls_certificate, root / self.tls_key) if self.tls_certificate else None


def _within(name: str, value: float | None, least: int, most: int) -> None:
    if value is not None and not least <= value <= most:
        raise Invalid(f"{name} is {value}", hint=f"use {least} to {most}")


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
