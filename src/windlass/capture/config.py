"""What a ``[data.NAME]`` table in ``windlass.toml`` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Parameter = str | int | float | bool
SOURCES = ("path", "url", "sql", "events", "feast")


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The labelled events of a feature view: a Parquet or CSV file (or a pattern), and the column with their time."""

    path: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureTable:
    """``keys`` are columns of both the table and the events; ``at`` and ``created`` are its columns with times.

    ``ttl`` is in seconds; 0 is without end. ``prefix`` stands before the names of the features in the result.
    """

    path: str
    keys: tuple[str, ...]
    at: str
    columns: tuple[str, ...]
    created: str = ""
    ttl: float = 0
    prefix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feast:
    """A Feast repository's folder, the file with the labelled events, and the features (or one feature service)."""

    repository: str
    events: str
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetConfig:
    """Where a dataset comes from: at most one of SOURCES, and none for one that is derived from another.

    Paths are relative to the project. ``parameters`` and ``attach`` (names and URLs) are the query's; ``features`` are
    joined to ``events``; ``target`` names the column with the label, if rows have one.
    """

    path: str = ""
    url: str = ""
    sql: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    attach: Mapping[str, str] = field(default_factory=dict)
    events: Events | None = None
    features: tuple[FeatureTable, ...] = ()
    feast: Feast | None = None
    target: str = ""

    def __post_init__(self) -> None:
        given = [name for name in SOURCES if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"a dataset comes from one place: give one of {' and '.join(given)}")
        if (self.parameters or self.attach) and not self.sql:
            raise ValueError("parameters and attach belong to sql, which is not given")
        if bool(self.features) != bool(self.events):
            raise ValueError("events and features belong together: give both")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteConfig:
    """Another store, to push to and pull from: ``s3://BUCKET/PREFIX``, or a folder. Credentials are not part of it."""

    url: str
