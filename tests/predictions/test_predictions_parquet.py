"""Segments as Parquet: every row once, typed, with its shadow; whatever is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.domain.clock import SECOND
from windlass.domain.routing import Arm
from windlass.predictions import converting, rows
from windlass.serving.log import START, Mark, Position, Writer, end, read, segments
from windlass.serving.log.segments import HEADER
from windlass.serving.record import Prediction, Record, Shadow

DAY = 86_400 * SECOND
ONE, TWO = "b3:" + "1" * 64, "b3:" + "2" * 64


def now() -> int:
    return time.time_ns() // 1000


def prediction(number: int, *, at: int = 0, **changes: Any) -> Prediction:
    said: dict[str, Any] = {
        "id": f"p{number}", "at": at or number, "endpoint": "e", "revision": 1, "rollout": "r", "release": ONE,
        "arm": Arm.STABLE, "user": f"u{number}", "rows": [{"x": number, "name": f"n{number}"}],
        "answers": [{"prediction": 1, "probability": 0.5}], "status": 200, "user_status": 200, "error": "",
        "latency_us": number, "answered_by": ONE,
    }  # fmt: skip
    return Prediction(**{**said, **changes})


def shadow(number: int, **changes: Any) -> Shadow:
    said: dict[str, Any] = {
        "id": f"p{number}", "at": number + 1, "endpoint": "e", "rollout": "r", "release": TWO, "user": f"u{number}",
        "status": 200, "answers": [{"prediction": 0, "probability": 0.25}], "error": "", "latency_us": 7,
    }  # fmt: skip
    return Shadow(**{**said, **changes})


def write(folder: Path, *batches: list[Record], name: str = "gateway-0") -> None:
    """Each batch a segment of its own; and one more, so that all of these are finished."""
    for batch in (*batches, [prediction(99_999, at=5)]):
        with Writer(folder, name) as writer:
            for record in batch:
                assert writer.append(record)


def stored(parquet: Path) -> list[dict[str, Any]]:
    paths = [parquet / part for note in converting.notes(parquet) for part in note.parts]
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def test_finished_segments_become_parquet_by_day_and_release(tmp_path: Path) -> None:
    log, parquet = tmp_path / "log" / "e", tmp_path / "parquet" / "e"
    write(log, [prediction(1, at=DAY + 1), prediction(2, at=DAY + 2, release=TWO, arm=Arm.CANDIDATE)],
          [prediction(3, at=2 * DAY)])  # fmt: skip
    assert converting.convert(log, parquet, now=now()) == 2
    assert sorted(str(path.relative_to(parquet)) for path in parquet.rglob("*.parquet")) == [
        "date=1970-01-02/release=111111111111/part-gateway-0-000001.parquet",
        "date=1970-01-02/release=222222222222/part-gateway-0-000001.parquet",
        "date=1970-01-03/release=111111111111/part-gateway-0-000002.parquet",
    ]
    assert {row["id"] for row in stored(parquet)} == {"p1", "p2", "p3"}
    path = parquet / "date=1970-01-02/release=222222222222/part-gateway-0-000001.parquet"
    schema = pq.read_schema(path)
    assert schema.field("asked_at").type == pa.timestamp("us", tz="UTC")
    assert schema.field("inputs").type == pa.struct([("x", pa.int64()), ("name", pa.string())])
    (row,) = pq.ParquetFile(path).read().to_pylist()
    assert (row["arm"], row["inputs"], row["row"]) == ("candidate", {"x": 2, "name": "n2"}, 0)
    assert path.stat().st_mode & 0o777 == 0o600
    assert converting.convert(log, parquet, now=now()) == 0


def test_shadows_stand_beside_the_answers_they_belong_to(tmp_path: Path) -> None:
    log, parquet = tmp_path / "log" / "e", tmp_path / "parquet" / "e"
    several = prediction(2, rows=[{"x": 1}, {"x": 2}], answers=[{"prediction": 1}, {"prediction": 0}])
    both = shadow(2, answers=[{"prediction": 5}, {"prediction": 6}])
    write(log, [prediction(1), shadow(1), several, prediction(3), both], [shadow(3)])
    converting.convert(log, parquet, now=now())
    found = {(row["id"], row["row"]): row for row in stored(parquet)}
    assert found["p1", 0]["shadow_release"] == TWO and found["p1", 0]["shadow_probability"] == 0.25
    assert (found["p2", 0]["shadow_prediction"], found["p2", 1]["shadow_prediction"]) == (5, 6)
    assert found["p3", 0]["shadow_release"] is None
    (late,) = [note.late for note in converting.notes(parquet) if note.late]
    assert pq.read_table(parquet / late).to_pylist()[0]["id"] == "p3"


def test_requests_without_rows_are_rows_without_inputs() -> None:
    kept, left = prediction(1), prediction(2, rows=[], answers=None, kept=False)
    found = rows.table([(kept, None), (left, None)]).to_pylist()
    assert [(row["id"], row["row"], row["inputs"], row["prediction"]) for row in found] == [
        ("p1", 0, {"x": 1, "name": "n1"}, 1), ("p2", None, None, None),
    ]  # fmt: skip
    assert rows.table([(left, None)]).schema.field("inputs").type == pa.null()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, None, 3], pa.int64()), ([1, 2.5], pa.float64()), ([True, None], pa.bool_()), (["a", None], pa.string()),
        ([None, None], pa.null()), ([1, "a"], pa.string()), ([True, 1], pa.string()), ([1 << 63, 1], pa.string()),
    ],
)  # fmt: skip
def test_columns_have_the_type_of_their_values(values: list[Any], kind: pa.DataType) -> None:
    pairs = [(prediction(n, rows=[{"x": value}]), None) for n, value in enumerate(values)]
    made = rows.table(pairs)
    assert made.schema.field("inputs").type.field("x").type == kind
    if kind not in (pa.string(), pa.float64()):
        assert [row["inputs"]["x"] for row in made.to_pylist()] == values


TYPES = st.sampled_from([pa.null(), pa.int64(), pa.float64(), pa.bool_(), pa.string()])
STRUCTS = st.dictionaries(st.sampled_from("abc"), TYPES, max_size=3).map(lambda found: pa.struct(list(found.items())))


@given(st.lists(STRUCTS.map(lambda found: pa.schema([("inputs", found)])), min_size=1, max_size=4))
def test_every_schema_fits_the_unified_one(schemas: list[pa.Schema]) -> None:
    wide = rows.unified(schemas)
    assert rows.unified([wide, *schemas]) == wide
    for schema in schemas:
        assert rows.fitted(pa.table({"inputs": pa.nulls(2, schema.field(0).type)}), wide).schema == wide


KILLED = """
import os, signal, sys
from pathlib import Path
from windlass.predictions import converting
left, really = int(sys.argv[3]), os.fsync
def fsync(handle):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    really(handle)
os.fsync = fsync
converting.convert(Path(sys.argv[1]), Path(sys.argv[2]), now=0)
"""


def test_killed_at_any_write_nothing_is_double_and_nothing_missing(tmp_path: Path) -> None:
    """Each conversion dies one fsync later than the one before, over what that left."""
    log, parquet = tmp_path / "log" / "e", tmp_path / "parquet" / "e"
    sent = [prediction(n, at=n * DAY, release=(ONE, TWO)[n % 2]) for n in range(1, 5)]
    write(log, [*sent[:3], shadow(1)], [sent[3], shadow(2)])
    deaths = 0
    for survives in range(40):
        ended = subprocess.run([sys.executable, "-c", KILLED, str(log), str(parquet), str(survives)], check=False)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
        deaths += 1
        whole = stored(parquet)  # what counts is whole at any time
        assert len({row["id"] for row in whole}) == len(whole)
    assert deaths > 5
    assert sorted(row["id"] for row in stored(parquet)) == ["p1", "p2", "p3", "p4"]
    assert not list(parquet.rglob("*.part"))
    assert len(list(parquet.rglob("part-*.parquet"))) == 4


def test_a_damaged_segment_holds_up_no_other(tmp_path: Path) -> None:
    log, parquet = tmp_path / "log" / "e", tmp_path / "parquet" / "e"
    write(log, [prediction(1), prediction(2)], [prediction(3)])
    path = segments(log / "gateway-0")[0].path
    data = bytearray(path.read_bytes())
    data[HEADER.size + 20] ^= 1
    path.write_bytes(data)
    assert converting.convert(log, parquet, now=now()) == 1
    assert [row["id"] for row in stored(parquet)] == ["p3"]


def aged(path: Path, days: float) -> None:
    then = time.time() - days * 86_400
    os.utime(path, (then, then))


def test_what_is_old_converted_and_read_by_all_goes(tmp_path: Path) -> None:
    log, parquet = tmp_path / "log" / "e", tmp_path / "parquet" / "e"
    write(log, [prediction(1)], [prediction(2)], [prediction(3)])
    _, first = read(log, limit=1)
    last = end(log)

    def expire(*needed: Position) -> list[int]:
        converting.expire(log, parquet, keep_seconds=30 * 86_400, needed=needed, now=now())
        return [segment.number for segment in segments(log / "gateway-0")]

    for segment in segments(log / "gateway-0")[:3]:
        aged(segment.path, 31)
    assert expire() == [1, 2, 3, 4]  # nothing is converted
    converting.convert(log, parquet, now=now())
    assert expire(START) == [1, 2, 3, 4]  # somebody has yet to read it
    assert expire(last, Position({"gateway-0": Mark(1, 20)})) == [1, 2, 3, 4]
    assert expire(last, first) == [2, 3, 4]
    aged(segments(log / "gateway-0")[0].path, 29)
    assert expire(last) == [2, 4]
    assert {row["id"] for row in stored(parquet)} == {"p1", "p2", "p3"}


def test_of_a_writer_that_is_gone_the_last_segment_goes_but_its_number_stays(tmp_path: Path) -> None:
    log, parquet = tmp_path / "log" / "e", tmp_path / "parquet" / "e"
    write(log)
    (segment,) = segments(log / "gateway-0")
    position = end(log)
    assert converting.convert(log, parquet, now=now()) == 0  # somebody may write to it yet
    aged(segment.path, 31)
    assert converting.convert(log, parquet, now=now()) == 1
    assert converting.expire(log, parquet, keep_seconds=30 * 86_400, needed=[position], now=now()) == 1
    assert segment.path.stat().st_size == HEADER.size
    assert converting.expire(log, parquet, keep_seconds=30 * 86_400, needed=[position], now=now()) == 0
    with Writer(log) as writer:
        writer.append(prediction(7))
    assert [each.id for each in read(log, position)[0]] == ["p7"]
