from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from windlass.domain.errors import Invalid
from windlass.domain.evidence import Verdict
from windlass.validation import drift
from windlass.validation.policy import DriftPolicy


def table(n: int, seed: int, shift: float = 0.0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "age": pa.array(rng.normal(40 + shift, 10, n)),
            "code": pa.array(rng.integers(0, 5, n).astype(np.int8)),
            "town": pa.array(rng.choice(["a", "b", "c"], n)),
            "member": pa.array(rng.random(n) < 0.5),
            "pay": pa.array(rng.normal(0, 1, n), mask=rng.random(n) < 0.1),
        }
    )


COLUMNS = ["age", "code", "town", "member", "pay"]


def test_rows_of_one_distribution_pass_in_every_column() -> None:
    results = drift.check(DriftPolicy(), table(8000, 1), table(2000, 2), COLUMNS)
    assert [result.name for result in results] == COLUMNS
    assert {result.verdict for result in results} == {Verdict.PASS}
    assert {result.n for result in results} == {2000}


def test_the_column_that_moved_fails_and_no_other() -> None:
    results = {r.name: r for r in drift.check(DriftPolicy(), table(8000, 1), table(2000, 2, shift=8), COLUMNS)}
    assert [name for name, result in results.items() if result.verdict is Verdict.FAIL] == ["age"]
    moved = results["age"]
    assert moved.value is not None and moved.threshold is not None and moved.value > moved.threshold


def test_too_few_rows_are_inconclusive() -> None:
    results = drift.check(DriftPolicy(), table(8000, 1), table(3, 2), COLUMNS)
    assert Verdict.INCONCLUSIVE in {result.verdict for result in results}
    assert Verdict.FAIL not in {result.verdict for result in results}


def test_rows_that_lack_a_column_are_refused() -> None:
    with pytest.raises(Invalid, match="the evaluation rows lack the column pay"):
        drift.check(DriftPolicy(), table(100, 1), table(100, 2).drop_columns(["pay"]), COLUMNS)
