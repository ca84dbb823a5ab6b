"""A project whose registry holds what an MLflow client logged: real files, either database."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from windlass.domain.evidence import CheckResult, Verdict
from windlass.domain.ports import Database
from windlass.registry.models import Version
from windlass.registry.tracking import artifacts, runs
from windlass.registry.tracking.recording import Log, record_one
from windlass.validation import reports
from windlass.validation.gate import GateReport
from windlass.workspace import adopting
from windlass.workspace.workspace import Workspace, open_workspace

CONFIG = """
[project]
name = "p"
[groups]
leads = ["alex", "sam", "ada"]
[gates]
approvals = 2
approval_group = "leads"
[model]
name = "churn"
[endpoint]
name = "churn"
"""
MLMODEL = {
    "flavors": {"python_function": {"loader_module": "mlflow.sklearn"}},
    "signature": {"inputs": json.dumps([{"type": "double", "name": "age"}]), "outputs": json.dumps([])},
}


@pytest.fixture
def project(tmp_path: Path, database: Database) -> Workspace:
    (tmp_path / "windlass.toml").write_text(CONFIG)
    found = open_workspace(tmp_path)
    tick = count(1_700_000_000_000_000, 1_000_000)
    found.actor, found.database, found.now = "ada", database, lambda: next(tick)
    return found


Logged = Callable[..., str]
Adopted = Callable[..., Version]


@pytest.fixture
def logged(project: Workspace) -> Logged:
    """A run with a model's files; gives its id."""
    ids = count(1)

    def log(
        *, params: dict[str, str] | None = None, metrics: dict[str, float] | None = None,
        tags: dict[str, str] | None = None, files: dict[str, bytes] | None = None, folder: str = "model",
    ) -> str:  # fmt: skip
        run = f"{next(ids):032x}"
        content = {"MLmodel": json.dumps(MLMODEL).encode(), "model.pkl": run.encode(), **(files or {})}
        with project.database.write() as tx:
            runs.create_run(
                tx, run_id=run, experiment_id="0", name=f"run {int(run, 16)}", user="ada", at=1, tags=tags or {}
            )
            points = [(key, value, 1, 0) for key, value in (metrics or {}).items()]
            record_one(tx, Log.checked(run, params=params or {}, points=points))
            for path, data in content.items():
                name = project.objects.put(data)
                where = f"{folder}/{path}" if folder else path
                artifacts.add_artifact(tx, runs.run_root("0", run), path=where, digest=name, size=len(data))
        return run

    return log


@pytest.fixture
def adopted(project: Workspace, logged: Logged) -> Adopted:
    """A version of ``churn`` from a run of its own."""

    def adopt(actor: str = "ada", **said: object) -> Version:
        run = logged(**said)
        return adopting.register(project, model="churn", source=f"runs:/{run}/model", actor=actor, create=True)

    return adopt


@pytest.fixture
def gated(project: Workspace) -> Callable[[Version], str]:
    """A gate report on a version; gives its digest."""

    def gate(version: Version, verdict: Verdict = Verdict.PASS, value: float = 0.9) -> str:
        check = CheckResult(name="accuracy", family="metrics", verdict=verdict, summary="as measured", value=value)
        report = GateReport(
            reference=version.reference, package=version.package, policy="b3:p", rules={}, verdict=verdict,
            results=(check,), rows=1, at=project.now(), seconds=1.0, environment={},
        )  # fmt: skip
        return reports.save(project.database, project.objects, report, actor="ci", now=project.now)

    return gate
