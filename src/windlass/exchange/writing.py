"""An MLflow server that is written to, by the calls that MLflow's own client makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

import msgspec

from windlass.domain.errors import Failure, Invalid
from windlass.exchange import answers
from windlass.exchange.answers import Nothing, number, written
from windlass.exchange.content import LoggedModel, ModelVersion, Point, RegisteredModel, Run
from windlass.exchange.rest import Rest
from windlass.exchange.server import PROXIED, proxied
from windlass.registry.tracking.logged_models import ModelMetric
from windlass.registry.tracking.runs import DatasetInput

T = TypeVar("T")

POINTS_AT_ONCE = 1000
PAIRS_AT_ONCE = 100
BYTES_AT_ONCE = 500_000

Told = Callable[[str, Failure], None]


@dataclass(frozen=True, slots=True)
class Writer:
    rest: Rest

    # ---- experiments and runs

    def create_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        made = self.rest.create("experiments/create", answers.CreatedExperiment, name=name, tags=written(tags))
        return made.experiment_id

    def set_experiment_tag(self, experiment: str, key: str, value: str) -> None:
        self.rest.post("experiments/set-experiment-tag", Nothing, experiment_id=experiment, key=key, value=value)

    def restore_experiment(self, experiment: str) -> None:
        self.rest.post("experiments/restore", Nothing, experiment_id=experiment)

    def delete_experiment(self, experiment: str) -> None:
        self.rest.post("experiments/delete", Nothing, experiment_id=experiment)

    def has_runs(self, experiment: str) -> bool:
        found = self.rest.post(
            "runs/search", answers.Runs, experiment_ids=[experiment], max_results=1, run_view_type="ALL"
        )
        return bool(found.runs)

    def create_run(self, of: Run, experiment: str, tags: Mapping[str, str]) -> Run:
        named = {"run_name": of.name} if of.name else {}
        made = self.rest.create(
            "runs/create",
            answers.OneRun,
            experiment_id=experiment,
            user_id=of.user,
            start_time=of.started_at,
            tags=written(tags),
            **named,
        )
        return answers.run(made.run)

    def update_run(self, run_id: str, of: Run) -> None:
        ended = {} if of.ended_at is None else {"end_time": of.ended_at}
        named = {"run_name": of.name} if of.name else {}
        self.rest.post("runs/update", Nothing, run_id=run_id, status=of.status, **ended, **named)

    def delete_run(self, run_id: str) -> None:
        self.rest.post("runs/delete", Nothing, run_id=run_id)

    def restore_run(self, run_id: str) -> None:
        self.rest.post("runs/restore", Nothing, run_id=run_id)

    def log_params(self, run_id: str, params: Mapping[str, str], told: Told) -> None:
        """What the server does not take, alone, is told."""
        self._pairs(run_id, "params", params, told)

    def log_tags(self, run_id: str, tags: Mapping[str, str], told: Told) -> None:
        self._pairs(run_id, "tags", tags, told)

    def _pairs(self, run_id: str, what: str, pairs: Mapping[str, str], told: Told) -> None:
        for part in _portions(list(pairs.items())):
            try:
                self.rest.post("runs/log-batch", Nothing, run_id=run_id, **{what: written(dict(part))})
            except Invalid:
                for key, value in part:
                    try:
                        self.rest.post("runs/log-batch", Nothing, run_id=run_id, **{what: written({key: value})})
                    except Invalid as failure:
                        told(f"run {run_id}: {what.rstrip('s')} '{key[:80]}'", failure)

    def log_points(self, run_id: str, points: Sequence[tuple[str, Point]]) -> None:
        for start in range(0, len(points), POINTS_AT_ONCE):
            self._metrics(run_id, [_metric(key, point) for key, point in points[start : start + POINTS_AT_ONCE]])

    def log_model_points(self, run_id: str, points: Sequence[tuple[str, ModelMetric]]) -> None:
        """Points that were measured on logged models, by the model's id."""
        for start in range(0, len(points), POINTS_AT_ONCE):
            self._metrics(run_id, [
                {
                    **_metric(each.key, Point(each.at, each.step, each.value)),
                    "model_id": model_id,
                    **({"dataset_name": each.dataset_name} if each.dataset_name else {}),
                    **({"dataset_digest": each.dataset_digest} if each.dataset_digest else {}),
                }
                for model_id, each in points[start : start + POINTS_AT_ONCE]
            ])  # fmt: skip

    def _metrics(self, run_id: str, metrics: Sequence[Mapping[str, Any]]) -> None:
        self.rest.post("runs/log-batch", Nothing, run_id=run_id, metrics=metrics)

    def log_inputs(self, run_id: str, datasets: Sequence[DatasetInput], models: Sequence[str]) -> None:
        described = [
            {
                "dataset": {name: text for name, text in each._asdict().items() if name != "tags" and text},
                "tags": written(each.tags),
            }
            for each in datasets
        ]
        linked = {"models": [{"model_id": each} for each in models]} if models else {}
        self.rest.create("runs/log-inputs", Nothing, run_id=run_id, datasets=described, **linked)

    def log_outputs(self, run_id: str, models: Sequence[tuple[str, int]]) -> None:
        linked = [{"model_id": each, "step": step} for each, step in models]
        self.rest.create("runs/outputs", Nothing, run_id=run_id, models=linked)

    # ---- files

    def upload(
        self, artifact_uri: str, path: str, source: Callable[[], AbstractContextManager[BinaryIO]], size: int
    ) -> None:
        """Put a file below where a run or a model has its files.

        Raises:
            Invalid: the server does not take files for that place.
        """
        if not artifact_uri.startswith(f"{PROXIED}:"):
            raise Invalid(
                f"the server does not take files: it would have them in {artifact_uri[:200]}",
                hint="start it with --serve-artifacts (and --artifacts-destination), and export again",
            )
        self.rest.put(proxied(artifact_uri, path), source, size)

    # ---- models

    def create_logged_model(
        self, of: LoggedModel, experiment: str, source_run: str, tags: Mapping[str, str]
    ) -> LoggedModel:
        made = self.rest.create(
            "logged-models",
            answers.OneLoggedModel,
            experiment_id=experiment,
            name=of.name,
            model_type=of.model_type,
            source_run_id=source_run,
            params=written(of.params),
            tags=written(tags),
        )
        return answers.logged_model(made.model)

    def set_logged_model_tags(self, model_id: str, tags: Mapping[str, str]) -> None:
        self.rest.patch(f"logged-models/{quote(model_id, safe='')}/tags", Nothing, tags=written(tags))

    def finalize_logged_model(self, model_id: str, status: int) -> None:
        self.rest.patch(f"logged-models/{quote(model_id, safe='')}", Nothing, model_id=model_id, status=status)

    def create_registered_model(self, name: str, description: str, tags: Mapping[str, str]) -> RegisteredModel:
        made = self.rest.create(
            "registered-models/create",
            answers.OneRegisteredModel,
            name=name,
            description=description,
            tags=written(tags),
        )
        return answers.registered_model(made.registered_model)

    def describe_registered_model(self, name: str, description: str) -> None:
        self.rest.patch("registered-models/update", Nothing, name=name, description=description)

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self.rest.post("registered-models/set-tag", Nothing, name=name, key=key, value=value)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self.rest.post("registered-models/alias", Nothing, name=name, alias=alias, version=str(version))

    def create_version(
        self, of: ModelVersion, name: str, *, source: str, run_id: str, model_id: str, tags: Mapping[str, str]
    ) -> ModelVersion:
        fields = {"run_id": run_id, "model_id": model_id, "run_link": of.run_link, "description": of.description}
        made = self.rest.create(
            "model-versions/create",
            answers.OneModelVersion,
            name=name,
            source=source,
            tags=written(tags),
            **{key: value for key, value in fields.items() if value},
        )
        return answers.model_version(made.model_version)

    def describe_version(self, name: str, version: int, description: str) -> None:
        self.rest.patch("model-versions/update", Nothing, name=name, version=str(version), description=description)

    def set_version_tag(self, name: str, version: int, key: str, value: str) -> None:
        self.rest.post("model-versions/set-tag", Nothing, name=name, version=str(version), key=key, value=value)

    def move_stage(self, name: str, version: int, stage: str) -> None:
        self.rest.post(
            "model-versions/transition-stage", Nothing, name=name, version=str(version), stage=stage,
            archive_existing_versions=False,
        )  # fmt: skip


def _metric(key: str, point: Point) -> dict[str, Any]:
    return {"key": key, "value": number(point.value), "timestamp": point.at, "step": point.step}


def _portions(pairs: Sequence[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """Pairs in portions that a server takes at once: it bounds their number and their bytes."""
    portion: list[tuple[str, str]] = []
    size = 0
    for pair in pairs:
        weight = len(msgspec.json.encode(pair))
        if portion and (len(portion) >= PAIRS_AT_ONCE or size + weight > BYTES_AT_ONCE):
            yield portion
            portion, size = [], 0
        portion.append(pair)
        size += weight
    if portion:
        yield portion
