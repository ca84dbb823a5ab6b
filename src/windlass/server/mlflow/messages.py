"""MLflow's requests: the fields that are used. Every field may be left out; ``wire.required`` says which may not."""

from __future__ import annotations

from msgspec import Struct


class Pair(Struct):
    key: str = ""
    value: str = ""


class Point(Struct):
    key: str = ""
    value: float | str | None = None
    timestamp: int | None = None
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


# ---- experiments


class CreateExperiment(Struct):
    name: str = ""
    artifact_location: str = ""
    tags: list[Pair] = []


class ExperimentByName(Struct):
    experiment_name: str = ""


class OfExperiment(Struct):
    experiment_id: str = ""


class UpdateExperiment(OfExperiment):
    new_name: str = ""


class ExperimentTag(OfExperiment):
    key: str = ""
    value: str = ""


class SearchExperiments(Struct):
    max_results: int = 1000
    page_token: str = ""
    filter: str = ""
    order_by: list[str] = []
    view_type: str | int = "ACTIVE_ONLY"


# ---- runs


class CreateRun(Struct):
    experiment_id: str = ""
    user_id: str = ""
    run_name: str = ""
    start_time: int = 0
    tags: list[Pair] = []


class OfRun(Struct):
    """Old clients call the run's id ``run_uuid``."""

    run_id: str = ""
    run_uuid: str = ""

    @property
    def run(self) -> str:
        return self.run_id or self.run_uuid


class UpdateRun(OfRun):
    status: str | int | None = None
    end_time: int | None = None
    run_name: str = ""


class SearchRuns(Struct):
    experiment_ids: list[str] = []
    filter: str = ""
    run_view_type: str | int = "ACTIVE_ONLY"
    max_results: int = 1000
    order_by: list[str] = []
    page_token: str = ""


class LogMetric(OfRun):
    key: str = ""
    value: float | str | None = None
    timestamp: int | None = None
    step: int = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LogPair(OfRun):
    key: str = ""
    value: str = ""


class LogBatch(OfRun):
    metrics: list[Point] = []
    params: list[Pair] = []
    tags: list[Pair] = []


class LogModel(OfRun):
    model_json: str = ""


class Dataset(Struct):
    name: str = ""
    digest: str = ""
    source_type: str = ""
    source: str = ""
    schema: str = ""
    profile: str = ""


class DatasetInput(Struct):
    dataset: Dataset | None = None
    tags: list[Pair] = []


class ModelInput(Struct):
    model_id: str = ""


class LogInputs(OfRun):
    datasets: list[DatasetInput] = []
    models: list[ModelInput] = []


class ModelOutput(Struct):
    model_id: str = ""
    step: int = 0


class LogOutputs(OfRun):
    models: list[ModelOutput] = []


class SearchDatasets(Struct):
    experiment_ids: list[str] = []


# ---- metrics


class History(OfRun):
    metric_key: str = ""
    max_results: int | None = None
    page_token: str = ""


class BulkInterval(Struct):
    run_ids: list[str] = []
    metric_key: str = ""
    start_step: int | None = None
    end_step: int | None = None
    max_results: int | None = None


# ---- artifacts


class ListArtifacts(OfRun):
    path: str = ""
    page_token: str = ""


class UploadPart(Struct):
    part_number: int = 0
    etag: str = ""
    url: str = ""


class CreateUpload(Struct):
    path: str = ""
    num_parts: int = 0


class EndUpload(Struct):
    path: str = ""
    upload_id: str = ""
    parts: list[UploadPart] = []


# ---- logged models


class CreateLoggedModel(Struct):
    experiment_id: str = ""
    name: str = ""
    model_type: str = ""
    source_run_id: str = ""
    params: list[Pair] = []
    tags: list[Pair] = []


class OfLoggedModel(Struct):
    model_id: str = ""
    allow_deleted: bool = False


class FinalizeLoggedModel(OfLoggedModel):
    status: int | str | None = None


class LoggedModelTags(OfLoggedModel):
    tags: list[Pair] = []


class LoggedModelTag(OfLoggedModel):
    tag_key: str = ""


class LoggedModelParams(OfLoggedModel):
    params: list[Pair] = []


class ListLoggedModelArtifacts(OfLoggedModel):
    artifact_directory_path: str = ""
    page_token: str = ""


class OrderBy(Struct):
    field_name: str = ""
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


class DatasetFilter(Struct):
    dataset_name: str = ""
    dataset_digest: str = ""


class SearchLoggedModels(Struct):
    experiment_ids: list[str] | None = None
    filter: str = ""
    datasets: list[DatasetFilter] = []
    max_results: int = 0
    order_by: list[OrderBy] = []
    page_token: str = ""


# ---- registered models and their versions


class CreateModel(Struct):
    name: str = ""
    description: str = ""
    tags: list[Pair] = []


class OfModel(Struct):
    name: str = ""


class RenameModel(OfModel):
    new_name: str = ""


class UpdateModel(OfModel):
    description: str | None = None


class ModelTag(OfModel):
    key: str = ""
    value: str = ""


class ModelAlias(OfModel):
    alias: str = ""
    version: str = ""


class LatestVersions(OfModel):
    stages: list[str] = []


class Search(Struct):
    filter: str = ""
    max_results: int | None = None
    order_by: list[str] = []
    page_token: str = ""


class CreateVersion(OfModel):
    source: str = ""
    run_id: str = ""
    run_link: str = ""
    description: str = ""
    tags: list[Pair] = []
    model_id: str = ""


class OfVersion(OfModel):
    version: str = ""


class UpdateVersion(OfVersion):
    description: str | None = None


class VersionTag(OfVersion):
    key: str = ""
    value: str = ""


class TransitionStage(OfVersion):
    stage: str = ""
    archive_existing_versions: bool = False
