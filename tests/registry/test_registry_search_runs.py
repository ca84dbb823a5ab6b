"""Searches for runs, held against the same search done by hand on what was logged."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windlass.domain.ports import Database
from windlass.registry import grammar
from windlass.registry.search import runs as searching
from windlass.registry.tracking import experiments, recording, runs
from windlass.registry.tracking.runs import TrackedRun

METRIC = {"<": float.__lt__, ">": float.__gt__, "=": float.__eq__, "!=": float.__ne__, ">=": float.__ge__}
VALUES = [0.0, 0.25, 0.5, 1.0, math.inf, -math.inf, math.nan]

logged = st.lists(
    st.fixed_dictionaries({
        "start": st.integers(0, 3), "experiment": st.integers(0, 1), "deleted": st.booleans(),
        "metrics": st.dictionaries(st.sampled_from(["m", "n"]), st.sampled_from(VALUES)),
        "params": st.dictionaries(st.sampled_from(["p", "q"]), st.sampled_from(["a", "A", "b%", "long" * 80])),
    }),
    max_size=14,
)  # fmt: skip
texts = st.sampled_from(["a", "long" * 80])
clauses = st.lists(
    st.one_of(
        st.tuples(
            st.just("metrics"), st.sampled_from("mn"), st.sampled_from(sorted(METRIC)), st.sampled_from([0.0, 0.5])
        ),
        st.tuples(st.just("params"), st.sampled_from("pq"), st.sampled_from(["=", "!="]), texts),
        st.tuples(st.just("params"), st.sampled_from("pq"), st.sampled_from(["IS NULL", "IS NOT NULL"]), st.none()),
    ),
    max_size=3,
)
orders = st.sampled_from([[], ["metrics.m DESC"], ["metrics.m"], ["params.p", "metrics.n DESC"], ["start_time ASC"]])


def fits(run: TrackedRun, kind: str, key: str, operator: str, value: Any) -> bool:
    if kind == "metrics":
        return key in run.metrics and METRIC[operator](run.metrics[key].value, value)
    if operator.endswith("NULL"):
        return (key in run.params) == (operator == "IS NOT NULL")
    return key in run.params and (run.params[key] == value) == (operator == "=")


def rank(order: str) -> Callable[[TrackedRun], Any]:
    name, _, way = order.partition(" ")
    kind, _, key = name.rpartition(".")

    def of(run: TrackedRun) -> Any:
        if kind == "metrics":
            value = run.metrics[key].value if key in run.metrics else None
            if value is None or math.isnan(value):
                return (2 if value is None else 1, 0.0)
            return (0, -value if way == "DESC" else value)
        if kind == "params":
            return (key not in run.params, run.params.get(key, ""))
        return run.started_at

    return of


@pytest.mark.parametrize("few", [1, 4000])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=logged, asked=clauses, by=orders, start=st.integers(0, 3), most=st.integers(1, 6))
def test_a_search_finds_what_a_look_at_every_run_finds(
    database: Database, monkeypatch: pytest.MonkeyPatch, few: int, made: Any, asked: Any, by: Any, start: int, most: int
) -> None:
    # 1: no comparison leaves few enough rows to start from; 4000: each does.
    monkeypatch.setattr(searching, "FEW", few)
    with database.write() as tx:
        for table in ("runs", "run_metrics", "run_metrics_last", "run_params", "run_tags"):
            tx.execute(f"DELETE FROM {table}")
        if experiments.experiment_id(tx, "other") is None:
            experiments.create_experiment(tx, name="other", at=1)
        for number, each in enumerate(made):
            run_id = f"{number * 7919 % 97:032x}"
            runs.create_run(
                tx, run_id=run_id, experiment_id=str(each["experiment"]), name="n", user="", at=each["start"]
            )
            points = [(key, value, 0, 0) for key, value in each["metrics"].items()]
            recording.log(tx, run_id, params=each["params"], metrics=points)
            if each["deleted"]:
                runs.delete_run(tx, run_id, at=9)
        numbers = [number for (number,) in tx.tuples("SELECT id FROM runs")]
        everything = runs.read(tx, numbers)
        text = " and ".join(
            f"{kind}.{key} {operator}" + ("" if value is None else f" {value!r}")
            for kind, key, operator, value in asked
        )
        found = searching.search(
            tx,
            searching.Asked(
                [0, 1], ["active"], grammar.parse_filter(text, grammar.RUNS), grammar.parse_order(by, grammar.RUNS)
            ),
            start=start,
            most=most,
        )
        page = [each.run_id for each in runs.read(tx, [number for number, _ in found])]
    wanted = [run for run in everything if run.stage == "active" and all(fits(run, *each) for each in asked)]
    ranks = [rank(each) for each in by]
    wanted.sort(key=lambda run: (*(each(run) for each in ranks), -run.started_at, run.run_id))
    assert page == [run.run_id for run in wanted[start : start + most]]
