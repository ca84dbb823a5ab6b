"""Exporting to a server of our own, and coming back: everything arrives, once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from exchange_contents import MODEL, RUN, fill, project
from faulty import between

from windlass.domain.errors import Denied, Failure, Unavailable
from windlass.domain.ports import Database
from windlass.exchange import rest
from windlass.registry.tracking import artifacts, experiments, recording, runs
from windlass.server.tracking import tracking_server
from windlass.workspace.operations.exchange import (
    Exchanged,
    ExportMlflow,
    ImportMlflow,
    export_mlflow,
    import_mlflow,
)
from windlass.workspace.workspace import Workspace

CONFIG = '[project]\nname = "mine"\n[model]\nname = "m"\n[endpoint]\nname = "e"\n'


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def here(tmp_path: Path, database: Database) -> Workspace:
    found = project(tmp_path / "here")
    found.database = database
    fill(found)
    return found


@pytest.fixture
def there(tmp_path: Path) -> Workspace:
    return project(tmp_path / "there")


@pytest.fixture
def url(there: Workspace) -> Iterator[str]:
    with tracking_server(there) as found:
        yield found


def exported(ws: Workspace, url: str, **how: object) -> Exchanged:
    return export_mlflow(ws, ExportMlflow(url=url, **how))  # type: ignore[arg-type]


def counted(ws: Workspace) -> dict[str, int]:
    tables = (
        "experiments", "runs", "run_params", "run_metrics", "run_datasets", "run_models", "logged_models",
        "logged_model_metrics", "model_versions", "model_aliases",
    )  # fmt: skip
    with ws.database.read() as tx:
        return {table: tx.tuples(f"SELECT COUNT(*) FROM {table}")[0][0] for table in tables}


def test_everything_arrives_and_is_the_same(here: Workspace, there: Workspace, url: str) -> None:
    done = exported(here, url)
    assert (done.problems, done.notes) == ((), ())
    assert (done.experiments, done.runs, done.logged_models, done.versions) == (3, 5, 1, 3)
    checked = exported(here, url, verify=True)
    assert (checked.differences, checked.problems) == ((), ())
    assert counted(there) == counted(here)


def test_again_sends_only_what_is_new(here: Workspace, there: Workspace, url: str) -> None:
    exported(here, url)
    with here.database.write() as tx:
        recording.log(tx, RUN.format(1), metrics=[("loss", 0.1, 77, 5)], tags={"new": "tag"})
    done = exported(here, url)
    assert (done.runs, done.unchanged, done.points, done.versions, done.problems) == (1, 4, 1, 0, ())
    assert exported(here, url, verify=True).different == 0
    assert counted(there) == counted(here)


def test_there_and_back_again(here: Workspace, there: Workspace, url: str, tmp_path: Path) -> None:
    exported(here, url)
    back = project(tmp_path / "back")
    done = import_mlflow(back, ImportMlflow(uri=url))
    assert (done.problems, done.notes) == ((), ())
    assert counted(back) == counted(here)
    with here.database.read() as one, back.database.read() as two:
        there_by_id = {
            run.tags["windlass.run_id"]: run
            for run in runs.read(two, [number for (number,) in two.tuples("SELECT id FROM runs")])
        }
        for run in runs.read(one, [number for (number,) in one.tuples("SELECT id FROM runs")]):
            twin = there_by_id[run.run_id]
            last = [{k: (repr(m.value + 0.0), m.step, m.at) for k, m in of.metrics.items()} for of in (run, twin)]
            assert last[0] == last[1]
            assert twin.params == run.params
            assert (twin.name, twin.status, twin.stage) == (run.name, run.status, run.stage)
            assert (twin.started_at, twin.ended_at) == (run.started_at, run.ended_at)
            assert twin.datasets == run.datasets
            files = [
                [(each.path, each.digest) for each in artifacts.beneath(tx, runs.run_root(of.experiment_id, of.run_id))]
                for tx, of in ((one, run), (two, twin))
            ]
            assert files[0] == files[1]
        assert not set(there_by_id) & {run.run_id for run in there_by_id.values()}


def test_differences_are_found_one_by_one(here: Workspace, there: Workspace, url: str) -> None:
    exported(here, url)
    with there.database.write() as tx:
        row = tx.row("SELECT run FROM run_tags WHERE name = 'windlass.run_id' AND value = ?", (RUN.format(1),))
        assert row
        tx.execute("UPDATE run_params SET value = '9' WHERE run = ? AND name = 'depth'", (row["run"],))
        tx.execute("DELETE FROM run_metrics WHERE run = ? AND name = 'loss' AND step = 1", (row["run"],))
        tx.execute("DELETE FROM artifacts WHERE path = 'empty'")
        tx.execute("UPDATE logged_models SET model_type = 'x'")
        tx.execute("DELETE FROM model_aliases WHERE alias = 'champion'")
    told = {(each.subject, each.what) for each in exported(here, url, verify=True).differences}
    one = f"run {RUN.format(1)}"
    assert told == {
        (one, "param 'depth'"), (one, "metric 'loss'"), (one, "file 'empty'"),
        (f"logged model {MODEL.format(1)}", "model type"), ("registered model 'employment'", "alias 'champion'"),
    }  # fmt: skip


def test_names_that_are_taken_there_are_left_alone(here: Workspace, there: Workspace, url: str) -> None:
    with there.database.write() as tx:
        mine = experiments.create_experiment(tx, name="churn", at=1)
        runs.create_run(tx, run_id=RUN.format(5000), experiment_id=mine, name="mine", user="", at=1)
    for _ in range(2):
        done = exported(here, url)
        assert done.names == {"churn": "churn (exported)"}
    assert exported(here, url, verify=True).different == 0
    with there.database.read() as tx:
        assert tx.row("SELECT COUNT(*) AS n FROM runs WHERE experiment = ?", (int(mine),)) == {"n": 1}


def test_one_experiment_goes_alone(here: Workspace, there: Workspace, url: str) -> None:
    done = exported(here, url, experiments=("Default",))
    assert (done.experiments, done.runs, done.registered_models) == (1, 1, 0)
    assert exported(here, url, experiments=("Default",), verify=True).different == 0


@pytest.mark.sqlite_only
@pytest.mark.parametrize("fault", ["503", "429"])
def test_a_server_that_is_busy_now_and_then_is_asked_again(
    here: Workspace, there: Workspace, url: str, fault: str
) -> None:
    with between(url, lambda _m, _p, seen: fault if seen % 3 == 1 else "") as spoilt:
        assert exported(here, spoilt).problems == ()
    assert exported(here, url, verify=True).different == 0
    assert counted(there) == counted(here)


@pytest.mark.sqlite_only
@pytest.mark.parametrize("fault", ["drop", "late", "cut", "500"])
def test_broken_off_anywhere_it_goes_on_and_nothing_is_doubled(
    here: Workspace, there: Workspace, url: str, fault: str
) -> None:
    broken = 0

    def spoil(_method: str, _path: str, seen: int) -> str:
        return fault if seen % 7 == 6 else ""

    with between(url, spoil) as spoilt:
        for _ in range(40):
            try:
                done = exported(here, spoilt)
            except Unavailable:
                broken += 1
            else:
                break
    assert broken
    assert done.problems == ()
    assert exported(here, url, verify=True).different == 0
    assert counted(there) == counted(here)


def test_only_a_server_is_exported_to(here: Workspace, tmp_path: Path, url: str) -> None:
    with pytest.raises(Failure, match="URL"):
        exported(here, str(tmp_path))
    here.remote = True
    with pytest.raises(Denied):
        exported(here, url)


@pytest.mark.sqlite_only
@pytest.mark.parametrize("at", [4, 15, 27, 44])
def test_killed_at_any_request_it_goes_on_and_nothing_is_lost_or_doubled(
    tmp_path: Path, there: Workspace, url: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WINDLASS_DATABASE", raising=False)
    here = project(tmp_path / "mine", config=CONFIG)
    fill(here)
    running: list[subprocess.Popen[bytes]] = []

    def spoil(_method: str, _path: str, seen: int) -> str:
        if seen == at and running:
            running[0].kill()
            running[0].wait()
        return ""

    with between(url, spoil) as spoilt:
        command = [sys.executable, "-m", "windlass", "--project", str(here.layout.root), "export", "mlflow", spoilt]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
        _, told = running[0].communicate()
        assert running[0].returncode == -signal.SIGKILL, told
        assert exported(here, spoilt).problems == ()
        assert exported(here, spoilt, verify=True).different == 0
    assert counted(there) == counted(here)


@pytest.mark.sqlite_only
def test_to_a_server_before_3_logged_models_go_as_files_of_their_runs(
    here: Workspace, there: Workspace, url: str
) -> None:
    def older(_method: str, path: str, _seen: int) -> str:
        return "404" if "/logged-models" in path or path.endswith("/runs/outputs") else ""

    with between(url, older) as old:
        for _ in range(2):
            done = exported(here, old)
            assert done.problems == ()
            assert {each.subject for each in done.notes} >= {f"logged model {MODEL.format(1)}"}
    with there.database.read() as tx:
        assert tx.tuples("SELECT COUNT(*) FROM logged_models") == [(0,)]
        assert {path for (path,) in tx.tuples("SELECT path FROM artifacts")} >= {"forest/MLmodel", "forest/code/m.py"}
        assert tx.tuples("SELECT model, number FROM model_versions ORDER BY model, number") == [
            ("copy of it", 1), ("employment", 1), ("employment", 2)
        ]  # fmt: skip
