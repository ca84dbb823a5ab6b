"""Runs, metrics, parameters, tags, batches and datasets, with the real client and as bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from servers import Wire

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own

Name = Callable[[str], str]
NOBODY = "0" * 32
BAD = (400, "INVALID_PARAMETER_VALUE")
MISSING = (404, "RESOURCE_DOES_NOT_EXIST")


def test_created_with_its_forms(wire: Wire, experiment: str) -> None:
    made = wire.post(
        "runs/create", experiment_id=experiment, start_time="7", run_name="r", user_id="ada",
        tags=[{"key": "team", "value": "é"}],
    )["run"]  # fmt: skip
    info = made["info"]
    run = info["run_id"]
    assert info == {
        "run_id": run, "run_uuid": run, "run_name": "r", "experiment_id": experiment, "user_id": "ada",
        "status": "RUNNING", "start_time": 7, "artifact_uri": f"mlflow-artifacts:/{experiment}/{run}/artifacts",
        "lifecycle_stage": "active",
    }  # fmt: skip
    tags = {tag["key"]: tag["value"] for tag in made["data"]["tags"]}
    assert tags == {"team": "é", "mlflow.runName": "r"}
    assert "metrics" not in made["data"]
    assert "params" not in made["data"]
    assert made["inputs"] == {}
    assert wire.get("runs/get", run_uuid=run)["run"] == wire.get("runs/get", run_id=run)["run"]


def test_defaults_of_a_run(wire: Wire, experiment: str) -> None:
    info = wire.post("runs/create", experiment_id=experiment)["run"]["info"]
    assert (info["user_id"], info["start_time"], info["status"]) == ("", 0, "RUNNING")
    assert info["run_name"]
    assert "end_time" not in info


def test_a_name_may_come_from_the_tag(wire: Wire, experiment: str) -> None:
    tags = [{"key": "mlflow.runName", "value": "by tag"}]
    assert wire.post("runs/create", experiment_id=experiment, tags=tags)["run"]["info"]["run_name"] == "by tag"
    both = wire.call("POST", "runs/create", experiment_id=experiment, run_name="other", tags=tags)
    assert both.error == BAD


def test_updated(client: Any, run: str) -> None:
    client.update_run(run, status="FAILED", name="renamed")
    got = client.get_run(run)
    assert (got.info.status, got.info.run_name, got.data.tags["mlflow.runName"]) == ("FAILED", "renamed", "renamed")
    client.set_tag(run, "mlflow.runName", "by tag")
    assert client.get_run(run).info.run_name == "by tag"
    client.set_terminated(run, "FINISHED", end_time=1234)
    ended = client.get_run(run)
    assert (ended.info.status, ended.info.end_time) == ("FINISHED", 1234)


def test_deleted_is_read_only_until_restored(client: Any, wire: Wire, run: str) -> None:
    client.delete_run(run)
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    for call, fields in (
        ("log-metric", {"key": "m", "value": 1, "timestamp": 1}),
        ("log-parameter", {"key": "m", "value": "1"}),
        ("set-tag", {"key": "m", "value": "1"}),
        ("update", {"status": "FINISHED"}),
        ("log-batch", {"tags": [{"key": "a", "value": "b"}]}),
    ):
        assert wire.call("POST", f"runs/{call}", run_id=run, **fields).error == BAD, call
    client.restore_run(run)
    client.log_metric(run, "m", 1)
    assert client.get_run(run).info.lifecycle_stage == "active"


def test_nested_runs(fluent: Any, unique: Name) -> None:
    fluent.set_experiment(unique("nested"))
    with fluent.start_run(run_name="parent") as parent, fluent.start_run(run_name="child", nested=True) as child:
        fluent.log_metric("m", 1.0)
    assert fluent.get_parent_run(child.info.run_id).info.run_id == parent.info.run_id
    found = fluent.search_runs(filter_string=f"tags.mlflow.parentRunId = '{parent.info.run_id}'", output_format="list")
    assert [run.info.run_id for run in found] == [child.info.run_id]
    assert found[0].info.status == "FINISHED"


# Metrics


def test_metrics_keep_nan_and_the_infinities(client: Any, wire: Wire, run: str) -> None:
    for step, value in enumerate([0.5, math.nan, math.inf, -math.inf]):
        client.log_metric(run, "m", value, timestamp=1000 + step, step=step)
    history = [point.value for point in client.get_metric_history(run, "m")]
    assert history[0] == 0.5
    assert math.isnan(history[1])
    assert history[2] >= 1.7976931348623157e308
    assert history[3] <= -1.7976931348623157e308
    assert wire.get("metrics/get-history", run_id=run, metric_key="m")["metrics"][1]["value"] == "NaN"


def test_the_latest_is_the_highest_step_then_time_then_value(client: Any, run: str) -> None:
    for value, timestamp, step in ((1.0, 5, 2), (2.0, 9, 1), (3.0, 5, 2), (0.5, 4, 2)):
        client.log_metric(run, "m", value, timestamp=timestamp, step=step)
    assert client.get_run(run).data.metrics == {"m": 3.0}


def test_the_same_point_twice_is_one(client: Any, run: str) -> None:
    for _ in range(2):
        client.log_metric(run, "m", 1.0, timestamp=5, step=1)
    assert len(client.get_metric_history(run, "m")) == 1


def test_numbers_may_be_strings(wire: Wire, run: str) -> None:
    wire.post("runs/log-metric", run_id=run, key="m", value="0.25", timestamp="1004", step="-3")
    point = wire.get("metrics/get-history", run_id=run, metric_key="m")["metrics"]
    assert point == [{"key": "m", "value": 0.25, "timestamp": 1004, "step": -3}]


def test_history_by_pages(wire: Wire, run: str) -> None:
    points = [{"key": "m", "value": step / 10, "timestamp": step, "step": step} for step in range(5)]
    wire.post("runs/log-batch", run_id=run, metrics=points)
    first = wire.get("metrics/get-history", run_id=run, metric_key="m", max_results=2)
    token = first["next_page_token"]
    second = wire.get("metrics/get-history", run_id=run, metric_key="m", max_results=3, page_token=token)
    assert [p["step"] for p in first["metrics"] + second["metrics"]] == [0, 1, 2, 3, 4]
    whole = wire.get("metrics/get-history", run_id=run, metric_key="m")
    assert "next_page_token" not in whole
    assert wire.get("metrics/get-history", run_id=run, metric_key="nobody").get("metrics", []) == []


def test_history_in_intervals(wire: Wire, run: str) -> None:
    points = [{"key": "m", "value": step, "timestamp": step, "step": step} for step in range(50)]
    wire.post("runs/log-batch", run_id=run, metrics=points)
    call = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
    sampled = wire.get(call, run_ids=[run], metric_key="m", max_results=5)["metrics"]
    steps = [point["step"] for point in sampled]
    assert len(steps) < 20
    assert (steps[0], steps[-1]) == (0, 49)
    assert {point["run_id"] for point in sampled} == {run}
    within = wire.get(call, run_ids=[run], metric_key="m", start_step=10, end_step=12)["metrics"]
    assert [point["step"] for point in within] == [10, 11, 12]
    assert wire.get(call, run_ids=[NOBODY], metric_key="m").get("metrics", []) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"metric_key": "m"}, {"run_ids": ["r"]}, {"run_ids": ["r"] * 101, "metric_key": "m"},
        {"run_ids": ["r"], "metric_key": "m", "max_results": 0},
        {"run_ids": ["r"], "metric_key": "m", "max_results": 2501},
        {"run_ids": ["r"], "metric_key": "m", "start_step": 1},
        {"run_ids": ["r"], "metric_key": "m", "start_step": 3, "end_step": 1},
    ],
)  # fmt: skip
def test_wrong_intervals(wire: Wire, fields: dict[str, Any]) -> None:
    assert wire.call("GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval", **fields).error == BAD


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "m", "value": 1}, {"value": 1, "timestamp": 1}, {"key": "m", "timestamp": 1},
        {"key": "", "value": 1, "timestamp": 1}, {"key": "m" * 251, "value": 1, "timestamp": 1},
        {"key": "a$", "value": 1, "timestamp": 1}, {"key": "../x", "value": 1, "timestamp": 1},
        {"key": "/x", "value": 1, "timestamp": 1}, {"key": "a//b", "value": 1, "timestamp": 1},
        {"key": "m", "value": "abc", "timestamp": 1}, {"key": "m", "value": 1, "timestamp": "abc"},
        {"key": "m", "value": 1, "timestamp": 1, "step": "x"}, {"key": 5, "value": 1, "timestamp": 1},
    ],
)  # fmt: skip
def test_wrong_metrics(wire: Wire, run: str, fields: dict[str, Any]) -> None:
    assert wire.call("POST", "runs/log-metric", run_id=run, **fields).error == BAD


def test_metric_names_with_all_that_is_allowed(client: Any, run: str) -> None:
    name = "a b/c-d.e:f_é"
    client.log_metric(run, name, 1.0)
    assert client.get_run(run).data.metrics == {name: 1.0}


def test_a_metric_of_nobodys_run(wire: Wire) -> None:
    assert wire.call("POST", "runs/log-metric", run_id=NOBODY, key="m", value=1, timestamp=1).error == MISSING
    assert wire.call("POST", "runs/log-metric", key="m", value=1, timestamp=1).error == BAD


# Parameters


def test_parameters_are_immutable(wire: Wire, client: Any, run: str) -> None:
    client.log_param(run, "p", "1")
    client.log_param(run, "p", "1")
    assert wire.call("POST", "runs/log-parameter", run_id=run, key="p", value="2").error == BAD
    assert client.get_run(run).data.params == {"p": "1"}


def test_what_is_too_long_is_cut(wire: Wire, run: str) -> None:
    wire.post("runs/log-parameter", run_id=run, key="long", value="ü" * 6000 + "x")
    wire.post("runs/log-batch", run_id=run, params=[{"key": "batch", "value": "ü" * 6000 + "x"}])
    wire.post("runs/set-tag", run_id=run, key="long", value="ü" * 8000 + "x")
    wire.post("runs/log-batch", run_id=run, tags=[{"key": "batch", "value": "ü" * 8000 + "x"}])
    data = wire.get("runs/get", run_id=run)["run"]["data"]
    assert {p["value"] for p in data["params"]} == {"ü" * 6000}
    assert {t["value"] for t in data["tags"] if t["key"] != "mlflow.runName"} == {"ü" * 8000}


@pytest.mark.parametrize(
    "fields",
    [{"value": "1"}, {"key": "", "value": "1"}, {"key": "k" * 251, "value": "1"}, {"key": "p", "value": 5},
     {"key": "a//b", "value": "1"}, {"key": "a\\b", "value": "1"}],
)  # fmt: skip
def test_wrong_parameters(wire: Wire, run: str, fields: dict[str, Any]) -> None:
    assert wire.call("POST", "runs/log-parameter", run_id=run, **fields).error == BAD


def test_empty_parameter(client: Any, run: str) -> None:
    client.log_param(run, "empty", "")
    assert client.get_run(run).data.params == {"empty": ""}


# Tags


def test_tags_are_overwritten_and_deleted(client: Any, wire: Wire, run: str) -> None:
    client.set_tag(run, "t", "1")
    client.set_tag(run, "t", "2")
    client.set_tag(run, "long", "v" * 8000)
    tags = client.get_run(run).data.tags
    assert (tags["t"], len(tags["long"])) == ("2", 8000)
    client.delete_tag(run, "t")
    assert "t" not in client.get_run(run).data.tags
    assert wire.call("POST", "runs/delete-tag", run_id=run, key="t").error == MISSING
    assert wire.call("POST", "runs/delete-tag", run_id=NOBODY, key="t").error == MISSING


@pytest.mark.parametrize(
    "fields",
    [{"value": "1"}, {"key": "", "value": "1"}, {"key": "k" * 251, "value": "1"}, {"key": "p", "value": 5},
     {"key": "a//b", "value": "1"}],
)  # fmt: skip
def test_wrong_tags(wire: Wire, run: str, fields: dict[str, Any]) -> None:
    assert wire.call("POST", "runs/set-tag", run_id=run, **fields).error == BAD


# Batches


def test_a_batch_of_everything(client: Any, run: str) -> None:
    from mlflow.entities import Metric, Param, RunTag

    client.log_batch(
        run,
        metrics=[Metric("a", 1.0, 1, 0), Metric("a", 2.0, 2, 1), Metric("b", math.nan, 1, 0)],
        params=[Param("p", "1")],
        tags=[RunTag("t", "1"), RunTag("t", "2")],
    )
    data = client.get_run(run).data
    assert data.metrics["a"] == 2.0
    assert math.isnan(data.metrics["b"])
    assert data.params == {"p": "1"}
    assert data.tags["t"] == "2"


def test_an_empty_batch(wire: Wire, run: str) -> None:
    assert wire.post("runs/log-batch", run_id=run) == {}
    assert wire.call("POST", "runs/log-batch").error == BAD
    assert wire.call("POST", "runs/log-batch", run_id=NOBODY).error == MISSING


def points(count: int) -> list[dict[str, Any]]:
    return [{"key": f"m{number}", "value": 1, "timestamp": 1} for number in range(count)]


def pairs(count: int) -> list[dict[str, str]]:
    return [{"key": f"k{number}", "value": "1"} for number in range(count)]


def test_the_largest_batches(wire: Wire, run: str) -> None:
    wire.post("runs/log-batch", run_id=run, metrics=points(1000))
    wire.post("runs/log-batch", run_id=run, params=pairs(100), tags=pairs(100))
    data = wire.get("runs/get", run_id=run)["run"]["data"]
    assert (len(data["metrics"]), len(data["params"])) == (1000, 100)


@pytest.mark.parametrize(
    "fields",
    [
        {"metrics": points(1001)}, {"params": pairs(101)}, {"tags": pairs(101)},
        {"metrics": points(950), "params": pairs(51)},
        {"metrics": [{"value": 1, "timestamp": 1}]}, {"metrics": [{"key": "m", "timestamp": 1}]},
        {"metrics": [{"key": "m", "value": 1}]}, {"metrics": "x"}, {"metrics": {"key": "m"}},
        {"metrics": [{"key": "", "value": 1, "timestamp": 1}]},
        {"metrics": [{"key": "fine", "value": 1, "timestamp": 1}, {"key": "bad$", "value": 1, "timestamp": 1}]},
        {"params": [{"key": "", "value": "1"}]},
        {"params": [{"key": "k" * 251, "value": "1"}]}, {"params": [{"key": "q", "value": "1"}] * 2},
        {"params": [{"key": "q", "value": "1"}, {"key": "q", "value": "2"}]},
        {"tags": [{"key": "k" * 251, "value": "1"}]},
        {"tags": [{"value": "v"}]},
    ],
)  # fmt: skip
def test_a_wrong_batch_leaves_nothing(wire: Wire, run: str, fields: dict[str, Any]) -> None:
    before = wire.get("runs/get", run_id=run)
    refused = wire.call("POST", "runs/log-batch", run_id=run, **{"tags": [{"key": "never", "value": "1"}], **fields})
    assert refused.error == BAD
    assert wire.get("runs/get", run_id=run) == before


def test_a_batch_that_changes_a_parameter(wire: Wire, run: str) -> None:
    wire.post("runs/log-parameter", run_id=run, key="p", value="1")
    refused = wire.call("POST", "runs/log-batch", run_id=run, params=[{"key": "p", "value": "2"}])
    assert refused.error == BAD
    wire.post("runs/log-batch", run_id=run, params=[{"key": "p", "value": "1"}])


# Wrong uses of runs


@pytest.mark.parametrize(
    ("call", "fields", "error"),
    [
        ("create", {"experiment_id": "999999"}, MISSING),
        ("create", {"experiment_id": "abc"}, BAD),
        ("create", {"experiment_id": 0}, BAD),
        ("create", {"experiment_id": "0", "start_time": "x"}, BAD),
        ("update", {"run_id": NOBODY, "status": "FAILED"}, MISSING),
        ("delete", {}, BAD),
        ("delete", {"run_id": NOBODY}, MISSING),
        ("restore", {}, BAD),
        ("restore", {"run_id": NOBODY}, MISSING),
        ("set-tag", {"run_id": NOBODY, "key": "a", "value": "b"}, MISSING),
        ("log-parameter", {"run_id": NOBODY, "key": "a", "value": "b"}, MISSING),
        ("log-inputs", {}, BAD),
        ("log-inputs", {"run_id": NOBODY, "datasets": []}, MISSING),
        ("outputs", {"models": []}, BAD),
    ],
)
def test_wrong_uses(wire: Wire, call: str, fields: dict[str, Any], error: tuple[int, str]) -> None:
    assert wire.call("POST", f"runs/{call}", **fields).error == error


@pytest.mark.parametrize(
    ("call", "fields", "error"),
    [
        ("runs/get", {}, BAD),
        ("runs/get", {"run_id": ""}, BAD),
        ("runs/get", {"run_id": NOBODY}, MISSING),
        ("metrics/get-history", {"metric_key": "m"}, BAD),
        ("metrics/get-history", {"run_id": NOBODY}, BAD),
    ],
)
def test_wrong_reads(wire: Wire, call: str, fields: dict[str, Any], error: tuple[int, str]) -> None:
    assert wire.call("GET", call, **fields).error == error


# Datasets


def test_datasets_are_inputs(fluent: Any, client: Any, unique: Name) -> None:
    import pandas as pd

    fluent.set_experiment(unique("datasets"))
    data = fluent.data.from_pandas(pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}), name="census", targets="b")
    with fluent.start_run() as run:
        fluent.log_input(data, context="training", tags={"extra": "yes"})
        fluent.log_input(data, context="training")
    inputs = client.get_run(run.info.run_id).inputs.dataset_inputs
    assert len(inputs) == 1
    assert (inputs[0].dataset.name, inputs[0].dataset.digest) == ("census", data.digest)
    assert inputs[0].dataset.source_type
    assert '"mlflow_colspec"' in inputs[0].dataset.schema
    assert {tag.key: tag.value for tag in inputs[0].tags}["mlflow.data.context"] == "training"


def test_datasets_of_experiments(wire: Wire, experiment: str, run: str) -> None:
    for context in ("train", "test"):
        given = {"name": "ds", "digest": "d1", "source_type": "local", "source": "s"}
        tags = [{"key": "mlflow.data.context", "value": context}]
        wire.post("runs/log-inputs", run_id=run, datasets=[{"tags": tags, "dataset": given}])
    found = wire.post("/ajax-api/2.0/mlflow/experiments/search-datasets", experiment_ids=[experiment])
    assert [(s["experiment_id"], s["name"], s["digest"]) for s in found["dataset_summaries"]] == [
        (experiment, "ds", "d1")
    ]


@pytest.mark.parametrize(
    "given",
    [
        {"dataset": {"name": "n" * 501, "digest": "a", "source_type": "l", "source": "s"}},
        {"dataset": {"name": "n", "digest": "d" * 37, "source_type": "l", "source": "s"}},
        {"dataset": {"name": "n", "digest": "d", "source_type": "l", "source": "s"},
         "tags": [{"key": "k" * 256, "value": "v"}]},
        {"dataset": {"name": "n", "digest": "d", "source_type": "l", "source": "s"},
         "tags": [{"key": "k", "value": "v" * 501}]},
    ],
)  # fmt: skip
def test_wrong_datasets(wire: Wire, run: str, given: Any) -> None:
    assert wire.call("POST", "runs/log-inputs", run_id=run, datasets=[given]).error == BAD


@pytest.mark.parametrize("fields", [{}, {"experiment_ids": []}, {"experiment_ids": [str(n) for n in range(21)]}])
def test_wrong_searches_for_datasets(wire: Wire, fields: dict[str, Any]) -> None:
    assert wire.call("POST", "/ajax-api/2.0/mlflow/experiments/search-datasets", **fields).error == BAD
