"""MLflow's calls on runs and their metrics."""

from __future__ import annotations

import json
import secrets
from typing import Any

from windlass.domain.errors import Invalid
from windlass.domain.ports import Transaction
from windlass.registry import grammar
from windlass.registry.search import runs as searching
from windlass.registry.tracking import experiments, histories, inputs, names, recording, runs
from windlass.registry.tracking.recording import Log, ModelPoint
from windlass.server.mlflow import forms, wire
from windlass.server.mlflow.edge import Call, Edge, Read, Record, Write
from windlass.server.mlflow.experiments import stages
from windlass.server.mlflow.messages import (
    BulkInterval,
    CreateRun,
    History,
    LogBatch,
    LogInputs,
    LogMetric,
    LogModel,
    LogOutputs,
    LogPair,
    OfRun,
    Point,
    SearchDatasets,
    SearchRuns,
    UpdateRun,
)

MOST = 50_000
MOST_POINTS, MOST_PAIRS, MOST_IN_ALL = 1000, 100, 1000
MOST_EXPERIMENTS_OF_DATASETS = 20
MOST_RUNS_OF_HISTORY, MOST_SAMPLED = 100, 2500
LOGGED_MODELS = "mlflow.log-model.history"
_STATUS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
_ADJECTIVES = (
    "able calm clever keen bold brisk fair fond glad grand kind lean merry neat proud quick rare sly trim wise"
)
_NOUNS = "ant bass carp crow dove eel fawn finch gull hare ibex jay kite lark mole newt owl ray seal stork toad wren"


def create(tx: Transaction, asked: CreateRun, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "experiment_id")
    run_id, tags = edge.new_id(), {each.key: each.value for each in asked.tags}
    runs.create_run(
        tx,
        run_id=run_id,
        experiment_id=asked.experiment_id,
        name=asked.run_name or tags.get(names.RUN_NAME, "") or _random_name(),
        user=asked.user_id,
        at=asked.start_time,
        tags=tags,
    )
    made = forms.run(runs.find_run(tx, run_id))
    del made["outputs"]  # as MLflow: a run that begins has none yet
    return {"run": made}


def _random_name() -> str:
    return "-".join([
        secrets.choice(_ADJECTIVES.split()), secrets.choice(_NOUNS.split()), str(secrets.randbelow(1000))
    ])  # fmt: skip


def get(tx: Transaction, asked: OfRun, edge: Edge) -> dict[str, Any]:
    _required_run(asked)
    row = runs.info(tx, asked.run)
    return {"run": edge.rendered.runs(tx, [(row["id"], row["revision"])])[0]}


def update(tx: Transaction, asked: UpdateRun, _: Edge) -> dict[str, Any]:
    _required_run(asked)
    status = asked.status
    if status is not None and str(status).isdigit():
        status = _STATUS.get(int(status), str(status))
    runs.update_run(
        tx, asked.run, status=None if status is None else str(status), ended_at=asked.end_time, name=asked.run_name
    )
    return {"run_info": forms.run_info(runs.info(tx, asked.run))}


def delete(tx: Transaction, asked: OfRun, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "run_id")
    runs.delete_run(tx, asked.run_id, at=edge.milliseconds)
    return {}


def restore(tx: Transaction, asked: OfRun, _: Edge) -> dict[str, Any]:
    wire.required(asked, "run_id")
    runs.restore_run(tx, asked.run_id)
    return {}


def search(tx: Transaction, asked: SearchRuns, edge: Edge) -> dict[str, Any]:
    most, start = wire.checked_most(asked.max_results, MOST), wire.start_of(asked.page_token)
    query = searching.Asked(
        [experiments.number_of(each) for each in dict.fromkeys(asked.experiment_ids)],
        stages(asked.run_view_type),
        grammar.parse_filter(asked.filter, grammar.RUNS),
        grammar.parse_order(asked.order_by, grammar.RUNS),
    )
    page, following = wire.paged(searching.search(tx, query, start=start, most=most + 1), start, most)
    if not page:
        return {}
    return {"runs": edge.rendered.runs(tx, page), **following}


def log_metric(asked: LogMetric) -> Log:
    _required_run(asked)
    wire.required(asked, "key", "value", "timestamp")
    point = _point(asked, "value")
    return Log.checked(asked.run, points=[point], of_models=_of_models([(asked, point)]))


def log_param(asked: LogPair) -> Log:
    _required_run(asked)
    wire.required(asked, "key")
    return Log.checked(asked.run, params={asked.key: asked.value})


def set_tag(asked: LogPair) -> Log:
    _required_run(asked)
    wire.required(asked, "key")
    return Log.checked(asked.run, tags={asked.key: asked.value})


def log_batch(asked: LogBatch) -> Log:
    wire.required(asked, "run_id")
    _check_limits(asked)
    points = []
    for index, each in enumerate(asked.metrics):
        if not each.key or each.value is None or each.timestamp is None:
            missing = "key" if not each.key else "value" if each.value is None else "timestamp"
            raise Invalid(f"Missing value for required parameter 'metrics[{index}].{missing}'.")
        value = each.value if isinstance(each.value, float) else wire.real(each.value, f"metrics[{index}].value")
        points.append((each.key, value, each.step, each.timestamp))
    return Log.checked(
        asked.run_id,
        points=points,
        params={each.key: each.value for each in asked.params},
        tags={each.key: each.value for each in asked.tags},
        of_models=_of_models(list(zip(asked.metrics, points, strict=True))),
    )


def _check_limits(asked: LogBatch) -> None:
    for what, given in (("params", asked.params), ("tags", asked.tags)):
        for index, pair in enumerate(given):
            if not pair.key:
                raise Invalid(f"Missing value for required parameter '{what}[{index}].key'.")
    total = len(asked.metrics) + len(asked.params) + len(asked.tags)
    for what, count, most in (
        ("metrics", len(asked.metrics), MOST_POINTS),
        ("params", len(asked.params), MOST_PAIRS),
        ("tags", len(asked.tags), MOST_PAIRS),
        ("metrics, params, and tags", total, MOST_IN_ALL),
    ):
        if count > most:
            raise Invalid(
                f"A batch logging request can contain at most {most} {what}. Got {count} {what}."
                f" Please split up {what} across multiple requests and try again."
            )
    keys = [pair.key for pair in asked.params]
    if len(keys) != len(set(keys)):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise Invalid(
            f"Duplicate parameter keys have been submitted: {twice[:20]}. Please ensure the request contains only one"
            " param value per param key."
        )


def _point(asked: Point | LogMetric, where: str) -> recording.Point:
    assert asked.timestamp is not None
    return asked.key, wire.real(asked.value, where), asked.step, asked.timestamp


def _of_models(points: list[tuple[Any, recording.Point]]) -> list[ModelPoint]:
    return [
        ModelPoint(
            model_id=asked.model_id,
            point=point,
            dataset_name=asked.dataset_name or None,
            dataset_digest=asked.dataset_digest or None,
        )
        for asked, point in points
        if asked.model_id
    ]


def log_model(tx: Transaction, asked: LogModel, _: Edge) -> dict[str, Any]:
    """What clients before 3.0 say of a model that they logged: kept in a tag, as MLflow does."""
    wire.required(asked, "run_id", "model_json")
    try:
        described = json.loads(asked.model_json)
        missing = sorted({"artifact_path", "flavors", "utc_time_created", "run_id"} - described.keys())
    except (ValueError, AttributeError, RecursionError):
        raise Invalid(f"Malformed model info. \n {asked.model_json[:200]} \n is not valid JSON.") from None
    if missing:
        raise Invalid(f"Model json is missing mandatory fields: {missing}")
    kept = {key: described.get(key) for key in ("run_id", "artifact_path", "utc_time_created", "model_uuid", "flavors")}
    before = runs.find_run(tx, asked.run_id).tags.get(LOGGED_MODELS, "[]")
    recording.log(tx, asked.run_id, tags={LOGGED_MODELS: json.dumps([*json.loads(before), kept])})
    return {}


def delete_tag(tx: Transaction, asked: LogPair, _: Edge) -> dict[str, Any]:
    wire.required(asked, "run_id", "key")
    runs.delete_tag(tx, asked.run_id, asked.key)
    return {}


def log_inputs(tx: Transaction, asked: LogInputs, edge: Edge) -> dict[str, Any]:
    wire.required(asked, "run_id")
    found: dict[tuple[str, str], runs.DatasetInput] = {}
    for each in asked.datasets:
        if each.dataset is None:
            raise Invalid("Dataset input must have a dataset associated with it.")
        of = each.dataset
        found.setdefault(
            (of.name, of.digest),
            runs.DatasetInput(
                of.name, of.digest, of.source_type, of.source, of.schema, of.profile,
                {tag.key: tag.value for tag in each.tags},
            ),
        )  # fmt: skip
    inputs.log_inputs(
        tx,
        asked.run_id,
        [(edge.new_id(), each) for each in found.values()],
        [each.model_id for each in asked.models],
    )
    return {}


def log_outputs(tx: Transaction, asked: LogOutputs, _: Edge) -> dict[str, Any]:
    wire.required(asked, "run_id", "models")
    inputs.log_outputs(tx, asked.run_id, [(each.model_id, each.step) for each in asked.models])
    return {}


def search_datasets(tx: Transaction, asked: SearchDatasets, _: Edge) -> dict[str, Any]:
    wire.required(asked, "experiment_ids")
    if len(asked.experiment_ids) > MOST_EXPERIMENTS_OF_DATASETS:
        raise Invalid(
            f"SearchDatasets request cannot specify more than {MOST_EXPERIMENTS_OF_DATASETS} experiment_ids."
            f" Received {len(asked.experiment_ids)} experiment_ids."
        )
    found = [
        {"experiment_id": experiment, "name": name, "digest": digest, **({"context": context} if context else {})}
        for experiment, name, digest, context in inputs.summaries(tx, asked.experiment_ids)
    ]
    return {"dataset_summaries": found} if found else {}


def history(tx: Transaction, asked: History, _: Edge) -> dict[str, Any]:
    _required_run(asked)
    wire.required(asked, "metric_key")
    if asked.max_results is not None and asked.max_results <= 0:
        raise Invalid(
            f"Invalid value {asked.max_results} for parameter 'max_results' supplied. It must be a positive integer."
        )
    start = wire.start_of(asked.page_token)
    most = None if asked.max_results is None else asked.max_results + 1
    rows = histories.history(tx, asked.run, asked.metric_key, start=start, most=most)
    page, following = (rows, {}) if most is None else wire.paged(rows, start, most - 1)
    return {"metrics": forms.points(page, key=asked.metric_key), **following} if page else {}


def bulk_interval(tx: Transaction, asked: BulkInterval, _: Edge) -> dict[str, Any]:
    wire.required(asked, "run_ids", "metric_key")
    if len(asked.run_ids) > MOST_RUNS_OF_HISTORY:
        raise Invalid(
            f"GetMetricHistoryBulkInterval request must specify at most {MOST_RUNS_OF_HISTORY} run_ids."
            f" Received {len(asked.run_ids)} run_ids."
        )
    most = MOST_SAMPLED if asked.max_results is None else asked.max_results
    if not 1 <= most <= MOST_SAMPLED:
        raise Invalid(f"max_results must be between 1 and {MOST_SAMPLED}.")
    first, last = asked.start_step, asked.end_step
    if (first is None) != (last is None):
        raise Invalid("If either start step or end step are specified, both must be specified.")
    if first is not None and last is not None and first > last:
        raise Invalid(f"end_step must be greater than start_step. Found start_step={first} and end_step={last}.")
    found = []
    for run_id in asked.run_ids:
        rows = histories.sampled(tx, run_id, asked.metric_key, most=most, first_step=first, last_step=last)
        found += forms.points(rows, key=asked.metric_key, run_id=run_id)
    return {"metrics": found} if found else {}


def _required_run(asked: OfRun) -> None:
    if not asked.run:
        wire.required(asked, "run_id")


CALLS: dict[tuple[str, str], Call] = {
    ("POST", "runs/create"): Write(CreateRun, create),
    ("GET", "runs/get"): Read(OfRun, get),
    ("POST", "runs/update"): Write(UpdateRun, update),
    ("POST", "runs/delete"): Write(OfRun, delete),
    ("POST", "runs/restore"): Write(OfRun, restore),
    ("POST", "runs/search"): Read(SearchRuns, search),
    ("POST", "runs/log-metric"): Record(LogMetric, log_metric),
    ("POST", "runs/log-parameter"): Record(LogPair, log_param),
    ("POST", "runs/log-batch"): Record(LogBatch, log_batch),
    ("POST", "runs/set-tag"): Record(LogPair, set_tag),
    ("POST", "runs/delete-tag"): Write(LogPair, delete_tag),
    ("POST", "runs/log-model"): Write(LogModel, log_model),
    ("POST", "runs/log-inputs"): Write(LogInputs, log_inputs),
    ("POST", "runs/outputs"): Write(LogOutputs, log_outputs),
    ("GET", "metrics/get-history"): Read(History, history),
    ("GET", "metrics/get-history-bulk-interval"): Read(BulkInterval, bulk_interval),
    ("POST", "experiments/search-datasets"): Read(SearchDatasets, search_datasets),
}
