"""Splits and transforms: datasets derived from others by a recorded recipe."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windlass.capture.sources import splits, tables, transforms
from windlass.capture.sources.splits import Recipe
from windlass.domain.errors import Denied, Failure, Invalid

INTO = {"train": 0.8, "validation": 0.1, "test": 0.1}


def written(folder: Path, rows: int, name: str = "t.parquet", **columns: Any) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"n": range(rows), **{key: [value(n) for n in range(rows)] for key, value in columns.items()}})
    pq.write_table(table, folder / name)
    return folder


def split(parent: Path, made: Path, **fields: Any) -> dict[str, list[dict[str, Any]]]:
    recipe = splits.checked(Recipe(**{"into": INTO, "seed": 7, **fields}))
    splits.split(tables.tables(parent, "acs"), recipe, made)
    return {
        part: [row for file in sorted((made / part).rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]
        for part in recipe.into
    }


def where(found: dict[str, list[dict[str, Any]]]) -> dict[int, str]:
    return {row["n"]: part for part, rows in found.items() for row in rows}


def test_every_row_is_in_one_part_in_its_order_and_shares_are_about_right(tmp_path: Path) -> None:
    found = split(written(tmp_path / "a", 150_000), tmp_path / "out")
    assert sorted(row["n"] for rows in found.values() for row in rows) == list(range(150_000))
    for part, share in INTO.items():
        numbers = [row["n"] for row in found[part]]
        assert numbers == sorted(numbers)
        assert abs(len(numbers) / 150_000 - share) < 0.005


def test_the_same_recipe_is_the_same_bytes_and_another_seed_is_not(tmp_path: Path) -> None:
    parent = written(tmp_path / "a", 1000)
    for name, seed in [("one", 7), ("two", 7), ("three", 8)]:
        split(parent, tmp_path / name, seed=seed)
    one, two, three = [(tmp_path / name / "train/t.parquet").read_bytes() for name in ("one", "two", "three")]
    assert one == two
    assert one != three


def test_which_rows_are_in_which_part_never_changes_between_releases(tmp_path: Path) -> None:
    """Recorded: a split that was made once must be made again by every later Windlass."""
    halves = {"a": 0.5, "b": 0.5}
    found = split(written(tmp_path / "a", 24, user=lambda n: n % 12), tmp_path / "rows", into=halves)
    assert [row["n"] for row in found["b"]] == [0, 1, 2, 4, 6, 13, 16, 18, 22]
    found = split(tmp_path / "a", tmp_path / "groups", into=halves, by="user")
    assert sorted({row["user"] for row in found["b"]}) == [0, 2, 3, 6, 7, 8, 10]


def test_rows_that_are_added_later_move_none(tmp_path: Path) -> None:
    before = where(split(written(tmp_path / "a", 70_000), tmp_path / "one"))
    after = where(split(written(tmp_path / "b", 140_000), tmp_path / "two"))
    assert before.items() <= after.items()


def test_a_group_is_in_one_part_whatever_table_it_is_in(tmp_path: Path) -> None:
    def user(n: int) -> str | None:
        return None if n % 50 == 0 else f"u{n % 50}"

    parent = written(tmp_path / "a", 5000, user=user)
    written(parent, 5000, "more/u.parquet", user=user)
    found = split(parent, tmp_path / "out", by="user")
    users = [{row["user"] for row in rows} for rows in found.values()]
    assert not (users[0] & users[1] or users[0] & users[2] or users[1] & users[2])
    assert len(set.union(*users)) == 50
    assert (tmp_path / "out/train/more/u.parquet").exists()


def test_strata_have_the_shares_exactly(tmp_path: Path) -> None:
    parent = written(tmp_path / "a", 10_000, label=lambda n: n % 100 == 0)
    found = split(parent, tmp_path / "out", stratify="label")
    counts = {part: Counter(row["label"] for row in rows) for part, rows in found.items()}
    assert counts == {
        "train": {False: 7920, True: 80}, "validation": {False: 990, True: 10}, "test": {False: 990, True: 10},
    }  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(
    labels=st.lists(st.sampled_from(["a", "b", None]), min_size=60, max_size=90),
    share=st.sampled_from([0.25, 0.5, 0.75]),
    seed=st.integers(0, 3),
)
def test_strata_of_any_size_lose_no_row(
    labels: list[str | None], share: float, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("strata")
    parent = written(place / "a", len(labels), label=lambda n: labels[n])
    found = split(parent, place / "out", into={"a": share, "b": 1 - share}, seed=seed, stratify="label")
    assert len(where(found)) == sum(map(len, found.values())) == len(labels)
    for label, count in Counter(labels).items():
        got = sum(row["label"] == label for row in found["a"])
        assert abs(got - count * share) <= 0.5


def test_csv_tables_become_parquet(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.csv").write_text("n,word\n" + "".join(f"{n},w{n}\n" for n in range(200)))
    (tmp_path / "a/README.md").write_text("no table")
    found = split(tmp_path / "a", tmp_path / "out")
    assert where(found).keys() == set(range(200))
    assert [file.name for file in (tmp_path / "out/train").rglob("*")] == ["x.parquet"]


def test_a_recipe_that_cannot_be_followed_is_one_clear_error(tmp_path: Path) -> None:
    parent = written(tmp_path / "a", 10)
    (tmp_path / "empty").mkdir()
    both = written(tmp_path / "both", 10)
    (both / "t.csv").write_text("n\n1\n")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/t.parquet").write_bytes(b"PAR1 not really")
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (parent, {"into": {"train": 1.0}}, "two parts"),
        (parent, {"into": {"train": 0.5, "test": 0.4}}, "make up 1, not 0.9"),
        (parent, {"into": {"train": 1.5, "test": -0.5}}, "above 0"),
        (parent, {"into": {"../x": 0.5, "test": 0.5}}, "name of a part"),
        (parent, {"by": "n", "stratify": "n"}, "either by groups or by strata"),
        (parent, {"by": "nope"}, "no column 'nope'"),
        (parent, {"stratify": "nope"}, "no column 'nope'"),
        (parent, {"into": {"train": 1 - 1e-7, "test": 1e-7}}, "test would have no row"),
        (tmp_path / "empty", {}, "no tables"),
        (both, {}, "one file"),
        (tmp_path / "broken", {}, "cannot be read as a table"),
    ]
    for number, (place, fields, said) in enumerate(cases):
        with pytest.raises(Invalid) as caught:
            split(place, tmp_path / f"out{number}", **fields)
        assert said in caught.value.message
        assert caught.value.hint


def test_a_query_over_the_tables_of_a_dataset(tmp_path: Path) -> None:
    parent = written(tmp_path / "a", 4)
    (parent / "more.csv").write_text("n,word\n9,nine\n")
    for number, (query, expected) in enumerate(
        [
            ("SELECT n FROM acs WHERE n >= :least;", [2, 3, 9]),
            ("SELECT n FROM data WHERE n >= $least -- all of them", [2, 3, 9]),
            ("WITH t2 AS (FROM T) SELECT n FROM t2 WHERE n >= $least", [2, 3]),
            ("SELECT n FROM more WHERE n >= $least", [9]),
        ]
    ):
        (made := tmp_path / str(number)).mkdir()
        said = transforms.materialise(query, parent, "acs", made, parameters={"least": 2})
        assert pq.read_table(made / "data.parquet")["n"].to_pylist() == expected
        assert said["query"] == query
        assert said["parameters"] == {"least": 2}


@pytest.mark.parametrize(
    "query",
    [
        "FROM '{outside}'", "FROM '../outside.csv'", "SELECT 1) TO 'x.csv'", "SELECT 1; SELECT 2", "FROM nowhere",
        "COPY data TO 'x.csv'", "SELECT 1) ; COPY (SELECT 1",
    ],
)  # fmt: skip
def test_a_transform_reads_nothing_else_and_writes_nothing(tmp_path: Path, query: str) -> None:
    (tmp_path / "outside.csv").write_text("n\n1\n")
    (tmp_path / "made").mkdir()
    parent = written(tmp_path / "a", 4)
    with pytest.raises(Failure) as caught:
        text = query.replace("{outside}", str(tmp_path / "outside.csv"))
        transforms.materialise(text, parent, "acs", tmp_path / "made", parameters={})
    assert isinstance(caught.value, Invalid | Denied)
    assert caught.value.hint
    assert [file.name for file in parent.iterdir()] == ["t.parquet"]
