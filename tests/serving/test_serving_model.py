"""The packaged model: what it takes, what it answers, and that a worker vouches for it before it listens."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.errors import Corrupt, Failure, Invalid
from windlass.domain.schema import Column, Kind, Signature
from windlass.serving.client import WorkerClient, worker_process
from windlass.serving.model import Model, require_same
from windlass.serving.rows import Reader
from windlass.serving.wire import count_of

SIGNATURE = Signature(
    inputs=(
        Column(name="n", kind=Kind.NUMBER),
        Column(name="i", kind=Kind.INTEGER, nullable=True),
        Column(name="s", kind=Kind.STRING),
        Column(name="b", kind=Kind.BOOLEAN),
    ),
    outputs=(),
)
ROW: dict[str, Any] = {"n": 1.5, "i": 2, "s": "a", "b": True}


class Sums:
    """An estimator whose answer shows what it was given."""

    calls = 0

    def predict(self, rows: Any) -> Any:
        self.calls += 1
        if (rows < 0).any():
            raise ValueError("negative")
        return rows.sum(axis=1)


def model(features: Any = None, estimator: Any = None, signature: Signature = SIGNATURE) -> Model:
    return Model(
        signature=signature, estimator=estimator or Sums(), features=features or numbers, classes=None, positive=None,
        golden=([], []),
    )  # fmt: skip


def numbers(rows: pa.Table) -> np.ndarray:
    return np.column_stack([rows["n"].to_numpy()])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"n": None}, "'n' is null"), ({"n": True}, "'n' is bool"), ({"n": "1"}, "'n' is str"),
        ({"n": float("nan")}, "'n' is nan"), ({"i": 1.0}, "'i' is float"), ({"i": True}, "'i' is bool"),
        ({"s": 1}, "'s' is int"), ({"b": 1}, "'b' is int"), ({"z": 1}, "unknown column 'z'"),
    ],
)  # fmt: skip
def test_a_row_outside_of_the_signature_is_named_with_its_column(change: dict[str, Any], word: str) -> None:
    with pytest.raises(Invalid, match=f"row 2.*{word}"):
        model().reader.check([ROW, ROW | change])


NUMBERS = Signature(
    inputs=(
        Column(name="a b", kind=Kind.NUMBER),
        Column(name="class", kind=Kind.INTEGER),
        Column(name="z", kind=Kind.NUMBER, nullable=True),
    ),
    outputs=(),
)
NUMBER_ROW: dict[str, Any] = {"a b": 1.5, "class": 2, "z": -3.0}


@pytest.mark.parametrize(
    "change",
    [
        {"a b": None}, {"a b": True}, {"a b": "1"}, {"a b": float("nan")}, {"a b": float("inf")}, {"a b": 2**53 + 1},
        {"class": 1.0}, {"class": True}, {"class": 2**63}, {"class": None}, {"z": "x"}, {"y": 1}, {"z": [1.0]},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_read_fast_is_refused_with_the_words_of_what_is_read_row_by_row(change: dict[str, Any]) -> None:
    reader, rows = Reader(NUMBERS), [NUMBER_ROW, NUMBER_ROW | change]
    with pytest.raises(Invalid) as fast:
        reader.matrix(msgspec.Raw(msgspec.msgpack.encode(rows)))
    if change != {"z": [1.0]}:  # no signature takes a list: it is refused as it is read
        with pytest.raises(Invalid, match="row 2") as slow:
            reader.check(rows)
        assert (fast.value.message, fast.value.hint) == (slow.value.message, slow.value.hint)


@pytest.mark.parametrize("rows", [[], {}, 7, [1], "x", [{"a b": 1.5}]], ids=str)
def test_what_are_no_rows_is_invalid_and_nothing_worse(rows: Any) -> None:
    with pytest.raises(Invalid):
        Reader(NUMBERS).matrix(msgspec.Raw(msgspec.msgpack.encode(rows)))


@given(
    st.lists(
        st.fixed_dictionaries({
            "a b": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
            "class": st.integers(-(2**63), 2**63 - 1),
            "z": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        }), min_size=1, max_size=4,
    ),
    st.booleans(),
)  # fmt: skip
def test_the_matrix_of_rows_is_that_of_their_table(rows: list[dict[str, Any]], whole: bool) -> None:
    columns = NUMBERS.inputs[1:2] if whole else NUMBERS.inputs
    rows = [{each.name: row[each.name] for each in columns} for row in rows]
    reader = Reader(Signature(inputs=columns, outputs=()))
    expected = np.column_stack([column.to_numpy() for column in reader.table_of(rows).columns])
    for made in (reader.matrix(msgspec.Raw(msgspec.msgpack.encode(rows))), reader.matrix_of(rows)):
        assert made.dtype == expected.dtype
        assert np.array_equal(made, expected, equal_nan=not whole)


def test_rows_are_counted_by_the_head_of_their_list() -> None:
    for count in (0, 1, 15, 16, 70_000):
        assert count_of(msgspec.Raw(msgspec.msgpack.encode([1] * count))) == count
    assert count_of(msgspec.Raw(msgspec.msgpack.encode({}))) == 0


def test_an_integer_is_a_number_and_a_nullable_column_takes_null() -> None:
    model().reader.check([ROW | {"n": 3, "i": None}])
    with pytest.raises(Invalid, match="no rows"):
        model().reader.check([])


def test_feature_code_sees_typed_columns_of_one_request_at_a_time_and_the_estimator_all() -> None:
    seen: list[tuple[int, list[str]]] = []

    def features(rows: pa.Table) -> np.ndarray:
        seen.append((rows.num_rows, [str(field.type) for field in rows.schema]))
        return numbers(rows)

    loaded = model(features)
    found = loaded.answer([[ROW], [ROW | {"n": 2}, ROW | {"n": 3}], [ROW | {"n": None}]])
    assert seen == [(1, ["double", "int64", "string", "bool"]), (2, ["double", "int64", "string", "bool"])]
    assert loaded.estimator.calls == 1
    assert found[:2] == [[{"prediction": 1.5}], [{"prediction": 2.0}, {"prediction": 3.0}]]
    assert isinstance(found[2], Invalid)


def test_a_request_that_makes_the_estimator_raise_fails_alone() -> None:
    found = model().answer([[ROW], [ROW | {"n": -1}], [ROW | {"n": 2}]])
    assert [isinstance(each, Failure) for each in found] == [False, True, False]
    assert "ValueError: negative" in str(found[1])


@pytest.mark.parametrize(
    ("answer", "word"), [(lambda rows: np.full(len(rows), np.nan), "is none"), (lambda _: np.zeros(7), "7 answers")]
)
def test_what_is_no_answer_is_a_failure(answer: Any, word: str) -> None:
    class Odd:
        predict = staticmethod(answer)

    (found,) = model(estimator=Odd()).answer([[ROW]])
    assert isinstance(found, Failure)
    assert word in found.message


def test_feature_code_that_raises_or_drops_rows_is_a_failure_that_says_so() -> None:
    def raises(rows: pa.Table) -> Any:
        raise KeyError("group")

    (found,) = model(raises).answer([[ROW]])
    assert "KeyError: 'group'" in str(found)
    (found,) = model(lambda rows: np.zeros((0, 1))).answer([[ROW]])
    assert "0 rows of 1" in str(found)


def test_golden_answers_may_differ_by_rounding_and_by_nothing_else() -> None:
    one = {"prediction": 1, "probability": 0.5}
    require_same([one], [one | {"probability": 0.5 + 5e-10}])
    for other in (one | {"probability": 0.5 + 1e-8}, one | {"prediction": 0}, {"prediction": 1}):
        with pytest.raises(Corrupt, match="golden row 1"):
            require_same([one], [other])
    with pytest.raises(Corrupt, match="golden"):
        require_same([one], [])


@pytest.mark.parametrize("broken", ["answers", "count", "raises"])
def test_a_worker_whose_golden_rows_are_not_answered_as_packaged_does_not_listen(
    packages: dict[str, Path], tmp_path: Path, broken: str
) -> None:
    folder = tmp_path / "package"
    shutil.copytree(packages["good"], folder)
    golden = json.loads((folder / "golden.json").read_text())
    match broken:
        case "answers":
            golden["answers"][3]["probability"] += 1e-6
        case "count":
            golden["answers"].pop()
        case _:
            (folder / "code/features_of_test.py").write_text("def transform(rows):\n    raise ValueError('no')\n")
    (folder / "golden.json").write_text(json.dumps(golden))
    socket = tmp_path / "w.sock"
    done = subprocess.run(
        [sys.executable, "-P", "-B", "-m", "windlass.serving.worker", str(folder), str(socket)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert "golden row" in done.stderr
    assert not socket.exists()


def test_a_worker_answers_as_packaged_over_a_stale_socket_and_leaves_the_package_as_it_was(
    packages: dict[str, Path], tmp_path: Path
) -> None:
    folder, socket = packages["good"], tmp_path / "w.sock"
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    golden = json.loads((folder / "golden.json").read_text())
    socket.write_text("left by a worker that was killed")
    with worker_process(folder, socket) as process, WorkerClient(socket) as client:
        assert socket.stat().st_mode & 0o077 == 0
        assert client.ready()
        require_same(golden["answers"], client.answer(golden["rows"]))
        with pytest.raises(Invalid, match="lacks the column"):
            client.answer([{"x": 1.0}])
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    assert not socket.exists()


def test_a_worker_whose_package_calls_exit_ends_instead_of_hanging(packages: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "package"
    shutil.copytree(packages["good"], folder)
    code = folder / "code/features_of_test.py"
    code.write_text(
        code.read_text().replace(
            "if False:", "if len(x) == 1 and x[0] == 99:\n        raise SystemExit(0)\n    if False:"
        )
    )
    with worker_process(folder, tmp_path / "w.sock") as process:
        with WorkerClient(tmp_path / "w.sock") as client, pytest.raises(Failure):
            client.answer([{"x": 99.0, "y": 1}])
        assert process.wait(20) == 1
