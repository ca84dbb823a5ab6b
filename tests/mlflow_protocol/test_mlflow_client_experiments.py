"""Experiments, with the real client and as bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from servers import Server, Wire

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own

Name = Callable[[str], str]


def test_created_read_and_found_by_name(client: Any, unique: Name) -> None:
    name = unique("é 'q' \"d\"")
    made = client.create_experiment(name, tags={"team": "a", "mlflow.note.content": "why"})
    found = client.get_experiment(made)
    assert (found.name, found.lifecycle_stage, found.experiment_id) == (name, "active", made)
    assert found.tags == {"team": "a", "mlflow.note.content": "why"}
    assert found.artifact_location == f"mlflow-artifacts:/{made}"
    assert found.creation_time == found.last_update_time > 1_600_000_000_000
    assert client.get_experiment_by_name(name).experiment_id == made
    assert client.get_experiment_by_name(unique("nobody")) is None


def test_default_is_there(client: Any) -> None:
    assert client.get_experiment("0").name == "Default"
    assert client.get_experiment_by_name("Default").experiment_id == "0"


def test_renamed(client: Any, experiment: str, unique: Name) -> None:
    before = client.get_experiment(experiment)
    name = unique("other")
    client.rename_experiment(experiment, name)
    after = client.get_experiment(experiment)
    assert after.name == name
    assert after.last_update_time >= before.last_update_time
    assert client.get_experiment_by_name(before.name) is None


def test_tags_are_set_overwritten_and_deleted(client: Any, experiment: str) -> None:
    client.set_experiment_tag(experiment, "a", "1")
    client.set_experiment_tag(experiment, "a", "2")
    client.set_experiment_tag(experiment, "empty", "")
    client.set_experiment_tag(experiment, "long", "v" * 5000)
    assert client.get_experiment(experiment).tags == {"a": "2", "empty": "", "long": "v" * 5000}
    client.delete_experiment_tag(experiment, "a")
    assert "a" not in client.get_experiment(experiment).tags


def test_deleted_hides_its_runs_and_restored_brings_them_back(client: Any, experiment: str, run: str) -> None:
    client.delete_experiment(experiment)
    assert client.get_experiment(experiment).lifecycle_stage == "deleted"
    assert client.get_run(run).info.lifecycle_stage == "deleted"
    assert client.search_runs([experiment]) == []
    client.restore_experiment(experiment)
    assert client.get_experiment(experiment).lifecycle_stage == "active"
    assert client.get_run(run).info.lifecycle_stage == "active"


def test_a_deleted_name_is_still_taken(client: Any, wire: Wire, experiment: str) -> None:
    client.delete_experiment(experiment)
    name = client.get_experiment(experiment).name
    assert wire.call("POST", "experiments/create", name=name).error == (400, "RESOURCE_ALREADY_EXISTS")
    assert client.get_experiment_by_name(name).lifecycle_stage == "deleted"


def test_search_pages_through_all(client: Any, unique: Name) -> None:
    stem = unique("page")
    made = [client.create_experiment(f"{stem} {number}") for number in range(5)]
    where = f"name LIKE '{stem}%'"
    first = client.search_experiments(filter_string=where, max_results=2, order_by=["name ASC"])
    second = client.search_experiments(
        filter_string=where, max_results=2, order_by=["name ASC"], page_token=first.token
    )
    third = client.search_experiments(
        filter_string=where, max_results=2, order_by=["name ASC"], page_token=second.token
    )
    assert [e.experiment_id for page in (first, second, third) for e in page] == made
    assert not third.token


def test_search_gives_the_newest_first(client: Any, unique: Name) -> None:
    stem = unique("newest")
    made = [client.create_experiment(f"{stem} {number}") for number in range(3)]
    found = client.search_experiments(filter_string=f"name LIKE '{stem}%'")
    assert [e.experiment_id for e in found] == made[::-1]


def test_search_by_view(client: Any, unique: Name) -> None:
    from mlflow.entities import ViewType

    stem = unique("view")
    kept, gone = (client.create_experiment(f"{stem} {number}") for number in range(2))
    client.delete_experiment(gone)

    def found(view: int) -> set[str]:
        return {e.experiment_id for e in client.search_experiments(view, filter_string=f"name LIKE '{stem}%'")}

    assert found(ViewType.ACTIVE_ONLY) == {kept}
    assert found(ViewType.DELETED_ONLY) == {gone}
    assert found(ViewType.ALL) == {kept, gone}


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ("name = '{stem} 1'", {1}),
        ("name != '{stem} 1' AND name LIKE '{stem}%'", {0, 2}),
        ("attribute.name ILIKE '{upper}%'", {0, 1, 2}),
        ('name = "{stem} 2"', {2}),
        ("name LIKE '{stem}%' AND tags.number = '1'", {1}),
        ("name LIKE '{stem}%' AND tag.number != '1'", {0, 2}),
        ("name LIKE '{stem}%' AND tags.`a key` LIKE 'v%'", {0, 1, 2}),
        ("name LIKE '{stem}%' AND tags.number IS NULL", set()),
        ("name LIKE '{stem}%' AND tags.odd IS NULL", {0, 2}),
        ("name LIKE '{stem}%' AND tags.odd IS NOT NULL", {1}),
        ("name LIKE '{stem}%' AND creation_time > 1000", {0, 1, 2}),
        ("name LIKE '{stem}%' AND last_update_time < 1000", set()),
    ],
)
def test_search_filters(client: Any, unique: Name, where: str, numbers: set[int]) -> None:
    stem = unique("filter")
    for number in range(3):
        tags = {"number": str(number), "a key": f"v{number}", **({"odd": "yes"} if number % 2 else {})}
        client.create_experiment(f"{stem} {number}", tags=tags)
    found = client.search_experiments(filter_string=where.format(stem=stem, upper=stem.upper()))
    assert {int(e.tags["number"]) for e in found} == numbers


@pytest.mark.parametrize(
    "where",
    [
        "garbage", "name", "name =", "name = bare", "name > 'a'", "name == 'a'", "name IN ('a', 'b')",
        "foo = 'x'", "attr.name = 'x'", "metrics.a > 1", "name = 'a' OR name = 'b'", "creation_time = 'x'",
        "experiment_id IN ()",
    ],
)  # fmt: skip
def test_search_refuses_a_bad_filter(wire: Wire, where: str) -> None:
    answer = wire.call("POST", "experiments/search", max_results=1, filter=where)
    assert answer.error == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("order", ["foo", "name sideways", "tags.a", "metrics.a", "name ASC, creation_time", ""])
def test_search_refuses_a_bad_order(wire: Wire, order: str) -> None:
    answer = wire.call("POST", "experiments/search", max_results=1, order_by=[order])
    assert answer.error == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("asked", [0, -1, 50_001, "x"])
def test_search_refuses_a_bad_page(wire: Wire, asked: object) -> None:
    answer = wire.call("POST", "experiments/search", max_results=asked)
    assert answer.error == (400, "INVALID_PARAMETER_VALUE")


def test_search_refuses_a_bad_token(wire: Wire) -> None:
    answer = wire.call("POST", "experiments/search", max_results=1, page_token="garbage")
    assert answer.error == (400, "INVALID_PARAMETER_VALUE")


def test_search_by_get(wire: Wire) -> None:
    assert len(wire.get("experiments/search", max_results=1)["experiments"]) == 1


@pytest.mark.parametrize(
    ("call", "fields", "status", "code"),
    [
        ("create", {}, 400, "INVALID_PARAMETER_VALUE"),
        ("create", {"name": ""}, 400, "INVALID_PARAMETER_VALUE"),
        ("create", {"name": None}, 400, "INVALID_PARAMETER_VALUE"),
        ("create", {"name": 5}, 400, "INVALID_PARAMETER_VALUE"),
        ("create", {"name": "x" * 501}, 400, "INVALID_PARAMETER_VALUE"),
        ("create", {"name": "Default"}, 400, "RESOURCE_ALREADY_EXISTS"),
        ("create", {"name": "bad tag", "tags": "x"}, 400, "INVALID_PARAMETER_VALUE"),
        ("create", {"name": "bad tag", "tags": [{"key": "", "value": "v"}]}, 400, "INVALID_PARAMETER_VALUE"),
        ("create", {"name": "bad tag", "tags": [{"key": "k" * 251, "value": "v"}]}, 400, "INVALID_PARAMETER_VALUE"),
        ("update", {"new_name": "q"}, 400, "INVALID_PARAMETER_VALUE"),
        ("update", {"experiment_id": "0"}, 400, "INVALID_PARAMETER_VALUE"),
        ("update", {"experiment_id": "999999", "new_name": "q"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("delete", {}, 400, "INVALID_PARAMETER_VALUE"),
        ("delete", {"experiment_id": "999999"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("delete", {"experiment_id": "abc"}, 400, "INVALID_PARAMETER_VALUE"),
        ("restore", {"experiment_id": "999999"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("restore", {"experiment_id": "0"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("set-experiment-tag", {"experiment_id": "0", "value": "v"}, 400, "INVALID_PARAMETER_VALUE"),
        ("set-experiment-tag", {"key": "k", "value": "v"}, 400, "INVALID_PARAMETER_VALUE"),
        ("set-experiment-tag", {"experiment_id": "0", "key": "a/../b", "value": "v"}, 400, "INVALID_PARAMETER_VALUE"),
        ("set-experiment-tag", {"experiment_id": "0", "key": "a$b", "value": "v"}, 400, "INVALID_PARAMETER_VALUE"),
        ("set-experiment-tag", {"experiment_id": "0", "key": "k" * 251, "value": "v"}, 400, "INVALID_PARAMETER_VALUE"),
        ("set-experiment-tag", {"experiment_id": "99999", "key": "k", "value": "v"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("delete-experiment-tag", {"experiment_id": "0", "key": "nobody"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("delete-experiment-tag", {"experiment_id": "0"}, 400, "INVALID_PARAMETER_VALUE"),
        ("delete-experiment-tag", {"experiment_id": "99999", "key": "k"}, 404, "RESOURCE_DOES_NOT_EXIST"),
    ],
)
def test_wrong_uses(wire: Wire, call: str, fields: dict[str, Any], status: int, code: str) -> None:
    assert wire.call("POST", f"experiments/{call}", **fields).error == (status, code)


@pytest.mark.parametrize(
    ("call", "fields", "status", "code"),
    [
        ("get", {}, 400, "INVALID_PARAMETER_VALUE"),
        ("get", {"experiment_id": ""}, 400, "INVALID_PARAMETER_VALUE"),
        ("get", {"experiment_id": "999999"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("get", {"experiment_id": "abc"}, 400, "INVALID_PARAMETER_VALUE"),
        ("get-by-name", {}, 400, "INVALID_PARAMETER_VALUE"),
        ("get-by-name", {"experiment_name": ""}, 400, "INVALID_PARAMETER_VALUE"),
        ("get-by-name", {"experiment_name": "no such name"}, 404, "RESOURCE_DOES_NOT_EXIST"),
    ],
)
def test_wrong_reads(wire: Wire, call: str, fields: dict[str, Any], status: int, code: str) -> None:
    assert wire.call("GET", f"experiments/{call}", **fields).error == (status, code)


def test_a_deleted_experiment_is_not_changed(wire: Wire, experiment: str) -> None:
    wire.post("experiments/delete", experiment_id=experiment)
    refused = wire.call("POST", "experiments/delete", experiment_id=experiment)
    assert refused.error == (404, "RESOURCE_DOES_NOT_EXIST")
    renamed = wire.call("POST", "experiments/update", experiment_id=experiment, new_name="other")
    assert renamed.error == (500, "INVALID_STATE")
    tagged = wire.call("POST", "experiments/set-experiment-tag", experiment_id=experiment, key="k", value="v")
    assert tagged.error == (400, "INVALID_PARAMETER_VALUE")
    begun = wire.call("POST", "runs/create", experiment_id=experiment)
    assert begun.error == (400, "INVALID_PARAMETER_VALUE")


def test_an_error_has_mlflows_form(wire: Wire) -> None:
    answer = wire.call("GET", "experiments/get", experiment_id="999999")
    said = answer.json()
    assert said["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert said["message"] == "No Experiment with id=999999 exists"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_another_method_is_refused(wire: Wire, method: str) -> None:
    assert wire.send(method, "/api/2.0/mlflow/experiments/create").status == 405


def test_what_does_not_exist_is_not_found(wire: Wire) -> None:
    assert wire.send("GET", "/api/2.0/mlflow/nonsense").status == 404


@pytest.mark.parametrize(
    "path", ["/api/3.0/mlflow/traces/search", "/api/2.0/mlflow/traces", "/api/3.0/mlflow/datasets/search"]
)
def test_what_is_out_of_scope_says_so(server: Server, wire: Wire, path: str) -> None:
    if server.ours:
        assert wire.send("POST", path, b"{}").error == (501, "NOT_IMPLEMENTED")


@pytest.mark.parametrize("prefix", ["/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"])
def test_both_prefixes(wire: Wire, prefix: str) -> None:
    assert wire.get(f"{prefix}experiments/get", experiment_id="0")["experiment"]["name"] == "Default"


def test_unknown_fields_are_ignored(wire: Wire, unique: Name) -> None:
    assert wire.call("POST", "experiments/create", name=unique("unknown"), nobody=1).status == 200


def test_only_json_is_read(wire: Wire) -> None:
    body = b'{"name": "as text"}'
    answer = wire.send("POST", "/api/2.0/mlflow/experiments/create", body, {"content-type": "text/plain"})
    assert answer.error == (400, "INVALID_PARAMETER_VALUE")


def test_health_version_and_information(wire: Wire) -> None:
    assert wire.send("GET", "/health").body == b"OK"
    assert wire.send("GET", "/version").body.decode().count(".") >= 1
    assert wire.send("GET", "/api/3.0/mlflow/server-info").json()["store_type"] == "SqlStore"
