"""What ``[model]`` in ``windlass.toml`` says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    name: str
    step: str = "train"
    metrics: str = "evaluate"
    intended_use: str = ""  # for the model card
