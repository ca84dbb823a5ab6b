"""Fan-out, resources, dry runs, and processes that are ended in the middle."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from windlass.domain.errors import Failure, Invalid, NotFound
from windlass.pipelines import runs

GRID = """
from windlass import step

@step(grid={"depth": [3, 5], "rate": [0.1, 0.2]})
def train(depth: int, rate: float, seed: int):
    return {"loss": depth * rate + seed}

@step
def best(train: dict):
    return {"best": min(each["loss"] for each in train.values()), "of": len(train)}
"""

OVER = """
from pathlib import Path
import pyarrow.parquet as pq
from windlass import step

@step(over="rows")
def count(rows: Path):
    return {"rows": pq.read_table(rows).num_rows}

@step
def names(count: dict):
    return sorted(count)

@step(over="names")
def length(names: str, share: float):
    return len(names)

@step
def total(length: dict, count: dict):
    return {"length": sum(length.values()), "rows": sum(each["rows"] for each in count.values())}
"""


def states(run: runs.Run) -> dict[str, str]:
    return {step.name: step.state.value for step in run.steps}


def result(made: Any, run: runs.Run, step: str) -> Any:
    [digest] = [each.outputs[step] for each in run.steps if step in each.outputs]
    return json.loads(made.objects.get(digest))


def test_a_grid_is_an_instance_for_each_combination_each_with_a_recipe(project: Callable[..., Any]) -> None:
    made = project(GRID)
    first = made.run()
    assert states(first) == {
        "train[depth=3,rate=0.1]": "done", "train[depth=3,rate=0.2]": "done", "train[depth=5,rate=0.1]": "done",
        "train[depth=5,rate=0.2]": "done", "best": "done",
    }  # fmt: skip
    assert result(made, first, "best") == {"best": pytest.approx(3.3), "of": 4}
    assert set(states(made.run()).values()) == {"cached"}
    made.write("pipeline.py", GRID.replace("[0.1, 0.2]", "[0.1, 0.3]"))
    # The grid stands in the step's own source, so all its instances are of other code than before.
    again = made.run()
    assert [name for name in states(again) if name.startswith("train")][1] == "train[depth=3,rate=0.3]"


def test_over_a_dataset_only_the_files_that_changed_run_again(project: Callable[..., Any]) -> None:
    made = project(OVER)
    first = made.run()
    assert result(made, first, "total") == {"length": len("rows.parquet"), "rows": 4}
    assert states(first) == {
        "count[rows.parquet]": "done", "names": "done", "length[0]": "done", "total": "done"
    }  # fmt: skip
    (made.root / "data" / "sub").mkdir()
    pq.write_table(pa.table({"x": [1.0]}), made.root / "data" / "sub" / "more.parquet")
    second = made.run()
    assert states(second) == {
        "count[rows.parquet]": "cached", "count[sub/more.parquet]": "done", "names": "done", "length[0]": "cached",
        "length[1]": "done", "total": "done",
    }  # fmt: skip
    assert result(made, second, "total")["rows"] == 5


def test_an_instance_that_fails_fails_the_step_and_the_others_stay(project: Callable[..., Any]) -> None:
    made = project(
        "from windlass import step\n\n@step(grid={'n': [1, 2, 3]})\ndef one(n: int):\n    return 6 // (n - 2)\n\n"
        "@step\ndef after(one: dict):\n    return 1\n"
    )
    with pytest.raises(Failure, match=r"step 'one\[n=2\]' failed: ZeroDivisionError"):
        made.run()
    with made.db.read() as tx:
        found = states(runs.find(tx))
    assert (found["one[n=2]"], found["after"]) == ("failed", "skipped")
    with pytest.raises(Failure):
        made.run()
    with made.db.read() as tx:
        assert states(runs.find(tx))["one[n=1]"] == "cached"


@pytest.mark.parametrize(
    "source",
    [
        "@step(grid={'depth': [1]})\ndef one(seed: int): pass",
        "@step(grid={'seed': []})\ndef one(seed: int): pass",
        "@step(grid={'seed': [n for n in range(3)]})\ndef one(seed: int): pass",
        "@step(over='rows')\ndef one(seed: int): pass",
        "@step(over='share')\ndef one(share: float): pass",
        "@step(over=rows)\ndef one(rows): pass",
        "@step(cpus=-1)\ndef one(rows): pass",
    ],
)
def test_a_fan_out_that_means_nothing_is_refused(project: Callable[..., Any], source: str) -> None:
    with pytest.raises(Invalid):
        project(f"from windlass import step\n\n{source}\n").run()


def test_a_step_over_something_without_items_fails_with_its_name(project: Callable[..., Any]) -> None:
    made = project(
        "from windlass import step\n\n@step\ndef one(seed: int):\n    return 7\n\n"
        "@step(over='one')\ndef two(one):\n    return 1\n"
    )
    with pytest.raises(Failure, match="'two' goes over 'one', which is neither a list nor a dict"):
        made.run()


def test_a_step_that_takes_more_memory_than_it_may_fails_by_itself(project: Callable[..., Any]) -> None:
    made = project(
        "from windlass import step\n\n@step(memory_mb=200)\ndef one(seed: int):\n    return len(bytearray(1 << 30))\n"
    )
    with pytest.raises(Failure, match="MemoryError"):
        made.run()


def test_a_dry_run_says_what_would_run_and_does_nothing(project: Callable[..., Any]) -> None:
    made = project()
    assert set(states(made.run(dry_run=True)).values()) == {"planned"}
    with made.db.read() as tx:
        assert runs.ls(tx, 10) == []
    made.run()
    made.write("deep.py", "def value(table):\n    return 1.0\n")
    planned = made.run(dry_run=True)
    assert [(step.name, step.state.value, step.cause) for step in planned.steps][1:] == [
        ("train", "planned", "deep.py changed"), ("evaluate", "planned", "after train"),
    ]  # fmt: skip
    assert list((made.root / ".windlass" / "runs").glob("*/*output*")) == []


def test_every_step_starts_with_the_same_seeds_whatever_ran_before_it(project: Callable[..., Any]) -> None:
    source = "import random\nfrom windlass import step\n\n" + "".join(
        f"@step\ndef s{n}(seed: int):\n    import numpy\n    return [random.random(), numpy.random.rand(), {n} * 0]\n\n"
        for n in range(4)
    )
    made = project(source)
    run = made.run()
    assert len({str(result(made, run, f"s{n}")) for n in range(4)}) == 1


START = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from conftest import Project
from windlass.workspace.databases import open_database
from windlass.workspace.stores import local_store
place = Path(sys.argv[1])
try:
    Project(place / "project", open_database(place / "windlass.db"), local_store(place / "objects")).run()
except KeyboardInterrupt:
    sys.exit(130)
"""

SLOW = """
import time
from pathlib import Path
from windlass import step

@step
def first(rows: Path):
    Path(MARKER).touch()
    time.sleep(600)
"""


def started(tmp_path: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", START, str(tmp_path), str(Path(__file__).parent)], start_new_session=True
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_runner_ends_its_steps(
    project: Callable[..., Any], tmp_path: Path, how: signal.Signals, processes: Callable[[str], list[int]]
) -> None:
    marker = tmp_path / "marker"
    made = project(SLOW.replace("MARKER", repr(str(marker))))
    process = started(tmp_path)
    wait_for(marker)
    os.kill(process.pid, how)
    assert process.wait(20) == (130 if how == signal.SIGINT else -signal.SIGKILL)
    deadline = time.monotonic() + 10
    while processes(str(tmp_path / "project")) or processes("windlass.pipelines.launcher"):
        assert time.monotonic() < deadline, "a step outlived its runner"
        time.sleep(0.02)
    with made.db.read() as tx:
        run = runs.find(tx)
    if how == signal.SIGINT:
        assert (run.status.value, run.steps[0].error) == ("failed", "interrupted")


STEPS = """
import time
from pathlib import Path
import pyarrow as pa
from windlass import step

@step
def first(rows: Path):
    return pa.table({"n": list(range(5000))})

@step(grid={"n": [1, 2, 3, 4]})
def middle(first: pa.Table, n: int):
    time.sleep(0.01)
    return {"table": first.slice(n), "sum": pa.table({"s": [n]})}

@step
def last(middle: dict):
    return {label: each["table"].num_rows for label, each in middle.items()}
"""


@pytest.mark.sqlite_only
def test_killed_at_any_moment_the_next_run_completes_and_takes_nothing_half_done(
    project: Callable[..., Any], tmp_path: Path
) -> None:
    rng = random.Random(11)
    made = project(STEPS)
    for kill in range(12):
        made.write("pipeline.py", f"{STEPS}\n# {kill}\nKILL = {kill}\nprint(KILL)\n")
        process = started(tmp_path)
        time.sleep(0.4 + rng.random() * 0.5)
        process.kill()
        process.wait()
        run = made.run()
        assert set(states(run).values()) <= {"done", "cached"}
        assert result(made, run, "last") == {f"n={n}": 5000 - n for n in (1, 2, 3, 4)}


OWN = """
import sys
from importlib.metadata import distributions
from windlass import step

@step
def usual(seed: int):
    return sorted(each.metadata["Name"] for each in distributions())

@step(environment="requirements-small.txt")
def own(seed: int):
    return sorted(each.metadata["Name"] for each in distributions())
"""


@pytest.mark.sqlite_only
def test_a_step_in_its_own_environment_sees_nothing_else(project: Callable[..., Any]) -> None:
    made = project(OWN)
    made.write("requirements-small.txt", "click\n")
    first = made.run()
    assert result(made, first, "own") == ["click"]
    assert "pytest" in result(made, first, "usual")
    assert states(made.run()) == {"usual": "cached", "own": "cached"}
    made.write("requirements-small.txt", "click\nmsgspec\n")
    assert states(made.run()) == {"usual": "cached", "own": "done"}
    made.write("pipeline.py", OWN.replace("requirements-small.txt", "../outside.txt"))
    with pytest.raises(NotFound, match="no file"):
        made.run()
