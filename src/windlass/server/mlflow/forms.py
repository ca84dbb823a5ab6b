"""What MLflow's clients are answered: runs, experiments and models in their JSON form."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import msgspec

from windlass.domain.ports import Row, Transaction
from windlass.registry.tracking import runs
from windlass.registry.tracking.experiments import Experiment
from windlass.registry.tracking.histories import Row as HistoryRow
from windlass.registry.tracking.logged_models import LoggedModel, model_root
from windlass.registry.tracking.runs import TrackedRun, run_root
from windlass.server.mlflow.wire import encoded, number, pairs

SCHEME = "mlflow-artifacts:/"


def experiment(of: Experiment) -> dict[str, Any]:
    return {
        "experiment_id": of.id,
        "name": of.name,
        "artifact_location": f"{SCHEME}{of.id}",
        "lifecycle_stage": of.stage,
        "last_update_time": of.updated_at,
        "creation_time": of.created_at,
        **({"tags": pairs(of.tags)} if of.tags else {}),
    }


def run_info(row: Row) -> dict[str, Any]:
    """Of a row of ``runs``."""
    info = {
        "run_uuid": row["run_id"],
        "experiment_id": str(row["experiment"]),
        "run_name": row["name"],
        "user_id": row["owner"],
        "status": row["status"],
        "start_time": row["started_at"],
    }
    if row["ended_at"] is not None:
        info["end_time"] = row["ended_at"]
    info["artifact_uri"] = SCHEME + run_root(str(row["experiment"]), row["run_id"])
    info["lifecycle_stage"] = row["stage"]
    info["run_id"] = row["run_id"]
    return info


def run(of: TrackedRun) -> dict[str, Any]:
    info = run_info({
        "run_id": of.run_id, "experiment": of.experiment_id, "name": of.name, "owner": of.user, "status": of.status,
        "started_at": of.started_at, "ended_at": of.ended_at, "stage": of.stage,
    })  # fmt: skip
    data: dict[str, Any] = {}
    if of.metrics:
        data["metrics"] = [
            {
                "key": key,
                "value": value if math.isfinite(value) else number(value),
                "timestamp": at,
                "step": step,
            }
            for key, (value, step, at) in of.metrics.items()
        ]
    if of.params:
        data["params"] = pairs(of.params)
    if of.tags:
        data["tags"] = pairs(of.tags)
    inputs: dict[str, Any] = {}
    if of.datasets:
        inputs["dataset_inputs"] = [_dataset_input(each) for each in of.datasets]
    if of.model_inputs:
        inputs["model_inputs"] = [{"model_id": each} for each in of.model_inputs]
    found: dict[str, Any] = {"info": info, "data": data, "inputs": inputs}
    outputs = [{"model_id": model_id, "step": step} for model_id, step in of.model_outputs]
    found["outputs"] = {"model_outputs": outputs} if outputs else {}
    return found


def _dataset_input(of: runs.DatasetInput) -> dict[str, Any]:
    described = {
        "name": of.name,
        "digest": of.digest,
        "source_type": of.source_type,
        "source": of.source,
    }
    if of.schema:
        described["schema"] = of.schema
    if of.profile:
        described["profile"] = of.profile
    return {**({"tags": pairs(of.tags)} if of.tags else {}), "dataset": described}


def points(rows: Sequence[HistoryRow], **also: str) -> list[dict[str, Any]]:
    """Points of a metric; ``also`` are fields that each has (its key, its run)."""
    return [
        {
            **also,
            "value": "NaN" if nan else (value if math.isfinite(value) else number(value)),
            "timestamp": at,
            "step": step,
        }
        for value, nan, step, at in rows
    ]


def logged_model(of: LoggedModel) -> dict[str, Any]:
    info: dict[str, Any] = {
        "model_id": of.model_id,
        "experiment_id": of.experiment_id,
        "name": of.name,
        "creation_timestamp_ms": of.created_at,
        "last_updated_timestamp_ms": of.updated_at,
        "artifact_uri": SCHEME + model_root(of.experiment_id, of.model_id),
        "status": f"LOGGED_MODEL_{of.status.name if of.status.name != 'FAILED' else 'UPLOAD_FAILED'}",
        "model_type": of.model_type,
        "source_run_id": of.source_run_id,
    }
    if of.status_message:
        info["status_message"] = of.status_message
    if of.tags:
        info["tags"] = pairs(of.tags)
    data: dict[str, Any] = {}
    if of.params:
        data["params"] = pairs(of.params)
    if of.metrics:
        data["metrics"] = [
            {
                "key": each.key,
                "value": number(each.value),
                "timestamp": each.at,
                "step": each.step,
                "model_id": of.model_id,
                "run_id": each.run_id,
                **({"dataset_name": each.dataset_name} if each.dataset_name else {}),
                **({"dataset_digest": each.dataset_digest} if each.dataset_digest else {}),
            }
            for each in of.metrics
        ]
    return {"info": info, "data": data}


def file(path: str, size: int | None) -> dict[str, Any]:
    """``size`` is None of a folder; of an empty file MLflow tells none."""
    found: dict[str, Any] = {"path": path, "is_dir": size is None}
    return {**found, "file_size": size} if size else found


class Rendered:
    """Runs as JSON, kept by their revision: a page that is looked at again costs one query.

    Used by several threads. ``most_bytes`` bounds what is kept.
    """

    def __init__(self, most_bytes: int = 48 << 20) -> None:
        self._kept: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._bytes = 0
        self._most = most_bytes
        self._lock = Lock()

    def runs(self, tx: Transaction, found: Sequence[tuple[int, int]]) -> list[msgspec.Raw]:
        """The JSON of runs by (number, revision), in order."""
        with self._lock:
            kept = {number: text for number, revision in found if (text := self._get(number, revision)) is not None}
        missing = [number for number, _ in found if number not in kept]
        for start in range(0, len(missing), 500):
            # A part at a time: the threads that answer others get their turn in between.
            made = [
                (each.number, each.revision, encoded(run(each))) for each in runs.read(tx, missing[start : start + 500])
            ]
            kept.update((number, text) for number, _, text in made)
            with self._lock:
                for number, revision, text in made:
                    self._put(number, revision, text)
        return [msgspec.Raw(kept[number]) for number, _ in found]

    def _get(self, number: int, revision: int) -> bytes | None:
        entry = self._kept.get(number)
        if entry is None or entry[0] != revision:
            return None
        self._kept.move_to_end(number)
        return entry[1]

    def _put(self, number: int, revision: int, text: bytes) -> None:
        before = self._kept.pop(number, None)
        self._bytes += len(text) - (len(before[1]) if before else 0)
        self._kept[number] = (revision, text)
        while self._bytes > self._most:
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= len(gone)
