"""MLflow's requests: only the fields that are used. Its JSON is proto3's: an int64 may be text, null is absent."""

from __future__ import annotations

from dataclasses import dataclass, field

from windlass.domain.errors import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    key: str
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    key: str
    value: float | str
    timestamp: int
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateExperiment:
    name: str
    artifact_location: str = ""
    tags: list[Pair] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByName:
    experiment_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ById:
    experiment_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchExperiments:
    max_results: int = 1000
    page_token: str = ""
    filter: str = ""
    order_by: list[str] = field(default_factory=list)
    view_type: str | int = "ACTIVE_ONLY"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRun:
    experiment_id: str = "0"
    user_id: str = ""
    run_name: str = ""
    start_time: int | None = None
    tags: list[Pair] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class OfRun:
    """Old clients call the run's id ``run_uuid``."""

    run_id: str = ""
    run_uuid: str = ""

    @property
    def run(self) -> str:
        found = self.run_id or self.run_uuid
        if not found:
            raise Invalid("Missing value for required parameter 'run_id'")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRun(OfRun):
    status: str | None = None
    end_time: int | None = None
    run_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRuns:
    experiment_ids: list[str] = field(default_factory=list)
    filter: str = ""
    run_view_type: str | int = "ACTIVE_ONLY"
    max_results: int = 1000
    order_by: list[str] = field(default_factory=list)
    page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMetric(OfRun):
    key: str
    value: float | str
    timestamp: int
    step: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPair(OfRun):
    key: str
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBatch(OfRun):
    metrics: list[Point] = field(default_factory=list)
    params: list[Pair] = field(default_factory=list)
    tags: list[Pair] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class History(OfRun):
    metric_key: str
    max_results: int = 25_000
    page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListArtifacts(OfRun):
    path: str = ""
    page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchLoggedModels:
    experiment_ids: list[str] = field(default_factory=list)
