"""The search grammar over runs: what each form finds, and what each wrong form is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from servers import Server, Wire

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own

BAD = (400, "INVALID_PARAMETER_VALUE")


class Runs(msgspec.Struct):
    """Five of them, r0 to r4, of which r4 is deleted."""

    experiment: str
    ids: list[str]


@pytest.fixture(scope="module")
def runs(server: Server) -> Iterator[Runs]:
    wire = Wire(server.url)
    experiment = wire.post("experiments/create", name=f"search of {server.kind}")["experiment_id"]
    made = []
    for number, metric in enumerate([0.1, "NaN", "Infinity", 0.3, 0.2]):
        run = wire.post(
            "runs/create", experiment_id=experiment, start_time=1000 + number, run_name=f"r{number}",
            user_id=f"u{number % 2}",
        )["run"]["info"]["run_id"]  # fmt: skip
        made.append(run)
        wire.post(
            "runs/log-batch", run_id=run,
            metrics=[
                {"key": "m", "value": metric, "timestamp": 1}, {"key": "a b", "value": number, "timestamp": 1},
                {"key": "steps", "value": 9 - number, "timestamp": 1, "step": 1},
                {"key": "steps", "value": number, "timestamp": 1, "step": 2},
            ],
            params=[{"key": "p", "value": str(number)}, {"key": "lr rate", "value": "x'y"}] if number else [],
            tags=[{"key": "t", "value": f"Vé{number}"}, {"key": "dotted.key", "value": "100%_"}],
        )  # fmt: skip
        if number % 2:
            wire.post("runs/update", run_id=run, status="FINISHED", end_time=2000 + number)
    data = {"name": "ds1", "digest": "d1", "source_type": "local", "source": "s"}
    tags = [{"key": "mlflow.data.context", "value": "train"}]
    wire.post("runs/log-inputs", run_id=made[0], datasets=[{"tags": tags, "dataset": data}])
    wire.post("runs/delete", run_id=made[4])
    yield Runs(experiment, made)
    wire.close()


def names(found: dict[str, Any]) -> list[str]:
    return [run["info"]["run_name"] for run in found.get("runs", [])]


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ("metrics.m > 0.1", "32"), ("metrics.m >= 0.1", "320"), ("metrics.m = 0.1", "0"), ("metrics.m < 0.3", "0"),
        ("metrics.m <= 0.3", "30"), ("metric.m > 0", "320"), ("metrics.`a b` > 0", "321"), ('metrics."a b" = 1', "1"),
        ("metrics.m = 1e-1", "0"), ("metrics.m = -1", ""), ("metrics.nobody > 0", ""), ("metrics.steps = 3", "3"),
        ("metrics.m > 99999", "2"),
        ("params.p = '1'", "1"), ("params.p != '1'", "32"), ('params.p = "1"', "1"), ("params.p LIKE '%1%'", "1"),
        ("params.p ILIKE '%1'", "1"), ("params.p IS NULL", "0"), ("params.p IS NOT NULL", "321"),
        ("param.`lr rate` LIKE 'x%'", "321"), ("parameter.p = '3'", "3"), ("parameters.p = '3'", "3"),
        ("tags.t = 'Vé1'", "1"), ("tag.t != 'Vé1'", "320"), ("tags.t LIKE 'V%'", "3210"), ("tags.t LIKE 'v%'", ""),
        ("tags.t ILIKE 'v%'", "3210"), ("tags.nobody IS NULL", "3210"), ("tags.t IS NOT NULL", "3210"),
        ("tags.dotted.key = '100%_'", "3210"), ("tags.`dotted.key` LIKE '100%'", "3210"),
        ("tags.mlflow.runName = 'r1'", "1"), ("tags.`mlflow.runName` LIKE 'r%'", "3210"),
        ("attributes.status = 'FINISHED'", "31"), ("status = 'FINISHED'", "31"), ("status = 'finished'", ""),
        ("status != 'FINISHED'", "20"), ("status LIKE 'FIN%'", "31"), ("attribute.run_name = 'r1'", "1"),
        ("run_name LIKE '%1'", "1"), ("run_name ILIKE 'R%'", "3210"), ("attributes.`run name` = 'r1'", "1"),
        ("`Run name` = 'r1'", "1"), ("user_id = 'u1'", "31"), ("attr.user_id != 'u1'", "20"),
        ("artifact_uri LIKE '%artifacts'", "3210"), ("start_time > 1001", "32"), ("start_time = 1001.0", "1"),
        ("end_time > 0", "31"), ("created > 1001", "32"), ("Created <= 1001", "10"),
        ("dataset.name = 'ds1'", "0"), ("datasets.digest = 'd1'", "0"), ("dataset.context = 'train'", "0"),
        ("dataset.context LIKE 't%'", "0"), ("dataset.name IN ('ds1', 'ds2')", "0"), ("dataset.name = 'ds2'", ""),
        ("dataset.name = 'ds1' AND dataset.context = 'train'", "0"),
        ("metrics.m > 0 AND params.p = '3'", "3"), ("metrics.m > 0 and tags.t LIKE '%' AND status = 'FINISHED'", "3"),
        ("metrics.m > 0 AND metrics.m < 0.2", "0"), ("params.p = '1' AND params.p = '2'", ""), ("", "3210"),
    ],
)  # fmt: skip
def test_what_is_found(wire: Wire, runs: Runs, where: str, numbers: str) -> None:
    found = wire.post("runs/search", experiment_ids=[runs.experiment], filter=where)
    assert "".join(names(found)).replace("r", "") == numbers


def test_by_ids(wire: Wire, runs: Runs) -> None:
    first, second = runs.ids[:2]
    for where, wanted in (
        (f"attributes.run_id = '{first}'", ["r0"]),
        (f"run_id IN ('{first}', '{second}')", ["r1", "r0"]),
        (f"run_id NOT IN ('{first}')", ["r3", "r2", "r1"]),
        (f"run_id != '{first}'", ["r3", "r2", "r1"]),
        (f"run_id LIKE '%{first[-8:]}'", ["r0"]),
    ):
        assert names(wire.post("runs/search", experiment_ids=[runs.experiment], filter=where)) == wanted, where


@pytest.mark.parametrize(
    "where",
    [
        "metrics.m > 'x'", "metrics.m LIKE '0'", "metrics.m IN (1)", "metrics.m = NaN", "metrics.m IS NULL",
        "metrics.m == 1", "metrics.m <> 1", "metrics.m", "metrics.m >", "params.p = 1", "params.p > '1'",
        "params.p IN ('1', '2')", "params.p = bare", "tags.t IN ('a')", "tags.t > 'a'", "status IN ('FINISHED')",
        "start_time >= '1001'", "start_time = 'x'", "start_time IN (1)", "end_time IS NULL", "status > 'A'",
        "lifecycle_stage = 'active'", "experiment_id = '1'", "dataset.foo = 'x'", "m > 0", "foo.bar = '1'", "garbage",
        "metrics.m > 0 OR metrics.m < 1", "(metrics.m > 0)", "NOT metrics.m > 0", "metrics.m > 0; DROP TABLE runs",
        "   ", "run_id IN ()", "logged_model.x = 1", "status = FINISHED", "run_id IN (1)",
    ],
)  # fmt: skip
def test_what_is_refused(wire: Wire, runs: Runs, where: str) -> None:
    assert wire.call("POST", "runs/search", experiment_ids=[runs.experiment], filter=where).error == BAD


@pytest.mark.parametrize(
    ("order", "numbers"),
    [
        (["metrics.m ASC"], "0321"), (["metrics.m DESC"], "2301"), (["metrics.m"], "0321"),
        (["metrics.`a b` DESC"], "3210"), (["params.p"], "1230"),
        (["params.p DESC"], "3210"), (["tags.t DESC"], "3210"),
        (["start_time"], "0123"), (["attributes.start_time ASC"], "0123"), (["end_time DESC"], "3120"),
        (["end_time ASC"], "1320"), (["status"], "3120"), (["run_name"], "0123"), (["user_id"], "2031"),
        (["user_id DESC", "start_time ASC"], "1302"), (["Created DESC"], "3210"), (["metrics.nobody"], "3210"),
        (["status ASC", "metrics.m DESC"], "3120"), (["metrics.steps desc"], "3210"),
    ],
)  # fmt: skip
def test_orders(wire: Wire, runs: Runs, order: list[str], numbers: str) -> None:
    found = wire.post("runs/search", experiment_ids=[runs.experiment], order_by=order)
    assert "".join(names(found)).replace("r", "") == numbers


@pytest.mark.parametrize(
    "order",
    ["foo", "dataset.name", "metrics.m sideways", "metrics.m ASC, params.p", "lifecycle_stage", "experiment_id", "",
     "metrics.m ASC NULLS FIRST", "attribute.`run name`"],
)  # fmt: skip
def test_orders_that_are_refused(wire: Wire, runs: Runs, order: str) -> None:
    assert wire.call("POST", "runs/search", experiment_ids=[runs.experiment], order_by=[order]).error == BAD


@pytest.mark.parametrize(
    ("view", "numbers"), [("ACTIVE_ONLY", "3210"), ("DELETED_ONLY", "4"), ("ALL", "43210"), (1, "3210"), (3, "43210")]
)
def test_views(wire: Wire, runs: Runs, view: object, numbers: str) -> None:
    found = wire.post("runs/search", experiment_ids=[runs.experiment], run_view_type=view)
    assert "".join(names(found)).replace("r", "") == numbers


def test_pages(wire: Wire, runs: Runs) -> None:
    seen, token = [], None
    for _ in range(3):
        asked = {"page_token": token} if token else {}
        found = wire.post("runs/search", experiment_ids=[runs.experiment], max_results=2, **asked)
        seen += names(found)
        token = found.get("next_page_token")
        if not token:
            break
    assert seen == ["r3", "r2", "r1", "r0"]


@pytest.mark.parametrize(
    "fields",
    [{"max_results": 0}, {"max_results": -1}, {"max_results": 50_001}, {"page_token": "garbage"}, {"filter": 5},
     {"order_by": "start_time"}, {"experiment_ids": ["abc"]}],
)  # fmt: skip
def test_wrong_searches(wire: Wire, runs: Runs, fields: dict[str, Any]) -> None:
    assert wire.call("POST", "runs/search", **{"experiment_ids": [runs.experiment], **fields}).error == BAD


def test_nothing_asked_nothing_found(wire: Wire) -> None:
    assert wire.post("runs/search") == {}
    assert wire.post("runs/search", experiment_ids=[]) == {}
    assert wire.post("runs/search", experiment_ids=["999999"]) == {}


def test_as_a_table(fluent: Any, runs: Runs) -> None:
    found = fluent.search_runs([runs.experiment], filter_string="metrics.m < 1", order_by=["metrics.m DESC"])
    assert list(found["tags.mlflow.runName"]) == ["r3", "r0"]
    assert list(found["metrics.m"]) == [0.3, 0.1]
    assert found["params.p"][0] == "3"
    assert {"run_id", "experiment_id", "status", "artifact_uri", "start_time", "end_time"} <= set(found.columns)


def test_over_more_than_one_experiment(wire: Wire, runs: Runs, experiment: str, run: str) -> None:
    found = wire.post("runs/search", experiment_ids=[runs.experiment, experiment], order_by=["start_time"])
    assert names(found) == ["first", "r0", "r1", "r2", "r3"]
