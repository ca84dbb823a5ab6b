"""What a ``[data.NAME]`` table in ``windlass.toml`` says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetConfig:
    """``path`` is relative to the project; ``target`` names the column with the label, if rows have one."""

    path: str
    target: str = ""
