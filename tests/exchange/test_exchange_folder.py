"""Importing from a folder as MLflow's file store lays it out, and from folders that somebody made with intent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from exchange_contents import MODEL, RUN, project

from windlass.domain.errors import Corrupt
from windlass.domain.ports import Database
from windlass.registry import plainyaml
from windlass.registry.tracking import artifacts, histories, runs
from windlass.registry.tracking.runs import run_root
from windlass.workspace.operations.exchange import Exchanged, ImportMlflow, import_mlflow
from windlass.workspace.workspace import Workspace

EXPERIMENT = "970639476979814527"
ONE, TWO = RUN.format(0xA1), RUN.format(0xA2)


def write(path: Path, content: str | bytes | dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, dict):
        content = yaml.safe_dump(content, allow_unicode=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def mlruns(tmp_path: Path) -> Path:
    """Written as MLflow 2.22 and 3.17 were seen to write it."""
    root = tmp_path / "mlruns"
    write(root / "0" / "meta.yaml", {
        "artifact_location": f"file://{root}/0", "creation_time": 5, "experiment_id": "0", "last_update_time": 6,
        "lifecycle_stage": "active", "name": "Default",
    })  # fmt: skip
    home = root / EXPERIMENT
    write(home / "meta.yaml", {
        "artifact_location": f"file://{home}", "creation_time": 7, "experiment_id": EXPERIMENT,
        "last_update_time": 8, "lifecycle_stage": "active", "name": "real", "workspace": "default",
    })  # fmt: skip
    write(home / "tags" / "team", "x/y")
    for run_id, stage in ((ONE, "active"), (TWO, "deleted")):
        write_run(home, run_id, stage=stage)
    one = home / ONE
    write(one / "params" / "deep" / "key", "v")
    write(one / "params" / "empty", "")
    write(one / "tags" / "mlflow.runName", "run one")
    write(one / "tags" / "note", "é\nline")
    write(one / "metrics" / "loss", "10 1.0 0\n11 nan 1\n11 nan 1\n12 inf 2\n9 -inf\n")
    write(one / "metrics" / "deep" / "er", "10 -1.5 -2\n")
    write(one / "metrics" / "on data", "10 0.9 1 frame 8f3a33c6\n")
    write(one / "artifacts" / "notes" / "a b.txt", "hello")
    write(one / "artifacts" / "model" / "MLmodel", "flavors:\n  python_function: {}\n")
    write(home / "datasets" / "d5" / "meta.yaml", {
        "digest": "8f3a33c6", "name": "frame", "profile": '{"n": 4}', "schema": "{}", "source": "{}",
        "source_type": "code",
    })  # fmt: skip
    write(one / "inputs" / "i1" / "meta.yaml", {
        "destination_id": "d5", "destination_type": "RUN", "source_id": "d5", "source_type": "DATASET",
        "tags": {"mlflow.data.context": "training"},
    })  # fmt: skip
    write(one / "outputs" / MODEL.format(5) / "meta.yaml", {
        "destination_id": MODEL.format(5), "destination_type": "MODEL_OUTPUT", "source_id": MODEL.format(5),
        "source_type": "RUN_OUTPUT", "step": 3, "tags": {},
    })  # fmt: skip
    model = home / "models" / MODEL.format(5)
    write(model / "meta.yaml", {
        "artifact_location": f"file:///elsewhere/mlruns/{EXPERIMENT}/models/{MODEL.format(5)}/artifacts",
        "creation_timestamp": 20, "experiment_id": EXPERIMENT, "last_updated_timestamp": 21,
        "lifecycle_stage": "active", "model_id": MODEL.format(5), "model_type": "tree", "name": "forest",
        "source_run_id": ONE, "status": 2, "status_message": None,
    })  # fmt: skip
    write(model / "metrics" / "acc", f"10 0.9 1 {ONE} frame 8f3a33c6\n")
    write(model / "params" / "p", "1")
    write(model / "tags" / "mt", "1")
    write(model / "artifacts" / "MLmodel", "flavors:\n  python_function: {}\n")
    gone = root / ".trash" / "55"
    write(gone / "meta.yaml", {"experiment_id": "55", "lifecycle_stage": "deleted", "name": "gone"})
    registered = root / "models" / "clf"
    write(registered / "meta.yaml", {
        "creation_timestamp": 30, "description": "what it is", "last_updated_timestamp": 31, "name": "clf",
    })  # fmt: skip
    write(registered / "tags" / "k", "v")
    write(registered / "aliases" / "champion", "4")
    for number, source, more in (
        (2, f"file:///elsewhere/{EXPERIMENT}/{ONE}/artifacts/model", {"run_id": ONE, "current_stage": "Staging"}),
        (4, f"models:/{MODEL.format(5)}", {"model_id": MODEL.format(5), "run_id": ONE, "description": "second"}),
    ):
        write(registered / f"version-{number}" / "meta.yaml", {
            "creation_timestamp": 40 + number, "current_stage": "None", "name": "clf", "source": source,
            "status": "READY", "version": number, **more,
        })  # fmt: skip
    write(registered / "version-4" / "tags" / "vk", "vv")
    return root


def write_run(experiment: Path, run_id: str, *, stage: str = "active", **more: Any) -> Path:
    write(experiment / run_id / "meta.yaml", {
        "artifact_uri": f"file:///once/there/{experiment.name}/{run_id}/artifacts", "end_time": 99, "entry_point_name":
        "", "experiment_id": experiment.name, "lifecycle_stage": stage, "run_id": run_id, "run_name": "run one",
        "run_uuid": run_id, "source_name": "", "source_type": 4, "source_version": "", "start_time": 9, "status": 3,
        "tags": [], "user_id": "bob", **more,
    })  # fmt: skip
    return experiment / run_id


@pytest.fixture
def here(tmp_path: Path, database: Database) -> Workspace:
    found = project(tmp_path / "here")
    found.database = database
    return found


def imported(ws: Workspace, folder: Path, **how: object) -> Exchanged:
    return import_mlflow(ws, ImportMlflow(uri=str(folder), **how))  # type: ignore[arg-type]


def test_everything_in_a_folder_comes(here: Workspace, mlruns: Path) -> None:
    done = imported(here, mlruns)
    assert done.problems == ()
    assert (done.experiments, done.runs, done.logged_models, done.versions) == (3, 2, 1, 2)
    assert [each.what[:9] for each in done.notes] == ["is 1 here", "is 2 here"]
    with here.database.read() as tx:
        run = runs.find_run(tx, ONE)
        assert (run.name, run.user, run.status, run.started_at, run.ended_at) == ("run one", "bob", "FINISHED", 9, 99)
        assert run.params == {"deep/key": "v", "empty": ""}
        assert run.tags == {"mlflow.runName": "run one", "note": "é\nline"}
        assert run.model_outputs == ((MODEL.format(5), 3),)
        assert run.datasets[0].tags == {"mlflow.data.context": "training"}
        loss = [(nan, value, step, at) for value, nan, step, at in histories.history(tx, ONE, "loss")]
        assert loss == [(0, float("-inf"), 0, 9), (0, 1.0, 0, 10), (1, 0.0, 1, 11), (0, float("inf"), 2, 12)]
        assert histories.history(tx, ONE, "on data") == [(0.9, 0, 1, 10)]
        assert runs.find_run(tx, TWO).stage == "deleted"
    assert imported(here, f"file://{mlruns}", verify=True).differences == ()  # type: ignore[arg-type]


def test_points_that_come_later_are_taken_up(here: Workspace, mlruns: Path) -> None:
    imported(here, mlruns)
    with (mlruns / EXPERIMENT / ONE / "metrics" / "loss").open("a") as file:
        file.write("20 0.5 9\n")
    write(mlruns / EXPERIMENT / ONE / "artifacts" / "new.txt", "new")
    done = imported(here, mlruns)
    assert (done.runs, done.unchanged) == (1, 1)
    assert imported(here, mlruns, verify=True).differences == ()


def test_a_registered_versions_files_never_change(here: Workspace, mlruns: Path) -> None:
    imported(here, mlruns)
    write(mlruns / EXPERIMENT / ONE / "artifacts" / "model" / "MLmodel", "tampered: with\n")
    done = imported(here, mlruns, again=True)
    assert "never change" in done.problems[0].what
    found = imported(here, mlruns, verify=True)
    assert [each.what for each in found.differences] == ["file 'model/MLmodel'"]


def test_links_and_pipes_are_not_read(here: Workspace, mlruns: Path, tmp_path: Path) -> None:
    write(tmp_path / "secret", "s3cret")
    one = mlruns / EXPERIMENT / ONE
    (one / "artifacts" / "link").symlink_to(tmp_path / "secret")
    (one / "artifacts" / "folder").symlink_to(tmp_path)
    (one / "params" / "stolen").symlink_to(tmp_path / "secret")
    (one / "tags" / "up").symlink_to("/etc")
    os.mkfifo(one / "artifacts" / "pipe")
    (mlruns / "66").symlink_to(mlruns / EXPERIMENT)
    (mlruns / EXPERIMENT / RUN.format(0xB1)).symlink_to(one)
    done = imported(here, mlruns)
    assert len([each for each in done.problems if "not followed" in each.what or "no file" in each.what]) == 3
    with here.database.read() as tx:
        run = runs.find_run(tx, ONE)
        assert "stolen" not in run.params
        assert "s3cret" not in str(run)
        kept = {each.path for each in artifacts.beneath(tx, run_root(run.experiment_id, ONE))}
    assert kept == {"notes/a b.txt", "model/MLmodel"}


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    "content",
    [
        BOMB, "!!python/object/apply:os.system ['touch /tmp/x']", "- a list", "just text", "", "a: [", "{" * 100_000,
        "[" * 100_000, "a: " + "[" * 50 + "]" * 50, b"\xff\xfe\x00", "a: !!int x", "? [a, b]\n: c", "a: 1" * 400_000,
        "run_id: {a: b}\n", "run_id: other\n", "a: 2024-13-45\n", "&a [*a]",
    ],
)  # fmt: skip
def test_hostile_yaml_spoils_its_own_run_and_no_other(here: Workspace, mlruns: Path, content: str | bytes) -> None:
    bad = RUN.format(0xB2)
    write(mlruns / EXPERIMENT / bad / "meta.yaml", content)
    done = imported(here, mlruns)
    assert [each.subject for each in done.problems] == [f"run {bad}"]
    assert done.runs == 2


@pytest.mark.parametrize(
    "lines", ["", "1", "1 2 3 4", "x 1 0", "1 x 0", "1 1 x", "1 1 1.5", "1 " + "9" * 10_000, "\xff".encode("latin1")]
)
def test_malformed_metrics_spoil_their_own_run_and_no_other(here: Workspace, mlruns: Path, lines: str | bytes) -> None:
    bad = write_run(mlruns / EXPERIMENT, RUN.format(0xB3))
    write(bad / "metrics" / "m", lines)
    done = imported(here, mlruns)
    assert [each.subject for each in done.problems] == [f"run {bad.name}"]
    assert done.runs == 2


def test_what_is_beyond_the_limits_spoils_its_own_run(here: Workspace, mlruns: Path) -> None:
    for number, (kind, name, content) in enumerate([
        ("params", "long", "x" * 7000), ("tags", "nul", "a\0b"), ("params", "huge", "x" * (2 << 20)),
        ("metrics", "early", "-5 1.0 0\n"), ("metrics", "far", f"{2**64} 1.0 0\n"), ("params", "what?", "v"),
    ]):  # fmt: skip
        write(write_run(mlruns / EXPERIMENT, RUN.format(0xC0 + number)) / kind / name, content)
    write_run(mlruns / EXPERIMENT, RUN.format(0xCF), status=77, start_time=2**70)
    write_run(mlruns / EXPERIMENT, "not-a-run-id")
    done = imported(here, mlruns)
    assert done.runs == 3
    assert len({each.subject for each in done.problems}) == 7
    assert [each.what for each in done.notes if "cut" in each.what] == ["is cut from 7000 to 6000 characters"]


def test_files_that_lie_elsewhere_are_told_of(here: Workspace, mlruns: Path) -> None:
    write_run(mlruns / EXPERIMENT, RUN.format(0xD1), artifact_uri="s3://bucket/x/artifacts")
    done = imported(here, mlruns)
    assert "s3://bucket/x" in done.problems[0].what
    with here.database.read() as tx:
        assert runs.find_run(tx, RUN.format(0xD1)).status == "FINISHED"


def test_yaml_is_read_as_plain_values() -> None:
    assert plainyaml.loaded(b"a: 1\nb: {c: [x]}\n", "f") == {"a": 1, "b": {"c": ["x"]}}
    with pytest.raises(Corrupt, match="alias"):
        plainyaml.loaded(BOMB.encode(), "f")
