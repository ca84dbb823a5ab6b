"""What a ``[data.NAME]`` table in ``windlass.toml`` says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetConfig:
    """``path`` is relative to the project; ``target`` names the column with the label, if rows have one."""

    path: str
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteConfig:
    """Another store, to push to and pull from: ``s3://BUCKET/PREFIX``, or a folder. Credentials are not part of it."""

    url: str
