"""Profiles of tables, and what changed from one to the next."""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.capture import profiles
from windlass.capture.profiles import ColumnChange, changed, in_words, profile_of
from windlass.domain import digest
from windlass.domain.errors import Invalid


def parquet(columns: dict[str, Any], **options: Any) -> IO[bytes]:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    sink.seek(0)
    return sink


def of(columns: dict[str, Any], over: dict[str, Any] | None = None) -> dict[str, Any]:
    return profile_of({"t.parquet": parquet(columns)}, over)


def diff(old: dict[str, Any], new: dict[str, Any]) -> dict[str, ColumnChange]:
    return {change.column: change for change in changed(of(old), of(new))}


def test_each_type_says_what_it_can() -> None:
    found = of(
        {
            "n": pa.array([1, 2, None, 9], pa.int32()),
            "f": [1.5, math.nan, math.inf, -1.5],
            "s": ["b", "a", "b", None],
            "b": [True, False, True, None],
            "d": [dt.date(2020, 1, 2), dt.date(2019, 1, 1), None, None],
            "t": pa.array([0, 10**15, None, 1], pa.timestamp("us", tz="UTC")),
            "m": pa.array(["1.5", None, "2.5", "2.5"]).cast(pa.decimal128(5, 2)),
            "k": pa.array(["x", "x", "y", None]).dictionary_encode(),
            "l": [[1], [2], None, [3]],
            "raw": [b"a", None, b"b", b"c"],
            "none": pa.nulls(4),
        }
    )
    assert (found["tables"], found["rows"]) == ([1, 1], [4, 4])
    columns = found["columns"]
    assert columns["n"] | {"bins": None} == {
        "type": "int32", "rows": 4, "nulls": 1, "distinct": 3, "min": 1, "max": 9, "mean": 4.0,
        "std": pytest.approx(3.559, abs=0.001), "top": [[1, 1], [2, 1], [9, 1]], "bins": None,
    }  # fmt: skip
    assert columns["n"]["bins"]["missing"] == 1
    assert (columns["f"]["nulls"], columns["f"]["min"], columns["f"]["mean"]) == (1, -1.5, 0.0)
    assert (columns["s"]["top"], columns["s"]["max"], columns["s"]["bins"]["bins"]) == (
        [["b", 2], ["a", 1]],
        "b",
        ["a", "b"],
    )
    assert (columns["b"]["top"], columns["b"]["nulls"]) == ([[1, 2], [0, 1]], 1)
    assert (columns["d"]["min"], columns["d"]["max"]) == ("2019-01-01", "2020-01-02")
    assert columns["t"]["max"].startswith("2001-09-09")
    assert columns["m"]["mean"] == pytest.approx(6.5 / 3)
    assert columns["k"]["top"] == [["x", 2], ["y", 1]]
    assert columns["l"] == {"type": "list<element: int64>", "rows": 4, "nulls": 1}
    assert columns["raw"] == {"type": "binary", "rows": 4, "nulls": 1}
    assert columns["none"]["nulls"] == 4
    assert json.loads(digest.canonical(found)) == found, "it is plain, and has a canonical form"


def test_tables_are_profiled_together_and_other_files_passed_over() -> None:
    files = {
        "a.parquet": parquet({"n": [1, 2]}),
        "b/c.csv": io.BytesIO(b"n,word\n3,x\n4,y\n"),
        "d.csv": io.BytesIO(b"n\nfour\n"),
        "README.md": io.BytesIO(b"no table"),
    }
    found = profile_of({name: files[name] for name in ("a.parquet", "b/c.csv", "README.md")})
    assert (found["tables"], found["rows"]) == ([2, 2], [4, 4])
    assert (found["columns"]["n"]["max"], found["columns"]["word"]["rows"]) == (4, 2)
    files["a.parquet"].seek(0)
    files["b/c.csv"].seek(0)
    mixed = profile_of(files)["columns"]["n"]
    assert (mixed["type"], mixed["distinct"], mixed["max"]) == ("string", 5, "four")
    assert profile_of({}) == {"format": 1, "tables": [0, 0], "rows": [0, 0], "columns": {}}
    empty = profile_of({"a.csv": io.BytesIO(b"n,m\n"), "b.parquet": parquet({"n": pa.array([], pa.int64())})})
    assert (empty["rows"], empty["columns"]["n"]["rows"]) == ([0, 0], 0)


@pytest.mark.parametrize(
    ("path", "content"), [("a.parquet", b"PAR1" + b"\0" * 60), ("a.parquet", b""), ("a.csv", b"a,b\n1\n2,3,4\n")]
)
def test_a_broken_table_is_one_clear_error(path: str, content: bytes) -> None:
    with pytest.raises(Invalid, match=f"{path} cannot be read as a table") as caught:
        profile_of({path: io.BytesIO(content)})
    assert caught.value.hint


@pytest.mark.parametrize("group", [1000, 70_000, 1 << 20])
def test_of_a_large_table_evenly_spread_rows_are_looked_at(group: int) -> None:
    rows = 1_500_000
    found = profile_of({"t.parquet": parquet({"n": np.arange(rows)}, row_group_size=group)})
    looked, of_ = found["rows"]
    assert of_ == rows
    assert 100_000 <= looked <= profiles.MOST_ROWS
    column = found["columns"]["n"]
    assert column["rows"] == looked
    assert column["mean"] == pytest.approx(rows / 2, rel=0.01)
    assert column["max"] > 0.99 * rows


def test_of_a_large_csv_evenly_spread_rows_are_looked_at() -> None:
    rows = 900_000
    text = "n\n" + "\n".join(map(str, range(rows))) + "\n"
    found = profile_of({"t.csv": io.BytesIO(text.encode())})
    assert found["rows"][1] == rows
    assert profiles.MOST_ROWS / 2 <= found["rows"][0] <= 2 * profiles.MOST_ROWS
    assert found["columns"]["n"]["mean"] == pytest.approx(rows / 2, rel=0.001)
    assert found["columns"]["n"]["rows"] == found["rows"][0]


def test_of_many_tables_some_are_looked_at_and_only_those_are_opened() -> None:
    opened = []

    class Lazily(dict[str, Any]):
        def __getitem__(self, path: str) -> IO[bytes]:
            opened.append(path)
            return io.BytesIO(b"n\n1\n")

    found = profile_of(Lazily({f"{n}.csv": None for n in range(1000)}))
    assert found["tables"] == [profiles.MOST_TABLES, 1000]
    assert len(opened) == profiles.MOST_TABLES


def test_nothing_has_changed_between_two_samples_of_one_distribution() -> None:
    def sample(seed: int) -> dict[str, Any]:
        draw = np.random.default_rng(seed)
        return {
            "normal": draw.normal(size=20_000),
            "counts": draw.poisson(3, 20_000),
            "skewed": np.where(draw.random(20_000) < 0.5, 0.0, draw.lognormal(size=20_000)),
            "words": draw.choice(["a", "b", "c"], 20_000),
            "holes": np.where(draw.random(20_000) < 0.3, np.nan, 1.5),
            "id": [f"{seed}-{n}" for n in range(20_000)],
            "hash": draw.integers(1 << 60, 1 << 62, 20_000),
        }

    assert {name for name, change in diff(sample(1), sample(2)).items() if name != "counts"} == set()
    first = of(sample(1))
    assert [each.column for each in changed(first, of(sample(2), over=first)) if each.column != "counts"] == []


@pytest.mark.parametrize("kept", [True, False])
def test_a_shift_is_a_change_of_the_distribution_whether_or_not_the_bins_were_kept(kept: bool) -> None:
    draw = np.random.default_rng(1)
    old = of({"x": draw.normal(size=20_000), "same": draw.normal(size=20_000)})
    new = of({"x": draw.normal(1.0, size=20_000), "same": draw.normal(size=20_000)}, old if kept else None)
    (change,) = changed(old, new)
    assert change.column == "x"
    assert 0.25 < change.effect < 0.6
    assert change.mean == (pytest.approx(0, abs=0.05), pytest.approx(1, abs=0.05))
    assert in_words(change).startswith("x: mean ")


def test_what_else_changes_is_told_by_column() -> None:
    found = diff(
        {"n": [1.0, None] * 50, "w": ["a", "b"] * 50, "t": [1] * 100, "gone": [1] * 100, "one": [5.5] * 100},
        {"n": [1.0, 1.5] * 50, "w": ["a", "c"] * 50, "t": ["1"] * 100, "came": [1] * 100, "one": [5.75] * 100},
    )
    assert set(found) == {"n", "w", "t", "one"}
    assert found["n"].nulls == (0.5, 0.0)
    assert (found["w"].categories_added, found["w"].categories_removed) == (("c",), ("b",))
    assert found["w"].effect > 0.5
    assert found["t"].type == ("int64", "string")
    assert found["one"].mean == (5.5, 5.75)
    assert in_words(found["w"]).startswith("w: new values c, no longer b, distribution changed")
    assert "nulls 50.0% -> 0.0%" in in_words(found["n"])


def test_new_values_are_named_over_the_bins_of_before_too() -> None:
    old = of({"w": ["a", "b"] * 50})
    (change,) = changed(old, of({"w": ["a", "c"] * 50}, over=old))
    assert (change.categories_added, change.categories_removed) == (("c",), ("b",))


@settings(deadline=None)
@given(
    old=st.lists(st.floats(-10, 10).map(lambda x: round(x, 1)), min_size=1, max_size=80),
    new=st.lists(st.floats(-10, 10).map(lambda x: round(x, 1)), min_size=1, max_size=80),
)
def test_the_distance_that_is_certain_is_never_more_than_the_true_one(old: list[float], new: list[float]) -> None:
    from windlass.stats.profile import Kind, profile

    columns = [profile({"": np.array(each)}, {"": Kind.NUMBER}).columns[""] for each in (old, new)]
    true = max(abs(np.mean(np.array(old) < x) - np.mean(np.array(new) < x)) for x in [*old, *new, 11])
    assert profiles._distance(*columns) <= true + 1e-12


def test_memory_does_not_grow_with_the_table(tmp_path: Path) -> None:
    with pq.ParquetWriter(tmp_path / "t.parquet", pa.schema({f"c{n}": pa.float64() for n in range(20)})) as writer:
        for seed in range(10):
            draw = np.random.default_rng(seed)
            writer.write_table(pa.table({f"c{n}": draw.random(200_000) for n in range(20)}))
    script = """
        import resource, sys
        from windlass.capture import profiles
        def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        import pyarrow.parquet, scipy.special
        before = peak()
        with open(sys.argv[1], "rb") as file:
            profiles.profile_of({"t.parquet": file})
        print(peak() - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "t.parquet")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (tmp_path / "t.parquet").stat().st_size > 300e6
    assert float(done.stdout) < 150
