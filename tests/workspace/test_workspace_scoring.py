"""Batch scoring: real files through real processes; whole or not at all, in order, and written down."""

from __future__ import annotations

import csv
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression

from windlass.domain import ledger
from windlass.domain.errors import Conflict, Denied, Failure, Invalid, NotFound
from windlass.registry import lineage
from windlass.registry.lineage import Direction
from windlass.workspace import rowfiles, scoring
from windlass.workspace.operations.scoring import Predict, predict
from windlass.workspace.scoring import Scored
from windlass.workspace.workspace import Workspace

Score = Callable[..., Scored]


def estimator() -> LogisticRegression:
    rng = np.random.default_rng(0)
    inputs = pd.DataFrame({"age": rng.normal(size=400), "visits": rng.integers(0, 9, size=400)})
    return LogisticRegression().fit(inputs, inputs["age"] + inputs["visits"] / 9 > 0.5)


def expected(age: Any, visits: Any) -> Any:
    inputs = pd.DataFrame({"age": np.asarray(age, dtype=float), "visits": np.asarray(visits)})
    return estimator().predict_proba(inputs)[:, 1]


@pytest.fixture
def score(project: Workspace, adopted: Any) -> Score:
    """Score with a version that really is a model, of a number and a whole number that may be null."""
    columns = [{"type": "double", "name": "age"}, {"type": "long", "name": "visits"}]
    described = {
        "flavors": {"sklearn": {"pickled_model": "model.pkl"}, "python_function": {"loader_module": "mlflow.sklearn"}},
        "signature": {"inputs": json.dumps(columns), "outputs": json.dumps([])},
    }
    files = {"MLmodel": json.dumps(described).encode(), "model.pkl": pickle.dumps(estimator())}
    version = adopted(files=files)

    def run(source: str, target: str, **given: Any) -> Scored:
        given = {"workers": 1, **given}
        return predict(project, Predict(reference=version.reference, source=source, target=target, **given))

    return run


def rows(count: int) -> pa.Table:
    rng = np.random.default_rng(1)
    return pa.table({"id": range(count), "age": rng.normal(size=count), "visits": rng.integers(0, 9, size=count)})


def left_in(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir() if each.suffix in (".parquet", ".csv", ".jsonl", ".partial")}


def test_many_rows_are_scored_in_order_and_written_down(project: Workspace, score: Score) -> None:
    root, table = project.layout.root, rows(200_000)
    pq.write_table(table, root / "in.parquet")
    found = score("in.parquet", "out.parquet", columns=("id",), batch_rows=7_000, workers=3)
    assert (found.rows, found.errors) == (200_000, 0)
    made = pq.read_table(root / "out.parquet")
    assert made.column_names == ["id", "prediction", "probability"]
    assert made["id"].to_pylist() == list(range(200_000))
    assert np.allclose(made["probability"].to_numpy(), expected(table["age"], table["visits"]), atol=1e-12)
    assert made.schema.field("prediction").type == pa.bool_()
    with project.database.read() as tx:
        (entry,) = ledger.entries(tx, subject=f"scored/{found.output}")
        edges = lineage.walk(tx, f"scored/{found.output}", Direction.UP)
    assert entry.evidence["input"] == found.input and entry.evidence["version"] == found.reference
    assert {(each.relation, each.parent) for each in edges} >= {
        ("scored by", f"version/{found.reference}"), ("scored from", f"object/{found.input}"),
    }  # fmt: skip
    assert left_in(root) == {"in.parquet", "out.parquet"}


def test_every_form_gives_the_same_answers(project: Workspace, score: Score) -> None:
    root, table = project.layout.root, rows(2_500)
    pq.write_table(table, root / "in.parquet")
    (root / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    with (root / "in.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, table.column_names)
        writer.writeheader()
        writer.writerows(table.to_pylist())
    wanted = expected(table["age"], table["visits"])
    for source, target in (("in.parquet", "out.jsonl"), ("in.jsonl", "out.csv"), ("in.csv", "out.parquet")):
        found = score(source, target, columns=("id,age",), batch_rows=1_000)
        assert found.rows == 2_500
        path = root / target
        read = {".parquet": pd.read_parquet, ".csv": pd.read_csv}.get(path.suffix)
        made = read(path) if read else pd.read_json(path, lines=True, precise_float=True)
        assert list(made.columns) == ["id", "age", "prediction", "probability"]
        assert list(made["id"]) == list(range(2_500)), (source, target)
        assert np.allclose(made["probability"], wanted, atol=1e-9), (source, target)


BAD = {
    "in.jsonl": '{"age": 1.0, "visits": 1}\n{"age": "x", "visits": 1}\n{"age": 1.0}\nno\n{"age": 2, "visits": 3}\n',
    "in.csv": 'age,visits\n1.0,1\nx,1\n1.0,\nnan,2\n2,3\n',
}  # fmt: skip


@pytest.mark.parametrize("source", sorted(BAD))
def test_rows_that_do_not_fit_fail_with_their_number_or_get_null(project: Workspace, score: Score, source: str) -> None:
    root = project.layout.root
    (root / source).write_text(BAD[source])
    with pytest.raises(Invalid, match="row 2: column 'age' is"):
        score(source, "out.jsonl", batch_rows=1)
    assert left_in(root) == {source}
    found = score(source, "out.jsonl", on_error="null", batch_rows=3)
    assert (found.rows, found.errors) == (5, 3)
    made = [json.loads(line) for line in (root / "out.jsonl").read_text().splitlines()]
    assert [each["prediction"] is None for each in made] == [False, True, True, True, False]
    assert [bool(each["error"]) for each in made] == [False, True, True, True, False]
    assert "'age'" in made[1]["error"] and "'visits'" in made[2]["error"]
    assert made[4]["probability"] == pytest.approx(expected([2.0], [3])[0])


def test_whole_numbers_written_as_floats_are_taken_and_others_are_not(project: Workspace, score: Score) -> None:
    root = project.layout.root
    pq.write_table(pa.table({"age": [1, 2], "visits": [1.0, 2.0]}), root / "in.parquet")
    assert score("in.parquet", "out.parquet").rows == 2
    pq.write_table(pa.table({"age": [1, 2], "visits": [1.0, 2.5]}), root / "in.parquet")
    with pytest.raises(Invalid, match=r"row 2: column 'visits' is '?2\.5"):
        score("in.parquet", "other.parquet")
    pq.write_table(pa.table({"age": ["1", "2"], "visits": [1, 2]}), root / "in.parquet")
    with pytest.raises(Invalid, match="row 1: column 'age' is '1', not number"):
        score("in.parquet", "other.parquet")


def test_what_cannot_be_scored_is_said_and_nothing_is_left(project: Workspace, score: Score) -> None:
    root = project.layout.root
    pq.write_table(rows(10), root / "in.parquet")
    pq.write_table(rows(10).drop_columns(["age"]), root / "lacks.parquet")
    pq.write_table(rows(0), root / "empty.parquet")
    (root / "broken.parquet").write_bytes(b"PAR1 no")
    (root / "ragged.csv").write_text("age,visits\n1,2\n1,2,3\n")
    (root / "there.parquet").write_text("keep me")
    cases: list[tuple[type[Failure], str, dict[str, Any]]] = [
        (Invalid, "lacks the column 'age'", {"source": "lacks.parquet"}),
        (Invalid, "no rows", {"source": "empty.parquet"}),
        (Invalid, "cannot be read", {"source": "broken.parquet"}),
        (Invalid, "cannot be read", {"source": "ragged.csv"}),
        (NotFound, "no file", {"source": "none.csv"}),
        (Invalid, "no known form", {"target": "out.xlsx"}),
        (NotFound, "no folder", {"target": "none/out.csv"}),
        (Conflict, "there already", {"target": "there.parquet"}),
        (Invalid, "lacks the column 'name'", {"columns": ("name",)}),
        (Invalid, "cannot be kept", {"columns": ("error",)}),
        (Invalid, "output is the input", {"target": "in.parquet", "force": True}),
        (Invalid, "batch_rows", {"batch_rows": 0}),
    ]
    before = left_in(root)
    for kind, word, given in cases:
        with pytest.raises(kind, match=word):
            score(**{"source": "in.parquet", "target": "out.parquet", **given})
    assert left_in(root) == before
    assert (root / "there.parquet").read_text() == "keep me"
    with project.database.read() as tx:
        assert not [each for each in ledger.entries(tx) if each.action == "model.predict"]


def test_a_scoring_process_that_dies_fails_the_whole_and_leaves_nothing(
    project: Workspace, score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(rows(50_000), project.layout.root / "in.parquet")
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remember(*given: Any, **named: Any) -> Any:
        started.append(popen(*given, **named))
        return started[-1]

    monkeypatch.setattr(scoring.subprocess, "Popen", remember)
    original = rowfiles.Output.write

    def write(self: rowfiles.Output, table: pa.Table) -> None:
        original(self, table)
        for process in started:
            process.kill()

    monkeypatch.setattr(rowfiles.Output, "write", write)
    with pytest.raises(Failure, match="ended with code -9"):
        score("in.parquet", "out.parquet", batch_rows=1_000, workers=2)
    assert left_in(project.layout.root) == {"in.parquet"}
    assert all(process.poll() is not None for process in started)


def test_a_killed_writer_leaves_no_output_and_its_rest_goes_with_the_next(tmp_path: Path) -> None:
    script = (
        "import sys, time, pyarrow as pa; from pathlib import Path; from windlass.workspace.rowfiles import Output\n"
        "out = Output(Path(sys.argv[1]), force=False); out.write(pa.table({'a': [1]})); print('wrote', flush=True)\n"
        "time.sleep(3600)\n"
    )
    target = tmp_path / "out.parquet"
    process = subprocess.Popen([sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"wrote\n"
    assert not target.exists() and len(left_in(tmp_path)) == 1
    other = rowfiles.Output(target, force=False)  # one that lives keeps what it writes
    assert len(left_in(tmp_path)) == 1
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not target.exists()
    other = rowfiles.Output(target, force=False)
    assert left_in(tmp_path) == set()
    other.write(pa.table({"a": [1]}))
    other.finish()
    assert pq.read_table(target)["a"].to_pylist() == [1]


def test_memory_is_bounded_by_what_is_read_ahead(
    project: Workspace, score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the writer, only so many pieces are read before it wants them."""
    pq.write_table(rows(6_000), project.layout.root / "in.parquet", row_group_size=100)
    read, ahead = 0, []
    original = rowfiles.read

    def counted(*given: Any) -> rowfiles.Rows:
        found = original(*given)

        def pieces() -> Any:
            nonlocal read
            for each in found.pieces:
                read += 1
                yield each

        return rowfiles.Rows(pieces(), found.done)

    write = rowfiles.Output.write

    def slowly(self: rowfiles.Output, table: pa.Table) -> None:
        ahead.append(read - len(ahead))
        write(self, table)

    monkeypatch.setattr(rowfiles, "read", counted)
    monkeypatch.setattr(rowfiles.Output, "write", slowly)
    assert score("in.parquet", "out.parquet", batch_rows=100, workers=2).rows == 6_000
    assert len(ahead) == 60 and max(ahead) <= 4


def test_the_folder_of_windlass_itself_is_not_written_to(project: Workspace, score: Score) -> None:
    pq.write_table(rows(3), project.layout.root / "in.parquet")
    with pytest.raises(Denied):
        score("in.parquet", ".windlass/answers.parquet")
    with pytest.raises(Denied):
        score("in.parquet", "data/../.windlass/answers.csv")
