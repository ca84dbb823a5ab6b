"""MLflow's forms of JSON: the same rows from each, and what is said of those that are none."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.errors import Invalid
from windlass.domain.schema import Column, Kind, Scalar
from windlass.serving.protocols import mlflow
from windlass.serving.protocols.rows import MOST_ROWS, Columns, Untold
from windlass.serving.wire import Ask, frame

COLUMNS = (
    Column(name="x", kind=Kind.NUMBER),
    Column(name="n", kind=Kind.INTEGER, nullable=True),
    Column(name="s", kind=Kind.STRING),
    Column(name="b", kind=Kind.BOOLEAN),
)
ROWS = [{"x": 0.5, "n": 1, "s": "a", "b": True}, {"x": -1.25, "n": None, "s": "1", "b": False}]


def rows_of(body: Any, columns: tuple[Column, ...] | None = COLUMNS) -> list[dict[str, Scalar]]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return mlflow.rows_of(data, None if columns is None else Columns.of(columns))


NAMED = [
    {"dataframe_records": ROWS},
    {"dataframe_split": {"columns": list("xnsb"), "data": [list(row.values()) for row in ROWS]}},
    {"dataframe_split": {"index": [7, 8], "columns": list("xnsb"), "data": [list(row.values()) for row in ROWS]}},
    {"instances": ROWS},
    {"inputs": ROWS},
    {"inputs": {name: [row[name] for row in ROWS] for name in "xnsb"}},
    {"instances": {name: [row[name] for row in ROWS] for name in "xnsb"}},
    {"dataframe_records": ROWS, "params": {"threshold": 0.5, "more": {"a": [1]}}},
    {"params": None, "dataframe_records": ROWS},
    {"dataframe_records": ROWS, "client": {"name": "x:y"}},
]


@pytest.mark.parametrize("body", NAMED)
def test_rows_with_names_need_no_signature(body: dict[str, Any]) -> None:
    assert rows_of(body, None) == ROWS


@pytest.mark.parametrize("form", ["inputs", "instances"])
def test_rows_without_names_are_in_the_signatures_order(form: str) -> None:
    body = {form: [list(row.values()) for row in ROWS]}
    assert rows_of(body) == ROWS
    with pytest.raises(Untold):
        rows_of(body, None)


def test_an_array_of_numbers_has_one_type() -> None:
    kinds = {"x": Kind.NUMBER, "n": Kind.INTEGER, "b": Kind.BOOLEAN}
    columns = tuple(Column(name=name, kind=kind) for name, kind in kinds.items())
    (row,) = rows_of({"inputs": [[0.5, 3.0, 1.0]]}, columns)
    assert row == {"x": 0.5, "n": 3, "b": True}
    assert (type(row["n"]), type(row["b"])) == (int, bool)


def test_values_alone_are_rows_of_a_model_of_one_column() -> None:
    assert rows_of({"inputs": [1.5, 2]}, COLUMNS[:1]) == [{"x": 1.5}, {"x": 2}]
    with pytest.raises(Invalid, match="takes 4 a row"):
        rows_of({"inputs": [1.5, 2]})


def test_single_values_by_name_are_one_row() -> None:
    assert rows_of({"inputs": ROWS[0]}) == ROWS[:1]


def test_no_rows_are_left_to_the_model_to_refuse() -> None:
    assert rows_of({"dataframe_records": []}) == []
    assert rows_of({"inputs": []}) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"no", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"3", "not a JSON object"),
        (b'{"dataframe_records": [{"x": 1}]', "not JSON"),
        ({}, "no rows"),
        ({"rows": []}, "no rows"),
        ({"inputs": ROWS, "instances": ROWS}, "two forms"),
        ({"dataframe_records": ROWS, "params": [1]}, "params is not an object"),
        ({"dataframe_records": {"x": [1]}}, "not a list of objects"),
        ({"dataframe_records": None}, "not a list of objects"),
        ({"dataframe_records": [[1]]}, "row 1 of dataframe_records is no object"),
        ({"dataframe_records": [{"x": 1}, 2]}, "row 2 of dataframe_records is no object"),
        ({"dataframe_records": [{"x": 1}, {"x": [1]}]}, "row 2: column 'x' is no single value"),
        ({"dataframe_records": [{"x": {"a": 1}}]}, "row 1: column 'x' is no single value"),
        ({"inputs": {"x": [1, [2]]}}, "row 2: column 'x' is no single value"),
        ({"inputs": {"x": {"a": 1}}}, "column 'x' is no single value"),
        ({"inputs": {"x": [1, 2], "n": [1]}}, "not lists of one length"),
        ({"inputs": {"x": [1], "n": 1}}, "column 'n' is a single value, and others are lists"),
        ({"inputs": {}}, "no columns"),
        ({"inputs": "text"}, "the rows of inputs"),
        ({"inputs": [[1, [2], 3, 4]]}, "row 1 of inputs has what is no single value"),
        ({"inputs": [[1, 2, 3]]}, "row 1 has 3 values, and the model takes 4"),
        ({"inputs": [[1, 2, "a", True], [1]]}, "row 2 has 1 values"),
        ({"inputs": [[1, 2], {"x": 1}]}, "not all of one form"),
        ({"inputs": [1, [2]]}, "not all of one form"),
        ({"inputs": [[1.0, 1.5, "a", True]]}, "row 1: column 'n' is 1.5, and takes whole numbers"),
        ({"inputs": [[1.0, 1e300, "a", True]]}, "row 1: column 'n' is 1e+300, and takes whole numbers"),
        ({"inputs": [[1.0, 1, "a", 2]]}, "row 1: column 'b' is 2, and takes true or false"),
        ({"dataframe_split": {"columns": ["x"]}}, "lacks columns or data"),
        ({"dataframe_split": {"data": [[1]]}}, "lacks columns or data"),
        ({"dataframe_split": [1]}, "lacks columns or data"),
        ({"dataframe_split": {"columns": [1], "data": [[1]]}}, "not distinct names"),
        ({"dataframe_split": {"columns": "x", "data": [[1]]}}, "not distinct names"),
        ({"dataframe_split": {"columns": ["x", "x"], "data": [[1, 2]]}}, "not distinct names"),
        ({"dataframe_split": {"columns": ["x"], "data": [[1], [1, 2]]}}, "row 2 of dataframe_split has 2 values"),
        ({"dataframe_split": {"columns": ["x"], "data": [[1], 2]}}, "row 2 of dataframe_split is not a list"),
        ({"dataframe_split": {"columns": ["x"], "data": [[[1]]]}}, "row 1: column 'x' is no single value"),
        ({"dataframe_split": {"columns": ["x"], "data": [[1]], "dtype": 1}}, "unknown field 'dtype'"),
    ],
)  # fmt: skip
def test_what_is_in_no_form(body: Any, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        rows_of(body)
    assert said in caught.value.message


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize(
    ("body", "where"),
    [
        ('{"dataframe_records": [{"x": 1}, {"x": %s}]}', "row 2: column 'x': "),
        ('{"dataframe_split": {"columns": ["x", "n"], "data": [[1, %s]]}}', "row 1: column 'n': "),
        ('{"inputs": {"x": [1, 2, %s]}}', "row 3: column 'x': "),
        ('{"inputs": {"x": %s}}', "'x' of 'inputs': "),
        ('{"instances": [{"x": %s}]}', "row 1: column 'x': "),
        ('{"inputs": [[1, %s]]}', "row 1: value 2: "),
        ('{"inputs": [1, %s]}', "row 2: "),
    ],
)
def test_tokens_that_are_no_json_are_named_with_their_column(body: str, where: str, token: str) -> None:
    with pytest.raises(Invalid) as caught:
        rows_of((body % token).encode())
    assert caught.value.message == f"{where}{token} is no JSON and no value; send null where the column may be missing"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"1e400", "1e400 is outside of 64 bits"),
        (b"-1e400", "-1e400 is outside of 64 bits"),
        (b"9" * 5000, "is outside of 64 bits"),
        (b'"\xff"', "this is no text"),
        (b'"\\ud800"', "this is no text"),
        (b'"a\\udfffb"', "this is no text"),
    ],
)
def test_values_that_no_column_can_hold_are_named_with_it(value: bytes, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        rows_of(b'{"dataframe_records": [{"x": 1.0, "s": "a"}, {"x": 1.0, "s": %s}]}' % value)
    assert caught.value.message.startswith("row 2: column 's': ")
    assert said in caught.value.message
    assert len(caught.value.message) < 200


@pytest.mark.parametrize("number", [1 << 64, -(1 << 63) - 1, 10**40])
def test_a_number_of_more_than_64_bits_is_named_when_it_is_sent_on(number: int) -> None:
    with pytest.raises(Invalid, match="row 2: column 'n' is outside of 64 bits"):
        frame(Ask(1, rows_of({"dataframe_records": [{"n": 1}, {"n": number}]})))


def test_whole_numbers_are_kept_to_the_last_digit() -> None:
    for number in (2**53 + 1, 2**63 - 1, -(2**63)):
        assert rows_of({"dataframe_records": [{"n": number}]}) == [{"n": number}]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"dataframe_records": [{"x": 1}, {"x": 1, "x": 2}]}', "row 2: 'x' is there twice"),
        (b'{"dataframe_records": [], "dataframe_records": [{"x": 1}]}', "'dataframe_records' is there twice"),
        (b'{"dataframe_split": {"columns": [], "data": [], "data": []}}', "'dataframe_split': 'data' is there twice"),
        (b'{"inputs": {"x": [1], "x": [2]}}', "'inputs': 'x' is there twice"),
        (b'{"inputs": [{"x": 1, "x": 1}]}', "row 1: 'x' is there twice"),
        (b'{"dataframe_records": [{"x": 1, "s": "\\u003a", "x": 2}]}', "row 1: 'x' is there twice"),
        (b'{"dataframe_records": [{"x": 1, "s": "a:b", "x": 2}]}', "row 1: 'x' is there twice"),
        (b'{"dataframe_records": [{"x": 1, "\\u0078": 2}]}', "row 1: 'x' is there twice"),
    ],
)  # fmt: skip
def test_a_name_that_is_there_twice(body: bytes, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        rows_of(body)
    assert caught.value.message == said


def test_text_with_colons_is_no_name() -> None:
    row = {"a:b": "12:30:00", "c": "::", "d": ':"'}
    assert rows_of({"dataframe_records": [row]}) == [row]


@pytest.mark.parametrize("depth", [60, 2_000, 400_000])
@pytest.mark.parametrize(
    "start", [b'{"dataframe_records": [{"x": ', b'{"inputs": ', b'{"other": ', b"", b'{"params": {"a": ']
)
def test_deep_nesting(start: bytes, depth: int) -> None:
    with pytest.raises(Invalid):
        rows_of(start + b"[" * depth + b"]" * depth)
    with pytest.raises(Invalid):
        rows_of(start + b'{"a":' * depth)


def test_long_names_are_not_repeated_in_errors_or_rows() -> None:
    name = "x" * 1_000_000
    for length in (100_000, 1_000_000):
        with pytest.raises(Invalid) as caught:
            rows_of(b'{"dataframe_records": [{"%s": NaN}]}' % name[:length].encode())
        assert len(caught.value.message) < 300
    with pytest.raises(Invalid, match="too much"):
        rows_of({"dataframe_split": {"columns": [name[:500_000]], "data": [[1]] * 1000}})
    with pytest.raises(Invalid, match="too much"):
        rows_of({"inputs": {name[:500_000]: [1] * 1000}})


def test_of_a_long_body_it_is_said_in_short() -> None:
    rows = b",".join([b'{"x": 1, "s": "a:b\\n"}'] * 20_000)
    assert len(rows_of(b'{"dataframe_records": [%s]}' % rows)) == 20_000
    for last, said in (
        (b'{"x": NaN}', "byte"),
        (b'{"x": [1]}', "got `array`"),
        (b'{"x": 1, "x": 2}', "'x' is there twice"),
    ):
        with pytest.raises(Invalid) as caught:
            rows_of(b'{"dataframe_records": [%s, %s]}' % (rows, last))
        assert said in caught.value.message


@pytest.mark.parametrize("form", ["dataframe_records", "instances", "inputs"])
def test_the_number_of_rows_is_bounded(form: str) -> None:
    body = b'{"%s": [%s]}' % (form.encode(), b",".join([b"{}"] * (MOST_ROWS + 1)))
    with pytest.raises(Invalid, match="too many"):
        rows_of(body)


def test_columns_of_too_many_rows() -> None:
    values = b"[" + b",".join([b"1"] * (MOST_ROWS + 1)) + b"]"
    for body in (b'{"inputs": {"x": %s}}', b'{"inputs": %s}'):
        with pytest.raises(Invalid, match="too many"):
            rows_of(body % values, COLUMNS[:1])


def test_answers() -> None:
    plain = json.loads(mlflow.answer_body("i", [1, 0], [0.9, 0.2], "r"))
    assert plain == {"id": "i", "predictions": [1, 0], "probabilities": [0.9, 0.2], "release": "r"}
    assert json.loads(mlflow.answer_body("i", ["a"], None, "r")) == {"id": "i", "predictions": ["a"], "release": "r"}


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip


@st.composite
def frames(draw: st.DrawFn) -> list[dict[str, Scalar]]:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    rows = draw(st.lists(st.tuples(*(SCALARS for _ in names)), min_size=1, max_size=4))
    return [dict(zip(names, row, strict=True)) for row in rows]


def same(left: list[dict[str, Scalar]], right: list[dict[str, Scalar]]) -> bool:
    """Also in their types: 1 is not True, nor 1.0."""
    return [[(name, type(value), value) for name, value in row.items()] for row in left] == [
        [(name, type(value), value) for name, value in row.items()] for row in right
    ]


@given(frames(), st.booleans())
def test_every_form_of_a_table_gives_its_rows(rows: list[dict[str, Scalar]], ascii_only: bool) -> None:
    names = list(rows[0])
    for body in (
        {"dataframe_records": rows},
        {
            "dataframe_split": {
                "columns": names,
                "data": [list(row.values()) for row in rows],
                "index": [*range(len(rows))],
            }
        },
        {"inputs": {name: [row[name] for row in rows] for name in names}},
        {"instances": rows},
    ):
        assert same(rows_of(json.dumps(body, ensure_ascii=ascii_only).encode()), rows)
        assert same(rows_of(msgspec.json.encode(body)), rows)


@given(st.binary(max_size=200) | st.recursive(SCALARS, lambda each: st.lists(each) | st.dictionaries(NAMES, each)).map(
    lambda value: json.dumps({"inputs": value}).encode()))  # fmt: skip
def test_whatever_is_sent_gives_rows_or_says_why_not(body: bytes) -> None:
    try:
        rows = rows_of(body)
    except Invalid as refused:
        refused.message.encode()
        return
    assert all(type(value) in (int, float, str, bool, type(None)) for row in rows for value in row.values())
    assert not any(isinstance(value, float) and not math.isfinite(value) for row in rows for value in row.values())
