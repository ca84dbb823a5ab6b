"""Something to move: a project with everything that tracking and the registry can hold."""

from __future__ import annotations

import math
import random
from pathlib import Path

from windlass.adapters.sqlite import SqliteDatabase
from windlass.domain.names import Reference
from windlass.registry import registered
from windlass.registry.tracking import artifacts, experiments, inputs, logged_models, recording, runs
from windlass.registry.tracking.logged_models import model_root
from windlass.registry.tracking.runs import DatasetInput, run_root
from windlass.workspace import adopting, promoting
from windlass.workspace.layout import Layout
from windlass.workspace.workspace import Workspace

RUN = "{:032x}"
MODEL = "m-{:032x}"
AT = 1_700_000_000_000
ML_MODEL = b"flavors:\n  python_function:\n    loader_module: m\nmodel_uuid: x\n"


def project(root: Path, *, config: str = "") -> Workspace:
    """A project with a SQLite of its own, wherever the test's other database is."""
    root.mkdir(parents=True, exist_ok=True)
    if config:
        (root / "windlass.toml").write_text(config)
    found = Workspace(Layout(root), actor="ada", now=Ticking())
    found.layout.home.mkdir(exist_ok=True)
    found.database = SqliteDatabase(found.layout.database)
    return found


class Ticking:
    """A clock that goes on a little with each look at it."""

    def __init__(self) -> None:
        self._at = AT * 1000

    def __call__(self) -> int:
        self._at += 1000
        return self._at


def put(ws: Workspace, root: str, path: str, data: bytes) -> None:
    digest = ws.objects.put(data)
    with ws.database.write() as tx:
        artifacts.add_artifact(tx, root, path=path, digest=digest, size=len(data))


def fill(ws: Workspace, *, many: int = 3) -> None:
    """Two experiments with runs, and one that is deleted; logged and registered models."""
    with ws.database.write() as tx:
        one = experiments.create_experiment(tx, name="churn", at=AT, tags={"team": "a/b", "note": "é\n"})
        gone = experiments.create_experiment(tx, name="old", at=AT)
        for number in range(1, many + 1):
            _run(tx, number, one)
        runs.create_run(tx, run_id=RUN.format(900), experiment_id="0", name="plain", user="", at=AT)
        runs.create_run(tx, run_id=RUN.format(901), experiment_id=gone, name="in old", user="", at=AT)
        runs.delete_run(tx, RUN.format(2), at=AT)
        logged_models.create_logged_model(
            tx, model_id=MODEL.format(1), experiment_id=one, name="forest", source_run_id=RUN.format(1),
            model_type="tree", params={"depth": "3"}, tags={"kind": "x"}, at=AT,
        )  # fmt: skip
        logged_models.finalize(tx, MODEL.format(1), 2, at=AT + 5)
        inputs.log_outputs(tx, RUN.format(1), [(MODEL.format(1), 7)])
        inputs.log_inputs(tx, RUN.format(3), [], [MODEL.format(1)])
        recording.record_one(tx, recording.Log.checked(
            RUN.format(1), points=[("auc", 0.75, 1, AT)],
            of_models=[recording.ModelPoint(
                model_id=MODEL.format(1), point=("auc", 0.75, 1, AT), dataset_name="census", dataset_digest="d1"
            )],
        ))  # fmt: skip
        experiments.delete_experiment(tx, gone, at=AT)
    root = run_root(one, RUN.format(1))
    put(ws, root, "model/MLmodel", ML_MODEL)
    put(ws, root, "model/data/weights.bin", random.Random(7).randbytes(3 << 20))
    put(ws, root, "a b/é+&?.txt", b"odd")
    put(ws, root, "empty", b"")
    put(ws, model_root(one, MODEL.format(1)), "MLmodel", ML_MODEL)
    put(ws, model_root(one, MODEL.format(1)), "code/m.py", b"pass\n")
    _register(ws)


def _run(tx: object, number: int, experiment: str) -> None:
    run_id = RUN.format(number)
    runs.create_run(tx, run_id=run_id, experiment_id=experiment, name=f"run {number}", user="bob", at=AT + number)  # type: ignore[arg-type]
    points = [("loss", value, step, AT + step) for step, value in enumerate([3.0, 2.5, math.nan, math.inf, -math.inf])]
    points += [("loss", 9.0, 1, AT + 50), ("deep/er", -0.0, -3, AT), ("long", 1e-300, 2**62, AT)]
    recording.log(
        tx,
        run_id,
        params={"depth": str(number), "empty": ""},
        tags={"mlflow.note.content": "x" * 7000},
        metrics=points,  # type: ignore[arg-type]
    )
    inputs.log_inputs(
        tx, run_id,  # type: ignore[arg-type]
        [(RUN.format(7000 + number), DatasetInput(
            "census", "d1", "local", '{"uri": "x"}', '{"a": 1}', "", {"mlflow.data.context": "training", "o": "1"}
        ))], [],
    )  # fmt: skip
    runs.finish(tx, run_id, status="FAILED" if number == 3 else "FINISHED", at=AT + 99)  # type: ignore[arg-type]


def _register(ws: Workspace) -> None:
    with ws.database.write() as tx:
        registered.create(tx, "employment", description="who works", tags={"owner": "bob"}, at=ws.now())
        registered.create(tx, "copy of it", tags={}, at=ws.now())
    adopting.register(
        ws, model="employment", source=f"runs:/{RUN.format(1)}/model", run_id=RUN.format(1), description="first",
        tags={"by": "hand"}, actor="ada",
    )  # fmt: skip
    adopting.register(
        ws, model="employment", source=f"models:/{MODEL.format(1)}", model_id=MODEL.format(1), actor="ada"
    )
    adopting.register(ws, model="copy of it", source="models:/employment/1", actor="ada")
    promoting.move_alias(ws, Reference("employment", "1"), "champion", actor="ada", reason="")
    promoting.move_alias(ws, Reference("employment", "2"), "challenger", actor="ada", reason="")
    promoting.move_stage(ws, Reference("employment", "2"), "Staging", archive_others=False, actor="ada", reason="")
