"""Filters and orders of runs: what the plain grammar says, and a refusal of all it does not."""

from __future__ import annotations

import math

import pytest

from windlass.domain.errors import Invalid
from windlass.registry import tracking_search
from windlass.registry.tracking import Metric, RunStatus, TrackedRun


def run(
    number: int, *, metric: float | None = None, status: RunStatus = RunStatus.FINISHED, **params: str
) -> TrackedRun:
    return TrackedRun(
        run_id=f"{number:032x}",
        experiment_id="1",
        name=f"run {number}",
        user="ada",
        status=status,
        started_at=number * 1000,
        ended_at=None,
        params=params,
        metrics={} if metric is None else {"m": Metric(value=metric, step=0, at=0)},
        tags={"odd name": "x", "note": "a AND b"},
    )


RUNS = [
    run(1, metric=0.1, kind="tree"),
    run(2, metric=0.2, kind="net"),
    run(3, metric=math.nan),
    run(4, status=RunStatus.FAILED),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [1, 2, 3, 4]),
        ("metrics.m > 0.1", [2]),
        ("metric.m >= 0.1 and metrics.m <= 2e-1", [1, 2]),
        ("metrics.`m` != 0.1", [2, 3]),
        ("params.kind = 'tree'", [1]),
        ('param.kind != "tree"', [2]),
        ("tags.\"odd name\" = 'x' AND status = 'FAILED'", [4]),
        ("tags.note = 'a AND b' and attributes.start_time > 2", [3, 4]),
        ("run_id = '00000000000000000000000000000002'", [2]),
        ("attributes.end_time > 0", []),
        ("params.nothing != 'x'", []),
    ],
)
def test_a_filter_finds_the_runs_that_it_names(text: str, expected: list[int]) -> None:
    assert [found.started_at // 1000 for found in tracking_search.matching(RUNS, text)] == expected


@pytest.mark.parametrize(
    "text",
    [
        "metrics.m", "metrics.m > 'a'", "metrics.m > x", "params.kind > 'a'", "params.kind = tree", "nothing.x = 'a'",
        "colour = 'a'", "metrics.m > 1 or metrics.m < 0", "metrics.m > 1 params.kind = 'a'", "params.kind LIKE 'a%'",
        "params.kind IN ('a')", "metrics.m > 1 and", "x" * 20_000, "'; DROP TABLE tracked_runs", "metrics.m >",
    ],
)  # fmt: skip
def test_what_the_grammar_lacks_is_refused_and_not_ignored(text: str) -> None:
    with pytest.raises(Invalid):
        tracking_search.matching(RUNS, text)


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        ([], [4, 3, 2, 1]),
        (["metrics.m ASC"], [1, 2, 4, 3]),
        (["metrics.m DESC"], [2, 1, 4, 3]),
        (["attributes.start_time"], [1, 2, 3, 4]),
        (["status DESC", "start_time ASC"], [1, 2, 3, 4]),
        (["status", "metrics.`m` desc"], [4, 2, 1, 3]),
    ],
)
def test_runs_are_ordered_and_those_without_a_value_come_last(orders: list[str], expected: list[int]) -> None:
    assert [found.started_at // 1000 for found in tracking_search.ordered(RUNS, orders)] == expected


def test_an_order_by_nothing_that_a_run_has_is_refused() -> None:
    for text in ("colour", "metrics.m sideways", ""):
        with pytest.raises(Invalid):
            tracking_search.ordered(RUNS, [text])
