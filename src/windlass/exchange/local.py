"""What is here, read as a source: what an export writes, and what imports and exports are held against."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from windlass.domain.errors import Invalid, NotFound
from windlass.domain.ports import Database, ObjectStore, Readable
from windlass.exchange.content import Experiment, File, LoggedModel, ModelVersion, Point, RegisteredModel, Run
from windlass.registry import registered
from windlass.registry.tracking import artifacts, experiments, histories, logged_models, runs
from windlass.registry.tracking.logged_models import model_root
from windlass.registry.tracking.runs import run_root
from windlass.registry.tracking.stages import ACTIVE, DELETED

_PAGE = 500


class LocalSource:
    def __init__(self, db: Database, objects: ObjectStore) -> None:
        self._db, self._objects = db, objects

    @property
    def identity(self) -> str:
        return "here"

    def close(self) -> None:
        """Nothing is kept open."""

    def experiments(self) -> Iterator[Experiment]:
        with self._db.read() as tx:
            numbers = [number for (number,) in tx.tuples("SELECT id FROM experiments ORDER BY id")]
            found = experiments.read(tx, numbers)
        for each in found:
            yield Experiment(
                id=each.id,
                name=each.name,
                deleted=each.stage == DELETED,
                created_at=each.created_at,
                updated_at=each.updated_at,
                tags=each.tags,
            )

    def experiment(self, identity: str) -> Experiment | None:
        return next((each for each in self.experiments() if each.id == identity), None)

    def runs(self, experiment_id: str) -> Iterator[Run]:
        last = -1
        while True:
            with self._db.read() as tx:
                numbers = [number for (number,) in tx.tuples(
                    "SELECT id FROM runs WHERE experiment = ? AND id > ? ORDER BY id LIMIT ?",
                    (experiments.number_of(experiment_id), last, _PAGE),
                )]  # fmt: skip
                found = runs.read(tx, numbers)
            if not numbers:
                return
            last = numbers[-1]
            yield from (_run(each) for each in found)

    def run(self, run_id: str) -> Run | None:
        with self._db.read() as tx:
            try:
                return _run(runs.find_run(tx, run_id))
            except NotFound:
                return None

    def whole(self, run: Run) -> Run:
        return run

    def history(self, run: Run, key: str) -> Iterator[list[Point]]:
        with self._db.read() as tx:
            rows = histories.history(tx, run.id, key)
        yield [Point(at, step, math.nan if nan else value) for value, nan, step, at in rows]

    def logged_models(self, experiment_id: str) -> Iterator[LoggedModel]:
        with self._db.read() as tx:
            numbers = [number for (number,) in tx.tuples(
                "SELECT id FROM logged_models WHERE experiment = ? AND stage = ? ORDER BY id",
                (experiments.number_of(experiment_id), ACTIVE),
            )]  # fmt: skip
        for start in range(0, len(numbers), _PAGE):
            with self._db.read() as tx:
                found = logged_models.read(tx, numbers[start : start + _PAGE])
            yield from (_logged_model(each) for each in found)

    def logged_model(self, model_id: str) -> LoggedModel | None:
        with self._db.read() as tx:
            try:
                return _logged_model(logged_models.find_logged_model(tx, model_id))
            except NotFound:
                return None

    def files(self, owner: Run | LoggedModel) -> Iterator[File]:
        with self._db.read() as tx:
            found = list(artifacts.beneath(tx, _root(owner)))
        return (File(each.path, each.size, each.digest) for each in found)

    @contextmanager
    def open(self, owner: Run | LoggedModel, file: File) -> Iterator[Readable]:
        with self._objects.open(file.digest) as opened:
            yield _readable(opened)

    def registered_models(self) -> Iterator[RegisteredModel]:
        with self._db.read() as tx:
            found = registered.read(tx, [name for (name,) in tx.tuples(
                "SELECT name FROM registered_models WHERE deleted_at IS NULL ORDER BY name"
            )])  # fmt: skip
        for each in found:
            yield RegisteredModel(
                name=each.name,
                description=each.description,
                created_at=each.created_at // 1000,
                updated_at=each.updated_at // 1000,
                tags=each.tags,
                aliases=each.aliases,
            )

    def versions(self, model: str) -> Iterator[ModelVersion]:
        with self._db.read() as tx:
            rows = tx.tuples(
                "SELECT model, number FROM model_versions WHERE model = ? AND deleted_at IS NULL ORDER BY number",
                (model,),
            )
            found = registered.entries(tx, [(name, number) for name, number in rows])
        for each in found:
            yield ModelVersion(
                name=each.model,
                number=each.number,
                description=each.description or "",
                stage=each.stage,
                source=each.source,
                run_id=each.run,
                run_link=each.run_link,
                model_id=each.model_id,
                user=each.actor,
                created_at=each.at // 1000,
                updated_at=each.updated_at // 1000,
                tags=each.tags,
            )

    def files_of_version(self, of: ModelVersion) -> tuple[str, str, str]:
        """Where a version's files lie: "run" or "model", its id, and the path of the folder below.

        Raises:
            Invalid: it was made by a pipeline here, and is no folder of artifacts.
        """
        with self._db.read() as tx:
            row = tx.row("SELECT root, path FROM registered_roots WHERE model = ? AND number = ?", (of.name, of.number))
        if row is None:
            raise Invalid(
                "a pipeline of Windlass packaged it: it is no model of MLflow's",
                hint="its files: windlass models show",
            )
        parts = row["root"].split("/")
        return ("model", parts[2], row["path"]) if parts[1] == "models" else ("run", parts[1], row["path"])


def _readable(opened: Any) -> Readable:
    return opened  # type: ignore[no-any-return]


def _root(owner: Run | LoggedModel) -> str:
    root = run_root if isinstance(owner, Run) else model_root
    return root(owner.experiment_id, owner.id)


def _run(of: runs.TrackedRun) -> Run:
    return Run(
        id=of.run_id,
        experiment_id=of.experiment_id,
        name=of.name,
        user=of.user,
        status=str(of.status),
        started_at=of.started_at,
        ended_at=of.ended_at,
        deleted=of.stage == DELETED,
        params=of.params,
        tags=of.tags,
        metrics={key: Point(each.at, each.step, each.value) for key, each in of.metrics.items()},
        datasets=of.datasets,
        model_inputs=of.model_inputs,
        model_outputs=of.model_outputs,
    )


def _logged_model(of: logged_models.LoggedModel) -> LoggedModel:
    return LoggedModel(
        id=of.model_id,
        experiment_id=of.experiment_id,
        name=of.name,
        source_run_id=of.source_run_id,
        model_type=of.model_type,
        status=int(of.status),
        status_message=of.status_message,
        created_at=of.created_at,
        updated_at=of.updated_at,
        params=of.params,
        tags=of.tags,
        metrics=of.metrics,
    )
