"""Comparing side by side: what differs, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.registry.comparing import Subject, Value, compare, differing

values = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, float("nan"), 1.0]) | st.text(max_size=2)
)
sections = st.dictionaries(st.sampled_from("pq"), st.dictionaries(st.sampled_from("abc"), values, max_size=3))


def subjects(*each: dict[str, Value]) -> list[Subject]:
    return [Subject(title=str(number), sections={"s": values}) for number, values in enumerate(each)]


def test_only_what_differs_is_listed_in_the_order_of_the_first() -> None:
    found = compare(subjects({"b": 1, "a": "x", "same": True}, {"a": "y", "b": 1, "same": True, "new": 2.5}))
    assert [(line.name, line.values, line.same) for line in found.lines] == [
        ("a", ("x", "y"), False), ("new", (None, 2.5), False),
    ]  # fmt: skip
    assert found.equal == 2
    everything = compare(subjects({"b": 1, "a": "x"}, {"a": "y", "b": 1}), everything=True)
    assert [(line.name, line.same) for line in everything.lines] == [("b", True), ("a", False)]


def test_numbers_have_their_difference_from_the_first() -> None:
    found = compare(subjects({"m": 0.5}, {"m": 0.75}, {}, {"m": "NaN"}))
    assert found.lines[0].differences == (0.0, 0.25, None, None)
    assert compare(subjects({"m": "x"}, {"m": 1}, {"m": 2})).lines[0].differences == ()
    assert compare(subjects({"m": True}, {"m": False})).lines[0].differences == ()


@pytest.mark.parametrize("value", [float("nan"), None, "", 0])
def test_what_is_the_same_is_equal_whatever_it_is(value: Value) -> None:
    assert compare(subjects({"m": value}, {"m": value})).lines == ()


def test_a_value_and_its_kind_both_count() -> None:
    assert [line.values for line in compare(subjects({"m": 1}, {"m": True})).lines] == [(1, True)]


@given(st.lists(sections, min_size=2, max_size=4))
def test_what_is_listed_and_what_is_equal_are_all_there_is(given_sections: list[dict[str, dict[str, Value]]]) -> None:
    things = [Subject(title="t", sections=each) for each in given_sections]
    short, whole = compare(things), compare(things, everything=True)
    assert len(whole.lines) == len(short.lines) + short.equal
    assert repr([line for line in whole.lines if not line.same]) == repr(list(short.lines))  # NaN equals itself there
    assert len(whole.lines) == len({(name, key) for each in given_sections for name, s in each.items() for key in s})


def test_the_names_that_differ() -> None:
    assert differing([{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1}]) == ["b"]
    assert differing([{"a": 1, "b": 2}]) == ["a", "b"]
    assert differing([]) == []
