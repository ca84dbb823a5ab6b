"""Deletion end to end: deleted, restored, held, purged, and the space really freed."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from windlass.domain.errors import Conflict, Denied, Invalid, NotFound, WrongState
from windlass.domain.ports import Database
from windlass.governance.retention import purging, removing
from windlass.registry import lineage, registered, tracking
from windlass.registry.tracking import experiments, logged_models, runs, uploads
from windlass.registry.tracking.logged_models import model_root
from windlass.workspace import adopting
from windlass.workspace.operations.data import AddData, add
from windlass.workspace.operations.deletion import (
    ListHolds,
    OfHold,
    OfRun,
    OfVersion,
    PurgeDeleted,
    list_holds,
    place_hold,
    purge,
    release_hold,
    remove_run,
    remove_version,
    restore_run,
    restore_version,
)
from windlass.workspace.operations.storage import CheckStore, RemoveData
from windlass.workspace.operations.storage import remove as remove_data
from windlass.workspace.operations.storage import verify as verify_store
from windlass.workspace.packages import laid_out
from windlass.workspace.purging import Purged
from windlass.workspace.verification import verify
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
DAY = 24 * 3600 * 1_000_000
MLMODEL = b"""flavors:
  python_function:
    loader_module: mlflow.sklearn
    python_version: 3.11.0
mlflow_version: 3.0.0
model_uuid: 0123
utc_time_created: '2026-01-01 00:00:00'
"""


class Clock:
    now = 1_800_000_000_000_000

    def __call__(self) -> int:
        self.now += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ws(tmp_path: Path, database: Database, clock: Clock) -> Workspace:
    root = tmp_path / "project"
    root.mkdir()
    (root / "windlass.toml").write_text(CONFIG)
    found = open_workspace(root)
    found.database, found.now, found.actor = database, clock, "ada"
    return found


def run_id(number: int) -> str:
    return f"{number:032x}"


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def log_run(ws: Workspace, number: int, files: dict[str, bytes], experiment: str = "0", points: int = 3) -> str:
    run = run_id(number)
    with ws.objects.batch() as batch:
        kept = {path: (batch.put(data), len(data)) for path, data in files.items()}
        batch.flush()
        with ws.database.write() as tx:
            at = ws.now() // 1000
            tracking.create_run(tx, run_id=run, experiment_id=experiment, name="r", user="ada", at=at)
            metrics = [("loss", 1.0, step, at) for step in range(points)]
            tracking.log(tx, run, params={"a": "1"}, metrics=metrics, tags={"t": "v"})
            root = runs.run_root(experiment, run)
            for path, (name, size) in kept.items():
                tracking.add_artifact(tx, root, path=path, digest=name, size=size)
    return run


def log_model(ws: Workspace, number: int, run: str, files: dict[str, bytes]) -> str:
    model = f"m-{number:032x}"
    with ws.objects.batch() as batch:
        kept = {path: (batch.put(data), len(data)) for path, data in files.items()}
        batch.flush()
        with ws.database.write() as tx:
            logged_models.create_logged_model(
                tx, model_id=model, experiment_id="0", name="model", source_run_id=run, model_type="",
                params={"a": "1"},
                tags={"t": "v"}, at=ws.now() // 1000,
            )  # fmt: skip
            for path, (name, size) in kept.items():
                tracking.add_artifact(tx, model_root("0", model), path=path, digest=name, size=size)
    return model


def register(ws: Workspace, run: str, model: str = "employment") -> str:
    with ws.database.write() as tx:
        registered.ensure(tx, model, at=ws.now())
    return adopting.register(
        ws, model=model, source=f"runs:/{run}/model", run_id=run, model_id="", run_link="", description="d",
        tags={"t": "v"}, actor="ada",
    ).reference  # fmt: skip


def model_files(seed: int, size: int = 1000) -> dict[str, bytes]:
    return {"model/MLmodel": MLMODEL, "model/model.pkl": noise(seed, size)}


def on_disk(ws: Workspace) -> int:
    return sum(path.stat().st_size for path in ws.layout.objects.rglob("*") if path.is_file())


def rows(ws: Workspace, *tables: str) -> dict[str, int]:
    with ws.database.read() as tx:
        return {table: tx.tuples(f"SELECT COUNT(*) FROM {table}")[0][0] for table in tables}


def is_sound(ws: Workspace) -> None:
    assert verify(ws).problems == ()
    assert verify_store(ws, CheckStore()).ok


def purged(ws: Workspace, clock: Clock, *, dry_run: bool = False, days: int = 31) -> Purged:
    clock.now += days * DAY
    return purge(ws, PurgeDeleted(dry_run=dry_run))


PER_RUN = ("run_params", "run_tags", "run_metrics", "run_metrics_last", "artifacts", "purging")


def test_a_purge_frees_the_space_that_it_said_and_leaves_the_rest(ws: Workspace, clock: Clock) -> None:
    stays = log_run(ws, 1, {"kept.bin": noise(1, 2_000_000), "shared.bin": noise(9, 1_000_000)})
    before = on_disk(ws)
    goes = log_run(ws, 2, {"big.bin": noise(2, 50_000_000), "shared.bin": noise(9, 1_000_000)})
    was = on_disk(ws)
    remove_run(ws, OfRun(run=goes))
    assert purged(ws, clock, dry_run=True, days=29).counts == {}
    told = purged(ws, clock, dry_run=True, days=2)
    assert (told.counts, told.things) == ({"run": 1}, [f"run/{goes}"])
    assert 50_000_000 <= told.collected.deleted_bytes < 50_100_000
    assert on_disk(ws) - was < 100_000

    done = purge(ws, PurgeDeleted())
    assert done.counts == {"run": 1}
    assert done.collected.deleted_bytes == told.collected.deleted_bytes
    assert was - on_disk(ws) > 49_900_000
    assert on_disk(ws) - before < 200_000
    assert rows(ws, *PER_RUN) == {
        "run_params": 1, "run_tags": 2, "run_metrics": 3, "run_metrics_last": 1, "artifacts": 2, "purging": 0
    }  # fmt: skip
    with ws.database.read() as tx:
        assert tracking.find_run(tx, stays).params == {"a": "1"}
        with pytest.raises(NotFound):
            tracking.find_run(tx, goes)
        found = tracking.find_artifact(tx, runs.run_root("0", stays), "shared.bin")
    assert ws.objects.get(found.digest) == noise(9, 1_000_000)
    is_sound(ws)
    assert purge(ws, PurgeDeleted()).counts == {}
    with pytest.raises(NotFound, match=r"^run/00000000 was purged on .* by ada"):
        restore_run(ws, OfRun(run=goes))


def test_what_is_restored_in_time_is_whole(ws: Workspace, clock: Clock) -> None:
    run = log_run(ws, 1, {"a": b"one"})
    said = remove_run(ws, OfRun(run=run[:8] if run[:8] != "0" * 8 else run))
    assert said.restorable_until is not None
    assert said.restorable_until > clock.now + 29 * DAY
    with pytest.raises(WrongState, match="is deleted"):
        remove_run(ws, OfRun(run=run))
    assert restore_run(ws, OfRun(run=run)).restorable_until is None
    assert purged(ws, clock).counts == {}
    with ws.database.read() as tx:
        assert tracking.find_run(tx, run).stage == "active"


def test_a_number_is_never_given_again(ws: Workspace, clock: Clock) -> None:
    with ws.database.write() as tx:
        first = tracking.create_experiment(tx, name="e", at=1)
    log_run(ws, 1, {}, experiment=first)
    with ws.database.write() as tx:
        number = runs.number_of(tx, run_id(1))
        experiments.delete_experiment(tx, first, at=clock.now // 1000)
    assert purged(ws, clock).counts == {"run": 1, "experiment": 1}
    with ws.database.write() as tx:
        again = tracking.create_experiment(tx, name="e", at=1)  # the name is free again
    log_run(ws, 2, {}, experiment=again)
    with ws.database.read() as tx:
        assert int(again) > int(first)
        assert runs.number_of(tx, run_id(2)) > number
    assert rows(ws, "experiment_tags", "tracked_datasets") == {"experiment_tags": 0, "tracked_datasets": 0}


def test_an_experiment_goes_after_the_last_of_its_runs(ws: Workspace, clock: Clock) -> None:
    with ws.database.write() as tx:
        experiment = tracking.create_experiment(tx, name="e", at=1)
    log_run(ws, 1, {"a": b"1"}, experiment)
    log_run(ws, 2, {"a": b"2"}, experiment)
    with ws.database.write() as tx:
        experiments.delete_experiment(tx, experiment, at=clock.now // 1000)
    place_hold(ws, OfHold(thing=f"run/{run_id(1)}", reason="case 7"))
    told = purged(ws, clock, dry_run=True)
    assert told.counts == {"run": 1}
    assert [(each.thing, each.why) for each in told.kept] == [
        (f"run/{run_id(1)}", "held: case 7"), (f"experiment/{experiment}", "it has 1 runs and logged models that stay")
    ]  # fmt: skip
    assert purge(ws, PurgeDeleted()).things == told.things
    release_hold(ws, OfHold(thing=f"run/{run_id(1)}", reason="closed"))
    assert purge(ws, PurgeDeleted()).counts == {"run": 1, "experiment": 1}


def test_a_hold_keeps_what_it_holds_and_its_release_lets_it_go(ws: Workspace, clock: Clock) -> None:
    run = log_run(ws, 1, {"a": b"one"})
    place_hold(ws, OfHold(thing=f"run/{run}", reason="case 7"))
    with pytest.raises(Conflict, match="held already, by ada"):
        place_hold(ws, OfHold(thing=f"run/{run}", reason="case 8"))
    remove_run(ws, OfRun(run=run))
    assert purged(ws, clock).counts == {}
    assert [each.thing for each in list_holds(ws, ListHolds())] == [f"run/{run}"]
    release_hold(ws, OfHold(thing=f"run/{run}", reason="closed"))
    assert list_holds(ws, ListHolds()) == []
    assert [each.released_reason for each in list_holds(ws, ListHolds(released=True))] == ["closed"]
    assert purge(ws, PurgeDeleted()).counts == {"run": 1}
    is_sound(ws)


@pytest.mark.parametrize(
    ("thing", "error"),
    [("run/nix", NotFound), ("run", Invalid), ("cat/1", Invalid), ("experiment/99", NotFound),
     ("experiment/x", Invalid),
     ("version/m@1.0.0", NotFound), ("model/m", NotFound), ("snapshot/d@1", NotFound), ("logged-model/m-1", NotFound)],
)  # fmt: skip
def test_only_what_exists_is_held(ws: Workspace, thing: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        place_hold(ws, OfHold(thing=thing, reason="case 7"))


def test_a_hold_needs_a_reason(ws: Workspace) -> None:
    with pytest.raises(Invalid, match="needs a reason"):
        place_hold(ws, OfHold(thing="experiment/0", reason="  "))


def test_a_purged_version_leaves_its_record_and_its_number(ws: Workspace, clock: Clock) -> None:
    log_run(ws, 1, model_files(1, 3_000_000))
    first = register(ws, run_id(1))
    log_run(ws, 2, model_files(2))
    second = register(ws, run_id(2))
    for number in (1, 2):
        remove_run(ws, OfRun(run=run_id(number)))
    assert purged(ws, clock).counts == {}  # the versions came from them
    is_sound(ws)
    said = remove_version(ws, OfVersion(reference=first))
    assert said.thing == f"version/{first}"
    is_sound(ws)
    assert purge(ws, PurgeDeleted()).counts == {}
    was = on_disk(ws)
    told = purged(ws, clock, dry_run=True)
    assert told.counts == {"version": 1, "run": 1}
    assert told.collected.deleted_bytes > 3_000_000
    done = purge(ws, PurgeDeleted())
    assert (done.things, done.collected.deleted_bytes) == (told.things, told.collected.deleted_bytes)
    assert was - on_disk(ws) > 2_900_000
    is_sound(ws)
    with pytest.raises(WrongState, match="was purged"):
        restore_version(ws, OfVersion(reference=first))
    with pytest.raises(WrongState, match="is purged"):
        remove_version(ws, OfVersion(reference=first))
    log_run(ws, 3, model_files(3))
    third = register(ws, run_id(3))
    with ws.database.read() as tx:
        numbers = tx.tuples("SELECT semver, number FROM model_versions ORDER BY number")
    assert numbers == [(each.partition("@")[2], n) for n, each in enumerate((first, second, third), start=1)]


def test_a_version_is_taken_back_with_its_model(ws: Workspace, clock: Clock) -> None:
    log_run(ws, 1, model_files(1))
    reference = register(ws, run_id(1))
    with ws.database.write() as tx:
        registered.delete(tx, "employment", actor="ada", at=ws.now())
    restore_version(ws, OfVersion(reference=reference))
    with ws.database.read() as tx:
        assert registered.entry_of(tx, "employment", 1).reference == reference
    with pytest.raises(WrongState, match="is not deleted"):
        restore_version(ws, OfVersion(reference=reference))
    assert purged(ws, clock).counts == {}
    is_sound(ws)


@pytest.mark.parametrize("table", ["releases", "approvals"])
def test_what_was_released_or_approved_is_never_purged(ws: Workspace, clock: Clock, table: str) -> None:
    log_run(ws, 1, model_files(1))
    reference = register(ws, run_id(1))
    with ws.database.write() as tx:
        package = registered.entry_of(tx, "employment", 1).package
        if table == "releases":
            tx.execute("INSERT INTO releases VALUES (?, 'e', ?, ?, 1)", (ws.objects.put(b"{}"), reference, package))
        else:
            tx.execute("INSERT INTO approvals VALUES (?, ?, 'bob', 'fine', 1)", (reference, ws.objects.put(b"r")))
    remove_version(ws, OfVersion(reference=reference))
    remove_run(ws, OfRun(run=run_id(1)))
    done = purged(ws, clock)
    assert done.counts == {}
    assert [each.thing for each in done.kept] == [f"version/{reference}", f"run/{run_id(1)}"]
    assert ws.objects.has(package)
    is_sound(ws)


@pytest.mark.parametrize("thing", ["model/employment", "version/employment@1.0.0", "version/employment@1"])
def test_a_hold_on_a_version_keeps_its_package_and_its_run(ws: Workspace, clock: Clock, thing: str) -> None:
    log_run(ws, 1, model_files(1))
    reference = register(ws, run_id(1))
    place_hold(ws, OfHold(thing=thing, reason="case 7"))
    remove_version(ws, OfVersion(reference=reference))
    remove_run(ws, OfRun(run=run_id(1)))
    assert purged(ws, clock).counts == {}
    is_sound(ws)


def test_logged_models_go_with_their_files_and_runs_forget_them(ws: Workspace, clock: Clock) -> None:
    run = log_run(ws, 1, {"a": b"one"})
    model = log_model(ws, 1, run, {"MLmodel": MLMODEL, "model.pkl": noise(5, 2_000_000)})
    with ws.database.write() as tx:
        tx.execute("INSERT INTO run_models SELECT id, 'output', ?, 0, 0 FROM runs", (model,))
        logged_models.delete_logged_model(tx, model, at=clock.now // 1000)
    was = on_disk(ws)
    assert purged(ws, clock).counts == {"logged-model": 1}
    assert was - on_disk(ws) > 1_900_000
    assert rows(ws, "logged_model_params", "logged_model_tags", "run_models", "artifacts") == {
        "logged_model_params": 0, "logged_model_tags": 0, "run_models": 0, "artifacts": 1
    }  # fmt: skip
    is_sound(ws)


def test_a_held_snapshot_is_not_removed_nor_is_that_of_a_held_model(ws: Workspace) -> None:
    (ws.layout.root / "data").mkdir()
    (ws.layout.root / "data" / "a").write_bytes(b"one")
    add(ws, AddData(name="d", path="data"))
    place_hold(ws, OfHold(thing="snapshot/d@1", reason="case 7"))
    with pytest.raises(Denied, match="d@1 is held: case 7"):
        remove_data(ws, RemoveData(reference="d@1", force=True))
    release_hold(ws, OfHold(thing="snapshot/d@1", reason="closed"))
    run = log_run(ws, 1, model_files(1))
    reference = register(ws, run)
    with ws.database.write() as tx:
        lineage.link(tx, f"run/{run}", "snapshot/d@1", "read")
    place_hold(ws, OfHold(thing="model/employment", reason="case 8"))
    with pytest.raises(Denied, match=f"held with version/{reference}: case 8"):
        remove_data(ws, RemoveData(reference="d@1", force=True))


def test_what_was_laid_out_of_a_purged_package_goes_too(ws: Workspace, clock: Clock) -> None:
    log_run(ws, 1, model_files(1))
    reference = register(ws, run_id(1))
    with ws.database.read() as tx:
        folder = laid_out(ws, registered.entry_of(tx, "employment", 1).package)
    remove_version(ws, OfVersion(reference=reference))
    remove_run(ws, OfRun(run=run_id(1)))
    purged(ws, clock, dry_run=True)
    assert folder.is_dir()
    purged(ws, clock)
    assert not folder.exists()


def test_what_is_in_a_deleted_experiment_goes_with_it_and_is_restored_with_it(ws: Workspace, clock: Clock) -> None:
    with ws.database.write() as tx:
        experiment = tracking.create_experiment(tx, name="e", at=1)
    run = log_run(ws, 1, {"a": b"one"}, experiment)
    with ws.database.write() as tx:
        logged_models.create_logged_model(
            tx, model_id="m-1", experiment_id=experiment, name="model", source_run_id=run, model_type="", params={},
            tags={}, at=ws.now() // 1000,
        )  # fmt: skip
        experiments.delete_experiment(tx, experiment, at=clock.now // 1000)
    assert purged(ws, clock, days=29).counts == {}
    with ws.database.write() as tx:
        experiments.restore_experiment(tx, experiment, at=clock.now // 1000)
    assert purged(ws, clock).counts == {}
    with ws.database.write() as tx:
        assert logged_models.find_logged_model(tx, "m-1").name == "model"
        experiments.delete_experiment(tx, experiment, at=clock.now // 1000)
    told = purged(ws, clock, dry_run=True)
    assert told.counts == {"logged-model": 1, "run": 1, "experiment": 1}
    assert purge(ws, PurgeDeleted()).things == told.things


def test_what_steps_made_and_deliveries_expire_if_the_configuration_says_so(ws: Workspace, clock: Clock) -> None:
    name = ws.objects.put(noise(3, 1_000_000))
    with ws.database.write() as tx:
        at = ws.now()
        tx.execute("INSERT INTO step_cache VALUES ('b3:x', 's', '{}', ?, 'r', ?)", (f'{{"digest":"{name}"}}', at))
        for number, (state, ended) in enumerate([("delivered", at), ("pending", None), ("failed", at + 50 * DAY)]):
            tx.execute(
                "INSERT INTO webhook_deliveries (id, webhook, seq, state, attempts, remaining, due, holder, until, at,"
                " ended_at) VALUES (?, 'w', ?, ?, 1, 1, 1, '', 1, 1, ?)",
                (f"d{number}", number, state, ended),
            )
            tx.execute("INSERT INTO webhook_attempts VALUES (?, 1, 1, 200, 1, '')", (f"d{number}",))
    assert purged(ws, clock, days=89).expired == {}
    assert ws.objects.has(name)
    (ws.layout.root / "windlass.toml").write_text(CONFIG + "[retention]\nstep_cache_days = 60\n")
    ws.__dict__.pop("config")
    told = purged(ws, clock, days=2, dry_run=True)
    assert told.expired == {"steps": 1, "deliveries": 1}
    assert told.collected.deleted_bytes >= 1_000_000
    assert purge(ws, PurgeDeleted()).expired == told.expired
    assert not ws.objects.has(name)
    assert rows(ws, "webhook_deliveries", "webhook_attempts") == {"webhook_deliveries": 2, "webhook_attempts": 2}
    is_sound(ws)


def test_what_a_pipeline_run_kept_goes_but_for_what_another_run_used(ws: Workspace, clock: Clock) -> None:
    alone, shared = (ws.objects.put(noise(seed, 1_000_000)) for seed in (1, 2))
    steps = {f"b3:{1:064x}": alone, f"b3:{2:064x}": shared}
    with ws.database.write() as tx:
        for recipe, name in steps.items():
            output = json.dumps({"kind": "table", "digest": name})
            tx.execute("INSERT INTO step_cache VALUES (?, 's', '{}', ?, ?, 1)", (recipe, output, run_id(1)))
    for number, used in ((1, list(steps)), (2, [list(steps)[1]])):
        log_run(ws, number, {})
        record = json.dumps({"steps": [{"recipe": recipe, "outputs": {"s": steps[recipe]}} for recipe in used]})
        with ws.database.write() as tx:
            tx.execute("INSERT INTO pipeline_runs VALUES (?, 'finished', ?, 1)", (run_id(number), record))
    remove_run(ws, OfRun(run=run_id(1)))
    told = purged(ws, clock, dry_run=True)
    assert told.collected.deleted == 1
    assert purge(ws, PurgeDeleted()).collected.deleted == 1
    assert (ws.objects.has(alone), ws.objects.has(shared)) == (False, True)
    assert rows(ws, "step_cache", "pipeline_runs") == {"step_cache": 1, "pipeline_runs": 1}
    remove_run(ws, OfRun(run=run_id(2)))
    purged(ws, clock)
    assert rows(ws, "step_cache", "pipeline_runs") == {"step_cache": 0, "pipeline_runs": 0}
    assert not ws.objects.has(shared)


def test_uploads_that_were_never_completed_expire(ws: Workspace, clock: Clock) -> None:
    run = log_run(ws, 1, {})
    with ws.objects.batch() as batch:
        name = batch.put_many([noise(3, 2_000_000)])[0]
        batch.flush()
        with ws.database.write() as tx:
            root = runs.run_root("0", run)
            uploads.begin(tx, "u", root=root, path="x", parts=2, at=ws.now() // 1000)
            uploads.add_part(tx, "u", 1, digest=name, size=2_000_000)
    assert purged(ws, clock, days=6).expired == {}
    told = purged(ws, clock, days=2, dry_run=True)
    assert told.expired == {"uploads": 1}
    assert told.collected.deleted_bytes >= 2_000_000
    assert purge(ws, PurgeDeleted()).expired == {"uploads": 1}
    assert not ws.objects.has(name)
    assert rows(ws, "uploads", "upload_parts") == {"uploads": 0, "upload_parts": 0}
    is_sound(ws)


def test_the_ledger_tells_what_was_purged(ws: Workspace, clock: Clock) -> None:
    for number in (1, 2):
        remove_run(ws, OfRun(run=log_run(ws, number, {})))
    purged(ws, clock)
    with ws.database.read() as tx:
        [row] = tx.rows("SELECT action, actor, evidence FROM ledger WHERE subject = 'purge'")
    assert (row["action"], row["actor"]) == ("purge", "ada")
    assert '"run":2' in row["evidence"]


def test_many_rows_go_in_small_transactions(ws: Workspace, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removing, "PIECE", 50)
    monkeypatch.setattr(purging, "ROUND", 3)
    log_run(ws, 99, {}, points=10)
    for number in range(1, 9):
        remove_run(ws, OfRun(run=log_run(ws, number, {f"{n}": b"x" for n in range(9)}, points=120)))
    assert purged(ws, clock).counts == {"run": 8}
    assert rows(ws, *PER_RUN) == {
        "run_params": 1, "run_tags": 2, "run_metrics": 10, "run_metrics_last": 1, "artifacts": 0, "purging": 0
    }  # fmt: skip
    is_sound(ws)
