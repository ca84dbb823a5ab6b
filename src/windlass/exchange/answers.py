"""What an MLflow server answers, as far as it is read; what it does not say has its default."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from windlass.domain.errors import Corrupt
from windlass.exchange import content
from windlass.registry.tracking import names
from windlass.registry.tracking.logged_models import ModelMetric
from windlass.registry.tracking.runs import DatasetInput

_RUN_STATUS = {"1": "RUNNING", "2": "SCHEDULED", "3": "FINISHED", "4": "FAILED", "5": "KILLED"}
_MODEL_STATUS = {
    "LOGGED_MODEL_STATUS_UNSPECIFIED": 0,
    "LOGGED_MODEL_PENDING": 1,
    "LOGGED_MODEL_READY": 2,
    "LOGGED_MODEL_UPLOAD_FAILED": 3,
}


class Pair(Struct):
    key: str
    value: str = ""


class ExperimentInfo(Struct):
    experiment_id: str
    name: str
    lifecycle_stage: str = "active"
    creation_time: int = 0
    last_update_time: int = 0
    artifact_location: str = ""
    tags: list[Pair] = field(default_factory=list)


class Experiments(Struct):
    experiments: list[ExperimentInfo] = field(default_factory=list)
    next_page_token: str = ""


class OneExperiment(Struct):
    experiment: ExperimentInfo


class CreatedExperiment(Struct):
    experiment_id: str


class RunInfo(Struct):
    run_id: str
    experiment_id: str
    run_name: str = ""
    user_id: str = ""
    status: str | int = "RUNNING"
    start_time: int = 0
    end_time: int | None = None
    lifecycle_stage: str = "active"
    artifact_uri: str = ""


class MetricInfo(Struct):
    key: str
    value: float | str = 0.0
    timestamp: int = 0
    step: int = 0
    model_id: str = ""
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class RunData(Struct):
    params: list[Pair] = field(default_factory=list)
    tags: list[Pair] = field(default_factory=list)
    metrics: list[MetricInfo] = field(default_factory=list)


class DatasetInfo(Struct):
    name: str
    digest: str
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""


class DatasetInputInfo(Struct):
    dataset: DatasetInfo
    tags: list[Pair] = field(default_factory=list)


class ModelLink(Struct):
    model_id: str
    step: int = 0


class Inputs(Struct):
    dataset_inputs: list[DatasetInputInfo] = field(default_factory=list)
    model_inputs: list[ModelLink] = field(default_factory=list)


class Outputs(Struct):
    model_outputs: list[ModelLink] = field(default_factory=list)


class RunMessage(Struct):
    info: RunInfo
    data: RunData = field(default_factory=RunData)
    inputs: Inputs = field(default_factory=Inputs)
    outputs: Outputs = field(default_factory=Outputs)


class Runs(Struct):
    runs: list[RunMessage] = field(default_factory=list)
    next_page_token: str = ""


class OneRun(Struct):
    run: RunMessage


class History(Struct):
    metrics: list[MetricInfo] = field(default_factory=list)
    next_page_token: str = ""


class LoggedModelInfo(Struct):
    model_id: str
    experiment_id: str
    name: str = ""
    creation_timestamp_ms: int = 0
    last_updated_timestamp_ms: int = 0
    artifact_uri: str = ""
    status: str | int = 0
    model_type: str = ""
    source_run_id: str = ""
    status_message: str = ""
    tags: list[Pair] = field(default_factory=list)


class LoggedModelMessage(Struct):
    info: LoggedModelInfo
    data: RunData = field(default_factory=RunData)


class LoggedModels(Struct):
    models: list[LoggedModelMessage] = field(default_factory=list)
    next_page_token: str = ""


class OneLoggedModel(Struct):
    model: LoggedModelMessage


class FileInfo(Struct):
    path: str
    is_dir: bool = False
    file_size: int | None = None


class Files(Struct):
    files: list[FileInfo] = field(default_factory=list)
    next_page_token: str = ""


class AliasInfo(Struct):
    alias: str
    version: int


class RegisteredModelInfo(Struct):
    name: str
    description: str = ""
    creation_timestamp: int = 0
    last_updated_timestamp: int = 0
    tags: list[Pair] = field(default_factory=list)
    aliases: list[AliasInfo] = field(default_factory=list)


class RegisteredModels(Struct):
    registered_models: list[RegisteredModelInfo] = field(default_factory=list)
    next_page_token: str = ""


class OneRegisteredModel(Struct):
    registered_model: RegisteredModelInfo


class ModelVersionInfo(Struct):
    name: str
    version: int
    description: str = ""
    current_stage: str = "None"
    source: str = ""
    run_id: str = ""
    run_link: str = ""
    model_id: str = ""
    user_id: str = ""
    creation_timestamp: int = 0
    last_updated_timestamp: int = 0
    tags: list[Pair] = field(default_factory=list)


class ModelVersions(Struct):
    model_versions: list[ModelVersionInfo] = field(default_factory=list)
    next_page_token: str = ""


class OneModelVersion(Struct):
    model_version: ModelVersionInfo


class Nothing(Struct):
    """An answer that is not looked at."""


def experiment(of: ExperimentInfo) -> content.Experiment:
    return content.Experiment(
        id=of.experiment_id,
        name=of.name,
        deleted=of.lifecycle_stage == "deleted",
        created_at=of.creation_time,
        updated_at=of.last_update_time,
        tags=_pairs(of.tags),
    )


def run(of: RunMessage) -> content.Run:
    info, tags = of.info, _pairs(of.data.tags)
    # Before 1.30 the name was in the tag alone.
    name = info.run_name or tags.get(names.RUN_NAME, "")
    return content.Run(
        id=info.run_id,
        experiment_id=info.experiment_id,
        name=name,
        user=info.user_id,
        status=_RUN_STATUS.get(str(info.status), str(info.status)),
        started_at=info.start_time,
        ended_at=info.end_time or None,
        deleted=info.lifecycle_stage == "deleted",
        artifact_uri=info.artifact_uri,
        params=_pairs(of.data.params),
        tags={**tags, names.RUN_NAME: name},
        metrics={each.key: point(each) for each in of.data.metrics},
        datasets=tuple(
            DatasetInput(
                each.dataset.name, each.dataset.digest, each.dataset.source_type, each.dataset.source,
                each.dataset.schema, each.dataset.profile, _pairs(each.tags),
            )
            for each in of.inputs.dataset_inputs
        ),
        model_inputs=tuple(each.model_id for each in of.inputs.model_inputs),
        model_outputs=tuple((each.model_id, each.step) for each in of.outputs.model_outputs),
    )  # fmt: skip


def point(of: MetricInfo) -> content.Point:
    return content.Point(of.timestamp, of.step, _real(of.value))


def logged_model(of: LoggedModelMessage) -> content.LoggedModel:
    info = of.info
    status = info.status if isinstance(info.status, int) else _MODEL_STATUS.get(info.status, 0)
    return content.LoggedModel(
        id=info.model_id,
        experiment_id=info.experiment_id,
        name=info.name,
        source_run_id=info.source_run_id,
        model_type=info.model_type,
        status=status,
        status_message=info.status_message,
        created_at=info.creation_timestamp_ms,
        updated_at=info.last_updated_timestamp_ms,
        artifact_uri=info.artifact_uri,
        params=_pairs(of.data.params),
        tags=_pairs(info.tags),
        metrics=tuple(
            ModelMetric(
                key=each.key,
                value=_real(each.value),
                step=each.step,
                at=each.timestamp,
                run_id=each.run_id,
                dataset_name=each.dataset_name or None,
                dataset_digest=each.dataset_digest or None,
            )
            for each in of.data.metrics
        ),
    )


def registered_model(of: RegisteredModelInfo) -> content.RegisteredModel:
    return content.RegisteredModel(
        name=of.name,
        description=of.description,
        created_at=of.creation_timestamp,
        updated_at=of.last_updated_timestamp,
        tags=_pairs(of.tags),
        aliases={each.alias: each.version for each in of.aliases},
    )


def model_version(of: ModelVersionInfo) -> content.ModelVersion:
    return content.ModelVersion(
        name=of.name,
        number=of.version,
        description=of.description,
        stage=of.current_stage,
        source=of.source,
        run_id=of.run_id,
        run_link=of.run_link,
        model_id=of.model_id,
        user=of.user_id,
        created_at=of.creation_timestamp,
        updated_at=of.last_updated_timestamp,
        tags=_pairs(of.tags),
    )


def written(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Pairs as they are sent."""
    return [{"key": key, "value": value} for key, value in values.items()]


def number(value: float) -> float | str:
    """A float as it is sent: proto3's JSON has words for what JSON has no number for."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _pairs(found: Sequence[Pair]) -> dict[str, str]:
    return {each.key: each.value for each in found}


def _real(value: float | str) -> float:
    try:
        return float(value)
    except ValueError:
        raise Corrupt(f"the server gives '{str(value)[:80]}' as a metric's value") from None
