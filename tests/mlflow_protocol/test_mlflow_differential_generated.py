"""Generated sequences of calls, to MLflow's own server and to ours at once; hypothesis shrinks what tells them apart.

CI's run is bounded and always the same; `WINDLASS_DIFFERENTIAL=2000` asks for more examples, others each time.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beside import Both, Ref, text
from differences import DIFFERENCES
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, multiple, rule, run_state_machine_as_test
from servers import Wire, mlflow_server, our_server

EXAMPLES = int(os.environ.get("WINDLASS_DIFFERENTIAL", "70"))
STEPS = 30
GROUP = "MLflow's client and its server are in the group 'contract'"

NOBODY = Ref("run", "nobody", "0" * 32, "0" * 32)
KEYS = ("a", "b c", "d.e", "é/ü", "x" * 250)
BAD_KEYS = ("", "a$b", "../a", "a//b", "/", "x" * 251)
VALUES = ("", "1", "v", "it's", 'say "so"', "100%_\\", "ÄÖ", "🦊", "z" * 5000)
keys = st.one_of(st.sampled_from(KEYS), st.sampled_from(KEYS), st.sampled_from(KEYS), st.sampled_from(BAD_KEYS))
values = st.sampled_from(VALUES)
metric_values = st.one_of(
    st.sampled_from([0, 1, -1.5, 0.1, 1e-9, 1e300, "NaN", "Infinity", "-Infinity", "0.5"]),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
)
steps = st.sampled_from([0, 1, 2, -1, "3", 2**40])
moments = st.sampled_from([0, 1, 1000, "2000", 1_700_000_000_000])
pairs = st.fixed_dictionaries({"key": keys, "value": values})
points = st.fixed_dictionaries({"key": keys, "value": metric_values, "timestamp": moments}, optional={"step": steps})


def quoted(key: str) -> str:
    return f"`{key}`" if key else "``"


def literal(value: str) -> str:
    return "'" + value.replace("'", "") + "'"


@st.composite
def filters(draw: st.DrawFn) -> str:
    """Mostly right, and now and then a wrong comparator or kind of value."""

    def clause() -> str:
        match draw(st.sampled_from(["metrics", "params", "tags", "attributes", "times"])):
            case "metrics":
                compared = draw(st.sampled_from(["=", "!=", ">", ">=", "<", "<=", "LIKE"]))
                number = draw(st.sampled_from(["0", "0.1", "-1.5", "1e300", "'1'"]))
                return f"metrics.{quoted(draw(st.sampled_from(KEYS)))} {compared} {number}"
            case "times":
                compared = draw(st.sampled_from(["=", "!=", ">", "<="]))
                return f"{draw(st.sampled_from(['start_time', 'end_time', 'created']))} {compared} 1003"
            case "attributes":
                name = draw(st.sampled_from(["status", "run_name", "user_id", "attributes.status", "lifecycle_stage"]))
                compared = draw(st.sampled_from(["=", "!=", "LIKE", "ILIKE", ">"]))
                value = draw(st.sampled_from(["'FINISHED'", "'RUNNING'", "'r%'", "'ada'", "'%i%'"]))
                return f"{name} {compared} {value}"
            case kind:
                key = quoted(draw(st.sampled_from(KEYS)))
                if draw(st.booleans()) and draw(st.booleans()):
                    return f"{kind}.{key} {draw(st.sampled_from(['IS NULL', 'IS NOT NULL']))}"
                compared = draw(st.sampled_from(["=", "!=", "LIKE", "ILIKE", ">"]))
                return f"{kind}.{key} {compared} {literal(draw(values))}"

    return " AND ".join(clause() for _ in range(draw(st.integers(1, 2))))


orders = st.sampled_from([
    [], ["start_time"], ["start_time DESC"], ["metrics.a DESC", "start_time"], ["metrics.`b c`", "start_time"],
    ["params.a", "start_time DESC"], ["tags.a DESC", "start_time"], ["status", "start_time"], ["end_time",
    "start_time"],
    ["foo"], ["run_name DESC", "start_time"],
])  # fmt: skip


class Servers:
    """Both, started once for the module: each example works in experiments and models of its own."""

    wires: tuple[Wire, Wire]
    examples = 0


class Protocol(RuleBasedStateMachine):
    experiments = Bundle("experiments")
    runs = Bundle("runs")
    logged = Bundle("logged")
    models = Bundle("models")
    versions = Bundle("versions")

    both: Both | None = None

    # Every example begins with one of each, so that few steps go far; hypothesis runs these in any order.

    @initialize(target=experiments)
    def begin_experiment(self) -> Ref:
        return self.begin()[0]

    @initialize(target=runs)
    def begin_run(self) -> Ref:
        return self.begin()[1]

    @initialize(target=logged)
    def begin_logged(self) -> Any:
        return self.create_logged_model(*self.begin(), [])

    @initialize(target=models)
    def begin_model(self) -> Any:
        self.begin()
        return self.register([], "")

    @initialize(target=versions)
    def begin_version(self) -> Any:
        _, run = self.begin()
        return self.register_version(self.register([], ""), run, [])

    def begin(self) -> tuple[Ref, Ref]:
        if self.both is None:
            Servers.examples += 1
            self.both = Both(*Servers.wires, DIFFERENCES)
            self.stem = f"example {Servers.examples}"
            self.count = 0
            self.clock = 1000
            named = self.both.post("experiments/create", name=self.name("first"))
            experiment = self.both.made("experiment", named, "experiment_id")
            assert experiment is not None
            begun = self.both.post("runs/create", experiment_id=experiment, start_time=1000, run_name="r")
            run = self.both.made("run", begun, "run", "info", "run_id")
            assert run is not None
            self.first = experiment, run
        return self.first

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{self.stem} {kind} {self.count}"

    # Experiments

    @rule(target=experiments, tags=st.lists(pairs, max_size=2, unique_by=lambda tag: tag["key"]))
    def create_experiment(self, tags: list[Any]) -> Any:
        answer = self.both.post("experiments/create", name=self.name("é 'experiment'"), tags=tags)
        made = self.both.made("experiment", answer, "experiment_id")
        return multiple() if made is None else made

    @rule(experiment=experiments)
    def get_experiment(self, experiment: Ref) -> None:
        self.both.get("experiments/get", experiment_id=experiment)

    @rule(experiment=experiments, key=keys, value=values)
    def tag_experiment(self, experiment: Ref, key: str, value: str) -> None:
        self.both.post("experiments/set-experiment-tag", experiment_id=experiment, key=key, value=value)

    @rule(experiment=experiments, key=keys)
    def untag_experiment(self, experiment: Ref, key: str) -> None:
        self.both.post("experiments/delete-experiment-tag", experiment_id=experiment, key=key)

    @rule(experiment=experiments)
    def rename_experiment(self, experiment: Ref) -> None:
        self.both.post("experiments/update", experiment_id=experiment, new_name=self.name("renamed"))

    @rule(experiment=experiments, call=st.sampled_from(["delete", "restore", "restore"]))
    def end_experiment(self, experiment: Ref, call: str) -> None:
        self.both.post(f"experiments/{call}", experiment_id=experiment)

    @rule(
        view=st.sampled_from(["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]), size=st.sampled_from([1, 2, 100]),
        extra=st.sampled_from(["", " AND tags.a = '1'", " AND tags.`b c` LIKE '%'", " AND tags.a IS NULL"]),
    )  # fmt: skip
    def search_experiments(self, view: str, size: int, extra: str) -> None:
        where = f"name LIKE '{self.stem} %'{extra}"
        self.pages("experiments/search", size, view_type=view, filter=where, order_by=["experiment_id"])

    def pages(self, call: str, size: int, **fields: Any) -> None:
        """One page after the other, as long as both have more."""
        token: Any = None
        for _ in range(4):
            more = {} if token is None else {"page_token": token}
            found = self.both.post(call, max_results=size, **fields, **more)
            tokens = [answer.json().get("next_page_token") if answer.status == 200 else None for answer in found.raw]
            if not all(tokens):
                return
            token = Ref("token", "a token", *tokens)

    # Runs

    @rule(
        target=runs, experiment=experiments, named=st.booleans(), user=st.sampled_from(["", "ada", "ü"]),
        tags=st.lists(st.fixed_dictionaries({"key": st.sampled_from(KEYS), "value": values}), max_size=2,
                      unique_by=lambda tag: tag["key"]),
    )  # fmt: skip
    def create_run(self, experiment: Ref, named: bool, user: str, tags: list[Any]) -> Any:
        self.clock += 1
        fields: dict[str, Any] = {"run_name": f"run {self.clock}"} if named else {"run_name": "r"}
        answer = self.both.post(
            "runs/create", experiment_id=experiment, start_time=self.clock, user_id=user, tags=tags, **fields
        )
        made = self.both.made("run", answer, "run", "info", "run_id")
        return multiple() if made is None else made

    @rule(run=st.one_of(runs, st.just(NOBODY)))
    def get_run(self, run: Ref) -> None:
        self.both.get("runs/get", run_id=run)

    @rule(
        run=runs, status=st.sampled_from(["FINISHED", "FAILED", "RUNNING", None]),
        ended=st.sampled_from([None, 1003, "7"]),
    )  # fmt: skip
    def update_run(self, run: Ref, status: str | None, ended: Any) -> None:
        given = {"status": status, "end_time": ended}
        self.both.post("runs/update", run_id=run, **{name: value for name, value in given.items() if value is not None})

    @rule(run=st.one_of(runs, st.just(NOBODY)), call=st.sampled_from(["delete", "restore", "restore"]))
    def end_run(self, run: Ref, call: str) -> None:
        self.both.post(f"runs/{call}", run_id=run)

    @rule(run=runs, point=points)
    def log_metric(self, run: Ref, point: dict[str, Any]) -> None:
        self.both.post("runs/log-metric", run_id=run, **point)

    @rule(run=runs, pair=pairs)
    def log_parameter(self, run: Ref, pair: dict[str, str]) -> None:
        self.both.post("runs/log-parameter", run_id=run, **pair)

    @rule(run=runs, pair=pairs)
    def set_tag(self, run: Ref, pair: dict[str, str]) -> None:
        self.both.post("runs/set-tag", run_id=run, **pair)

    @rule(run=runs, key=keys)
    def delete_tag(self, run: Ref, key: str) -> None:
        self.both.post("runs/delete-tag", run_id=run, key=key)

    @rule(
        run=runs, metrics=st.lists(points, max_size=4), params=st.lists(pairs, max_size=3),
        tags=st.lists(pairs, max_size=3),
    )  # fmt: skip
    def log_batch(self, run: Ref, metrics: list[Any], params: list[Any], tags: list[Any]) -> None:
        self.both.post("runs/log-batch", run_id=run, metrics=metrics, params=params, tags=tags)

    @rule(
        run=runs, name=st.sampled_from(["ds", "é"]), digest=st.sampled_from(["1", "2"]),
        context=st.sampled_from(["train", "test"]),
    )  # fmt: skip
    def log_inputs(self, run: Ref, name: str, digest: str, context: str) -> None:
        data = {"name": name, "digest": digest, "source_type": "local", "source": "s"}
        tags = [{"key": "mlflow.data.context", "value": context}]
        self.both.post("runs/log-inputs", run_id=run, datasets=[{"dataset": data, "tags": tags}])

    @rule(run=runs, key=st.sampled_from(KEYS), size=st.sampled_from([None, 1, 2]))
    def history(self, run: Ref, key: str, size: int | None) -> None:
        self.both.get(
            "metrics/get-history", run_id=run, metric_key=key, **({} if size is None else {"max_results": size})
        )

    @rule(
        experiments=st.lists(experiments, min_size=1, max_size=3, unique=True), where=st.one_of(st.just(""), filters()),
        order=orders, view=st.sampled_from(["ACTIVE_ONLY", "DELETED_ONLY", "ALL"]), size=st.sampled_from([1, 2, 100]),
    )  # fmt: skip
    def search_runs(self, experiments: list[Ref], where: str, order: list[str], view: str, size: int) -> None:
        # Start times are all different, so they settle every order.
        self.pages(
            "runs/search", size, experiment_ids=experiments, filter=where, order_by=order, run_view_type=view
        )  # fmt: skip

    # Logged models

    @rule(
        target=logged, experiment=experiments, run=runs,
        params=st.lists(pairs, max_size=2, unique_by=lambda p: p["key"]),
    )  # fmt: skip
    def create_logged(self, experiment: Ref, run: Ref, params: list[Any]) -> Any:
        return self.create_logged_model(experiment, run, params)

    def create_logged_model(self, experiment: Ref, run: Ref, params: list[Any]) -> Any:
        self.count += 1
        answer = self.both.post(
            "logged-models", experiment_id=experiment, name=f"model {self.count}", source_run_id=run,
            params=[pair for pair in params if pair["key"] in KEYS],
        )  # fmt: skip
        made = self.both.made("model", answer, "model", "info", "model_id")
        return multiple() if made is None else made

    @rule(model=logged, status=st.sampled_from(["LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"]))
    def finish_logged(self, model: Ref, status: str) -> None:
        self.both.patch(text("logged-models/", model), model_id=model, status=status)
        self.both.get(text("logged-models/", model))

    @rule(model=logged, key=st.sampled_from(KEYS[:3]), value=values)
    def tag_logged(self, model: Ref, key: str, value: str) -> None:
        self.both.patch(text("logged-models/", model, "/tags"), tags=[{"key": key, "value": value}])

    @rule(model=logged, run=runs, key=st.sampled_from(KEYS[:2]), value=st.sampled_from([0.1, 0.5, 2]))
    def measure_logged(self, model: Ref, run: Ref, key: str, value: float) -> None:
        self.both.post("runs/log-metric", run_id=run, key=key, value=value, timestamp=1, step=1, model_id=model)

    @rule(model=logged)
    def delete_logged(self, model: Ref) -> None:
        self.both.delete(text("logged-models/", model))
        self.both.get(text("logged-models/", model))

    @rule(
        experiment=experiments,
        where=st.sampled_from(["", "name LIKE 'model%'", "metrics.a > 0.2", "tags.a = '1'", "params.a != 'v'",
        "name > 'a'"]),
    )  # fmt: skip
    def search_logged(self, experiment: Ref, where: str) -> None:
        self.both.post("logged-models/search", experiment_ids=[experiment], filter=where)

    # The registry

    @rule(
        target=models, tags=st.lists(pairs, max_size=2, unique_by=lambda tag: tag["key"]),
        described=st.sampled_from(["", "d é"]),
    )  # fmt: skip
    def create_model(self, tags: list[Any], described: str) -> Any:
        return self.register(tags, described)

    def register(self, tags: list[Any], described: str) -> Any:
        name = self.name("ü 'model'")
        more = {"description": described} if described else {}
        answer = self.both.post("registered-models/create", name=name, tags=tags, **more)
        return name if answer.statuses == (200, 200) else multiple()

    @rule(model=models)
    def get_model(self, model: str) -> None:
        self.both.get("registered-models/get", name=model)

    @rule(model=models, described=st.sampled_from(["x", "é"]))
    def describe_model(self, model: str, described: str) -> None:
        self.both.patch("registered-models/update", name=model, description=described)

    @rule(model=models, key=keys, value=values, gone=st.booleans())
    def tag_model(self, model: str, key: str, value: str, gone: bool) -> None:
        if gone:
            self.both.delete("registered-models/delete-tag", name=model, key=key)
        else:
            self.both.post("registered-models/set-tag", name=model, key=key, value=value)

    @rule(model=models)
    def delete_model(self, model: str) -> None:
        self.both.delete("registered-models/delete", name=model)

    @rule(size=st.sampled_from([1, 3, 100]), extra=st.sampled_from(["", " AND tags.a = '1'", " AND tags.a LIKE '%'"]))
    def search_models(self, size: int, extra: str) -> None:
        self.both.get("registered-models/search", max_results=size, filter=f"name LIKE '{self.stem} %'{extra}")

    @rule(target=versions, model=models, run=runs, tags=st.lists(pairs, max_size=1))
    def create_version(self, model: str, run: Ref, tags: list[Any]) -> Any:
        return self.register_version(model, run, tags)

    def register_version(self, model: str, run: Ref, tags: list[Any]) -> Any:
        self.count += 1
        answer = self.both.get("runs/get", run_id=run)
        info = [each.json()["run"]["info"] for each in answer.raw]
        roots = [each["artifact_uri"].removeprefix("mlflow-artifacts:/") for each in info]
        root = Ref("root", "the run's files", *roots)
        path = text("/api/2.0/mlflow-artifacts/artifacts/", root, f"/model{self.count}/MLmodel")
        sent = self.both.send("PUT", path, b"flavors: {}\nutc_time_created: '%d'\n" % self.count)
        if sent.statuses != (200, 200):
            return multiple()
        made = self.both.post(
            "model-versions/create", name=model, run_id=run, tags=tags,
            source=text("mlflow-artifacts:/", root, f"/model{self.count}"),
        )  # fmt: skip
        return (model, made.theirs["model_version"]["version"]) if made.statuses == (200, 200) else multiple()

    @rule(version=versions)
    def get_version(self, version: tuple[str, str]) -> None:
        self.both.get("model-versions/get", name=version[0], version=version[1])

    @rule(version=versions, described=st.sampled_from(["x", "é"]))
    def describe_version(self, version: tuple[str, str], described: str) -> None:
        self.both.patch("model-versions/update", name=version[0], version=version[1], description=described)

    @rule(version=versions, key=keys, value=values, gone=st.booleans())
    def tag_version(self, version: tuple[str, str], key: str, value: str, gone: bool) -> None:
        if gone:
            self.both.delete("model-versions/delete-tag", name=version[0], version=version[1], key=key)
        else:
            self.both.post("model-versions/set-tag", name=version[0], version=version[1], key=key, value=value)

    @rule(version=versions, alias=st.sampled_from(["champion", "é-1", "latest", "v1", "a b", "x" * 255]))
    def alias_version(self, version: tuple[str, str], alias: str) -> None:
        self.both.post("registered-models/alias", name=version[0], version=version[1], alias=alias)
        self.both.get("registered-models/alias", name=version[0], alias=alias)

    @rule(model=models, alias=st.sampled_from(["champion", "é-1"]))
    def delete_alias(self, model: str, alias: str) -> None:
        self.both.delete("registered-models/alias", name=model, alias=alias)

    @rule(
        version=versions, stage=st.sampled_from(["Staging", "staging", "Archived", "None", "Bogus"]),
        others=st.booleans(),
    )  # fmt: skip
    def move_version(self, version: tuple[str, str], stage: str, others: bool) -> None:
        self.both.post(
            "model-versions/transition-stage", name=version[0], version=version[1], stage=stage,
            archive_existing_versions=others and stage.lower() == "staging",
        )  # fmt: skip

    @rule(version=versions)
    def delete_version(self, version: tuple[str, str]) -> None:
        self.both.delete("model-versions/delete", name=version[0], version=version[1])

    @rule(model=models, stages=st.sampled_from([[], ["Staging"], ["None", "archived"], ["Bogus"]]))
    def latest_versions(self, model: str, stages: list[str]) -> None:
        self.both.post("registered-models/get-latest-versions", name=model, stages=stages)

    @rule(model=models, extra=st.sampled_from(["", " AND version_number > 1", " AND tags.a = '1'"]))
    def search_versions(self, model: str, extra: str) -> None:
        where = "name LIKE '" + model.replace("'", "_") + "'" + extra
        self.both.get("model-versions/search", filter=where, order_by="version_number")

    # Artifacts

    @rule(
        run=runs, path=st.sampled_from(["a.txt", "d/b%20c", "d/%C3%A9.json", "d", "%2e%2e/x", "a.txt/x"]),
        body=st.sampled_from([b"", b"x" * 9]),
    )  # fmt: skip
    def put_artifact(self, run: Ref, path: str, body: bytes) -> None:
        root = self.root(run)
        if path in ("d", "a.txt/x"):
            # A file where a folder is, or the other way round: MLflow's store fails at it.
            return
        self.both.send("PUT", text("/api/2.0/mlflow-artifacts/artifacts/", root, f"/{path}"), body)
        self.both.send("GET", text("/api/2.0/mlflow-artifacts/artifacts/", root, f"/{path}"))

    def root(self, run: Ref) -> Ref:
        answer = self.both.get("runs/get", run_id=run)
        uris = [each.json()["run"]["info"]["artifact_uri"] for each in answer.raw]
        return Ref("root", "the run's files", *(uri.removeprefix("mlflow-artifacts:/") for uri in uris))

    @rule(run=runs, path=st.sampled_from(["", "d", "nope"]))
    def list_artifacts(self, run: Ref, path: str) -> None:
        self.both.get("artifacts/list", run_id=run, path=path)


@pytest.fixture(scope="module")
def servers() -> Iterator[None]:
    pytest.importorskip("alembic", reason=GROUP)
    pytest.importorskip("mlflow", reason=GROUP)
    with (
        tempfile.TemporaryDirectory(prefix="beside-") as folder,
        mlflow_server(Path(folder).resolve() / "mlflow") as theirs,
        our_server(Path(folder).resolve() / "ours") as ours,
    ):
        Servers.wires = (Wire(theirs.url), Wire(ours.url))
        yield
        for wire in Servers.wires:
            wire.close()


@pytest.mark.usefixtures("servers")
def test_generated_sequences_are_answered_alike() -> None:
    run_state_machine_as_test(
        Protocol,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None,
            derandomize="WINDLASS_DIFFERENTIAL" not in os.environ,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )  # fmt: skip
