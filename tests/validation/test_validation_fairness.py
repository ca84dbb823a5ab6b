from __future__ import annotations

import numpy as np
import pytest

from windlass.domain.errors import Invalid
from windlass.domain.evidence import CheckResult, Verdict, decide
from windlass.validation import fairness
from windlass.validation.policy import FairnessPolicy


def check(rates: dict[str, tuple[int, int]], **policy: object) -> list[CheckResult]:
    """Groups of positives only: ``k`` of ``n`` are answered so."""
    members = [name for name, (_, n) in rates.items() for _ in range(n)]
    predicted = [int(i < k) for k, n in rates.values() for i in range(n)]
    settings = FairnessPolicy(columns=("g",), **policy)  # type: ignore[arg-type]
    return fairness.check(settings, {"g": members}, [1] * len(members), predicted, 1)


def test_equal_groups_pass_and_unequal_ones_fail() -> None:
    (equal,) = check({"a": (800, 1000), "b": (810, 1000)})
    assert equal.verdict is Verdict.PASS
    assert equal.value == pytest.approx(0.01)
    (unequal,) = check({"a": (900, 1000), "b": (600, 1000)})
    assert unequal.verdict is Verdict.FAIL
    assert unequal.low is not None and unequal.low > 0.15


def test_the_bound_decides_and_not_the_estimate() -> None:
    (result,) = check({"a": (80, 100), "b": (72, 100)})
    assert result.value == pytest.approx(0.08)
    assert result.high is not None and result.high > 0.15
    assert result.verdict is Verdict.INCONCLUSIVE


def test_a_tiny_group_is_reported_and_decides_nothing() -> None:
    main, tiny = check({"a": (800, 1000), "b": (810, 1000), "c": (0, 20)})
    assert main.verdict is Verdict.PASS
    assert (tiny.verdict, tiny.blocking, tiny.n) == (Verdict.INCONCLUSIVE, False, 20)
    assert [group["large_enough"] for group in main.details["groups"]] == [True, True, False]
    assert decide([main, tiny]) is Verdict.PASS


def test_one_large_group_alone_is_inconclusive() -> None:
    main, _ = check({"a": (800, 1000), "b": (9, 10)})
    assert main.verdict is Verdict.INCONCLUSIVE
    assert main.blocking


def test_each_metric_compares_its_own_rate() -> None:
    rng = np.random.default_rng(3)
    members, truth = rng.integers(0, 2, 4000), rng.integers(0, 2, 4000)
    said = rng.integers(0, 2, 4000)
    among = {
        "demographic_parity": [(np.ones(4000, bool), said)],
        "equal_opportunity": [(truth == 1, said)],
        "predictive_parity": [(said == 1, truth)],
        "equalized_odds": [(truth == 1, said), (truth == 0, said)],
    }
    for metric, cells in among.items():
        policy = FairnessPolicy(columns=("g",), metric=metric)
        results = fairness.check(policy, {"g": members.tolist()}, truth.tolist(), said.tolist(), 1)
        assert len(results) == len(cells)
        for result, (rows, hit) in zip(results, cells, strict=True):
            a, b = (hit[rows & (members == group)].mean() for group in (0, 1))
            assert result.value == pytest.approx(abs(a - b))


@pytest.mark.parametrize("rates", [[0.8] * 6, [0.7, 0.8, 0.8, 0.8], [0.6, 0.95], [0.75, 0.9, 0.9]])
def test_each_bound_errs_no_more_often_than_it_says(rates: list[float]) -> None:
    rng, times = np.random.default_rng(5), 400
    true, too_high, too_low = max(rates) - min(rates), 0, 0
    for _ in range(times):
        groups = [
            fairness.Group(group=str(g), n=200, k=int(k), base=200, rate=k / 200, low=0, high=1, large_enough=True)
            for g, k in enumerate(rng.binomial(200, rates))
        ]
        value, low, high = fairness.difference(groups, 0.95)
        assert value is not None and low <= value <= high
        too_high += low > true
        too_low += high < true
    # 5 % a side, and three standard errors of 400 simulations.
    assert too_high / times <= 0.083
    assert too_low / times <= 0.083


def test_missing_and_odd_group_names_are_groups_too() -> None:
    members = [None] * 150 + ["<b>"] * 150
    results = fairness.check(FairnessPolicy(columns=("g",)), {"g": members}, [1] * 300, [1] * 300, 1)
    assert [group["group"] for group in results[0].details["groups"]] == ["<b>", "missing"]


def test_without_a_positive_class_there_is_nothing_to_compare() -> None:
    with pytest.raises(Invalid, match="positive"):
        fairness.check(FairnessPolicy(columns=("g",)), {"g": [1]}, [1], [1], None)
