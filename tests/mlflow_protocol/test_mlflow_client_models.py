"""Logged models, registered models, versions, stages and aliases, with the real client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from servers import Server, Wire

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own

Name = Callable[[str], str]
BAD = (400, "INVALID_PARAMETER_VALUE")
MISSING = (404, "RESOURCE_DOES_NOT_EXIST")
TAKEN = (400, "RESOURCE_ALREADY_EXISTS")


@pytest.fixture
def source(wire: Wire, experiment: str, run: str) -> str:
    """Where a run's model lies, with its files."""
    path = f"{experiment}/{run}/artifacts/model"
    for name, body in (("MLmodel", b"flavors: {}\n"), ("data/weights", run.encode())):
        assert wire.send("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{path}/{name}", body).status == 200
    return f"mlflow-artifacts:/{path}"


@pytest.fixture
def model(client: Any, unique: Name) -> str:
    """A new one's name."""
    return str(client.create_registered_model(unique("é 'model'"), tags={"team": "a"}, description="d é").name)


@pytest.fixture
def version(client: Any, model: str, source: str, run: str) -> str:
    return str(client.create_model_version(model, source, run, tags={"a": "1"}, description="v").version)


def own(tags: dict[str, str]) -> dict[str, str]:
    """Without those that the server adds for itself."""
    return {name: value for name, value in tags.items() if not name.startswith("windlass.")}


# Registered models


def test_a_registered_model(client: Any, model: str) -> None:
    got = client.get_registered_model(model)
    assert (got.name, got.description, got.tags) == (model, "d é", {"team": "a"})
    assert got.creation_timestamp == got.last_updated_timestamp > 1_600_000_000_000
    assert (got.latest_versions, got.aliases) == ([], {})
    client.update_registered_model(model, description="other")
    client.set_registered_model_tag(model, "team", "b")
    client.set_registered_model_tag(model, "gone", "x")
    client.delete_registered_model_tag(model, "gone")
    again = client.get_registered_model(model)
    assert (again.description, again.tags) == ("other", {"team": "b"})


def test_renamed_before_it_has_versions(client: Any, wire: Wire, model: str, unique: Name) -> None:
    other = unique("renamed")
    client.rename_registered_model(model, other)
    assert client.get_registered_model(other).description == "d é"
    assert wire.call("GET", "registered-models/get", name=model).error == MISSING


def test_deleted_with_its_versions(client: Any, wire: Wire, model: str, version: str) -> None:
    client.delete_registered_model(model)
    assert wire.call("GET", "registered-models/get", name=model).error == MISSING
    assert wire.call("GET", "model-versions/get", name=model, version=version).error == MISSING


def test_search_pages_and_orders(client: Any, unique: Name) -> None:
    stem = unique("searched")
    for letter in "cab":
        client.create_registered_model(f"{stem} {letter}", tags={"letter": letter})
    where = f"name LIKE '{stem}%'"

    def letters(**fields: Any) -> str:
        return "".join(found.name[-1] for found in client.search_registered_models(where, **fields))

    assert letters() == "abc"
    assert letters(order_by=["name DESC"]) == "cba"
    assert letters(order_by=["last_updated_timestamp ASC"]) == "cab"
    first = client.search_registered_models(where, max_results=2)
    rest = client.search_registered_models(where, max_results=2, page_token=first.token)
    assert [found.name[-1] for found in [*first, *rest]] == ["a", "b", "c"]
    assert not rest.token
    assert [m.name for m in client.search_registered_models(f"{where} AND tags.letter = 'a'")] == [f"{stem} a"]
    assert [m.name for m in client.search_registered_models(f"name ILIKE '{stem.upper()}%b'")] == [f"{stem} b"]


@pytest.mark.parametrize(
    ("method", "call", "fields", "error"),
    [
        ("POST", "create", {}, BAD), ("POST", "create", {"name": ""}, BAD), ("POST", "create", {"name": " "}, BAD),
        ("POST", "create", {"name": "a/b"}, BAD), ("POST", "create", {"name": "a:b"}, BAD),
        ("POST", "create", {"name": ".."}, BAD), ("POST", "create", {"name": 5}, BAD),
        ("GET", "get", {}, BAD), ("GET", "get", {"name": "nobody"}, MISSING),
        ("PATCH", "update", {"name": "nobody", "description": "x"}, MISSING),
        ("POST", "rename", {"name": "nobody", "new_name": "x"}, MISSING), ("POST", "rename", {"name": "nobody"}, BAD),
        ("POST", "set-tag", {"name": "nobody", "key": "k", "value": "v"}, MISSING),
        ("DELETE", "delete", {"name": "nobody"}, MISSING), ("DELETE", "delete", {}, BAD),
        ("DELETE", "delete-tag", {"name": "nobody", "key": "k"}, MISSING),
        ("POST", "alias", {"name": "nobody", "alias": "a", "version": "1"}, MISSING),
        ("GET", "alias", {"name": "nobody", "alias": "a"}, MISSING), ("GET", "alias", {"name": "nobody"}, BAD),
        ("DELETE", "alias", {"name": "nobody", "alias": "a"}, MISSING),
        ("POST", "get-latest-versions", {"name": "nobody"}, MISSING), ("POST", "get-latest-versions", {}, BAD),
        ("GET", "search", {"max_results": 1001}, BAD), ("GET", "search", {"page_token": "garbage"}, BAD),
        ("GET", "search", {"filter": "foo = 'x'"}, BAD), ("GET", "search", {"filter": "name > 'a'"}, BAD),
        ("GET", "search", {"filter": "garbage"}, BAD), ("GET", "search", {"order_by": "foo"}, BAD),
    ],
)  # fmt: skip
def test_wrong_uses_of_models(
    wire: Wire, method: str, call: str, fields: dict[str, Any], error: tuple[int, str]
) -> None:
    assert wire.call(method, f"registered-models/{call}", **fields).error == error


def test_a_name_is_taken_once(wire: Wire, model: str, unique: Name) -> None:
    assert wire.call("POST", "registered-models/create", name=model).error == TAKEN
    other = unique("other")
    wire.post("registered-models/create", name=other)
    assert wire.call("POST", "registered-models/rename", name=other, new_name=model).error == TAKEN


# Versions


def test_a_version(client: Any, model: str, version: str, source: str, run: str) -> None:
    got = client.get_model_version(model, version)
    assert (got.name, str(got.version), got.source, got.run_id) == (model, "1", source, run)
    assert (got.status, got.current_stage, got.description, own(got.tags)) == ("READY", "None", "v", {"a": "1"})
    assert got.creation_timestamp > 1_600_000_000_000
    assert client.get_model_version_download_uri(model, version) == source
    client.update_model_version(model, version, description="other")
    client.set_model_version_tag(model, version, "b", "2")
    client.delete_model_version_tag(model, version, "a")
    again = client.get_model_version(model, version)
    assert (again.description, own(again.tags)) == ("other", {"b": "2"})


def test_versions_count_up_and_never_come_back(client: Any, wire: Wire, model: str, version: str, run: str) -> None:
    path = client.get_model_version(model, version).source
    other = path.replace("/model", "/other")
    wire.send("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{other.partition(':/')[2]}/MLmodel", b"flavors: {}\n#2\n")
    assert str(client.create_model_version(model, other, run).version) == "2"
    client.delete_model_version(model, version)
    assert wire.call("GET", "model-versions/get", name=model, version=version).error == MISSING
    assert wire.call("DELETE", "model-versions/delete", name=model, version=version).error == MISSING
    assert [str(v.version) for v in client.search_model_versions(f"name = '{model.replace(chr(39), '')}'")] == []
    found = client.search_model_versions(f"run_id = '{run}'")
    assert [str(v.version) for v in found] == ["2"]


@pytest.mark.parametrize(
    "given",
    ["/etc/passwd", "file:///etc/passwd", "./x", "mlflow-artifacts:/../x", "mlflow-artifacts:/a/%2e%2e/b", "http://x/y",
     "", "mlflow-artifacts://host/x", "mlflow-artifacts:/a/..%2fb", "ftp://x/y"],
)  # fmt: skip
def test_sources_that_are_nobodys_files(wire: Wire, model: str, run: str, given: str) -> None:
    assert wire.call("POST", "model-versions/create", name=model, source=given, run_id=run).error == BAD


@pytest.mark.parametrize(
    ("method", "call", "fields", "error"),
    [
        ("GET", "get", {"version": "99"}, MISSING), ("GET", "get", {"version": "abc"}, BAD), ("GET", "get", {}, BAD),
        ("GET", "get-download-uri", {"version": "99"}, MISSING), ("GET", "get-download-uri", {}, BAD),
        ("PATCH", "update", {"version": "99", "description": "x"}, MISSING), ("PATCH", "update", {}, BAD),
        ("PATCH", "update", {"version": 1, "description": "x"}, BAD),
        ("POST", "set-tag", {"version": "99", "key": "k", "value": "v"}, MISSING),
        ("POST", "set-tag", {"version": "1"}, BAD),
        ("DELETE", "delete-tag", {"version": "99", "key": "k"}, MISSING),
        ("DELETE", "delete", {"version": "abc"}, BAD),
        ("POST", "transition-stage", {"version": "99", "stage": "Staging"}, MISSING),
        ("POST", "transition-stage", {"version": "1", "stage": "Bogus"}, BAD),
        ("POST", "transition-stage", {"version": "1"}, BAD), ("POST", "create", {}, BAD),
    ],
)  # fmt: skip
def test_wrong_uses_of_versions(
    wire: Wire, model: str, version: str, method: str, call: str, fields: dict[str, Any], error: tuple[int, str]
) -> None:
    assert version == "1"
    assert wire.call(method, f"model-versions/{call}", **{"name": model, **fields}).error == error


def test_stages(client: Any, wire: Wire, model: str, version: str, source: str, run: str) -> None:
    other = source.replace("/model", "/other")
    wire.send("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{other.partition(':/')[2]}/MLmodel", b"flavors: {}\n#2\n")
    second = client.create_model_version(model, other, run).version
    assert client.transition_model_version_stage(model, version, "staging").current_stage == "Staging"
    moved = client.transition_model_version_stage(model, second, "Staging", archive_existing_versions=True)
    assert moved.current_stage == "Staging"
    assert client.get_model_version(model, version).current_stage == "Archived"
    latest = client.get_latest_versions(model, stages=["Staging"])
    assert [str(each.version) for each in latest] == [str(second)]
    assert {each.current_stage for each in client.get_latest_versions(model)} == {"Staging", "Archived"}


def test_production_needs_what_policy_asks_for(server: Server, wire: Wire, model: str, version: str) -> None:
    moved = wire.call("POST", "model-versions/transition-stage", name=model, version=version, stage="Production")
    assert (moved.error == (403, "PERMISSION_DENIED")) if server.ours else (moved.status == 200)


def test_search_for_versions(client: Any, model: str, version: str, run: str, source: str) -> None:
    for where in (
        f"run_id = '{run}'", f"run_id IN ('{run}', 'x')", f"source_path = '{source}'",
        f"run_id = '{run}' AND version_number = 1", f"run_id = '{run}' AND tags.a = '1'",
        f"run_id = '{run}' AND tags.a LIKE '%' AND version_number < 2",
    ):  # fmt: skip
        assert [(v.name, str(v.version)) for v in client.search_model_versions(where)] == [(model, version)], where
    assert client.search_model_versions(f"run_id = '{run}' AND version_number > 1") == []


@pytest.mark.parametrize(
    "where",
    ["foo = 'x'", "garbage", "version = 1", "source = 'x'", "current_stage = 'Staging'", "aliases = 'x'",
     "run_id IN ()", "version_number LIKE '1'"],
)  # fmt: skip
def test_wrong_searches_for_versions(wire: Wire, where: str) -> None:
    assert wire.call("GET", "model-versions/search", filter=where).error == BAD


# Aliases


def test_aliases(client: Any, wire: Wire, model: str, version: str) -> None:
    client.set_registered_model_alias(model, "champion", version)
    client.set_registered_model_alias(model, "é-1", version)
    assert str(client.get_model_version_by_alias(model, "champion").version) == version
    assert sorted(client.get_model_version(model, version).aliases) == ["champion", "é-1"]
    assert set(client.get_registered_model(model).aliases) == {"champion", "é-1"}
    client.delete_registered_model_alias(model, "é-1")
    client.delete_registered_model_alias(model, "é-1")
    assert wire.call("GET", "registered-models/alias", name=model, alias="é-1").error == BAD
    client.delete_model_version(model, version)
    assert wire.call("GET", "registered-models/alias", name=model, alias="champion").error == BAD


@pytest.mark.parametrize(
    ("alias", "number", "error"),
    [("latest", "1", BAD), ("Latest", "1", BAD), ("v1", "1", BAD), ("V22", "1", BAD), ("a b", "1", BAD), ("", "1", BAD),
     ("a.b", "1", BAD), ("a" * 256, "1", BAD), ("fine", "99", MISSING), ("fine", "abc", BAD)],
)  # fmt: skip
def test_wrong_aliases(wire: Wire, model: str, version: str, alias: str, number: str, error: tuple[int, str]) -> None:
    assert version == "1"
    assert wire.call("POST", "registered-models/alias", name=model, alias=alias, version=number).error == error


# Logged models


def test_a_logged_model(client: Any, experiment: str, run: str) -> None:
    from mlflow.entities import LoggedModelStatus

    made = client.create_logged_model(
        experiment, name="first", source_run_id=run, tags={"t": "1"}, params={"p": "2"}, model_type="sklearn"
    )
    got = client.get_logged_model(made.model_id)
    assert (got.name, got.model_type, got.source_run_id, got.experiment_id) == ("first", "sklearn", run, experiment)
    assert (got.status, got.params, got.tags) == (LoggedModelStatus.PENDING, {"p": "2"}, {"t": "1"})
    assert got.artifact_location == f"mlflow-artifacts:/{experiment}/models/{made.model_id}/artifacts"
    assert client.finalize_logged_model(made.model_id, "READY").status == LoggedModelStatus.READY
    client.set_logged_model_tags(made.model_id, {"t": "2", "u v": "é"})
    client.delete_logged_model_tag(made.model_id, "t")
    client.log_model_params(made.model_id, {"q": "3"})
    client.log_metric(run, "acc", 0.5, step=1, model_id=made.model_id)
    again = client.get_logged_model(made.model_id)
    assert (again.tags, again.params) == ({"u v": "é"}, {"p": "2", "q": "3"})
    assert [(m.key, m.value, m.run_id) for m in again.metrics] == [("acc", 0.5, run)]
    client.delete_logged_model(made.model_id)
    from mlflow import MlflowException

    with pytest.raises(MlflowException, match="not found"):
        client.get_logged_model(made.model_id)


def test_search_for_logged_models(client: Any, wire: Wire, experiment: str, run: str) -> None:
    ids = {}
    for name, accuracy in (("one", 0.1), ("two", 0.9), ("three", 0.5)):
        made = client.create_logged_model(experiment, name=name, source_run_id=run, params={"name": name})
        client.log_metric(run, "acc", accuracy, model_id=made.model_id)
        ids[name] = made.model_id

    def names(**fields: Any) -> list[str]:
        return [each.name for each in client.search_logged_models([experiment], **fields)]

    assert names() == ["three", "two", "one"]
    assert names(filter_string="metrics.acc > 0.4", order_by=[{"field_name": "metrics.acc"}]) == ["three", "two"]
    assert names(filter_string="params.name = 'two'") == ["two"]
    assert names(filter_string="name LIKE 't%'", order_by=[{"field_name": "name"}]) == ["three", "two"]
    first = client.search_logged_models([experiment], max_results=2)
    assert len(first) == 2
    assert [m.name for m in client.search_logged_models([experiment], max_results=2, page_token=first.token)] == ["one"]


@pytest.mark.parametrize(
    ("method", "call", "fields", "error"),
    [
        ("POST", "logged-models", {}, BAD), ("POST", "logged-models", {"experiment_id": "999999"}, MISSING),
        ("POST", "logged-models", {"experiment_id": "0", "name": "a/b"}, BAD),
        ("GET", "logged-models/m-nobody", {}, MISSING),
        ("PATCH", "logged-models/m-nobody/tags", {"tags": [{"key": "t", "value": "v"}]}, MISSING),
        ("DELETE", "logged-models/m-nobody", {}, MISSING), ("POST", "logged-models/search", {}, BAD),
        ("DELETE", "logged-models/m-nobody/tags/t", {}, MISSING),
    ],
)  # fmt: skip
def test_wrong_uses_of_logged_models(
    wire: Wire, method: str, call: str, fields: dict[str, Any], error: tuple[int, str]
) -> None:
    assert wire.call(method, call, **fields).error == error


# The whole way


class Logged(msgspec.Struct):
    uri: str
    run: str
    model: str
    expected: list[float]


@pytest.fixture
def logged(fluent: Any, unique: Name) -> Iterator[Logged]:
    """A scikit-learn pipeline, logged and registered by the fluent client."""
    import numpy as np
    from sklearn.linear_model import LinearRegression

    rows = np.arange(20.0).reshape(10, 2)
    fitted = LinearRegression().fit(rows, rows @ [1.0, 2.0])
    name = unique("whole")
    fluent.set_experiment(unique("whole way"))
    with fluent.start_run() as run:
        made = fluent.sklearn.log_model(
            fitted, name="model", registered_model_name=name, input_example=rows[:2], pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
        )  # fmt: skip
    yield Logged(made.model_uri, run.info.run_id, name, fitted.predict(rows).tolist())


def test_a_model_is_logged_registered_and_loaded_by_alias(fluent: Any, client: Any, logged: Logged) -> None:
    import numpy as np

    assert [m.model_id for m in client.get_run(logged.run).outputs.model_outputs] == [
        logged.uri.removeprefix("models:/")
    ]
    client.set_registered_model_alias(logged.model, "m", "1")
    rows = np.arange(20.0).reshape(10, 2)
    for uri in (logged.uri, f"models:/{logged.model}@m", f"models:/{logged.model}/1", f"runs:/{logged.run}/model"):
        loaded = fluent.pyfunc.load_model(uri)
        assert np.allclose(loaded.predict(rows), logged.expected), uri
    assert loaded.metadata.signature is not None


def test_a_models_files_are_listed_and_downloaded(fluent: Any, client: Any, logged: Logged, tmp_path: Path) -> None:
    folder = Path(fluent.artifacts.download_artifacts(logged.uri, dst_path=str(tmp_path)))
    assert {"MLmodel", "requirements.txt", "model.pkl"} <= {path.name for path in folder.iterdir()}
    listed = {item.path for item in client.list_logged_model_artifacts(logged.uri.removeprefix("models:/"))}
    assert {"MLmodel", "requirements.txt", "model.pkl"} <= listed


def test_its_flavours_are_told(fluent: Any, logged: Logged) -> None:
    assert fluent.models.get_model_info(logged.uri).flavors.keys() >= {"python_function", "sklearn"}
