"""Calls in a fixed order, right and wrong, group by group: what the generated sequences would seldom reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beside import Both, Ref, text

NOBODY = "0" * 32
F = "/api/2.0/mlflow-artifacts/artifacts"


def _experiment(both: Both, name: str, **fields: Any) -> Ref:
    made = both.made("experiment", both.post("experiments/create", name=name, **fields), "experiment_id")
    assert made is not None
    return made


def _run(both: Both, experiment: Ref, **fields: Any) -> Ref:
    answer = both.post("runs/create", experiment_id=experiment, **fields)
    made = both.made("run", answer, "run", "info", "run_id")
    assert made is not None
    return made


def _pairs(count: int) -> list[dict[str, str]]:
    return [{"key": f"k{number}", "value": "1"} for number in range(count)]


def _points(count: int) -> list[dict[str, Any]]:
    return [{"key": f"m{number}", "value": 1, "timestamp": 1} for number in range(count)]


def experiments(both: Both) -> None:
    made = _experiment(both, "exp one", tags=[{"key": "a", "value": "1"}, {"key": "mlflow.note.content", "value": "n"}])
    for fields in (
        {"name": "exp one"}, {}, {"name": ""}, {"name": " "}, {"name": 5}, {"name": None}, {"name": "x" * 501},
        {"name": "y" * 500}, {"name": "t1", "tags": [{"key": "", "value": "1"}]}, {"name": "t2",
        "tags": [{"value": "1"}]},
        {"name": "t3", "tags": "x"}, {"name": "t4", "tags": [{"key": "k" * 251, "value": "1"}]},
        {"name": "t5", "tags": [{"key": "k", "value": "v" * 5001}]}, {"name": "t6", "tags": [{"key": "k"}]},
        {"name": "unknown field", "zzz": 1}, {"name": "é 'q' \"d\" %_"}, {"name": "t7", "tags": [{"key": "a$",
        "value": ""}]},
    ):  # fmt: skip
        both.post("experiments/create", **fields)
    for asked in (made, "", "999999", "abc", "-1"):
        both.get("experiments/get", experiment_id=asked)
    both.get("experiments/get")
    for name in ("exp one", "nope", "", "é 'q' \"d\" %_", "EXP ONE"):
        both.get("experiments/get-by-name", experiment_name=name)
    both.get("experiments/get-by-name")
    for fields in (
        {"experiment_id": made, "new_name": "exp renamed"}, {"experiment_id": made},
        {"experiment_id": made, "new_name": ""}, {"experiment_id": "999999", "new_name": "q"}, {"new_name": "q"},
        {"experiment_id": made, "new_name": "exp renamed"}, {"experiment_id": made, "new_name": "x" * 501},
    ):  # fmt: skip
        both.post("experiments/update", **fields)
    for fields in (
        {"key": "team", "value": "é '\" x"}, {"key": "team"}, {"value": "v"}, {"key": "k" * 251, "value": "v"},
        {"key": "k" * 250, "value": "v"}, {"key": "k", "value": "v" * 5001}, {"key": "e", "value": ""},
        {"key": "a/../b", "value": ""}, {"key": "a$b", "value": ""}, {"key": "a b.c-d_e/f:g", "value": "1"},
    ):  # fmt: skip
        both.post("experiments/set-experiment-tag", experiment_id=made, **fields)
    both.post("experiments/set-experiment-tag", experiment_id="99999", key="k", value="v")
    both.get("experiments/get", experiment_id=made)
    for fields in ({"key": "team"}, {"key": "team"}, {}):
        both.post("experiments/delete-experiment-tag", experiment_id=made, **fields)
    both.post("experiments/delete-experiment-tag", experiment_id="9999", key="team")
    gone = _experiment(both, "to delete")
    run = _run(both, gone, start_time=5)
    for asked in (gone, gone, "99999", "abc"):
        both.post("experiments/delete", experiment_id=asked)
    both.post("experiments/delete")
    both.get("experiments/get", experiment_id=gone)
    both.get("experiments/get-by-name", experiment_name="to delete")
    both.post("experiments/create", name="to delete")
    both.post("experiments/update", experiment_id=gone, new_name="zz")
    both.post("experiments/set-experiment-tag", experiment_id=gone, key="k", value="v")
    both.post("experiments/delete-experiment-tag", experiment_id=gone, key="k")
    both.post("runs/create", experiment_id=gone)
    both.get("runs/get", run_id=run)
    both.post("runs/log-metric", run_id=run, key="m", value=1, timestamp=1)
    for asked in (gone, gone, "99999", "0", "abc"):
        both.post("experiments/restore", experiment_id=asked)
    both.get("runs/get", run_id=run)
    both.get("experiments/get", experiment_id=gone)


def experiment_searches(both: Both) -> None:
    for number in range(4):
        tags = [{"key": "n", "value": str(number)}, *([{"key": "odd key", "value": "Yes%"}] if number % 2 else [])]
        _experiment(both, f"Search {number}", tags=tags)
    gone = _experiment(both, "Search gone")
    both.post("experiments/delete", experiment_id=gone)
    token: Any = None
    for _ in range(4):
        page = both.post("experiments/search", max_results=2, filter="name LIKE 'Search%'", page_token=token or "")
        tokens = [answer.json().get("next_page_token") for answer in page.raw]
        if not all(tokens):
            break
        token = Ref("token", "a token", *tokens)
    for fields in (
        {"max_results": 0}, {"max_results": -1}, {"max_results": 50001}, {"max_results": 50000}, {"max_results": "2"},
        {"max_results": "x"}, {"page_token": "garbage"}, {"filter": 5}, {"order_by": "name"},
    ):  # fmt: skip
        both.post("experiments/search", **{"max_results": 2, **fields})
    both.get("experiments/search", max_results=1)
    both.get("experiments/search", max_results=1, filter="name = 'Search 1'")
    for where in (
        "name = 'Default'", "name LIKE 'Search%'", "name ILIKE 'SEARCH%'", "name NOT LIKE 'S%'", "tags.n = '1'",
        "tag.n = '1'", "tags.`odd key` = 'Yes%'", "tags.`odd key` LIKE 'yes%'", "tags.`odd key` ILIKE 'yes%'",
        'tags."odd key" IS NOT NULL', "attribute.name = 'Default'", "attr.name != 'Default'",
        "attributes.name = 'Default'", "creation_time > 1600000000000", "creation_time < 5", "last_update_time >= 1",
        "creation_time = 'x'", "name IN ('Default','loc4')", "name > 'a'", "tags.n IS NULL", "tags.n IS NOT NULL",
        "tags.n LIKE '%1%'", "experiment_id = '0'", "experiment_id IN ('0', '1')", "experiment_id NOT IN ('0')",
        "experiment_id != '0'", "experiment_id > '0'", "experiment_id = 0", "experiment_id IN ()", "foo = '1'",
        "metrics.a > 1", "name = Default", 'name = "Default"', "name = 'a' OR name = 'b'",
        "name = 'Default' AND tags.n = '1'", "garbage", "name ==  'x'", "name", "name =", "name IS NULL", "", " ",
        "name = 'Default';", "name = 'a' AND", "tags.n != '1'", "name = ''", "name = 'it''s'", "(name = 'a')",
        "NAME = 'Default'", "name like 'Def%'", "tags.n in ('1')", "lifecycle_stage = 'active'",
    ):  # fmt: skip
        both.post("experiments/search", max_results=100, filter=where, order_by=["name"])
    for order in (
        "name", "name DESC", "name asc", "creation_time ASC", "last_update_time desc", "experiment_id ASC",
        "attribute.name", "attributes.name", "foo", "name sideways", "tags.a", "metrics.a", "", "name,creation_time",
        "`name`", "Name",
    ):  # fmt: skip
        both.post("experiments/search", max_results=100, order_by=[order], filter="name LIKE 'Search%'")
    for view in ("ACTIVE_ONLY", "DELETED_ONLY", "ALL", 1, 2, 3):
        both.post("experiments/search", max_results=100, view_type=view, filter="name LIKE 'Search%'")


def runs(both: Both) -> None:
    experiment = _experiment(both, "runs")
    first = _run(
        both, experiment, user_id="ada", start_time=1700000000000, run_name="r1", tags=[{"key": "t", "value": "x"}]
    )
    named = {"key": "mlflow.runName", "value": "b"}
    for fields in (
        {}, {"run_name": "a", "tags": [named]}, {"run_name": "b", "tags": [named]}, {"tags": [named]},
        {"start_time": "x"}, {"start_time": "12"}, {"start_time": 1.0}, {"run_name": ""},
        {"tags": [{"key": "mlflow.parentRunId", "value": first}]}, {"tags": "x"}, {"experiment_id": 1},
        {"experiment_id": "99999"}, {"experiment_id": "abc"}, {"start_time": -5}, {"run_name": 5}, {"user_id": 5},
        {"run_name": "é '\" %"}, {"unknown": 1},
    ):  # fmt: skip
        both.post("runs/create", **{"experiment_id": experiment, **fields})
    for run in (first, NOBODY, "", "bad id"):
        both.get("runs/get", run_id=run)
    both.get("runs/get", run_uuid=first)
    both.get("runs/get")
    for fields in (
        {"status": "FINISHED", "end_time": 1700000001000, "run_name": "new name"}, {}, {"status": "NONSENSE"},
        {"status": 4}, {"status": "RUNNING"}, {"run_name": ""}, {"end_time": "17"}, {"end_time": "x"},
        {"status": "KILLED"},
        {"status": "SCHEDULED"},
    ):  # fmt: skip
        both.post("runs/update", run_id=first, **fields)
        both.get("runs/get", run_id=first)
    both.post("runs/update", run_id=NOBODY, status="FAILED")
    both.post("runs/update", status="FAILED")
    both.post("runs/update", run_uuid=first, status="FINISHED")
    second = _run(both, experiment, start_time=2, run_name="r2")
    for _ in range(2):
        both.post("runs/delete", run_id=second)
    both.get("runs/get", run_id=second)
    both.post("runs/log-metric", run_id=second, key="m", value=1, timestamp=1)
    both.post("runs/log-parameter", run_id=second, key="m", value="1")
    both.post("runs/set-tag", run_id=second, key="m", value="1")
    both.post("runs/delete-tag", run_id=second, key="m")
    both.post("runs/update", run_id=second, status="FINISHED")
    both.post("runs/log-batch", run_id=second, tags=[{"key": "a", "value": "b"}])
    both.post("runs/log-batch", run_id=second)
    both.post("runs/log-inputs", run_id=second, datasets=[])
    for _ in range(2):
        both.post("runs/restore", run_id=second)
    for call in ("delete", "restore"):
        both.post(f"runs/{call}", run_id=NOBODY)
        both.post(f"runs/{call}")


def metrics(both: Both) -> None:
    run = _run(both, _experiment(both, "metrics"), start_time=1, run_name="r")
    for fields in (
        {"value": 0.5, "timestamp": 1000, "step": 1}, {"value": "NaN", "timestamp": 1001, "step": 2},
        {"value": "Infinity", "timestamp": 1002, "step": 3}, {"value": "-Infinity", "timestamp": 1003, "step": "4"},
        {"value": "0.25", "timestamp": "1004"}, {"value": 3, "timestamp": 1000, "step": 1},
        {"value": 3, "timestamp": 1000, "step": 1}, {"key": "neg", "value": -1, "timestamp": 0, "step": -5},
        {"value": 1}, {"timestamp": 1}, {"key": "", "value": 1, "timestamp": 1},
        {"key": "k" * 251, "value": 1, "timestamp": 1}, {"key": "k" * 250, "value": 1, "timestamp": 1},
        {"key": "a b/c-d.e:f", "value": 1, "timestamp": 1}, {"key": "a$", "value": 1, "timestamp": 1},
        {"key": "../x", "value": 1, "timestamp": 1}, {"key": "/x", "value": 1, "timestamp": 1},
        {"key": "a//b", "value": 1, "timestamp": 1}, {"key": "é", "value": 1, "timestamp": 1},
        {"value": "abc", "timestamp": 1}, {"value": 1, "timestamp": "abc"}, {"value": 1, "timestamp": 1, "step": "x"},
        {"value": 1e308, "timestamp": 2**62, "step": 2**62}, {"key": 5, "value": 1, "timestamp": 1},
        {"value": 5e-324, "timestamp": 1, "step": 0}, {"value": 0.1 + 0.2, "timestamp": 2, "step": 0},
        {"value": -0.0, "timestamp": 3, "step": 0}, {"value": 2**53 + 1, "timestamp": 4, "step": 0},
        {"value": [], "timestamp": 1}, {"value": "", "timestamp": 1}, {"value": 1, "timestamp": "1.0"},
        {"value": "1e3", "timestamp": 1}, {"value": 1, "timestamp": 1, "step": "-7"},
        {"key": "a\\b", "value": 1, "timestamp": 1}, {"key": ".", "value": 1, "timestamp": 1},
        {"key": "a/", "value": 1, "timestamp": 1}, {"key": " ", "value": 1, "timestamp": 1},
        {"key": "a\nb", "value": 1, "timestamp": 1},
    ):  # fmt: skip
        both.post("runs/log-metric", **{"run_id": run, "key": "m", **fields})
    both.post("runs/log-metric", run_uuid=run, key="u", value=1, timestamp=1)
    for wrong in (None, "", NOBODY, "bad id"):
        both.post("runs/log-metric", run_id=wrong, key="m", value=1, timestamp=1)
    both.get("runs/get", run_id=run)
    for fields in (
        {"metric_key": "m"}, {"metric_key": "nope"}, {}, {"metric_key": "neg"}, {"metric_key": "m", "max_results": 0},
        {"metric_key": "m", "max_results": -1}, {"metric_key": "m", "max_results": 3},
        {"metric_key": "m", "page_token": "garbage", "max_results": 2}, {"metric_key": "m", "max_results": "x"},
        {"metric_key": "a b/c-d.e:f"},
    ):  # fmt: skip
        both.get("metrics/get-history", run_id=run, **fields)
    both.get("metrics/get-history", run_id=NOBODY, metric_key="m")
    both.get("metrics/get-history", metric_key="m")
    other = _run(both, _experiment(both, "metrics 2"), start_time=1, run_name="r")
    points = [{"key": "m", "value": step / 8, "timestamp": step, "step": step} for step in range(100)]
    both.post("runs/log-batch", run_id=other, metrics=points)
    call = "/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
    for fields in (
        {"metric_key": "m"}, {"metric_key": "m", "max_results": 5}, {"metric_key": "m", "start_step": 10,
        "end_step": 20},
        {"metric_key": "m", "start_step": 10, "end_step": 90, "max_results": 7}, {"metric_key": "m", "start_step": 1},
        {"metric_key": "m", "start_step": 3, "end_step": 1}, {}, {"metric_key": "m", "max_results": 0},
        {"metric_key": "m", "max_results": 2501}, {"metric_key": "nope"}, {"metric_key": "m", "max_results": "x"},
        {"metric_key": "m", "start_step": 5, "end_step": 5},
    ):  # fmt: skip
        both.get(call, run_ids=[other], **fields)
    both.get(call, run_ids=[run, other], metric_key="m", max_results=4)
    both.get(call, metric_key="m")
    both.get(call, run_ids=[NOBODY], metric_key="m")
    both.get(call, run_ids=["x"] * 101, metric_key="m")


def parameters_and_tags(both: Both) -> None:
    run = _run(both, _experiment(both, "parameters"), start_time=1, run_name="r")
    for fields in (
        {"key": "p", "value": "1"}, {"key": "p", "value": "1"}, {"key": "p", "value": "2"}, {"key": "p2", "value": ""},
        {"key": "p3"}, {"value": "1"}, {"key": "", "value": "1"}, {"key": "k" * 251, "value": "1"},
        {"key": "k" * 250, "value": "1"}, {"key": "big", "value": "v" * 6001}, {"key": "fits", "value": "ü" * 6000},
        {"key": "p4", "value": 5}, {"key": "a//b", "value": "1"}, {"key": "a\\b", "value": "1"}, {"key": "a$",
        "value": "1"},
        {"key": "né w", "value": "ü\n\t"}, {"key": "p5", "value": None}, {"key": "p6", "value": True},
    ):  # fmt: skip
        both.post("runs/log-parameter", run_id=run, **fields)
    both.post("runs/log-parameter", run_id=NOBODY, key="p", value="1")
    both.post("runs/log-parameter", key="p", value="1")
    for fields in (
        {"key": "t", "value": "v"}, {"key": "t", "value": "w"}, {"key": "e", "value": ""}, {"key": "n"}, {"value": "1"},
        {"key": "", "value": "1"}, {"key": "k" * 251, "value": "1"}, {"key": "big", "value": "v" * 8001},
        {"key": "p4", "value": 5}, {"key": "a//b", "value": "1"}, {"key": "mlflow.runName", "value": "by tag"},
        {"key": "mlflow.user", "value": "bob"}, {"key": "a$", "value": "1"}, {"key": "é", "value": "🦊"},
    ):  # fmt: skip
        both.post("runs/set-tag", run_id=run, **fields)
    both.get("runs/get", run_id=run)
    both.post("runs/set-tag", run_id=NOBODY, key="p", value="1")
    both.post("runs/set-tag", key="p", value="1")
    for fields in ({"key": "e"}, {"key": "e"}, {}, {"key": "mlflow.user"}, {"key": "mlflow.runName"}, {"key": ""}):
        both.post("runs/delete-tag", run_id=run, **fields)
    both.post("runs/delete-tag", run_id=NOBODY, key="e")
    both.get("runs/get", run_id=run)


def batches(both: Both) -> None:
    run = _run(both, _experiment(both, "batches"), start_time=1, run_name="r")
    repeated = {"key": "a", "value": 1, "timestamp": 1, "step": 0}
    for fields in (
        {"metrics": [repeated, {"key": "a", "value": 2, "timestamp": 2, "step": 1}, repeated],
         "params": [{"key": "p", "value": "1"}], "tags": [{"key": "t", "value": "1"}, {"key": "t", "value": "2"}]},
        {}, {"metrics": []}, {"params": [{"key": "p", "value": "2"}]}, {"params": [{"key": "p", "value": "1"}]},
        {"params": [{"key": "q", "value": "1"}, {"key": "q", "value": "2"}]},
        {"params": [{"key": "q", "value": "1"}, {"key": "q", "value": "1"}]},
        {"metrics": [{"key": "z", "value": 1, "timestamp": 1}], "params": [{"key": "p", "value": "changed"}],
         "tags": [{"key": "atomic", "value": "no"}]},
        {"metrics": _points(1001)}, {"params": _pairs(101)}, {"tags": _pairs(101)},
        {"metrics": _points(950), "params": _pairs(51)}, {"metrics": [{"key": "m"}]},
        {"metrics": [{"value": 1, "timestamp": 1}]}, {"metrics": [{"key": "m", "value": 1}]}, {"metrics": "x"},
        {"metrics": {"key": "m"}}, {"metrics": [{"key": "", "value": 1, "timestamp": 1}]},
        {"metrics": [{"key": "m", "value": "NaN", "timestamp": 1}, {"key": "bad$", "value": 1, "timestamp": 1}]},
        {"params": [{"key": "", "value": "1"}]}, {"params": [{"key": "pp"}]},
        {"params": [{"key": "long", "value": "v" * 6001}]}, {"tags": [{"key": "tt"}]},
        {"tags": [{"key": "tt", "value": "v" * 8001}]}, {"tags": [{"key": "k" * 251, "value": "1"}]},
        {"params": [{"key": "k" * 251, "value": "1"}]}, {"tags": [{"value": "v"}]},
        {"tags": [{"key": "mlflow.runName", "value": "by batch"}]}, {"metrics": None},
        {"metrics": [{"key": "s", "value": "1.5", "timestamp": "7", "step": "8"}]},
        {"params": [{"key": "a//b", "value": "5"}]}, {"tags": [{"key": "../b", "value": "5"}]},
    ):  # fmt: skip
        both.post("runs/log-batch", run_id=run, **fields)
        both.get("runs/get", run_id=run)
    both.post("runs/log-batch")
    both.post("runs/log-batch", run_id=NOBODY)
    both.post("runs/log-batch", run_id="")
    both.get("metrics/get-history", run_id=run, metric_key="a")


FILTERS = (
    "metrics.m > 0.1", "metrics.m >= 0.1", "metrics.m = 0.1", "metrics.m != 0.1", "metrics.m < 0.3", "metric.m > 0",
    "metrics.`a b` > 0", 'metrics."a b" = 1', "metrics.m > 'x'", "metrics.m LIKE '0'", "metrics.m IN (1)",
    "metrics.m = NaN", "metrics.m = inf", "metrics.m = -1", "metrics.m = 1e-1", "metrics.m IS NULL", "metrics.nope > 0",
    "metrics.m > +1", "metrics.m > .05", "metrics.m>0.1", "metrics.m  >  0.1", "METRICS.m > 0",
    "params.p = '1'", "params.p != '1'", "params.p = 1", 'params.p = "1"', "params.p > '1'", "params.p LIKE '%1%'",
    "params.p ILIKE '%1%'", "params.p IN ('1','2')", "params.p NOT IN ('1')", "params.p IS NULL",
    "params.p IS NOT NULL",
    "param.`lr rate` = 'x'", "parameter.p = '1'", "parameters.p = '1'", "params.p = ''", "params.p not like '1'",
    "params.p is null", "params.`p` = '1'", "params.\"p\" = '1'",
    "tags.t = 'Vé1'", "tags.t LIKE 'V%'", "tags.t LIKE 'v%'", "tags.t ILIKE 'v%'", "tag.t != 'Vé1'",
    "tags.t IN ('Vé1')",
    "tags.nope IS NULL", "tags.nope != 'x'", "tags.mlflow.runName = 'run 1'", "tags.`mlflow.runName` LIKE 'run%'",
    "tags.t IS NOT NULL", "tags.u LIKE '100%'", "tags.u LIKE '100\\%'", "tags.u LIKE '1__%'", "tags.u = '100%_\\'",
    "attributes.status = 'FINISHED'", "status = 'FINISHED'", "status = 'finished'", "status != 'FINISHED'",
    "status IN ('FINISHED')", "status LIKE 'FIN%'", "status ILIKE 'fin%'", "attribute.run_name = 'run 1'",
    "run_name LIKE '%1'", "run_name ILIKE 'RUN%'", "attributes.`run name` = 'run 1'", "`Run name` = 'run 1'",
    "attr.run_name = 'run 1'", "user_id = 'u1'", "artifact_uri LIKE '%art%'", "artifact_uri = 'x'", "start_time > 1001",
    "start_time >= '1001'", "start_time = 'x'", "start_time IN (1)", "start_time = 1001.0", "end_time > 0",
    "end_time IS NULL", "end_time != 2001", "Created > 0", "created > 1001", "lifecycle_stage = 'active'",
    "experiment_id = '1'", "dataset.name = 'ds1'", "datasets.name = 'ds1'", "dataset.digest = 'd1'",
    "dataset.context = 'train'", "dataset.context LIKE 't%'", "dataset.name IN ('ds1')", "dataset.foo = 'x'",
    "dataset.name != 'ds1'", "dataset.name NOT IN ('ds2')", "dataset.context = 'train' AND dataset.name = 'ds1'",
    "dataset.name = 'ds1' AND dataset.digest = 'd2'", "dataset.name ILIKE 'DS%'", "dataset.name > 'a'",
    "metrics.m > 0 AND params.p = '3'", "metrics.m > 0 and tags.t LIKE '%'", "metrics.m > 0 OR metrics.m < 1",
    "(metrics.m > 0)", "NOT metrics.m > 0", "metrics.m", "metrics.m >", "garbage", "m > 0",
    "foo.bar = '1'", "metrics.m > 0; DROP TABLE runs", "metrics.m == 1", "metrics.m <> 1", "", "   ",
    "metrics.m > 0 AND metrics.m > 0", "tags.t = 'it''s'", "run_id IN ()", "params.p = unquoted", "logged_model.x = 1",
    "model.a = '1'", "status = FINISHED", "run_id = 5", "run_name = 'run 1' AND run_name = 'run 2'", "status > 'A'",
    "params.p = `1`", "metrics.m BETWEEN 0 AND 1", "metrics.m > 0 -- comment", "metrics.m > 1 + 1", "tags.t = NULL",
    "params = '1'", "params. = '1'", ".p = '1'", "'x' = params.p", "params.p = '1", "params.p = \"it's\"",
)  # fmt: skip

ORDERS = (
    ["metrics.m ASC"], ["metrics.m DESC"], ["metrics.m"], ["params.p"], ["params.p DESC"], ["tags.t DESC"],
        ["start_time"],
    ["attributes.start_time ASC"], ["end_time DESC"], ["end_time"], ["status"], ["status DESC"], ["run_name"],
    ["attribute.`run name`"], ["`Run Name`"], ["metrics.`a b` DESC"], ["dataset.name"], ["foo"], ["metrics.m sideways"],
    ["metrics.m ASC, params.p"], ["metrics.m", "start_time DESC"], ["user_id"], ["user_id DESC", "start_time ASC"],
    ["Created DESC"], ["created"], ["metrics.nope"], ["lifecycle_stage"], ["experiment_id"], [""],
    ["metrics.m ASC NULLS FIRST"], ["metrics.m asc"], ["metric.m Desc"], ["param.p"], ["tag.t"], ["artifact_uri foo"],
    ["start_time", "start_time"], [5], ["metrics.m DESC", "metrics.`a b` ASC"], ["tags.nope", "run_name DESC"],
)  # fmt: skip


def run_searches(both: Both) -> None:
    experiment = _experiment(both, "run searches")
    made = []
    for number, metric in enumerate([0.1, "NaN", "Infinity", 0.3, 0.2, "-Infinity"]):
        run = _run(both, experiment, start_time=1000 + number, run_name=f"run {number}", user_id=f"u{number % 2}")
        made.append(run)
        both.post(
            "runs/log-batch", run_id=run,
            metrics=[{"key": "m", "value": metric, "timestamp": 1}, {"key": "a b", "value": number, "timestamp": 1}],
            params=[{"key": "p", "value": str(number)}, {"key": "lr rate", "value": "x"}] if number else [],
            tags=[{"key": "t", "value": f"Vé{number}"}, {"key": "u", "value": "100%_\\"}],
        )  # fmt: skip
        if number % 2:
            both.post("runs/update", run_id=run, status="FINISHED", end_time=2000 + number)
    data = {"name": "ds1", "digest": "d1", "source_type": "local", "source": "s"}
    both.post(
        "runs/log-inputs", run_id=made[0],
        datasets=[{"tags": [{"key": "mlflow.data.context", "value": "train"}], "dataset": data}],
    )  # fmt: skip
    both.post("runs/delete", run_id=made[4])
    for where in FILTERS:
        both.post("runs/search", experiment_ids=[experiment], filter=where)
    first, second = made[:2]
    for filter_by in (
        text("run_id = '", first, "'"), text("attr.run_id IN ('", first, "', '", second, "')"),
        text("run_id NOT IN ('", first, "')"), text("run_id != '", first, "'"), text("run_id LIKE '", first, "'"),
        text("run_id IN ('", first, "') AND metrics.m > 0"),
    ):  # fmt: skip
        both.post("runs/search", experiment_ids=[experiment], filter=filter_by)
    for order in ORDERS:
        both.post("runs/search", experiment_ids=[experiment], order_by=order)
    for fields in (
        {"run_view_type": "ACTIVE_ONLY"}, {"run_view_type": "DELETED_ONLY"}, {"run_view_type": "ALL"},
        {"run_view_type": 3}, {"max_results": 2}, {"max_results": 0}, {"max_results": -1}, {"max_results": 50001},
        {"max_results": 50000}, {"page_token": "garbage"}, {"page_token": ""}, {"max_results": "2"}, {"filter": 5},
        {"order_by": "start_time"}, {"experiment_ids": []}, {"experiment_ids": ["99999"]}, {"experiment_ids": ["abc"]},
        {"experiment_ids": [experiment, experiment]}, {"experiment_ids": [experiment, "0"], "max_results": 1},
    ):  # fmt: skip
        both.post("runs/search", **{"experiment_ids": [experiment], **fields})
    both.post("runs/search")
    token: Any = ""
    for _ in range(4):
        page = both.post(
            "runs/search", experiment_ids=[experiment], max_results=2, page_token=token, order_by=["run_name"]
        )
        tokens = [answer.json().get("next_page_token") for answer in page.raw]
        if not all(tokens):
            break
        token = Ref("token", "a token", *tokens)
    both.post("experiments/delete", experiment_id=experiment)
    both.post("runs/search", experiment_ids=[experiment])
    both.post("runs/search", experiment_ids=[experiment], run_view_type="ALL")


def datasets(both: Both) -> None:
    experiment = _experiment(both, "datasets")
    run = _run(both, experiment, start_time=1, run_name="r")
    full = {
        "name": "ds",
        "digest": "abc",
        "source_type": "local",
        "source": '{"uri":"x"}',
        "schema": "{}",
        "profile": "{}",
    }
    small = {"name": "n", "digest": "d", "source_type": "l", "source": "s"}
    for given in (
        {"tags": [{"key": "mlflow.data.context", "value": "train"}], "dataset": full},
        {"tags": [{"key": "mlflow.data.context", "value": "test"}], "dataset": full},
        {"dataset": {**full, "source": "changed"}}, {"dataset": small},
        {"dataset": {**small, "name": "n" * 501}}, {"dataset": {**small, "digest": "d" * 37}},
        {"dataset": small, "tags": [{"key": "k" * 256, "value": "v"}]},
        {"dataset": small, "tags": [{"key": "k", "value": "v" * 501}]},
    ):  # fmt: skip
        both.post("runs/log-inputs", run_id=run, datasets=[given])
        both.get("runs/get", run_id=run)
    both.post("runs/log-inputs", run_id=run, datasets=[{"dataset": small}, {"dataset": {**small, "name": "o"}}])
    both.get("runs/get", run_id=run)
    both.post("runs/log-inputs", run_id=run)
    both.post("runs/log-inputs")
    both.post("runs/log-inputs", run_id=NOBODY, datasets=[{"dataset": small}])
    search = "/ajax-api/2.0/mlflow/experiments/search-datasets"
    for fields in (
        {"experiment_ids": [experiment]}, {}, {"experiment_ids": []}, {"experiment_ids": ["99999"]},
        {"experiment_ids": [str(number) for number in range(1000, 1021)]},
    ):  # fmt: skip
        both.post(search, **fields)


def logged_models(both: Both) -> None:
    experiment = _experiment(both, "logged models")
    run = _run(both, experiment, start_time=1, run_name="r")
    models = []
    for number in range(3):
        answer = both.post(
            "logged-models", experiment_id=experiment, name=f"my model {number}",
            model_type="sklearn" if number else "",
            source_run_id=run, params=[{"key": "p", "value": str(number)}], tags=[{"key": "t", "value": "2"}],
        )  # fmt: skip
        models.append(both.made("model", answer, "model", "info", "model_id"))
    model, second, third = models
    assert model is not None
    assert second is not None
    assert third is not None
    others = _experiment(both, "models with generated names")
    for fields in (
        {}, {"name": "a/b"}, {"name": ""}, {"name": "a:b"}, {"name": "a.b"}, {"name": "é x"},
        {"experiment_id": "99999"},
        {"source_run_id": NOBODY}, {"tags": [{"key": "k", "value": ""}]}, {"params": "x"},
    ):  # fmt: skip
        both.post("logged-models", **{"experiment_id": others, **fields})
    both.post("logged-models")
    here = text("logged-models/", model)
    both.get(here)
    both.get("logged-models/m-nope")
    both.patch(here, model_id=model, status="LOGGED_MODEL_READY")
    both.patch(text("logged-models/", second), model_id=second, status="LOGGED_MODEL_UPLOAD_FAILED")
    both.patch("logged-models/m-nope", model_id="m-nope", status="LOGGED_MODEL_READY")
    both.patch(here)
    both.patch(text("logged-models/", model, "/tags"), tags=[{"key": "t", "value": "3"}, {"key": "u v", "value": "é"}])
    both.patch("logged-models/m-nope/tags", tags=[{"key": "t", "value": "3"}])
    both.patch(text("logged-models/", model, "/tags"))
    both.get(here)
    for key in ("u%20v", "u%20v", "nobody"):
        both.delete(text("logged-models/", model, f"/tags/{key}"))
    both.delete("logged-models/m-nope/tags/u")
    both.post(text("logged-models/", model, "/params"), model_id=model, params=[{"key": "q", "value": "9"}])
    both.post("logged-models/m-nope/params", model_id="m-nope", params=[{"key": "q", "value": "9"}])
    both.post(
        "runs/log-metric", run_id=run, key="acc", value=0.9, timestamp=10, step=1, model_id=model, dataset_name="ds",
        dataset_digest="abc",
    )  # fmt: skip
    both.post(
        "runs/log-batch", run_id=run, metrics=[
            {"key": "loss", "value": 0.1, "timestamp": 11, "step": 0, "model_id": model},
            {"key": "acc", "value": 0.5, "timestamp": 11, "step": 0, "model_id": second},
        ],
    )  # fmt: skip
    both.get("metrics/get-history", run_id=run, metric_key="acc")
    both.post("runs/outputs", run_id=run, models=[{"model_id": model, "step": 0}])
    both.post("runs/outputs", run_id=run, models=[{"model_id": second, "step": 3}])
    both.post("runs/outputs", run_id=run)
    both.post("runs/outputs", run_id=NOBODY, models=[{"model_id": model, "step": 0}])
    both.post("runs/log-inputs", run_id=run, models=[{"model_id": third}])
    both.get(here)
    both.get("runs/get", run_id=run)
    for where in (
        "name = 'my model 0'", "attributes.name = 'my model 1'", text("model_id = '", model, "'"), "name LIKE 'my%'",
        "name ILIKE 'MY%'", "model_type = 'sklearn'", text("source_run_id = '", run, "'"), "params.p = '1'",
        "params.p LIKE '1'", "params.p > '0'", "params.p != '1'", "tags.t = '3'", "tags.t != '3'", "metrics.acc > 0.6",
        "metrics.acc >= 0.5 AND metrics.acc < 0.8", "metrics.nope > 0", "creation_timestamp > 0", "creation_time < 5",
        "last_updated_timestamp > 0", "name IN ('my model 0', 'my model 1')", "name NOT IN ('my model 0')",
        "name IS NULL", "tags.zz IS NULL", "name = 'my model 0' AND metrics.acc > 0.5", "garbage",
        "name = 'a' OR name = 'b'", "", "status = 'READY'",
    ):  # fmt: skip
        both.post("logged-models/search", experiment_ids=[experiment], filter=where)
    for given in (
        [{"dataset_name": "ds", "dataset_digest": "abc"}],
        [{"dataset_name": "other"}],
        [{"dataset_digest": "x"}],
    ):
        both.post("logged-models/search", experiment_ids=[experiment], filter="metrics.acc > 0.5", datasets=given)
    for order in (
        {"field_name": "name"}, {"field_name": "name", "ascending": False},
        {"field_name": "creation_timestamp", "ascending": True}, {"field_name": "creation_time", "ascending": False},
        {"field_name": "last_updated_timestamp"}, {"field_name": "metrics.acc", "ascending": False},
        {"field_name": "metrics.acc"}, {"field_name": "metrics.acc", "dataset_name": "ds", "dataset_digest": "abc"},
        {"field_name": "params.p"}, {"field_name": "tags.t"}, {"field_name": "foo"}, {"ascending": True},
    ):  # fmt: skip
        both.post("logged-models/search", experiment_ids=[experiment], order_by=[order])
    for fields in ({"experiment_ids": []}, {"experiment_ids": ["99999"]}):
        both.post("logged-models/search", **fields)
    both.post("logged-models/search")
    page = both.post("logged-models/search", experiment_ids=[experiment], max_results=2)
    tokens = [answer.json().get("next_page_token") for answer in page.raw]
    if all(tokens):
        both.post(
            "logged-models/search", experiment_ids=[experiment], max_results=2, page_token=Ref("token", "t", *tokens)
        )
    for _ in range(2):
        both.delete(text("logged-models/", second))
    both.get(text("logged-models/", second))
    both.get(text("logged-models/", second, "?allow_deleted=true"))
    both.delete("logged-models/m-nope")
    both.post("logged-models/search", experiment_ids=[experiment])
    one = '{"artifact_path": "m", "flavors": {}, "utc_time_created": "2026-01-01 00:00:00.0", "run_id": "'
    for given in (text(one, run, '"}'), "{", "{}", ""):
        both.post("runs/log-model", run_id=run, model_json=given)
    both.post("runs/log-model", run_id=run)
    both.post("runs/log-model", run_id=NOBODY, model_json=text(one, run, '"}'))
    both.get("runs/get", run_id=run)


def artifacts(both: Both) -> None:
    experiment = _experiment(both, "artifacts")
    run = _run(both, experiment, start_time=1, run_name="r")
    root = (f"{F}/", experiment, "/", run, "/artifacts")
    for path, body in (
        ("a.txt", b"hello"), ("dir/sub/b%20c.txt", b"0123456789"), ("dir/%C3%A9.json", b"{}"), ("a.txt", b"again"),
        ("empty", b""), ("%252e%252e/x", b"1"), ("..%2f..%2fx", b"1"), ("%2e%2e/x", b"1"),
        ("../../../x", b"1"), ("plus+and&amp", b"1"), ("dir/model.pkl", b"\x80\x04."),
    ):  # fmt: skip
        both.send("PUT", text(*root, f"/{path}"), body)
    both.send("PUT", f"{F}//etc/x", b"1")
    both.send("PUT", f"{F}/%2e%2e/x", b"1")
    for path in (
        "a.txt", "dir/%C3%A9.json", "dir/sub/b%20c.txt", "nope", "..%2fx", "%252e%252e/x", "empty", "dir/model.pkl",
        "plus+and&amp", "dir/nope/nope",
    ):  # fmt: skip
        both.send("GET", text(*root, f"/{path}"))
    for wanted in ("bytes=2-4", "bytes=5-", "bytes=-3", "bytes=100-200", "bytes=0-0", "bytes=0-100"):
        both.send("GET", text(*root, "/dir/sub/b%20c.txt"), None, range=wanted)
    for path in ("", "/dir", "/a.txt", "/nope", "/dir/sub", "/dir/"):
        both.send("GET", text(f"{F}?path=", experiment, "/", run, f"/artifacts{path}"))
    for path in ("../x", "/etc", "%252e%252e", "a/../../b"):
        both.send("GET", f"{F}?path={path}")
    for path in ("dir", "a.txt", "nope", "../", "/etc", "%2e%2e/x", "", "dir/sub", "C:\\x"):
        both.get("artifacts/list", run_id=run, path=path)
    both.get("artifacts/list", run_id=run)
    both.get("artifacts/list", run_uuid=run)
    both.get("artifacts/list")
    both.get("artifacts/list", run_id=NOBODY)
    answer = both.post("logged-models", experiment_id=experiment, name="with files")
    model = both.made("model", answer, "model", "info", "model_id")
    assert model is not None
    both.send("PUT", text(f"{F}/", experiment, "/models/", model, "/artifacts/MLmodel"), b"flavors: {}")
    both.send("PUT", text(f"{F}/", experiment, "/models/", model, "/artifacts/data/x"), b"xx")
    for query in (
        "",
        "?artifact_directory_path=data",
        "?artifact_directory_path=../x",
        "?artifact_directory_path=nope",
    ):
        both.send("GET", text("/api/2.0/mlflow/logged-models/", model, f"/artifacts/directories{query}"))
    both.send("GET", "/api/2.0/mlflow/logged-models/m-nope/artifacts/directories")
    for path in ("a.txt", "a.txt", "dir", "nope", "..%2fx"):
        both.send("DELETE", text(*root, f"/{path}"))
    both.get("artifacts/list", run_id=run)


def registered_models(both: Both) -> None:
    for fields in (
        {"name": "m1", "tags": [{"key": "a", "value": "1"}], "description": "d é"}, {"name": "m1"}, {}, {"name": ""},
        {"name": " "}, {"name": "a/b"}, {"name": "a:b"}, {"name": "é 'q' \"x\" %"}, {"name": 5}, {"name": "t4",
        "tags": [{"key": "k"}]},
        {"name": "t1", "tags": [{"key": "", "value": "1"}]}, {"name": "t2", "tags": [{"key": "k",
        "value": "v" * 100001}]},
        {"name": "t3", "tags": [{"key": "k" * 251, "value": "v"}]}, {"name": ".."}, {"name": "."}, {"name": "m2"},
        {"name": "M1"}, {"name": "t5", "tags": "x"}, {"name": "t6", "description": 5},
    ):  # fmt: skip
        both.post("registered-models/create", **fields)
    for name in ("m1", "nope", "", "M1", "é 'q' \"x\" %"):
        both.get("registered-models/get", name=name)
    both.get("registered-models/get")
    for fields in (
        {"name": "m1", "description": "new"}, {"name": "m1", "description": ""}, {"name": "nope", "description": "x"},
        {"description": "x"}, {"name": "m1", "description": "again"},
    ):  # fmt: skip
        both.patch("registered-models/update", **fields)
    both.send("POST", "/api/2.0/mlflow/registered-models/update", b'{"name": "m1"}')
    for fields in (
        {"name": "m2", "new_name": "m2b"}, {"name": "m2b", "new_name": "m1"}, {"name": "m2b"},
        {"name": "nope", "new_name": "x"}, {"new_name": "x"}, {"name": "m2b", "new_name": "a/b"},
        {"name": "m2b", "new_name": ""},
    ):  # fmt: skip
        both.post("registered-models/rename", **fields)
    for fields in (
        {"key": "t", "value": "v"}, {"key": "t", "value": "w"}, {"value": "v"}, {"key": "e"}, {"key": "", "value": "v"},
        {"key": "k" * 251, "value": "v"}, {"key": "k", "value": "v" * 100001}, {"key": "a$b", "value": "v"},
        {"name": "nope", "key": "t", "value": "v"}, {"key": "long", "value": "v" * 5001},
    ):  # fmt: skip
        both.post("registered-models/set-tag", **{"name": "m1", **fields})
    both.post("registered-models/set-tag", key="k", value="v")
    both.get("registered-models/get", name="m1")
    for fields in ({"key": "t"}, {"key": "t"}, {}, {"name": "nope", "key": "t"}):
        both.delete("registered-models/delete-tag", **{"name": "m1", **fields})
    for query in (
        {"max_results": 2}, {"max_results": 0}, {"max_results": -1}, {"max_results": 1001}, {"max_results": 1000},
        {"page_token": "garbage"}, {"max_results": "x"},
    ):  # fmt: skip
        both.get("registered-models/search", **query)
    for where in (
        "name = 'm1'", "name != 'm1'", "name LIKE 'm%'", "name ILIKE 'M%'", 'name = "m1"', "name IN ('m1')",
        "name > 'a'",
        "tags.a = '1'", "tags.a != '1'", "tags.a LIKE '1%'", "tags.a ILIKE '1%'", "tag.`a` = '1'", "tags.a > '1'",
        "name = 'm1' AND tags.a = '1'", "name = 'm1' OR name = 'x'", "foo = 'x'", "description = 'new'", "garbage",
        "creation_timestamp > 0", "last_updated_timestamp > 0", "attribute.name = 'm1'", "version_number = 1", "",
        "name = m1", "name LIKE 'é%'", "run_id = 'x'",
    ):  # fmt: skip
        both.get("registered-models/search", filter=where)
    for order in (
        "name", "name DESC", "last_updated_timestamp", "last_updated_timestamp DESC", "timestamp ASC", "timestamp",
        "creation_timestamp", "foo", "name sideways", "tags.a", "",
    ):  # fmt: skip
        both.get("registered-models/search", order_by=order)
    both.get("registered-models/search", order_by=["last_updated_timestamp", "name DESC"])
    token: Any = ""
    for _ in range(5):
        page = both.get("registered-models/search", max_results=2, page_token=token)
        tokens = [answer.json().get("next_page_token") for answer in page.raw]
        if not all(tokens):
            break
        token = Ref("token", "a token", *tokens)
    for name in ("m2b", "m2b", "nope"):
        both.delete("registered-models/delete", name=name)
    both.delete("registered-models/delete")
    both.get("registered-models/get", name="m2b")


def model_versions(both: Both) -> None:
    experiment = _experiment(both, "versions")
    run = _run(both, experiment, start_time=1, run_name="r")
    for number in range(3):
        path = text(f"{F}/", experiment, "/", run, f"/artifacts/model{number}/MLmodel")
        both.send("PUT", path, b"flavors: {}\nrun: %d\n" % number)
    both.post("registered-models/create", name="v1")
    source = text("mlflow-artifacts:/", experiment, "/", run, "/artifacts/model0")
    both.post(
        "model-versions/create", name="v1", source=source, run_id=run, tags=[{"key": "a", "value": "1"}],
        description="d",
        run_link="http://x",
    )  # fmt: skip
    both.post("model-versions/create", name="v1", source=text("runs:/", run, "/model1"), run_id=run)
    both.post(
        "model-versions/create", name="v1", run_id=run,
        source=text("mlflow-artifacts:/", experiment, "/", run, "/artifacts/model2"),
    )  # fmt: skip
    for given in (
        "/etc/passwd", "file:///etc/passwd", "./x", "mlflow-artifacts:/../x", "mlflow-artifacts:/a/%2e%2e/b",
        "mlflow-artifacts:/a?x=1", "http://x/y", "", "models:/nope/1", "models:/m-nope", "mlflow-artifacts://host/x",
        "S3://b/../c", "mlflow-artifacts:/a#b", "mlflow-artifacts:/a/..%2fb", "ftp://x/y",
    ):  # fmt: skip
        both.post("model-versions/create", name="v1", source=given, run_id=run)
    both.post("model-versions/create", name="v1")
    both.post("model-versions/create", source=source, run_id=run)
    both.post("model-versions/create", name="nope", source=source, run_id=run)
    both.post("model-versions/create", name="", source=source, run_id=run)
    both.post("model-versions/create", name="v1", source=source, run_id=run, tags=[{"key": "", "value": "x"}])
    for fields in (
        {"version": "1"}, {"version": "2"}, {"version": "99"}, {"name": "nope", "version": "1"}, {}, {"version": "abc"},
        {"version": "-1"}, {"version": "1.0"}, {"version": ""}, {"version": "0"}, {"version": "01"},
    ):  # fmt: skip
        both.get("model-versions/get", **{"name": "v1", **fields})
        both.get("model-versions/get-download-uri", **{"name": "v1", **fields})
    both.get("model-versions/get", version="1")
    for fields in (
        {"version": "1", "description": "new"}, {"version": "99", "description": "x"}, {}, {"version": 1,
        "description": "x"},
    ):  # fmt: skip
        both.patch("model-versions/update", **{"name": "v1", **fields})
    for fields in (
        {"key": "t", "value": "v"}, {"version": "99", "key": "t", "value": "v"}, {"value": "v"}, {"key": "e"},
        {"key": "k" * 251, "value": "v"}, {"key": "k", "value": "v" * 100001}, {"key": "", "value": "v"},
        {"name": "nope", "key": "t", "value": "v"},
    ):  # fmt: skip
        both.post("model-versions/set-tag", **{"name": "v1", "version": "1", **fields})
    both.post("model-versions/set-tag", name="v1", key="t", value="v")
    for fields in ({"key": "t"}, {"key": "t"}, {"version": "99", "key": "t"}, {}):
        both.delete("model-versions/delete-tag", **{"name": "v1", "version": "1", **fields})
    for fields in (
        {"stage": "Staging", "archive_existing_versions": False}, {"stage": "staging",
        "archive_existing_versions": True},
        {"stage": "Archived", "archive_existing_versions": False}, {"stage": "None"}, {"stage": "Bogus"},
        {"archive_existing_versions": False}, {"stage": "Staging", "archive_existing_versions": "x"},
        {"stage": "Staging"},
    ):  # fmt: skip
        both.post("model-versions/transition-stage", name="v1", version="1", **fields)
    both.post(
        "model-versions/transition-stage", name="v1", version="2", stage="Staging", archive_existing_versions=True
    )
    both.get("model-versions/get", name="v1", version="1")
    both.post(
        "model-versions/transition-stage", name="v1", version="99", stage="Staging", archive_existing_versions=True
    )
    both.post("model-versions/transition-stage", name="nope", version="1", stage="Staging")
    for fields in (
        {"alias": "champion", "version": "1"}, {"alias": "champion", "version": "2"}, {"alias": "latest",
        "version": "1"},
        {"alias": "Latest", "version": "1"}, {"alias": "v1", "version": "1"}, {"alias": "V2", "version": "1"},
        {"alias": "123", "version": "1"}, {"alias": "a b", "version": "1"}, {"alias": "é", "version": "1"},
        {"alias": "a-b_c.d", "version": "1"}, {"alias": "", "version": "1"}, {"alias": "a" * 256, "version": "1"},
        {"alias": "a" * 255, "version": "1"}, {"alias": "x", "version": "99"}, {"version": "1"}, {"alias": "x"},
        {"alias": "x", "version": "abc"}, {"alias": "Champion", "version": "1"}, {"name": "nope", "alias": "x",
        "version": "1"},
    ):  # fmt: skip
        both.post("registered-models/alias", **{"name": "v1", **fields})
    for fields in ({"alias": "champion"}, {"alias": "zz"}, {"name": "nope", "alias": "zz"}, {}, {"alias": "bad alias"}):
        both.get("registered-models/alias", **{"name": "v1", **fields})
    both.get("registered-models/get", name="v1")
    for fields in ({"alias": "123"}, {"alias": "123"}, {"alias": "a.b"}, {"name": "nope", "alias": "x"}, {}):
        both.delete("registered-models/alias", **{"name": "v1", **fields})
    for fields in (
        {"name": "v1"}, {"name": "v1", "stages": ["Staging"]}, {"name": "v1", "stages": ["staging", "None"]},
        {"name": "v1", "stages": ["Bogus"]}, {"name": "nope"}, {}, {"name": "m1"},
    ):  # fmt: skip
        both.post("registered-models/get-latest-versions", **fields)
    both.get("registered-models/get-latest-versions", name="v1")
    for where in (
        "name = 'v1'", "name='v1'", "name != 'v1'", "name LIKE 'v%'", "name ILIKE 'V%'", text("run_id = '", run, "'"),
        text("run_id IN ('", run, "', 'x')"), "run_id IN ()", "run_id IN ('')", "run_id NOT IN ('x')",
            "run_id LIKE 'x'",
        "run_id != 'x'", text("source_path = 'mlflow-artifacts:/", experiment, "/", run, "/artifacts/model0'"),
        "source_path != 'x'", "source = 'x'", "version_number = 1", "version_number >= 2", "version_number != 1",
        "version_number < 2", "version_number LIKE '1'", "version = 1", "tags.a = '1'", "tags.a != '1'",
        "tags.`a` LIKE '%'", "name = 'v1' AND version_number > 1", "aliases = 'champion'", "alias = 'x'",
        "aliases.champion = '1'", "current_stage = 'Staging'", "creation_timestamp > 0", "foo = 'x'", "garbage",
        "user_id = 'x'", "status = 'READY'", "name IN ('v1')", "",
    ):  # fmt: skip
        both.get("model-versions/search", filter=where)
    for order in (
        "name", "name DESC", "version_number DESC", "version_number", "creation_timestamp", "creation_timestamp ASC",
        "last_updated_timestamp DESC", "last_updated_timestamp", "timestamp", "foo", "version", "run_id",
    ):  # fmt: skip
        both.get("model-versions/search", filter="name = 'v1'", order_by=order)
    for query in (
        {"max_results": 1}, {"max_results": 0}, {"max_results": -1}, {"max_results": 200001}, {"max_results": 200000},
        {"page_token": "garbage", "max_results": 1},
    ):  # fmt: skip
        both.get("model-versions/search", filter="name = 'v1'", **query)
    for fields in ({"version": "3"}, {"version": "3"}, {}, {"name": "nope", "version": "1"}, {"version": "abc"}):
        both.delete("model-versions/delete", **{"name": "v1", **fields})
    both.get("model-versions/get", name="v1", version="3")
    both.delete("model-versions/delete", name="v1", version="2")
    both.get("registered-models/alias", name="v1", alias="champion")
    both.get("registered-models/get", name="v1")
    both.delete("registered-models/delete", name="v1")
    both.get("model-versions/get", name="v1", version="1")
    both.get("registered-models/get", name="v1")


def bodies(both: Both) -> None:
    """What is no call of the protocol at all."""
    create = "/api/2.0/mlflow/experiments/create"
    for body in (b'{"name": ', b"", b"{}", b"\xff\xfe", b'{"name": "a", "name": "b"}', b"null"):
        both.send("POST", create, body)
    both.send("POST", create, b'{"name":"as text"}', **{"content-type": "text/plain"})
    both.send("POST", create, b'{"name":"charset"}', **{"content-type": "application/json; charset=utf-8"})
    for method, path in (
        ("PUT", create), ("GET", create), ("DELETE", create), ("POST", "/api/2.0/mlflow/experiments/get"),
        ("GET", "/ajax-api/2.0/mlflow/experiments/get?experiment_id=0"), ("GET", "/version"), ("GET", "/health"),
        ("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0&bogus=1"),
    ):  # fmt: skip
        both.send(method, path)


SCENARIOS: tuple[Callable[[Both], None], ...] = (
    experiments, experiment_searches, runs, metrics, parameters_and_tags, batches, run_searches, datasets,
        logged_models,
    artifacts, registered_models, model_versions, bodies,
)  # fmt: skip
