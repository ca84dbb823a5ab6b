"""Runs a pipeline: what did not change is taken from the cache, the rest runs, each step in a process of its own.

A step's output is in the store and in the cache before the next one starts: whatever dies, the next run goes on from
there. Steps that do not need each other run side by side.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from windlass.capture import code as code_capture
from windlass.capture import environment, host, trees
from windlass.capture.code import Code
from windlass.capture.data import Snapshot
from windlass.domain import digest
from windlass.domain.clock import SECOND, Clock
from windlass.domain.errors import Failure, NotFound
from windlass.domain.ports import Database, ObjectStore
from windlass.pipelines import graph, process, provenance, recipe, runs, stored
from windlass.pipelines.config import PipelineConfig
from windlass.pipelines.execution import Execution, Plan, log_of
from windlass.pipelines.executor import LocalExecutor
from windlass.pipelines.graph import Graph
from windlass.pipelines.runs import Run, RunStatus, StepState
from windlass.registry.config import ModelConfig

Progress = Callable[[str], None]
Tracking = Callable[[str], AbstractContextManager[dict[str, str]]]


def run(
    db: Database,
    objects: ObjectStore,
    *,
    root: Path,
    config: PipelineConfig,
    model: ModelConfig,
    snapshots: Mapping[str, Snapshot],
    environment_digest: str,
    code: Code,
    folder: Path,
    environments: Path | None = None,
    python: Path | str = sys.executable,
    tracking: Tracking | None = None,
    cached: bool = True,
    dry_run: bool = False,
    actor: str,
    now: Clock,
    progress: Progress = lambda _: None,
) -> Run:
    """Run the pipeline of ``code``, a capture of the project in ``root``, on ``snapshots`` (by dataset).

    Raises:
        Invalid: the pipeline's file makes no graph.
        Failure: a step failed; the run is recorded, and the next one resumes at that step.
    """
    identity = secrets.token_hex(16)
    work = folder / identity
    work.mkdir(parents=True)
    try:
        code_capture.checkout(root, code.snapshot, work / "code")
        file = work / "code" / config.file
        if not file.is_file():
            raise NotFound(f"no {config.file} in the project", hint="set pipeline.file in windlass.toml")
        dag = graph.read(file.read_text(encoding="utf-8"), config.file, config, snapshots.keys())
        own = _own_environments(db, objects, dag, work / "code", environments or folder, actor, now, progress)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    started = Run(
        id=identity,
        status=RunStatus.RUNNING,
        steps=(),
        snapshots={each.reference: each.tree for each in snapshots.values()},
        code=code,
        closure="",
        environment=environment_digest,
        host=host.facts(),
        config=dict(config.config),
        seed=config.seed,
        threads=config.threads,
        variables=_variables(config),
        package=None,
        signature=None,
        metrics={},
        at=now(),
        seconds=0.0,
        actor=actor,
        experiment=model.name,
    )
    plan = Plan(
        root=work / "code",
        work=work,
        config=config,
        graph=dag,
        codes=recipe.Codes(work / "code", config.file),
        snapshots=snapshots,
        environment=environment_digest,
        own=own,
        variables=started.variables,
        python=str(python),
        tracked={},
        cached=cached,
        run=identity,
    )
    executor = LocalExecutor(process.environment(config.threads, _pinned(config)))
    if dry_run:
        execution = Execution(db, objects, plan, executor, now, lambda _: None)
        execution.forecast()
        shutil.rmtree(work, ignore_errors=True)
        return replace(started, status=RunStatus.PLANNED, steps=tuple(execution.results.values()))
    with db.write() as tx:
        runs.begin(tx, started)
        provenance.begin(tx, started)
    serve = tracking(identity) if tracking and config.commands else nullcontext({})
    with serve as tracked:
        execution = Execution(db, objects, replace(plan, tracked=tracked), executor, now, progress)
        try:
            execution.all()
        except BaseException:
            # The processes first, so that nothing still writes when the run is said to have ended.
            executor.close()
            execution.interrupted()
            raise
        finally:
            executor.close()
            ended = _ended(objects, started, plan, model, execution, now)
            with db.write() as tx:
                runs.end(tx, objects, ended)
                provenance.end(tx, objects, ended, execution.outputs)
            _tidy(work)
    failed = next((each for each in ended.steps if each.state is StepState.FAILED), None)
    if failed is not None:
        raise Failure(
            f"step '{failed.name}' failed: {failed.error}",
            hint=f"see {log_of(work, failed.name)}; once mended, `windlass run` goes on from this step",
        )
    return ended


def _own_environments(
    db: Database,
    objects: ObjectStore,
    dag: Graph,
    root: Path,
    environments: Path,
    actor: str,
    now: Clock,
    progress: Progress,
) -> dict[str, tuple[str, str]]:
    """The environments of steps that have their own: by requirements file the digest and the interpreter."""
    found: dict[str, tuple[str, str]] = {}
    for file in sorted({step.environment for step in dag.steps} - {""}):
        path = (root / file).resolve()
        if not path.is_relative_to(root.resolve()) or not path.is_file():
            raise NotFound(f"no file {file} in the project, which a step names as its environment")
        name = environment.of_requirements(
            db, objects, path.read_text(encoding="utf-8"), environments, actor=actor, now=now, progress=progress
        )
        found[file] = name, str(environment.build(db, objects, name, environments, progress=progress))
    return found


def _variables(config: PipelineConfig) -> dict[str, str]:
    """The environment variables that take part in every recipe."""
    return {name: os.environ.get(name, "") for name in config.env} | _pinned(config)


def _pinned(config: PipelineConfig) -> dict[str, str]:
    return {"OPENBLAS_CORETYPE": config.blas_kernel} if config.blas_kernel else {}


def _ended(
    objects: ObjectStore,
    started: Run,
    plan: Plan,
    model: ModelConfig,
    execution: Execution,
    now: Clock,
) -> Run:
    results, outputs = execution.results, execution.outputs
    failed = any(each.state in (StepState.FAILED, StepState.SKIPPED) for each in results.values())
    made = outputs.get(model.step)
    package = str(made["digest"]) if made and made["kind"] == "model" else None
    return replace(
        started,
        host={**started.host, **({"libraries": execution.libraries} if execution.libraries else {})},
        status=RunStatus.FAILED if failed else RunStatus.FINISHED,
        steps=tuple(results.values()),
        closure=digest.of(_closure(plan, model)),
        package=package,
        signature=None if package is None else _signature(objects, package),
        metrics=stored.numbers(objects, outputs.get(model.metrics)),
        seconds=(now() - started.at) / SECOND,
    )


def _closure(plan: Plan, model: ModelConfig) -> dict[str, dict[str, str]]:
    """The code of every step that the model and its metrics come from."""
    wanted, pending = set[str](), [model.step, model.metrics]
    steps = {step.name: step for step in plan.graph.steps}
    while pending:
        name = pending.pop()
        if name in steps and name not in wanted:
            wanted.add(name)
            pending += plan.graph.needs[name]
    return {name: plan.codes.of(steps[name]) for name in sorted(wanted)}


def _signature(objects: ObjectStore, package: str) -> str:
    described = json.loads(trees.read(objects, package, "windlass.json"))
    return digest.of(described["signature"])


def _tidy(work: Path) -> None:
    """Keep the logs; the rest is in the store."""
    for path in work.iterdir():
        if path.is_dir():
            for folder, _, _ in os.walk(path):
                Path(folder).chmod(0o755)
            shutil.rmtree(path)
        elif path.suffix != ".log":
            path.unlink()
