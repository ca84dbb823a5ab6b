"""Runs as they are tracked: what is logged comes back, what may not change does not."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windlass.domain.errors import Conflict, Invalid, NotFound
from windlass.domain.ports import Database
from windlass.registry import grammar, tracking
from windlass.registry.search import runs as searching
from windlass.registry.tracking import histories, runs
from windlass.registry.tracking.recording import Log, record

ROOT = "1/run/artifacts"
RUN = "0" * 31 + "1"
OTHER = "0" * 31 + "2"


def found_by(database: Database, experiments: list[int], text: str = "") -> list[str]:
    asked = searching.Asked(experiments, ["active"], grammar.parse_filter(text, grammar.RUNS), grammar.RUNS.default)
    with database.read() as tx:
        numbers = [number for number, _ in searching.search(tx, asked, start=0, most=10)]
        return [each.run_id for each in runs.read(tx, numbers)]


@pytest.fixture
def run(database: Database) -> str:
    with database.write() as tx:
        experiment = tracking.create_experiment(tx, name="employment", at=5)
        tracking.create_run(
            tx, run_id=RUN, experiment_id=experiment, name="first", user="ada", at=10, tags={"team": "labour"}
        )
    return RUN


def test_a_run_comes_back_as_it_was_logged(database: Database, run: str) -> None:
    with database.write() as tx:
        tracking.log(tx, run, params={"depth": "3"}, metrics=[("loss", 0.5, 0, 11), ("loss", 0.25, 1, 12)])
        tracking.finish(tx, run, status="FINISHED", at=20)
    with database.read() as tx:
        found = tracking.find_run(tx, run)
    assert (found.status, found.started_at, found.ended_at) == ("FINISHED", 10, 20)
    assert found.params == {"depth": "3"}
    assert found.metrics == {"loss": tracking.Metric(value=0.25, step=1, at=12)}
    assert found.tags == {"team": "labour", "mlflow.runName": "first"}
    assert found_by(database, [1, 7]) == [run]


def test_the_default_experiment_is_there_from_the_start(database: Database) -> None:
    with database.read() as tx:
        assert tracking.experiment_id(tx, "Default") == "0"
        assert tracking.experiment_id(tx, "other") is None


def test_an_experiment_is_made_once(database: Database, run: str) -> None:
    with database.write() as tx, pytest.raises(Conflict, match="already exists"):
        tracking.create_experiment(tx, name="employment", at=6)


def test_a_run_id_is_used_once_and_in_an_experiment_that_exists(database: Database, run: str) -> None:
    with database.write() as tx:
        with pytest.raises(Conflict):
            tracking.create_run(tx, run_id=RUN, experiment_id="1", name="", user="", at=1)
        with pytest.raises(NotFound, match="No Experiment"):
            tracking.create_run(tx, run_id=OTHER, experiment_id="77", name="", user="", at=1)
        with pytest.raises(Invalid, match="not a run id"):
            tracking.create_run(tx, run_id="../x", experiment_id="1", name="", user="", at=1)


def test_a_param_never_changes_and_saying_it_again_is_fine(database: Database, run: str) -> None:
    with database.write() as tx:
        tracking.log(tx, run, params={"depth": "3"})
        tracking.log(tx, run, params={"depth": "3"})
        with pytest.raises(Invalid, match="Changing param values is not allowed"):
            tracking.log(tx, run, params={"depth": "4"})


def test_a_tag_changes_and_the_name_tag_renames_the_run(database: Database, run: str) -> None:
    with database.write() as tx:
        tracking.log(tx, run, tags={"team": "b", "mlflow.runName": "second"})
        found = tracking.find_run(tx, run)
    assert (found.name, found.tags["team"]) == ("second", "b")


def test_the_last_point_of_a_metric_is_by_step_then_time_whatever_the_order_of_arrival(
    database: Database, run: str
) -> None:
    points = [("m", 3.0, 2, 5), ("m", 1.0, 1, 9), ("m", 4.0, 2, 7), ("m", 2.0, 2, 6)]
    with database.write() as tx:
        for point in points:
            tracking.log(tx, run, metrics=[point])
        assert tracking.find_run(tx, run).metrics["m"] == tracking.Metric(value=4.0, step=2, at=7)
        assert [value for value, *_ in histories.history(tx, run, "m")] == [3.0, 2.0, 4.0, 1.0]  # by time


def test_a_point_logged_twice_is_one_point(database: Database, run: str) -> None:
    with database.write() as tx:
        for _ in range(2):
            tracking.log(tx, run, metrics=[("m", 1.0, 0, 1), ("n", math.nan, 0, 1)])
        assert len(histories.history(tx, run, "m")) == len(histories.history(tx, run, "n")) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(value=st.floats(), step=st.integers(-(2**62), 2**62), at=st.integers(0, 2**62))
def test_every_float_survives_not_a_number_and_infinities_too(
    database: Database, value: float, step: int, at: int
) -> None:
    with database.write() as tx:
        if not tx.row("SELECT 1 AS one FROM runs"):
            tracking.create_run(tx, run_id=RUN, experiment_id="0", name="", user="", at=0)
        tx.execute("DELETE FROM run_metrics")
        tx.execute("DELETE FROM run_metrics_last")
        tracking.log(tx, RUN, metrics=[("m", value, step, at)])
        [found] = histories.history(tx, RUN, "m")
        last = tracking.find_run(tx, RUN).metrics["m"]
    kept, nan, kept_step, kept_at = found
    assert nan == math.isnan(value) and (nan or kept == value)
    assert (last.step, last.at, kept_step, kept_at) == (step, at, step, at)


@pytest.mark.parametrize(
    "path",
    ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "..", "a\\..\\b", "C:/x", "%2e%2e/x", "a;b", "a\0b"],
)
def test_an_artifact_path_that_could_leave_the_run_is_refused(database: Database, run: str, path: str) -> None:
    with database.write() as tx, pytest.raises(Invalid, match="not a path"):
        tracking.add_artifact(tx, ROOT, path=path, digest="b3:x", size=1)


def test_artifacts_are_listed_a_folder_at_a_time(database: Database, run: str) -> None:
    with database.write() as tx:
        for path in ["a.txt", "model/MLmodel", "model/data/m.pkl", "model_2/x", "model.txt"]:
            tracking.add_artifact(tx, ROOT, path=path, digest="b3:x", size=3)
        assert tracking.list_artifacts(tx, ROOT) == [("a.txt", 3), ("model", None), ("model.txt", 3), ("model_2", None)]
        assert tracking.list_artifacts(tx, ROOT, "model") == [("model/MLmodel", 3), ("model/data", None)]
        assert tracking.find_artifact(tx, ROOT, "model/MLmodel").size == 3
        with pytest.raises(NotFound, match="there is no artifact"):
            tracking.find_artifact(tx, ROOT, "model")
        with pytest.raises(Invalid, match="is a file"):
            tracking.add_artifact(tx, ROOT, path="a.txt/b", digest="b3:x", size=1)
        with pytest.raises(Invalid, match="is a folder"):
            tracking.add_artifact(tx, ROOT, path="model", digest="b3:x", size=1)


def test_what_is_logged_to_a_run_that_is_not_is_told(database: Database) -> None:
    with database.write() as tx, pytest.raises(NotFound, match="not found"):
        tracking.log(tx, OTHER, params={"a": "1"})


@pytest.mark.parametrize("key", ["", "/abs", "a/../b", "x" * 251, "né\n"])
def test_a_malformed_key_is_refused(database: Database, run: str, key: str) -> None:
    with database.write() as tx, pytest.raises(Invalid, match=r"Invalid value|exceeds"):
        tracking.log(tx, run, metrics=[(key, 1.0, 0, 0)])


def test_a_run_ends_as_one_of_three(database: Database, run: str) -> None:
    with database.write() as tx:
        for status in ("RUNNING", "DONE"):
            with pytest.raises(Invalid):
                tracking.finish(tx, run, status=status, at=1)


def test_a_refused_log_leaves_nothing_and_does_not_touch_the_others(database: Database, run: str) -> None:
    with database.write() as tx:
        tracking.create_run(tx, run_id=OTHER, experiment_id="1", name="o", user="", at=1)
        runs.delete_run(tx, OTHER, at=2)
        tracking.log(tx, run, params={"depth": "3"})
        logs = [
            Log.checked(run, points=[("a", 1.0, 0, 1)]),
            Log.checked(run, params={"depth": "4"}, points=[("b", 1.0, 0, 1)]),
            Log.checked(OTHER, points=[("c", 1.0, 0, 1)]),
            Log.checked("f" * 32, points=[("d", 1.0, 0, 1)]),
            Log.checked(run, params={"width": "1"}),
            Log.checked(run, params={"width": "2"}),
        ]
        problems = record(tx, logs)
        found, other = tracking.find_run(tx, run), tracking.find_run(tx, OTHER)
    assert [type(problem) for problem in problems] == [
        type(None), Invalid, Invalid, NotFound, type(None), Invalid
    ]  # fmt: skip
    assert (set(found.metrics), found.params, other.metrics) == ({"a"}, {"depth": "3", "width": "1"}, {})


def test_what_is_deleted_can_be_restored_and_is_not_found_meanwhile(database: Database, run: str) -> None:
    with database.write() as tx:
        runs.delete_run(tx, run, at=3)
    assert found_by(database, [1]) == []
    with database.write() as tx:
        runs.restore_run(tx, run)
    assert found_by(database, [1]) == [run]


def test_a_history_is_thinned_to_its_first_and_last_and_evenly_between() -> None:
    rows = [(float(n), 0, n, n) for n in range(1000)]
    thin = histories.thinned(rows, 10)
    assert (len(thin), thin[0], thin[-1]) == (10, rows[0], rows[-1])
    assert histories.thinned(rows[:5], 10) == rows[:5]
    assert histories.thinned(rows, 1) == [rows[-1]]
