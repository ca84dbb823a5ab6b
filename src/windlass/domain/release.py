"""A release: the immutable bundle that an endpoint serves. Its id is its digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from windlass.domain import digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Model version + environment + serving config + monitors + rollback policy; they switch together."""

    endpoint: str
    model: str
    version: str
    package: str  # digest of the packaged model's tree: weights, feature code, golden rows, profile
    environment: str  # digest of the environment it was trained in and serves in
    gate_report: str  # digest of the report it was allowed by
    serving: Mapping[str, Any] = field(default_factory=dict)
    monitors: Mapping[str, Any] = field(default_factory=dict)
    rollback: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return digest.of(self)
