"""A tiny project: real Git, real data, steps of plain Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windlass.capture import code, data
from windlass.domain import clock
from windlass.domain.ports import Database
from windlass.pipelines import runner
from windlass.pipelines.config import PipelineConfig
from windlass.pipelines.runs import Run
from windlass.registry.config import ModelConfig
from windlass.store.objects import PackedObjects

PIPELINE = """
from pathlib import Path
import pyarrow as pa
import pyarrow.parquet as pq
import helper
from windlass import step

@step
def prepare(rows: Path, share: float) -> dict[str, pa.Table]:
    table = pq.read_table(next(rows.glob("*.parquet")))
    return {"train": table, "test": table.slice(0, 3)}

@step
def train(prepare: dict[str, pa.Table], seed: int) -> dict[str, float]:
    return {"total": helper.total(prepare["train"]) + seed}

@step
def evaluate(train: dict[str, float]) -> dict[str, float]:
    return {"score": train["total"] / 2}
"""

HELPER = """
import deep

def total(table):
    return deep.value(table)
"""

DEEP = """
def value(table):
    return float(sum(table["x"].to_pylist()))
"""


@dataclass
class Project:
    root: Path
    db: Database
    objects: PackedObjects
    said: list[str] = field(default_factory=list)

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def run(self, config: dict[str, Any] | None = None, **options: Any) -> Run:
        snapshot, _ = data.add(self.db, self.objects, name="rows", path=self.root / "data", actor="dana", now=clock.now)
        made = PipelineConfig(**{"seed": 3, "config": {"share": 0.5}, **(config or {})})
        return runner.run(
            self.db, self.objects, root=self.root, config=made, model=ModelConfig(name="m"),
            snapshots={"rows": snapshot}, environment_digest=options.pop("environment", "b3:" + "e" * 64),
            code=code.capture(self.root), folder=self.root / ".windlass" / "runs", actor="dana", now=clock.now,
            progress=self.said.append, **options,
        )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, database: Database, objects: PackedObjects) -> Callable[..., Project]:
    def make(pipeline: str = PIPELINE, where: str = "project") -> Project:
        root = tmp_path / where
        (root / "data").mkdir(parents=True)
        pq.write_table(pa.table({"x": [1.0, 2.0, 3.0, 4.0], "t": [0, 1, 0, 1]}), root / "data" / "rows.parquet")
        for name, text in {
            "pipeline.py": pipeline, "helper.py": HELPER, "deep.py": DEEP, ".gitignore": "data/\n.windlass/\n",
        }.items():  # fmt: skip
            (root / name).write_text(text)
        code.initialise(root, "start")
        return Project(root, database, objects)

    return make
