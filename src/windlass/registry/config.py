"""What ``[model]`` and ``[registry]`` in ``windlass.toml`` say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    name: str
    step: str = "train"
    metrics: str = "evaluate"
    intended_use: str = ""  # for the model card


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryConfig:
    """``protected_aliases`` move only to versions that are cleared for production: gated and approved."""

    protected_aliases: tuple[str, ...] = ("production",)
