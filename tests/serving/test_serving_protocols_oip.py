"""The Open Inference Protocol: tensors to rows, answers to tensors, and every fault with its tensor's name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.errors import Failure, Invalid, NotFound
from windlass.domain.schema import Column, Kind, Scalar, Signature
from windlass.serving.protocols import oip
from windlass.serving.protocols.rows import MOST_ROWS, Columns, Untold
from windlass.serving.wire import Description

COLUMNS = (
    Column(name="x", kind=Kind.NUMBER, nullable=True),
    Column(name="n", kind=Kind.INTEGER),
    Column(name="s", kind=Kind.STRING),
    Column(name="b", kind=Kind.BOOLEAN),
)
NUMBERS = (Column(name="x", kind=Kind.NUMBER), Column(name="n", kind=Kind.INTEGER))
ROWS = [{"x": 0.5, "n": 1, "s": "a", "b": True}, {"x": None, "n": -2, "s": "1", "b": False}]
DATATYPES = {"x": "FP64", "n": "INT64", "s": "BYTES", "b": "BOOL"}


def tensor(name: str, data: Any, datatype: str = "FP64", shape: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)] if shape is None else shape, "datatype": datatype, "data": data, **more}


def rows_of(inputs: Any, columns: tuple[Column, ...] = COLUMNS, **more: Any) -> list[dict[str, Scalar]]:
    return oip.inference(json.dumps({"inputs": inputs, **more}).encode(), Columns.of(columns)).rows


def a_tensor_a_column(rows: list[dict[str, Any]] = ROWS) -> list[dict[str, Any]]:
    return [tensor(name, [row[name] for row in rows], datatype) for name, datatype in DATATYPES.items()]


def test_a_tensor_a_column() -> None:
    flat = a_tensor_a_column()
    assert rows_of(flat) == ROWS
    tall = [{**each, "shape": [2, 1]} for each in flat]
    assert rows_of(tall) == ROWS
    assert rows_of([{**each, "data": [[value] for value in each["data"]]} for each in tall]) == ROWS
    assert rows_of(list(reversed(flat))) == ROWS


@pytest.mark.parametrize("data", [[0.5, 1, 1.5, -2.0], [[0.5, 1], [1.5, -2.0]]])
def test_one_tensor_of_all_columns(data: list[Any]) -> None:
    rows = rows_of([tensor("input-0", data, shape=[2, 2])], NUMBERS)
    assert rows == [{"x": 0.5, "n": 1}, {"x": 1.5, "n": -2}]
    assert [type(row["n"]) for row in rows] == [int, int]


def test_one_column_is_either() -> None:
    for shape in ([2], [2, 1]):
        assert rows_of([tensor("x", [1.5, 2], shape=shape)], NUMBERS[:1]) == [{"x": 1.5}, {"x": 2}]
    # One tensor of all columns may have any name; one of a column has the column's.
    assert rows_of([tensor("any", [1.5], shape=[1, 1])], NUMBERS[:1]) == [{"x": 1.5}]
    with pytest.raises(Invalid, match="'any' is no input"):
        rows_of([tensor("any", [1.5])], NUMBERS[:1])


def test_text_and_truths_in_one_tensor() -> None:
    assert rows_of([tensor("t", ["a", "b"], "BYTES", [1, 2])], (COLUMNS[2], Column(name="u", kind=Kind.STRING))) == [
        {"s": "a", "u": "b"}
    ]
    assert rows_of([tensor("t", [1.0, 0.0], "FP32", [1, 2])], (NUMBERS[0], COLUMNS[3])) == [{"x": 1.0, "b": False}]


def test_what_a_request_carries_besides_its_tensors() -> None:
    body = {
        "id": "42", "parameters": {"content_type": "pd", "priority": 3}, "model_name": "unknown: ignored",
        "inputs": [{**each, "parameters": {"content_type": "np"}} for each in a_tensor_a_column()],
        "outputs": [{"name": "predict", "parameters": {"binary_data": False}}, {"name": "probability"}],
    }  # fmt: skip
    found = oip.inference(json.dumps(body).encode(), Columns.of(COLUMNS))
    assert (found.id, found.outputs, found.rows) == ("42", ("predict", "probability"), ROWS)


@pytest.mark.parametrize(
    ("datatype", "good", "bad"),
    [
        ("INT8", [-128, 127], [-129, 128, 1.5]),
        ("INT16", [-(1 << 15), (1 << 15) - 1], [1 << 15]),
        ("INT32", [-(1 << 31), (1 << 31) - 1], [1 << 31]),
        ("INT64", [-(1 << 63), (1 << 63) - 1, (1 << 53) + 1], [1 << 63, 1.0]),
        ("UINT8", [0, 255], [-1, 256]),
        ("UINT16", [65535], [65536, -1]),
        ("UINT32", [(1 << 32) - 1], [1 << 32]),
        ("UINT64", [(1 << 64) - 1], [1 << 64]),
        ("FP16", [65504, -1.5], [65505.0]),
        ("FP32", [3.4e38, 1], [3.5e38]),
        ("FP64", [1.7e308, -1, 0.1], []),
    ],
)
def test_numbers_are_held_to_their_datatype(datatype: str, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert rows_of([tensor("x", [value], datatype)], NUMBERS[:1]) == [{"x": value}]
    for value in [*bad, True, "1"]:
        with pytest.raises(Invalid, match="tensor 'x'"):
            rows_of([tensor("x", [0, value], datatype)], NUMBERS[:1])


ONE = tensor("x", [1.0, 2.0])


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([], "no inputs"),
        ({"x": [1]}, "not a list of tensors"),
        ([1], "tensor 1 is not an object"),
        ([{**ONE, "name": 3}], "tensor 1: its name is not text"),
        ([{"shape": [1], "datatype": "FP64", "data": [1]}], "tensor 1 has no name"),
        ([{"name": "x", "datatype": "FP64", "data": [1]}], "tensor 'x' has no shape"),
        ([{"name": "x", "shape": [1], "data": [1]}], "tensor 'x' has no datatype"),
        ([{"name": "x", "shape": [1], "datatype": "FP64"}], "tensor 'x' has no data"),
        ([{**ONE, "data": 5}], "tensor 'x': its data are not a list"),
        ([{**ONE, "data": "12"}], "tensor 'x': its data are not a list"),
        ([{**ONE, "shape": "2"}], "tensor 'x': its shape is not"),
        ([{**ONE, "shape": [2.0]}], "tensor 'x': its shape is not"),
        ([{**ONE, "shape": [True]}], "tensor 'x': its shape is not"),
        ([{**ONE, "parameters": []}], "tensor 'x': its parameters"),
        ([{**ONE, "data": [[[1.0]], 2]}], "tensor 'x': its data are nested more deeply"),
        ([{**ONE, "data": [{"a": 1}, 2]}], "tensor 'x': its data are nested more deeply"),
        ([{**ONE, "shape": []}], "tensor 'x' has the shape []"),
        ([{**ONE, "shape": [3]}], "tensor 'x' has the shape [3], and 2 values"),
        ([{**ONE, "shape": [10**9]}], "tensor 'x' has the shape [1000000000], and 2 values"),
        ([{**ONE, "shape": [10**9, 1]}], "tensor 'x' has the shape [1000000000, 1], and 2 values"),
        ([{**ONE, "shape": [1 << 62, 2]}], "tensor 'x' has the shape [4611686018427387904, 2], and 2 values"),
        ([{**ONE, "shape": [-2]}], "tensor 'x' has the shape [-2]"),
        ([{**ONE, "shape": [-1, 2]}], "tensor 'x' has the shape [-1, 2]"),
        ([{**ONE, "shape": [-2, -1]}], "tensor 'x' has the shape [-2, -1]"),
        ([{**ONE, "shape": [1, 1, 2]}], "tensor 'x' has the shape [1, 1, 2]"),
        ([{**ONE, "shape": [1] * 50_000}], "tensor 'x' has the shape of 50000 sizes"),
        ([{**ONE, "shape": [1, 3]}], "tensor 'x' has the shape [1, 3], and the model takes 2 columns"),
        ([{**ONE, "shape": [2], "data": [[1.0], [2.0]]}], "tensor 'x' has the shape [2], and its data are nested"),
        ([{**ONE, "shape": [1, 2], "data": [[1.0], [2.0]]}], "the shape [1, 2], and its data are nested"),
        ([{**ONE, "shape": [1, 2], "data": [[1.0], 2.0]}], "tensor 'x' has data that are nested here and flat there"),
        ([{**ONE, "datatype": "FLOAT"}], "tensor 'x' is of the unknown datatype 'FLOAT'"),
        ([{**ONE, "datatype": "BYTES", "data": ["1", "2"]}], "tensor 'x' is BYTES, and column 'x' is number"),
        ([{**ONE, "datatype": "BOOL", "data": [True, False]}], "tensor 'x' is BOOL, and column 'x' is number"),
        ([ONE, {**ONE, "name": "y"}], "tensor 'y' is no input of the model"),
        ([ONE, ONE], "tensor 'x' is there twice"),
        ([ONE], "lacks the tensor 'n'"),
        ([ONE, tensor("n", [1])], "tensor 'n' has 1 rows, and 'x' 2"),
        ([ONE, tensor("n", [1.0, 1.5])], "row 2: column 'n' is 1.5"),
        ([tensor("m", [1.0, 1.5], shape=[1, 2])], "row 1: column 'n' is 1.5"),
        ([{"name": "x", "shape": [1], "datatype": "FP64", "parameters": {"binary_data_size": 8}}], "sent in binary"),
        ([{**ONE, "name": "x" * 900_000}], "tensor 'xxx"),
    ],
)  # fmt: skip
def test_what_is_no_request(inputs: Any, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        rows_of(inputs, NUMBERS)
    assert said in caught.value.message
    assert len(caught.value.message) < 400
    assert len(caught.value.hint) < 400


LIST = b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": %s}]}'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no inputs"),
        (b'{"inputs": null}', "not a list of tensors"),
        (b'{"id": 4, "inputs": []}', "id is not text"),
        (LIST % b"[NaN]", "tensor 'x': NaN is no JSON"),
        (LIST % b"[1e999]", "tensor 'x': 1e999 is outs"),
        (LIST % b'["\xff"]', "tensor 'x': this is no text"),
        (LIST % b'[1], "data": [2]', "'data' is there twice"),
        (b'{"inputs": [], "inputs": []}', "'inputs' is there twice"),
        (b'{"inputs": ' + b"[" * 300_000, ""),
        (LIST % (b"[" * 500 + b"]" * 500), "'x'"),
    ],
)  # fmt: skip
def test_what_is_no_json(body: bytes, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        oip.inference(body, Columns.of(NUMBERS))
    assert said in caught.value.message


def test_tensors_in_binary_are_refused() -> None:
    with pytest.raises(Invalid, match="binary"):
        oip.inference(b'{"inputs": []}\x00\x00', Columns.of(NUMBERS), binary=True)


def test_a_small_body_does_not_become_many_rows() -> None:
    with pytest.raises(Invalid, match="too many"):
        rows_of([tensor("x", [1] * (MOST_ROWS + 1))], NUMBERS[:1])
    with pytest.raises(Invalid, match="too many"):
        rows_of([tensor("x", [1] * (MOST_ROWS + 1), shape=[MOST_ROWS + 1, 1])], NUMBERS[:1])
    with pytest.raises(Invalid, match="too much"):
        rows_of([tensor("x" * 1000, [1] * 50_000)], (Column(name="x" * 1000, kind=Kind.NUMBER),))


def test_without_a_signature_there_are_no_names() -> None:
    with pytest.raises(Untold):
        oip.inference(json.dumps({"inputs": [ONE]}).encode(), None)


def answer(wanted: tuple[str, ...] = (), **more: Any) -> Any:
    given: dict[str, Any] = {"predictions": [1, 0], "chances": [0.9, 0.2], "kind": Kind.INTEGER, **more}
    return json.loads(oip.infer_body(wanted, model="e", release="b3:1", identity="42", prediction_id="p", **given))


def test_an_answer() -> None:
    assert answer() == {
        "model_name": "e",
        "model_version": "b3:1",
        "id": "42",
        "parameters": {"prediction_id": "p"},
        "outputs": [
            {"name": "predict", "shape": [2], "datatype": "INT64", "data": [1, 0]},
            {"name": "probability", "shape": [2], "datatype": "FP64", "data": [0.9, 0.2]},
        ],
    }


@pytest.mark.parametrize(
    ("predictions", "kind", "datatype"),
    [
        (["a", "b"], Kind.STRING, "BYTES"),
        (["a", None], Kind.NUMBER, "BYTES"),
        ([True, False], Kind.BOOLEAN, "BOOL"),
        ([1.5, 2], Kind.NUMBER, "FP64"),
        ([1.5, 2], Kind.INTEGER, "FP64"),
        ([1, 2], Kind.NUMBER, "FP64"),
        ([1, 2], Kind.INTEGER, "INT64"),
        ([None, None], Kind.STRING, "BYTES"),
    ],
)
def test_the_datatype_of_predictions(predictions: list[Any], kind: Kind, datatype: str) -> None:
    (output,) = answer(predictions=predictions, chances=None, kind=kind)["outputs"]
    assert (output["datatype"], output["data"]) == (datatype, predictions)


def test_predictions_of_several_types_are_no_tensor() -> None:
    with pytest.raises(Failure, match="several types"):
        answer(predictions=["a", 1], chances=None)


def test_only_what_is_wanted_is_answered_in_that_order() -> None:
    assert [each["name"] for each in answer(("probability",))["outputs"]] == ["probability"]
    assert [each["name"] for each in answer(("probability", "predict", "predict"))["outputs"]] == [
        "probability",
        "predict",
    ]
    with pytest.raises(Invalid, match="no output 'logits'"):
        answer(("logits",))
    with pytest.raises(Invalid, match="no output 'probability'"):
        answer(("probability",), chances=None)


DESCRIBED = Description(
    0,
    Signature(
        inputs=COLUMNS,
        outputs=(Column(name="prediction", kind=Kind.INTEGER), Column(name="probability", kind=Kind.NUMBER)),
    ),
    "windlass",
    1,
)


def test_a_models_metadata() -> None:
    assert json.loads(oip.model_body("e", ["b3:1", "b3:2"], DESCRIBED)) == {
        "name": "e",
        "versions": ["b3:1", "b3:2"],
        "platform": "windlass",
        "inputs": [{"name": name, "datatype": datatype, "shape": [-1]} for name, datatype in DATATYPES.items()],
        "outputs": [
            {"name": "predict", "datatype": "INT64", "shape": [-1]},
            {"name": "probability", "datatype": "FP64", "shape": [-1]},
        ],
    }


def test_versions_by_label_id_and_beginning() -> None:
    versions = {"1.0.0": "b3:aaaaaaaa1", "1.1.0": "b3:aaaaaaab2"}
    assert oip.release_of("1.1.0", versions, "e") == "b3:aaaaaaab2"
    assert oip.release_of("b3:aaaaaaaa1", versions, "e") == "b3:aaaaaaaa1"
    assert oip.release_of("b3:aaaaaaab", versions, "e") == "b3:aaaaaaab2"
    for version in ("2.0.0", "b3:aaaaaaa", "b3:", "", "1"):
        with pytest.raises(NotFound, match="has no version"):
            oip.release_of(version, versions, "e")


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "x": st.none() | st.floats(allow_nan=False, allow_infinity=False),
    "n": st.integers(-(2**63), 2**63 - 1),
    "s": st.text(st.characters(codec="utf-8")),
    "b": st.booleans(),
}


@given(st.lists(st.fixed_dictionaries(VALUES), min_size=1))
def test_what_is_written_as_tensors_is_read_as_rows(rows: list[dict[str, Scalar]]) -> None:
    flat = a_tensor_a_column(rows)
    assert rows_of(flat) == rows
    assert (
        rows_of([{**each, "shape": [len(rows), 1], "data": [[one] for one in each["data"]]} for each in flat]) == rows
    )


@given(st.integers(1, 5), st.integers(1, 5), st.booleans(), st.data())
def test_what_is_written_as_one_tensor_is_read_as_rows(
    count: int, width: int, nested: bool, data: st.DataObject
) -> None:
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    matrix = data.draw(st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=count, max_size=count))
    columns = tuple(Column(name=f"c{number}", kind=Kind.NUMBER) for number in range(width))
    values = matrix if nested else [value for row in matrix for value in row]
    rows = rows_of([tensor("all", values, shape=[count, width])], columns)
    assert [list(row.values()) for row in rows] == matrix


SIZES = st.integers(-(2**70), 2**70) | st.integers(-2, 4)
VALUE = st.none() | st.booleans() | st.integers() | st.text(max_size=2)
TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from("xnz"),
        "shape": st.lists(SIZES, max_size=3),
        "datatype": st.sampled_from(["FP64", "INT8", "BYTES", "BOOL", "X"]),
        "data": st.lists(VALUE | st.lists(st.integers(), max_size=2), max_size=4),
    }
)  # fmt: skip


@given(st.lists(TENSORS, max_size=3))
def test_whatever_is_sent_gives_rows_or_says_why_not(inputs: list[Any]) -> None:
    try:
        rows = rows_of(inputs, NUMBERS)
    except Invalid as refused:
        refused.message.encode()
        return
    assert all(row.keys() == {"x", "n"} for row in rows)
