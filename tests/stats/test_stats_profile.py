from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.stats.profile import (
    MOST_CATEGORIES,
    Kind,
    Profile,
    count,
    from_plain,
    merge,
    profile,
    select,
    to_plain,
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(-(2**70), 2**70),
    st.floats(width=32),
    st.text(max_size=3),
)


def column_of(values: list[object]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def one(values: object, kind: Kind | None = None) -> Profile:
    return profile({"x": np.asarray(values)}, {"x": kind} if kind else None)


def test_whole_numbers_with_few_distinct_values_are_codes_even_as_floats_with_gaps() -> None:
    column = one([0.0, 17.0, np.nan, 3.0, 3.0]).columns["x"]
    assert column.kind is Kind.CATEGORY
    assert column.bins == (0, 3, 17)
    assert column.counts == (1, 2, 1)
    assert column.missing == 1


def test_whole_numbers_with_many_distinct_values_get_quantile_bins() -> None:
    column = one(np.arange(1000)).columns["x"]
    assert column.kind is Kind.NUMBER
    assert len(column.counts) == 20
    assert set(column.counts) <= {49, 50, 51}


def test_codes_far_apart_are_found_without_a_table() -> None:
    assert one(np.array([-(10**12), 10**12])).columns["x"].bins == (-(10**12), 10**12)


def test_the_kind_can_be_said_instead_of_inferred() -> None:
    assert one([1, 2, 3], Kind.NUMBER).columns["x"].kind is Kind.NUMBER
    assert one([0.5, 0.25], Kind.CATEGORY).columns["x"].bins == (0.25, 0.5)


def test_new_values_outside_the_bins_are_counted_apart() -> None:
    reference = profile({"a": np.linspace(0, 1, 500), "c": np.array(["x", "y"])})
    current = count(reference, {"a": np.array([-1.0, 0.0, 0.5, 1.0, 2.0, np.inf, np.nan]), "c": np.array(["x", "z"])})
    a, c = current.columns["a"], current.columns["c"]
    assert (a.below, sum(a.counts), a.above, a.missing) == (1, 3, 2, 1)
    assert (c.counts, c.unseen) == ((1, 0), 1)


def test_a_value_of_another_type_is_unseen_and_never_an_error() -> None:
    reference = profile({"a": np.linspace(0, 1, 500), "c": np.array([1, 2, 3])})
    odd = column_of(["0.5", 0.5, None, [1], 10**400])
    current = count(reference, {"a": odd, "c": odd})
    assert (current.columns["a"].unseen, sum(current.columns["a"].counts), current.columns["a"].missing) == (3, 1, 1)
    assert (current.columns["c"].unseen, current.columns["c"].missing) == (4, 1)


def test_a_constant_column_has_one_bin() -> None:
    column = one([0.5, 0.5]).columns["x"]
    assert column.bins == (0.5, 0.5)
    assert column.counts == (2,)


def test_a_column_without_any_value_counts_what_comes_later_as_unseen() -> None:
    reference = one([np.nan, np.nan])
    assert reference.columns["x"].missing == 2
    assert count(reference, {"x": np.array([1.0])}).columns["x"].unseen == 1


def test_times_are_numbers_and_their_gaps_are_missing() -> None:
    times = np.array(["2015-01-01", "NaT"], dtype="datetime64[D]")
    assert one(times).columns["x"].missing == 1


def test_only_the_most_frequent_categories_are_kept() -> None:
    values = [f"id{i:04}" for i in range(MOST_CATEGORIES + 50)] + ["id0149"]
    column = one(values).columns["x"]
    assert len(column.bins) == MOST_CATEGORIES
    assert "id0149" in column.bins
    assert column.unseen == 50


def test_cells_and_labels_match() -> None:
    for values in (np.linspace(0, 1, 100), np.array([1, 2]), np.array(["a", None], dtype=object), np.array([np.nan])):
        column = one(values).columns["x"]
        assert len(column.cells) == len(column.labels)
        assert sum(column.cells) == column.n == len(values)


def test_programming_errors_are_value_errors() -> None:
    reference = one([1, 2, 3])
    with pytest.raises(ValueError, match="no column x"):
        count(reference, {"y": np.array([1])})
    with pytest.raises(ValueError, match="bins of x differ"):
        merge(reference, one([1, 2]))
    with pytest.raises(ValueError, match="different columns"):
        merge(reference, Profile({}))
    with pytest.raises(ValueError, match="dimensions"):
        profile({"x": np.zeros((2, 2))})
    with pytest.raises(ValueError, match="text"):
        profile({"x": np.array(["a"])}, {"x": Kind.NUMBER})
    for broken in ({}, {"format": 1}, {"format": 1, "columns": {"x": {"kind": "category", "bins": [1], "counts": []}}}):
        with pytest.raises(ValueError, match=r"profile|bins"):
            from_plain(broken)


def test_select_keeps_some_columns() -> None:
    assert [*select(profile({"a": np.array([1]), "b": np.array([2])}), ["b"]).columns] == ["b"]


@given(st.lists(scalars), st.lists(scalars))
def test_every_row_is_counted_once_and_a_profile_survives_json(first: list[object], second: list[object]) -> None:
    reference = profile({"x": column_of(first)})
    current = count(reference, {"x": column_of(second)})
    assert reference.columns["x"].n == len(first)
    assert current.columns["x"].n == len(second)
    assert count(reference, {"x": column_of(first)}) == reference
    for value in (reference, current):
        assert from_plain(json.loads(json.dumps(to_plain(value), allow_nan=False))) == value


@given(st.lists(scalars, min_size=1), *[st.lists(scalars)] * 3)
def test_merging_is_exact_commutative_and_associative(
    seen: list[object], a: list[object], b: list[object], c: list[object]
) -> None:
    reference = profile({"x": column_of(seen)})
    pa, pb, pc = (count(reference, {"x": column_of(part)}) for part in (a, b, c))
    assert merge(pa, pb) == merge(pb, pa) == count(reference, {"x": column_of(a + b)})
    assert merge(merge(pa, pb), pc) == merge(pa, merge(pb, pc))


@given(st.lists(st.integers(-100, 100), min_size=1))
def test_the_same_numbers_count_the_same_in_every_dtype(values: list[int]) -> None:
    reference = profile({"x": np.array(values, dtype=np.int16)})
    for dtype in (np.int8, np.int64, np.float32, np.float64, object):
        assert profile({"x": np.array(values).astype(dtype)}) == reference
