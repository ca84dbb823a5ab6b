"""Importing from a server of our own: everything comes, once, and is what it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from exchange_contents import MODEL, RUN, fill, project, put

from windlass.domain.ports import Database
from windlass.registry import registered
from windlass.registry.tracking import artifacts, experiments, recording, runs
from windlass.registry.tracking.runs import run_root
from windlass.server.tracking import tracking_server
from windlass.workspace.operations.exchange import Exchanged, ImportMlflow, import_mlflow
from windlass.workspace.operations.storage import CollectGarbage, gc
from windlass.workspace.workspace import Workspace


@pytest.fixture
def there(tmp_path: Path) -> Workspace:
    found = project(tmp_path / "there")
    fill(found)
    return found


@pytest.fixture
def url(there: Workspace) -> Iterator[str]:
    with tracking_server(there) as found:
        yield found


@pytest.fixture
def here(tmp_path: Path, database: Database) -> Workspace:
    found = project(tmp_path / "here")
    found.database = database
    return found


def imported(ws: Workspace, url: str, **how: object) -> Exchanged:
    return import_mlflow(ws, ImportMlflow(uri=url, **how))  # type: ignore[arg-type]


def test_everything_comes_and_is_the_same(here: Workspace, url: str) -> None:
    done = imported(here, url)
    assert (done.problems, done.notes) == ((), ())
    assert (done.experiments, done.runs, done.logged_models, done.registered_models, done.versions) == (3, 5, 1, 2, 3)
    checked = imported(here, url, verify=True)
    assert (checked.differences, checked.problems) == ((), ())
    assert checked.runs == 5
    with here.database.read() as tx:
        assert runs.find_run(tx, RUN.format(2)).stage == "deleted"
        assert experiments.find_experiment(tx, experiments.experiment_id(tx, "old") or "").stage == "deleted"


def test_again_copies_only_what_is_new(here: Workspace, there: Workspace, url: str) -> None:
    imported(here, url)
    with there.database.write() as tx:
        recording.log(tx, RUN.format(1), metrics=[("loss", 0.1, 77, 5)])
    done = imported(here, url)
    # The changed one, and those that have not ended.
    assert (done.runs, done.unchanged, done.versions, done.problems) == (3, 2, 0, ())
    assert imported(here, url, verify=True).different == 0
    with here.database.read() as tx:
        assert tx.row("SELECT COUNT(*) AS n FROM runs") == {"n": 5}
        assert tx.row("SELECT COUNT(*) AS n FROM model_versions") == {"n": 3}
        assert tx.row("SELECT COUNT(*) AS n FROM run_models") == {"n": 2}


def test_differences_are_found_one_by_one(here: Workspace, there: Workspace, url: str) -> None:
    imported(here, url)
    with here.database.write() as tx:
        number = runs.number_of(tx, RUN.format(1))
        tx.execute("UPDATE run_params SET value = '9' WHERE run = ? AND name = 'depth'", (number,))
        tx.execute("DELETE FROM run_metrics WHERE run = ? AND name = 'loss' AND step = 1", (number,))
        tx.execute("DELETE FROM run_tags WHERE run = ? AND name LIKE 'mlflow.note%'", (number,))
        root = run_root(runs.info(tx, RUN.format(1))["experiment"], RUN.format(1))
        artifacts.remove_artifacts(tx, root, "empty")
        tx.execute("DELETE FROM runs WHERE run_id = ?", (RUN.format(3),))
        tx.execute("UPDATE logged_models SET model_type = 'x' WHERE model_id = ?", (MODEL.format(1),))
        tx.execute("DELETE FROM model_aliases WHERE alias = 'champion'")
    put(here, root, "model/data/weights.bin", b"other")
    found = imported(here, url, verify=True)
    told = {(each.subject, each.what) for each in found.differences}
    one = f"run {RUN.format(1)}"
    assert told == {
        (one, "param 'depth'"), (one, "metric 'loss'"), (one, "tag 'mlflow.note.content'"), (one, "file 'empty'"),
        (one, "file 'model/data/weights.bin'"), (f"run {RUN.format(3)}", ""),
        (f"logged model {MODEL.format(1)}", "model type"), ("registered model 'employment'", "alias 'champion'"),
    }  # fmt: skip


def test_dry_run_writes_nothing(here: Workspace, url: str) -> None:
    done = imported(here, url, dry_run=True)
    assert (done.did, done.experiments, done.runs, done.versions) == ("would copy", 3, 5, 3)
    with here.database.read() as tx:
        assert tx.row("SELECT COUNT(*) AS n FROM runs") == {"n": 0}
        assert tx.row("SELECT COUNT(*) AS n FROM imports") == {"n": 0}


def test_a_name_that_is_taken_is_left_alone(here: Workspace, url: str) -> None:
    with here.database.write() as tx:
        mine = experiments.create_experiment(tx, name="churn", at=1)
        runs.create_run(tx, run_id=RUN.format(5000), experiment_id=mine, name="mine", user="", at=1)
    done = imported(here, url)
    assert done.names == {"churn": "churn (imported)"}
    assert imported(here, url).names == {"churn": "churn (imported)"}
    assert imported(here, url, verify=True).different == 0
    with here.database.read() as tx:
        assert tx.row("SELECT COUNT(*) AS n FROM runs WHERE experiment = ?", (int(mine),)) == {"n": 1}


def test_a_prefix_goes_before_every_name(here: Workspace, url: str) -> None:
    done = imported(here, url, into="team-a ")
    assert done.names["churn"] == "team-a churn"
    with here.database.read() as tx:
        assert tx.row("SELECT name FROM registered_models WHERE name = 'team-a employment'")


def test_one_experiment_comes_alone(here: Workspace, url: str) -> None:
    done = imported(here, url, experiments=("Default",))
    assert (done.experiments, done.runs, done.registered_models) == (1, 1, 0)


def test_a_run_that_is_here_and_was_not_imported_is_left_alone(here: Workspace, url: str) -> None:
    with here.database.write() as tx:
        runs.create_run(tx, run_id=RUN.format(1), experiment_id="0", name="mine", user="", at=1)
    done = imported(here, url)
    assert any(RUN.format(1) in each.subject for each in done.problems)
    with here.database.read() as tx:
        assert runs.find_run(tx, RUN.format(1)).name == "mine"


def test_what_policy_protects_is_not_moved_by_an_import(
    tmp_path: Path, database: Database, there: Workspace, url: str
) -> None:
    least = '[project]\nname = "p"\n[model]\nname = "m"\n[endpoint]\nname = "e"\n'
    here = project(tmp_path / "here", config=f'{least}[registry]\nprotected_aliases = ["champion"]\n')
    here.database = database
    with there.database.write() as tx:
        tx.execute("UPDATE model_versions SET stage = 'Production' WHERE model = 'employment' AND number = 1")
    done = imported(here, url)
    assert done.problems == ()
    assert {each.subject for each in done.notes} == {
        "alias 'champion' of 'employment'", "version 1 of 'employment' in stage Production"
    }  # fmt: skip
    assert all(each.what.startswith("not moved: ") for each in done.notes)
    with here.database.read() as tx:
        assert tx.tuples("SELECT alias FROM model_aliases") == [("challenger",)]
        assert tx.tuples("SELECT stage FROM model_versions WHERE model = 'employment' ORDER BY number") == [
            ("None",), ("Staging",)
        ]  # fmt: skip


def test_a_deleted_experiment_that_comes_again_stays_deleted(here: Workspace, there: Workspace, url: str) -> None:
    imported(here, url)
    with there.database.write() as tx:
        gone = experiments.experiment_id(tx, "old") or ""
        tx.execute("UPDATE runs SET status = 'FINISHED', revision = revision + 1 WHERE run_id = ?", (RUN.format(901),))
    assert imported(here, url).problems == ()
    assert imported(here, url, verify=True).different == 0
    with here.database.read() as tx:
        assert gone
        assert runs.find_run(tx, RUN.format(901)).stage == "deleted"
        assert runs.find_run(tx, RUN.format(901)).status == "FINISHED"


def test_nothing_of_an_import_is_collected_as_garbage(here: Workspace, url: str) -> None:
    imported(here, url)
    gc(here, CollectGarbage(grace_seconds=0))
    gc(here, CollectGarbage(grace_seconds=0))
    assert imported(here, url, verify=True).different == 0
    with here.database.read() as tx:
        for (digest,) in tx.tuples("SELECT digest FROM artifacts"):
            here.objects.get(digest)


def test_what_was_deleted_here_for_good_does_not_come_back_by_itself(here: Workspace, url: str) -> None:
    imported(here, url)
    with here.database.write() as tx:
        registered.delete_version(tx, "employment", 2, actor="ada", at=1)
        registered.delete_version(tx, "copy of it", 1, actor="ada", at=1)
        tx.execute("DELETE FROM model_version_tags WHERE model = 'copy of it'")
        for table, column, value in (
            ("runs", "run_id", RUN.format(1)), ("runs", "run_id", RUN.format(900)),
            ("logged_models", "model_id", MODEL.format(1)), ("experiments", "name", "old"),
        ):  # fmt: skip
            tx.execute(f"DELETE FROM {table} WHERE {column} = ?", (value,))
    done = imported(here, url)
    assert done.problems == ()
    assert {each.subject for each in done.notes} == {
        f"run {RUN.format(1)}", f"run {RUN.format(900)}", "version 2 of 'employment'", "version 1 of 'copy of it'",
    }  # fmt: skip
    found = {each.subject for each in imported(here, url, verify=True).differences}
    assert f"run {RUN.format(1)}" in found
    done = imported(here, url, again=True)
    assert done.problems == ()
    found = {each.subject for each in imported(here, url, verify=True).differences}
    assert found == {
        "version 2 of 'employment'", "version 1 of 'copy of it'", "registered model 'employment'"
    }  # fmt: skip
