"""CSV: types are the signature's, empty is null, and every fault has its row and column."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.errors import Invalid
from windlass.domain.schema import Column, Kind, Scalar
from windlass.serving.protocols import commas
from windlass.serving.protocols.rows import MOST_ROWS, Columns, Untold

COLUMNS = (
    Column(name="x", kind=Kind.NUMBER, nullable=True),
    Column(name="n", kind=Kind.INTEGER),
    Column(name="s", kind=Kind.STRING),
    Column(name="b", kind=Kind.BOOLEAN),
)


def rows_of(text: str | bytes, columns: tuple[Column, ...] = COLUMNS) -> list[dict[str, Scalar]]:
    return commas.rows_of(text if isinstance(text, bytes) else text.encode(), Columns.of(columns))


def test_types_are_the_signatures() -> None:
    (row,) = rows_of("x,n,s,b\n1,2,3,True\n")
    assert row == {"x": 1.0, "n": 2, "s": "3", "b": True}
    assert [type(value) for value in row.values()] == [float, int, str, bool]


@pytest.mark.parametrize(
    "text",
    [
        "n,x\n7,0.5\n",
        "n,x\r\n7,0.5\r\n",
        "n,x\n7,0.5",
        "\ufeffn,x\n7,0.5\n",
        '"n","x"\n"7","0.5"\n',
        ",n,x\n0,7,0.5\n",  # the index that a frame's to_csv writes
        "n,x\n\n7,5e-1\n\n",
        "n,x\n7.0,+.5\n",
    ],
)
def test_what_tables_write(text: str) -> None:
    assert rows_of(text) == [{"n": 7, "x": 0.5}]


def test_empty_is_null() -> None:
    assert rows_of('x,s\n,""\n') == [{"x": None, "s": None}]


def test_text_keeps_what_it_is() -> None:
    assert rows_of('s\n"a,""b""\nc"\nNaN\n 1 \n') == [{"s": 'a,"b"\nc'}, {"s": "NaN"}, {"s": " 1 "}]


def test_a_header_alone_has_no_rows() -> None:
    assert rows_of("x,n\n") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no header row"),
        (b"\xff\xfe", "not UTF-8"),
        (b"s\n\xff", "not UTF-8"),
        ("x,x\n1,2", "'x' twice"),
        ("y\n1", "unknown column 'y'"),
        ("0.5,1\n", "unknown column '0.5'"),
        ("x,n\n1", "row 1 has 1 values, and the header 2"),
        ("x,n\n1,2\n1,2,3", "row 2 has 3 values"),
        ('s\n"a', "not CSV"),
        ('s\n"a"b', "not CSV"),
        ("x\n1\none", "row 2: column 'x' is 'one', not number"),
        ("x\nNaN", "row 1: column 'x' is 'NaN'"),
        ("x\ninf", "column 'x' is 'inf'"),
        ("x\n1e999", "column 'x' is '1e999'"),
        ("x\n1_000", "column 'x' is '1_000'"),
        ("x\n1 ", "column 'x' is '1 '"),
        ("x\n\u0661", "column 'x' is"),
        ("n\n1.5", "column 'n' is '1.5', not integer"),
        ("n\n1e3", "column 'n' is '1e3'"),
        ("n\n" + "9" * 30, "column 'n' is '999"),
        ("b\nyes", "column 'b' is 'yes', not boolean"),
        ("b\n2", "column 'b' is '2'"),
    ],
)
def test_what_is_no_table(text: str | bytes, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        rows_of(text)
    assert said in caught.value.message
    assert len(caught.value.message) < 300


def test_a_field_of_a_megabyte_and_a_name_of_one() -> None:
    for text in ("s\n" + "a" * 1_000_000, "a" * 1_000_000 + "\n1", "x\n" + "1" * 100_000):
        with pytest.raises(Invalid) as caught:
            rows_of(text)
        assert len(caught.value.message) < 300


def test_the_number_of_rows_is_bounded() -> None:
    with pytest.raises(Invalid, match="too many"):
        rows_of("n\n" + "1\n" * (MOST_ROWS + 1))


def test_without_a_signature_there_are_no_types() -> None:
    with pytest.raises(Untold):
        commas.rows_of(b"x\n1", None)


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "x": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "n": st.integers(-(2**63), 2**63 - 1),
    "s": st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1),
    "b": st.booleans(),
}


@given(st.lists(st.fixed_dictionaries(FIELDS), min_size=1))
def test_what_a_writer_writes_is_read_again(rows: list[dict[str, Scalar]]) -> None:
    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, list(FIELDS))
    writer.writeheader()
    writer.writerows(rows)
    assert rows_of(written.getvalue()) == rows


@given(st.binary(max_size=80) | st.text('xnsb,\n"01.', max_size=40).map(str.encode))
def test_whatever_is_sent_gives_rows_or_says_why_not(body: bytes) -> None:
    try:
        rows = rows_of(body)
    except Invalid as refused:
        refused.message.encode()
        return
    assert all(row.keys() <= {"x", "n", "s", "b"} for row in rows)
