"""What is exchanged with an MLflow, as plain values; times in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from windlass.domain.errors import Failure
from windlass.domain.ports import Readable
from windlass.registry.tracking.logged_models import ModelMetric
from windlass.registry.tracking.runs import DatasetInput


class Point(NamedTuple):
    """A point of a metric; the value may be infinite or NaN."""

    at: int
    step: int
    value: float


class File(NamedTuple):
    path: str
    size: int | None  # None: not known before it is read
    digest: str = ""  # where it is known without reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    id: str
    name: str
    deleted: bool = False
    created_at: int = 0
    updated_at: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """``metrics``: of each metric the last point. ``artifact_uri``: where the source says that its files are."""

    id: str
    experiment_id: str
    name: str
    user: str = ""
    status: str = "RUNNING"
    started_at: int = 0
    ended_at: int | None = None
    deleted: bool = False
    artifact_uri: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Point] = field(default_factory=dict)
    datasets: tuple[DatasetInput, ...] = ()
    model_inputs: tuple[str, ...] = ()
    model_outputs: tuple[tuple[str, int], ...] = ()  # (model id, step)

    @property
    def ended(self) -> bool:
        return self.status in ("FINISHED", "FAILED", "KILLED")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedModel:
    """``status``: 0 unspecified, 1 pending, 2 ready, 3 failed."""

    id: str
    experiment_id: str
    name: str
    source_run_id: str = ""
    model_type: str = ""
    status: int = 0
    status_message: str = ""
    created_at: int = 0
    updated_at: int = 0
    artifact_uri: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[ModelMetric, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    name: str
    description: str = ""
    created_at: int = 0
    updated_at: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    name: str
    number: int
    description: str = ""
    stage: str = "None"
    source: str = ""
    run_id: str = ""
    run_link: str = ""
    model_id: str = ""
    user: str = ""
    created_at: int = 0
    updated_at: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Flaw:
    """In the place of a thing that cannot be read, while the others can."""

    subject: str
    failure: Failure


class Source(Protocol):
    """An MLflow that is read. Whatever it gives is somebody else's word: malformed content raises Corrupt, what it
    refuses Failure, and Unavailable if it does not answer.
    """

    @property
    def identity(self) -> str:
        """What names the source from one import to the next; without credentials."""

    def experiments(self) -> Iterator[Experiment | Flaw]:
        """All, deleted ones too."""

    def runs(self, experiment_id: str) -> Iterator[Run | Flaw]:
        """All of an experiment, deleted ones too."""

    def whole(self, run: Run) -> Run:
        """A run with what the list of runs may leave out."""

    def history(self, run: Run, key: str) -> Iterator[list[Point]]:
        """Every point of a metric, a page at a time."""

    def logged_models(self, experiment_id: str) -> Iterator[LoggedModel | Flaw]: ...

    def files(self, owner: Run | LoggedModel) -> Iterator[File]:
        """Every file of a run or of a logged model, in its folders too."""

    def open(self, owner: Run | LoggedModel, file: File) -> AbstractContextManager[Readable]:
        """A file to be read once; what ends before its end raises Unavailable."""

    def registered_models(self) -> Iterator[RegisteredModel | Flaw]: ...

    def versions(self, model: str) -> Iterator[ModelVersion]:
        """A model's versions, the oldest first."""

    def close(self) -> None: ...
