"""Point-in-time joins, against what a few lines of plain Python say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.capture.config import Events, FeatureTable
from windlass.capture.sources import features
from windlass.domain.errors import Denied, Invalid

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
EVENTS = Events(path="events.parquet", at="at")
SCORES = FeatureTable(path="scores.parquet", keys=("user",), at="at", columns=("score", "word"), created="made")


def moment(second: int | None) -> datetime | None:
    return None if second is None else EPOCH + timedelta(seconds=second)


def write(root: Path, events: list[dict[str, Any]], scores: list[dict[str, Any]]) -> None:
    time = pa.timestamp("us", tz="UTC")
    number = pa.int64()
    for name, rows, schema in [
        ("events", events, {"user": number, "at": time, "label": number}),
        ("scores", scores, {"user": number, "at": time, "made": time, "score": number, "word": pa.string()}),
    ]:
        kept = [{key: moment(row[key]) if kind == time else row[key] for key, kind in schema.items()} for row in rows]
        pq.write_table(pa.Table.from_pylist(kept, schema=pa.schema(list(schema.items()))), root / f"{name}.parquet")


def joined(
    root: Path, events: list[dict[str, Any]], scores: list[dict[str, Any]], table: FeatureTable = SCORES
) -> list[tuple[int, int | None, str | None]]:
    write(root, events, scores)
    features.materialise(EVENTS, (table,), root, root=root, confined=True)
    return [(row["label"], row["score"], row["word"]) for row in pq.read_table(root / "data.parquet").to_pylist()]


def event(label: int, user: int | None, at: int | None) -> dict[str, Any]:
    return {"label": label, "user": user, "at": at}


def score(user: int | None, at: int | None, score: int | None, made: int | None = None, word: str | None = None) -> Any:
    return {"user": user, "at": at, "made": made, "score": score, "word": word}


def test_each_event_gets_what_was_known_then(tmp_path: Path) -> None:
    scores = [score(1, 10, 100), score(1, 20, 200), score(2, 5, 50)]
    events = [event(0, 1, 19), event(1, 1, 9), event(2, 2, 100), event(3, 1, 20), event(4, 3, 100), event(5, 1, 10)]
    assert [each[1] for each in joined(tmp_path, events, scores)] == [100, None, 50, 200, None, 100]


def test_a_row_counts_only_from_when_it_was_created(tmp_path: Path) -> None:
    scores = [score(1, 10, 100, made=10), score(1, 20, 200, made=50), score(1, 15, 150, made=60)]
    events = [event(0, 1, 30), event(1, 1, 50), event(2, 1, 70)]
    # The row of second 15 comes last but is older than that of second 20, which stays.
    assert [each[1] for each in joined(tmp_path, events, scores)] == [100, 200, 200]


def test_past_its_ttl_a_value_is_null_and_no_older_one_takes_its_place(tmp_path: Path) -> None:
    table = FeatureTable(path=SCORES.path, keys=("user",), at="at", columns=("score", "word"), ttl=10)
    events = [event(0, 1, 20), event(1, 1, 21)]
    assert [each[1] for each in joined(tmp_path, events, [score(1, 10, 1), score(1, 9, 2)], table)] == [1, None]


def test_ties_go_to_the_last_created_then_to_the_greatest(tmp_path: Path) -> None:
    scores = [score(1, 1, 9, 1), score(1, 1, 5, 2, "a"), score(1, 1, 5, 2, "b"), score(1, 1, None, 2, "c")]
    assert joined(tmp_path, [event(0, 1, 9)], scores) == [(0, 5, "b")]
    assert joined(tmp_path, [event(0, 1, 9)], scores[::-1]) == [(0, 5, "b")]


def test_one_row_for_each_event_even_for_equal_ones_and_for_those_without_key_or_time(tmp_path: Path) -> None:
    events = [event(7, 1, 5), event(7, 1, 5), event(8, None, 5), event(9, 1, None)]
    scores = [score(1, 1, 1), score(1, 1, 1), score(None, 1, 2), score(1, None, 3)]
    found = joined(tmp_path, events, scores)
    assert [each[:2] for each in found] == [(7, 1), (7, 1), (8, None), (9, None)]


seconds = st.integers(0, 6)
users = st.sampled_from([1, 2, None])


@settings(max_examples=300, deadline=None)
@given(
    events=st.lists(st.tuples(users, st.none() | seconds), max_size=8),
    scores=st.lists(
        st.tuples(users, st.none() | seconds, st.none() | seconds, st.none() | seconds, st.sampled_from(["a", None])),
        max_size=12,
    ),
    ttl=st.sampled_from([0, 1, 3]),
    created=st.booleans(),
)
def test_the_join_is_what_plain_python_says(
    events: list[Any], scores: list[Any], ttl: int, created: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("view")
    rows = [score(user, at, value, made, word) for user, at, made, value, word in scores]
    asked = [event(number, user, at) for number, (user, at) in enumerate(events)]
    write(root, asked, rows)
    table = FeatureTable(
        path=str(root / "scores.parquet"), keys=("user",), at="at", columns=("score", "word"), ttl=ttl,
        created="made" if created else "",
    )  # fmt: skip
    query = features.query(Events(path=str(root / "events.parquet"), at="at"), (table,))
    with duckdb.connect(config={"threads": 1}) as db:
        found = db.sql(f"SELECT label, score, word FROM ({query})").fetchall()
    assert found == [(each["label"], *oracle(each, rows, ttl, created)) for each in asked]


def oracle(asked: dict[str, Any], rows: list[dict[str, Any]], ttl: int, created: bool) -> tuple[Any, Any]:
    def order(row: dict[str, Any]) -> Any:
        values = [row["at"], made(row), row["score"], row["word"]]
        return [(value is not None, value) for value in values]

    def made(row: dict[str, Any]) -> Any:
        return row["made"] if created and row["made"] is not None else row["at"]

    known = [
        row
        for row in rows
        if None not in (asked["at"], asked["user"], row["at"])
        and row["user"] == asked["user"]
        and row["at"] <= asked["at"]
        and made(row) <= asked["at"]
    ]
    if not known:
        return None, None
    best = max(known, key=order)
    return (None, None) if ttl and asked["at"] - best["at"] > ttl else (best["score"], best["word"])


def test_several_tables_with_keys_of_their_own_keep_the_events_order(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/events.csv").write_text(
        "user,town,at,label\n" + "".join(f"{(n * 7919) % 5000},{n % 3},2020-01-02,{n}\n" for n in range(5000))
    )
    users = "".join(f"{n},2020-01-01,{n * 2}\n" for n in range(5000))
    (tmp_path / "data/users.csv").write_text("user,at,score\n" + users)
    (tmp_path / "data/towns.csv").write_text("town,user,at,score\n0,0,2020-01-01,7\n1,1,2020-01-03,8\n")
    said = features.materialise(
        Events(path="data/events.csv", at="at"),
        (
            FeatureTable(path="data/users.csv", keys=("user",), at="at", columns=("score",)),
            FeatureTable(path="data/towns.csv", keys=("town", "user"), at="at", columns=("score",), prefix="town_"),
        ),
        tmp_path,
        root=tmp_path,
        confined=True,
    )
    rows = pq.read_table(tmp_path / "data.parquet").to_pylist()
    assert [row["label"] for row in rows] == list(range(5000))
    assert [row["score"] for row in rows] == [(n * 7919) % 5000 * 2 for n in range(5000)]
    assert [row["label"] for row in rows if row["town_score"] is not None] == [0]
    assert said["kind"] == "features"
    assert sorted(said["inputs"]) == ["data/events.csv", "data/towns.csv", "data/users.csv"]
    assert said["features"][1]["prefix"] == "town_"


def test_a_view_that_means_nothing_is_one_clear_error(tmp_path: Path) -> None:
    write(tmp_path, [event(0, 1, 1)], [score(1, 1, 1)])
    good = {"path": "scores.parquet", "keys": ("user",), "at": "at", "columns": ("score",)}
    cases: list[tuple[list[dict[str, Any]], str]] = [
        ([], "no feature tables"),
        ([good, good], "two features are named score"),
        ([{**good, "keys": ()}], "have no keys"),
        ([{**good, "columns": ()}], "have no columns"),
        ([{**good, "ttl": -1}], "ttl of -1 s"),
        ([{**good, "columns": ("nope",)}], "nope"),
        ([{**good, "at": "score"}], "TIMESTAMP"),
        ([{**good, "path": "nowhere.parquet"}], "nowhere"),
    ]
    for tables, said in cases:
        with pytest.raises((Invalid, Denied)) as caught:
            view = tuple(FeatureTable(**table) for table in tables)
            features.materialise(EVENTS, view, tmp_path, root=tmp_path, confined=True)
        assert said in caught.value.message
        assert caught.value.hint
