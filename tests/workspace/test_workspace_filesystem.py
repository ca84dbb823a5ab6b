"""windlass://: what pandas, pyarrow and DuckDB read straight out of the store."""

from __future__ import annotations

from pathlib import Path

import duckdb
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windlass.domain.errors import Denied
from windlass.workspace.filesystem import WindlassFileSystem
from windlass.workspace.operations.data import AddData, ReadData, add, read
from windlass.workspace.workspace import Workspace, open_workspace

CONFIG = """
[project]
name = "p"
[model]
name = "p"
step = "train"
[endpoint]
name = "p"
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    (tmp_path / "windlass.toml").write_text(CONFIG)
    (tmp_path / "data" / "sub").mkdir(parents=True)
    random = np.random.default_rng(0)
    table = pa.table({name: random.random(200_000) for name in "abcdefgh"})
    pq.write_table(table, tmp_path / "data" / "sub" / "numbers.parquet", row_group_size=50_000)
    (tmp_path / "data" / "small.csv").write_text("x,y\n1,2\n3,4\n")
    found = open_workspace(tmp_path)
    add(found, AddData(name="d", path="data"))
    monkeypatch.setenv("WINDLASS_PROJECT", str(tmp_path))
    fsspec.config.conf.clear()
    WindlassFileSystem.clear_instance_cache()
    return found


def test_it_lists_as_a_file_system_does(workspace: Workspace) -> None:
    files = fsspec.filesystem("windlass")
    assert files.ls("", detail=False) == ["d@1"]
    assert sorted(files.ls("windlass://d@1", detail=False)) == ["d@1/small.csv", "d@1/sub"]
    assert files.find("d@1") == ["d@1/small.csv", "d@1/sub/numbers.parquet"]
    assert files.isdir("d@1/sub")
    assert files.info("d@1/small.csv")["size"] == 12
    assert not files.exists("d@1/none")
    assert not files.exists("d@7/small.csv")
    assert not files.exists("none@1/small.csv")
    with pytest.raises(Denied, match="read-only"):
        files.open("d@1/small.csv", "wb")


@pytest.mark.parametrize("reader", ["pandas", "pyarrow", "duckdb"])
def test_some_columns_are_read_by_range_without_a_checkout(workspace: Workspace, reader: str) -> None:
    files = fsspec.filesystem("windlass")
    url = "windlass://d@1/sub/numbers.parquet"
    original = workspace.layout.root / "data" / "sub" / "numbers.parquet"
    expected = pq.read_table(original, columns=["c"])["c"].to_pylist()
    if reader == "pandas":
        found = pd.read_parquet(url, columns=["c"])["c"].tolist()
    elif reader == "pyarrow":
        found = pq.read_table("d@1/sub/numbers.parquet", columns=["c"], filesystem=files)["c"].to_pylist()
    else:
        with duckdb.connect() as connection:
            connection.register_filesystem(files)
            found = [row[0] for row in connection.sql(f"SELECT c FROM '{url}'").fetchall()]
    assert found == expected
    assert 0 < files.fetched < original.stat().st_size / 3


def test_a_whole_file_and_a_range_are_the_bytes_that_were_added(workspace: Workspace) -> None:
    files = fsspec.filesystem("windlass")
    original = (workspace.layout.root / "data" / "sub" / "numbers.parquet").read_bytes()
    assert files.cat_file("d/sub/numbers.parquet") == original
    assert files.cat_file("d@1/sub/numbers.parquet", start=1_000_000, end=1_300_000) == original[1_000_000:1_300_000]
    assert pd.read_csv("windlass://d@1/small.csv")["y"].tolist() == [2, 4]
    with files.open("d@1/small.csv") as file:
        assert file.read(3) == b"x,y"
        assert file.seek(-4, 2) == 8
        assert file.read() == b"3,4\n"


def test_the_operation_reads_parts(workspace: Workspace) -> None:
    original = (workspace.layout.root / "data" / "sub" / "numbers.parquet").read_bytes()
    part = read(workspace, ReadData(reference="d@1", path="sub/numbers.parquet", start=4, stop=3_000_000))
    assert (part.content, part.size) == (original[4:3_000_000], len(original))
    assert len(read(workspace, ReadData(reference="d", path="sub/numbers.parquet")).content) == 4 << 20
