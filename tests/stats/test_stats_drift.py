"""Drift is called where it is, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import chi2_contingency, false_discovery_control

from windlass.demo.traffic import RELSHIPP
from windlass.stats import profile
from windlass.stats.drift import Outcome, benjamini_hochberg, drift

DATA = Path(__file__).parents[2] / "examples" / "employment" / "data"
Columns = dict[str, np.ndarray]


def census(year: int) -> Columns:
    """The inputs of a year's records in random order: the files are sorted, by household and then by kind of home."""
    table = pq.read_table(DATA / f"acs_ma_employment_{year}.parquet").drop_columns(["employed", "year"])
    order = np.random.default_rng(year).permutation(table.num_rows)
    return {name: table[name].to_numpy()[order] for name in table.column_names}


@pytest.fixture(scope="module")
def reference() -> profile.Profile:
    return profile.profile(census(2015))


def flagged(reference: profile.Profile, columns: Columns, rows: int) -> list[list[str]]:
    """The drifted columns of each window."""
    total = len(next(iter(columns.values())))
    return [
        [
            each.column
            for each in drift(
                reference,
                profile.count(reference, {name: values[start : start + rows] for name, values in columns.items()}),
                0.01,
                0.1,
            )
            if each.verdict is Outcome.DRIFT
        ]
        for start in range(0, total - rows, rows)
    ]


@pytest.mark.parametrize("year", [2016, 2017])
def test_other_years_of_the_census_raise_nothing(reference: profile.Profile, year: int) -> None:
    assert not any(flagged(reference, census(year), 2000))


def test_the_recoding_of_2019_is_flagged_on_its_column_alone_in_every_window(reference: profile.Profile) -> None:
    recoded = census(2017)
    recoded["RELP"] = np.array([RELSHIPP[int(code)] for code in recoded["RELP"]])
    found = flagged(reference, recoded, 2000)
    assert len(found) > 30
    assert all(columns == ["RELP"] for columns in found)


@pytest.mark.parametrize("rows", [50, 200, 1000, 5000])
def test_undrifted_columns_are_flagged_no_more_often_than_promised(rows: int) -> None:
    rng = np.random.default_rng(rows)

    def sample(n: int) -> Columns:
        numbers = {f"n{i}": rng.normal(size=n) for i in range(5)}
        return numbers | {
            f"c{i}": rng.choice(8, p=[0.5, 0.2, 0.1, 0.08, 0.06, 0.03, 0.02, 0.01], size=n) for i in range(5)
        }

    trials, reports = 150, 0
    for _ in range(trials):
        base = profile.profile(sample(10_000))  # afresh: one unlucky reference would be unlucky for every window
        found = drift(base, profile.count(base, sample(rows)), 0.05, 0.0)
        reports += any(each.verdict is Outcome.DRIFT for each in found)
    assert reports / trials <= 0.05 + 2 * (0.05 * 0.95 / trials) ** 0.5


def test_a_shift_that_matters_is_found() -> None:
    rng = np.random.default_rng(9)
    base = profile.profile({"x": rng.normal(size=20_000)})
    (found,) = drift(base, profile.count(base, {"x": rng.normal(0.4, 1, 1000)}), 0.05, 0.1)
    assert found.verdict is Outcome.DRIFT
    assert 0.1 < found.effect < 0.3


def test_a_difference_that_is_real_and_small_is_not_drift() -> None:
    rng = np.random.default_rng(10)
    base = profile.profile({"x": rng.normal(size=100_000)})
    (found,) = drift(base, profile.count(base, {"x": rng.normal(0.05, 1, 100_000)}), 0.05, 0.1)
    assert found.adjusted_p < 0.001
    assert found.verdict is Outcome.NONE


def test_few_rows_are_inconclusive_however_different() -> None:
    base = profile.profile({"x": np.zeros(1000, dtype=int)})
    (found,) = drift(base, profile.count(base, {"x": np.full(49, 7)}))
    assert found.verdict is Outcome.INCONCLUSIVE


def test_new_and_missing_values_are_drift() -> None:
    base = profile.profile({"x": np.array(["a", "b"] * 500, dtype=object)})
    for values in (["c"] * 200, [None] * 200):
        (found,) = drift(base, profile.count(base, {"x": np.array(values, dtype=object)}))
        assert found.verdict is Outcome.DRIFT
        assert found.effect > 0.9


def test_the_statistic_is_scipys() -> None:
    rng = np.random.default_rng(11)
    old, new = rng.choice(4, size=2000), rng.choice(4, p=[0.3, 0.3, 0.2, 0.2], size=500)
    base = profile.profile({"x": old})
    (found,) = drift(base, profile.count(base, {"x": new}))
    table = [np.bincount(old, minlength=4), np.bincount(new, minlength=4)]
    expected = chi2_contingency(table, correction=False)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)


def test_the_correction_is_scipys() -> None:
    values = np.random.default_rng(12).uniform(size=30) ** 3
    assert benjamini_hochberg(list(values)) == pytest.approx(false_discovery_control(values))
    assert benjamini_hochberg([]) == []


def test_profiles_over_other_bins_are_refused() -> None:
    one, two = (profile.profile({"x": np.arange(n) % n}) for n in (3, 4))
    with pytest.raises(ValueError, match="bins differ"):
        drift(one, two)
