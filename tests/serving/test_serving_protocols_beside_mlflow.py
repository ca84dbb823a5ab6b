"""The same bodies read by MLflow's scoring server and by ours: the same rows; and MLflow's client asks a gateway."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.errors import Invalid
from windlass.domain.schema import Column, Kind, Scalar, Signature
from windlass.serving.protocols import commas, mlflow
from windlass.serving.protocols.rows import Columns
from windlass.serving.rows import Reader

pytest.importorskip("mlflow", reason="the contract group has it")
pytestmark = pytest.mark.filterwarnings("ignore")

COLUMNS = (
    Column(name="x", kind=Kind.NUMBER, nullable=True),
    Column(name="n", kind=Kind.INTEGER),
    Column(name="s", kind=Kind.STRING),
    Column(name="b", kind=Kind.BOOLEAN),
)
TYPES = {"x": "double", "n": "long", "s": "string", "b": "boolean"}
NAMES = list(TYPES)
ROW = {"x": 0.5, "n": 1, "s": "a", "b": True}
OTHER = {"x": -2.0, "n": 2**53 + 1, "s": "é: ✓", "b": False}
LISTS = [list(ROW.values()), list(OTHER.values())]
BY_COLUMN = {name: [ROW[name], OTHER[name]] for name in NAMES}


def theirs(body: str, kind: str, columns: Sequence[Column] = COLUMNS) -> list[dict[str, Any]]:
    """The rows that a model would get from MLflow's server."""
    from mlflow.models.utils import _enforce_schema
    from mlflow.pyfunc import scoring_server
    from mlflow.types.schema import ColSpec, Schema

    schema = Schema([ColSpec(TYPES[each.name], each.name, required=not each.nullable) for each in columns])
    if kind == "csv":
        found = scoring_server.parse_csv_input(io.StringIO(body), schema)
    else:
        data, _ = scoring_server._split_data_and_params(body)
        found = scoring_server.infer_and_parse_data(data, schema)
    rows: list[dict[str, Any]] = _enforce_schema(found, schema).to_dict("records")
    return [{name: plain(value) for name, value in row.items()} for row in rows]


def plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def ours(body: str, kind: str) -> list[dict[str, Scalar]]:
    rows_of = commas.rows_of if kind == "csv" else mlflow.rows_of
    return rows_of(body.encode(), Columns.of(COLUMNS))


BOTH = [
    {"dataframe_records": [ROW, OTHER]},
    {"dataframe_records": [{name: ROW[name] for name in reversed(NAMES)}]},
    {"dataframe_records": [ROW | {"x": None}, OTHER]},
    {"dataframe_records": [ROW | {"x": 3}]},
    {"dataframe_records": [ROW], "params": {"threshold": 0.5}},
    {"dataframe_records": [ROW], "params": None},
    {"dataframe_split": {"columns": NAMES, "data": LISTS}},
    {"dataframe_split": {"columns": NAMES, "data": LISTS, "index": [7, "b"]}},
    {"dataframe_split": {"data": [LISTS[0][::-1]], "columns": NAMES[::-1]}},
    {"inputs": BY_COLUMN},
    {"inputs": ROW},
    {"inputs": [ROW, OTHER]},
    {"instances": [ROW, OTHER]},
    {"instances": BY_COLUMN},
    "x,n,s,b\n0.5,1,a,True\n-2.0,9007199254740993,é: ✓,False\n",
    "b,s,n,x\r\ntrue,1,7,1e-3\r\n",
    "x,n,s,b\n,1,a,1\n",
    ",x,n,s,b\n0,0.5,1,a,True\n1,1.5,2,b,False\n",
    'x,n,s,b\n0.5,1,"a,""b""",FALSE\n\n',
    "\ufeffx,n,s,b\n.5,1,a,0\n",
]


@pytest.mark.parametrize("body", BOTH, ids=lambda body: json.dumps(body)[:60])
def test_the_same_rows(body: Any) -> None:
    text, kind = (body, "csv") if isinstance(body, str) else (json.dumps(body), "json")
    expected = theirs(text, kind)
    found = ours(text, kind)
    # A table of theirs has the signature's order; a row of ours the body's, which means nothing.
    assert [{name: row[name] for name in NAMES} for row in found] == expected
    assert [{name: type(value) for name, value in row.items() if name != "x"} for row in expected] == [
        {name: type(row[name]) for name in NAMES if name != "x"} for row in found
    ]


@pytest.mark.parametrize(
    "body",
    [
        '{"dataframe_records": [{"x": 1}',
        "[1]",
        "{}",
        '{"rows": []}',
        json.dumps({"inputs": BY_COLUMN, "instances": [ROW]}),
        json.dumps({"dataframe_records": {"x": [1]}}),
        json.dumps({"dataframe_split": [1]}),
        json.dumps({"dataframe_split": {"columns": NAMES}}),
        json.dumps({"dataframe_split": {"columns": NAMES, "data": [[1]]}}),
        json.dumps({"dataframe_split": {"columns": NAMES, "data": LISTS, "dtypes": []}}),
        json.dumps({"inputs": {**BY_COLUMN, "x": [1.0]}}),
    ],
)
def test_neither_reads_it(body: str) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(Invalid):
        ours(body, "json")
    with pytest.raises(MlflowException):
        theirs(body, "json")


def refused(body: str) -> str:
    """Why ours does not answer a body, be it the gateway or the worker that says so."""
    try:
        Reader(Signature(inputs=COLUMNS, outputs=())).check(ours(body, "json"))
    except Invalid as failure:
        return failure.message
    return ""


@pytest.mark.parametrize(
    ("body", "said", "rows"),
    [
        # What MLflow makes of each stands in docs/serving.md; if it changes, so must the page.
        ({"dataframe_records": [ROW | {"n": 1.5}]}, "'n' is float, not integer", [ROW | {"n": 1}]),
        ({"dataframe_records": [ROW | {"n": "7"}]}, "'n' is str, not integer", [ROW | {"n": 7}]),
        ({"dataframe_records": [ROW | {"s": 7}]}, "'s' is int, not string", [ROW | {"s": 7}]),
        ({"dataframe_records": [ROW | {"b": 1}]}, "'b' is int, not boolean", [ROW]),
        ({"dataframe_records": [ROW | {"z": 1}]}, "unknown column 'z'", [ROW]),
        ('{"dataframe_records": [{"x": NaN, "n": 1, "s": "a", "b": true}]}', "NaN is no JSON", [ROW | {"x": None}]),
        ('{"dataframe_records": [{"x": 1, "x": 0.5, "n": 1, "s": "a", "b": true}]}', "'x' is there twice", [ROW]),
    ],
)  # fmt: skip
def test_where_ours_is_stricter(body: Any, said: str, rows: list[dict[str, Any]]) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    assert said in refused(text)
    assert theirs(text, "json") == rows


@pytest.mark.parametrize("word", ["NA", "null", "nan", "None"])
def test_words_that_pandas_takes_for_nothing(word: str) -> None:
    text = f"x,n,s,b\n0.5,1,{word},true\n"
    assert [row["s"] for row in ours(text, "csv")] == [word]
    assert [row["s"] for row in theirs(text, "csv")] == [None]


def test_where_ours_reads_more() -> None:
    from mlflow.exceptions import MlflowException

    text = json.dumps({"inputs": LISTS[:1]})
    assert ours(text, "json") == [ROW]
    with pytest.raises(MlflowException):
        theirs(text, "json")


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "x": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "n": st.integers(-(2**63), 2**63 - 1),
    "s": st.text(st.characters(codec="utf-8"), max_size=8),
    "b": st.booleans(),
}


@given(st.lists(st.fixed_dictionaries(FIELDS), min_size=1, max_size=4))
def test_the_same_rows_of_any_table(rows: list[dict[str, Scalar]]) -> None:
    for body in (
        {"dataframe_records": rows},
        {"dataframe_split": {"columns": NAMES, "data": [[row[name] for name in NAMES] for row in rows]}},
    ):
        text = json.dumps(body)
        assert ours(text, "json") == theirs(text, "json") == rows


@given(st.lists(st.fixed_dictionaries(FIELDS), min_size=1, max_size=4))
def test_the_same_rows_of_any_frames_csv(rows: list[dict[str, Scalar]]) -> None:
    import pandas as pd

    # pandas reads "nan" and a dozen other words as null, and text that is empty or a carriage return as it likes.
    kept = [row | {"s": f"'{str(row['s']).replace(chr(13), '').replace(chr(0), '')}"} for row in rows]
    text = pd.DataFrame(kept, columns=NAMES).to_csv(index=False)
    found, expected = ours(text, "csv"), theirs(text, "csv")
    assert [row | {"x": 0} for row in found] == [row | {"x": 0} for row in expected]
    for one, other in zip(found, expected, strict=True):
        # pandas reads numbers of many digits only nearly (4e-14 of 0.0017725107839158727); ours is what was written.
        same = one["x"] is None if other["x"] is None else one["x"] == pytest.approx(other["x"], rel=1e-11, abs=1e-300)
        assert same
    assert [row["x"] for row in found] == [row["x"] for row in rows]


def test_mlflows_client_asks_a_gateway(plane: Callable[..., Any]) -> None:
    import numpy as np
    import pandas as pd
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    gateway = plane("good")
    gateway.route(stable="good")
    client = ScoringServerClient("127.0.0.1", gateway.port)
    client.wait_server_ready(timeout=10)
    assert client.get_version()
    frame = pd.DataFrame({"x": [0.5, -1.0], "y": [1, 2]}, index=[4, 9])
    answered = client.invoke(frame)
    assert answered.get_predictions("ndarray").tolist() == [1, 0]
    assert answered.get_predictions().shape == (2, 1)
    assert client.invoke(frame, params={"threshold": 0.5})["predictions"] == answered["predictions"]
    # An array has one type: the second column's whole numbers arrive as 1.0.
    assert client.invoke(np.array([[0.5, 1], [-1.0, 2]]))["probabilities"] == answered["probabilities"]
    with pytest.raises(Exception, match="lacks the column 'y'"):
        client.invoke(frame[["x"]])
