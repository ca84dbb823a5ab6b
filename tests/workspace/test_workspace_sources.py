"""Datasets from anywhere: what a request or windlass.toml names becomes a snapshot that says what it was made from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from windlass.capture import folders, trees
from windlass.capture.data import Snapshot
from windlass.cli import root as cli
from windlass.domain.errors import Denied, Failure, Invalid, NotFound, Unavailable
from windlass.workspace.layout import Layout
from windlass.workspace.operations.data import AddData, DataLog, SplitData, TransformData, add, log, split, transform
from windlass.workspace.scratch import scratch
from windlass.workspace.workspace import Workspace

CONFIG = """
[project]
name = "demo"
[model]
name = "demo"
[endpoint]
name = "demo"
[data.files]
path = "data"
target = "label"
[data.grown]
sql = "SELECT * FROM 'data/people.csv' WHERE age >= $least"
parameters = { least = 18 }
target = "label"
[data.both]
sql = "SELECT p.age, v.user FROM p JOIN visits v ON v.user = p.user"
attach = { p = "data/people.csv", visits = "data/visits.csv" }
[data.view]
events = { path = "data/visits.csv", at = "at" }
[[data.view.features]]
path = "data/people.csv"
keys = ["user"]
at = "at"
columns = ["age"]
[data.bucket]
url = "s3://bucket/prefix"
[data.feast]
feast = { repository = "features", events = "data/visits.csv", features = ["people:age"] }
[data.derived]
target = "label"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    (place / "data").mkdir(parents=True)
    (place / "windlass.toml").write_text(CONFIG)
    people = "".join(f"{n},{n % 40},2020-01-01,{n % 2}\n" for n in range(400))
    (place / "data/people.csv").write_text("user,age,at,label\n" + people)
    (place / "data/visits.csv").write_text("user,at\n7,2020-01-02\n3,2020-01-02\n7,2019-01-02\n")
    (tmp_path / "outside.csv").write_text("a\n1\n")
    return place


def workspace(project: Path, *, remote: bool = False) -> Workspace:
    return Workspace(Layout(project), actor="ada", now=lambda: 7, remote=remote)


@pytest.fixture
def ws(project: Path) -> Workspace:
    return workspace(project)


def rows(ws: Workspace, snapshot: Snapshot) -> list[dict[str, Any]]:
    (entry,) = trees.manifest(ws.objects, snapshot.tree).entries
    place = ws.layout.root.parent / f"{snapshot.name}-{snapshot.version}"
    folders.checkout(ws.objects, snapshot.tree, place)
    found: list[dict[str, Any]] = pq.read_table(place / entry.path).to_pylist()
    return found


def test_a_query_of_windlass_toml_keeps_its_version_until_its_result_changes(ws: Workspace, project: Path) -> None:
    first = add(ws, AddData(name="grown"))
    assert first.created
    assert (first.snapshot.rows, first.snapshot.target) == (220, "label")
    assert first.snapshot.source["kind"] == "sql"
    assert first.snapshot.source["parameters"] == {"least": 18}
    assert first.snapshot.source["inputs"].keys() == {"data/people.csv"}
    people = project / "data/people.csv"
    people.write_text(people.read_text() + "999,1,2020-01-01,0\n")
    assert not add(ws, AddData(name="grown")).created
    people.write_text(people.read_text() + "999,99,2020-01-01,0\n")
    assert add(ws, AddData(name="grown")).snapshot.rows == 221
    assert add(ws, AddData(name="grown", parameters={"least": 99})).snapshot.rows == 1
    assert [each.source["parameters"]["least"] for each in log(ws, DataLog(name="grown"))] == [18, 18, 99]
    assert list(ws.layout.scratch.iterdir()) == []


def test_feature_views_and_attached_files_of_windlass_toml(ws: Workspace) -> None:
    view = add(ws, AddData(name="view")).snapshot
    assert [row["age"] for row in rows(ws, view)] == [7, 3, None]
    assert (view.source["kind"], view.source["features"][0]["columns"]) == ("features", ["age"])
    both = add(ws, AddData(name="both")).snapshot
    assert rows(ws, both) == [{"age": 3, "user": 3}, {"age": 7, "user": 7}, {"age": 7, "user": 7}]


def test_a_request_may_name_a_path_or_sql(ws: Workspace, project: Path) -> None:
    assert add(ws, AddData(name="files")).snapshot.source == {}
    assert add(ws, AddData(name="other", path="data/visits.csv")).snapshot.rows == 3
    query = add(ws, AddData(name="q", path="SELECT count(*) n FROM v", attach={"v": "data/visits.csv"})).snapshot
    assert query.source["sources"] == {"v": "data/visits.csv"}
    (project / "q.sql").write_text("SELECT :n::INT n")
    found = add(ws, AddData(name="q", path="q.sql", parameters={"n": 5})).snapshot
    assert (found.version, found.source["query"]) == (2, "SELECT :n::INT n")


def test_a_remote_request_reads_nothing_outside_of_the_project(project: Path) -> None:
    ws = workspace(project, remote=True)
    outside = project.parent / "outside.csv"
    (project.parent / "outside.sql").write_text("SELECT 1 a")
    requests = [
        AddData(name="x", path=f"FROM '{outside}'"),
        AddData(name="x", path="FROM '.windlass/windlass.db'"),
        AddData(name="x", path="../outside.sql"),
        AddData(name="x", path="s3://bucket/prefix"),
        AddData(name="x", path="FROM pg.t", attach={"pg": "postgresql://h/db"}),
        AddData(name="both", attach={"p": str(outside)}),
        AddData(name="x", path="FROM s.t", attach={"s": "sqlite:.windlass/windlass.db"}),
    ]
    for request in requests:
        with pytest.raises(Denied) as caught:
            add(ws, request)
        assert caught.value.hint
    assert add(ws, AddData(name="x", path="FROM 'data/people.csv'")).snapshot.rows == 400
    assert add(ws, AddData(name="grown")).snapshot.rows == 220
    with pytest.raises(Denied):
        transform(ws, TransformData(reference="x", sql="../outside.sql", name="y"))


def test_a_split_is_three_snapshots_derived_from_one(ws: Workspace) -> None:
    parent = add(ws, AddData(name="grown")).snapshot
    into = {"train": 0.8, "validation": 0.1, "test": 0.1}
    made = split(ws, SplitData(reference="grown@1", into=into, seed=7, by="user"))
    assert [each.snapshot.reference for each in made] == ["grown-train@1", "grown-validation@1", "grown-test@1"]
    assert sum(each.snapshot.rows or 0 for each in made) == parent.rows
    assert made[0].snapshot.target == "label"
    assert made[0].snapshot.source == {
        "kind": "split", "of": "grown@1", "tree": parent.tree, "part": "train", "seed": 7,
        "recipe": {"format": 1, "into": [["train", 0.8], ["validation", 0.1], ["test", 0.1]], "by": "user"},
    }  # fmt: skip
    again = split(ws, SplitData(reference="grown", into=into, seed=7, by="user"))
    assert not any(each.created for each in again)
    other = split(ws, SplitData(reference="grown", into=into, seed=8, by="user"))
    assert all(each.created for each in other)
    assert list(ws.layout.scratch.iterdir()) == []


def test_a_transform_is_a_snapshot_derived_from_one(ws: Workspace) -> None:
    add(ws, AddData(name="grown"))
    query = "SELECT age, label FROM grown WHERE age < $most"
    made = transform(ws, TransformData(reference="grown@1", sql=query, name="young", parameters={"most": 20}))
    assert {row["age"] for row in rows(ws, made.snapshot)} == {18, 19}
    assert (made.snapshot.source["kind"], made.snapshot.source["of"]) == ("transform", "grown@1")
    assert made.snapshot.source["query"] == query
    assert made.snapshot.target == "label"
    unlabelled = transform(ws, TransformData(reference="grown@1", sql="SELECT age FROM data", name="ages"))
    assert unlabelled.snapshot.target == ""


def test_bad_requests_are_one_clear_error_and_leave_nothing(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    add(ws, AddData(name="grown"))
    halves = {"a": 0.5, "b": 0.5}
    cases: list[tuple[Any, Any, type[Failure]]] = [
        (add, AddData(name="derived"), NotFound),
        (add, AddData(name="unknown"), NotFound),
        (add, AddData(name="files", parameters={"a": 1}), Invalid),
        (add, AddData(name="x", path="SELECT nonsense"), Invalid),
        (add, AddData(name="x", path="nowhere.sql"), NotFound),
        (add, AddData(name="bucket"), Unavailable),
        (add, AddData(name="feast"), Unavailable),
        (split, SplitData(reference="nope@1", into=halves), NotFound),
        (split, SplitData(reference="grown@1", into={"a": 1.0}), Invalid),
        (split, SplitData(reference="grown@1", into=halves, by="nope"), Invalid),
        (split, SplitData(reference="grown@1", into={"a" * 60: 0.5, "b": 0.5}), Invalid),
        (transform, TransformData(reference="grown@1", sql="FROM 'data/people.csv'", name="x"), Denied),
        (transform, TransformData(reference="grown@1", sql="SELECT 1", name="../x"), Invalid),
    ]
    for operation, request, kind in cases:
        with pytest.raises(kind) as caught:
            operation(ws, request)
        assert caught.value.hint
    assert list(ws.layout.scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('path = "a"\nsql = "SELECT 1"', "one of path and sql"),
        ('path = "a"\nparameters = { a = 1 }', "belong to sql"),
        ('events = { path = "a", at = "b" }', "events and features belong together"),
        ('events = { path = "a" }', "at"),
        ('sql = "SELECT 1"\nsources = {}', "sources"),
    ],
)
def test_a_dataset_that_windlass_toml_says_wrongly_is_one_clear_error(project: Path, table: str, said: str) -> None:
    (project / "windlass.toml").write_text(f"{CONFIG}\n[data.wrong]\n{table}\n")
    with pytest.raises(Invalid) as caught:
        _ = workspace(project).config
    assert said in caught.value.message
    assert "data" in caught.value.message


def test_the_commands(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "data")

    def run(*words: str) -> str:
        done = CliRunner().invoke(cli.root, ["--project", str(project), "data", *words])
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    assert "added grown@1" in run("add", "--name", "grown", "--param", "least=20")
    assert "unchanged: grown@1" in run("add", "--name", "grown", "--param", "least=20")
    assert "added visits@1" in run("add", "visits.csv", "--name", "visits")
    assert "added n@1" in run("add", "SELECT count(*) n FROM v", "--name", "n", "--attach", "v=data/visits.csv")
    Path("q.sql").write_text("SELECT * FROM grown WHERE age = :age")
    assert "added one@1" in run("transform", "grown@1", "--sql", "q.sql", "--name", "one", "--param", "age=30")
    said = run("split", "grown@1", "--into", "train=0.5,test=0.5", "--seed", "3")
    assert "added grown-train@1" in said
    assert "added grown-test@1" in said
    listed = run("log", "one")
    assert "SOURCE" in listed
    assert "transform of grown@1" in listed
    assert "split of grown@1" in run("log", "grown-train")
    assert "sql" in run("log", "grown")
    assert "files" in run("log", "visits")
    assert json.loads(run("log", "one", "--json"))[0]["source"]["kind"] == "transform"
    wrong = CliRunner().invoke(cli.root, ["--project", str(project), "data", "split", "grown", "--into", "train"])
    assert isinstance(wrong.exception, Invalid)


HOLD = """
    import sys, time
    from pathlib import Path
    from windlass.workspace.scratch import scratch
    with scratch(Path(sys.argv[1])) as place:
        (place / "half").write_text("half")
        print(place, flush=True)
        time.sleep(60)
"""


def test_what_a_killed_process_left_is_swept_up_and_what_a_living_one_uses_is_not(tmp_path: Path) -> None:
    home = tmp_path / "scratch"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLD), str(home)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        held = Path(process.stdout.readline().strip())
        with scratch(home) as mine:
            assert held.exists()
            assert mine != held
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with scratch(home) as mine:
        assert not held.exists()
    assert list(home.iterdir()) == []
