from __future__ import annotations

import msgspec
import pytest

from windlass.domain.errors import Invalid
from windlass.validation.policy import (
    CornerCasePolicy,
    DriftPolicy,
    FairnessPolicy,
    GatePolicy,
    LatencyPolicy,
    MetricFloor,
)


def test_a_table_of_the_configuration_becomes_a_policy() -> None:
    policy = msgspec.convert(
        {
            "target": "employed",
            "metrics": {"accuracy": {"min": 0.8}},
            "fairness": {"columns": ["SEX"], "min_group": 50},
            "latency": {"p99_ms": 100.0},
        },
        GatePolicy,
    )
    assert policy.metrics["accuracy"] == MetricFloor(min=0.8)
    assert policy.fairness.columns == ("SEX",)
    assert policy.latency.p50_ms == 50.0
    assert policy.approvals == 1


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: DriftPolicy(alpha=0.0), "alpha"),
        (lambda: DriftPolicy(alpha=1.0), "alpha"),
        (lambda: DriftPolicy(min_effect=-0.1), "min_effect"),
        (lambda: DriftPolicy(min_effect=float("nan")), "min_effect"),
        (lambda: FairnessPolicy(metric="kindness"), "metric"),
        (lambda: FairnessPolicy(confidence=95), "confidence"),
        (lambda: FairnessPolicy(min_group=0), "min_group"),
        (lambda: FairnessPolicy(max_difference=0.0), "max_difference"),
        (lambda: CornerCasePolicy(max_failure_rate=1.0), "max_failure_rate"),
        (lambda: LatencyPolicy(requests=0), "requests"),
        (lambda: LatencyPolicy(p50_ms=0), "p50_ms"),
        (lambda: LatencyPolicy(p99_ms=float("inf")), "p99_ms"),
        (MetricFloor, "neither"),
        (lambda: MetricFloor(min=0.9, max=0.8), "between"),
        (lambda: MetricFloor(min=float("nan")), "between"),
        (lambda: GatePolicy(metrics={"charm": MetricFloor(min=0.5)}), "charm"),
        (lambda: GatePolicy(approvals=-1), "approvals"),
    ],
)
def test_a_threshold_that_means_nothing_is_named(make: object, named: str) -> None:
    with pytest.raises(Invalid, match=named):
        make()  # type: ignore[operator]
