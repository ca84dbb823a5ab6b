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
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from windlass.capture import code as code_capture
from windlass.capture import data, environment, trees
from windlass.capture.code import Code
from windlass.capture.data import Snapshot
from windlass.domain import digest
from windlass.domain.clock import SECOND, Clock
from windlass.domain.errors import Failure, NotFound
from windlass.domain.ports import Database, ObjectStore
from windlass.pipelines import cache, graph, process, provenance, recipe, runs, stored
from windlass.pipelines.config import PipelineConfig
from windlass.pipelines.graph import Graph, Step
from windlass.pipelines.runs import Run, RunStatus, StepResult, StepState
from windlass.pipelines.stored import Stored
from windlass.registry.config import ModelConfig

Progress = Callable[[str], None]
Tracking = Callable[[str], AbstractContextManager[dict[str, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a run depends on, and where it works."""

    root: Path  # a checkout of the captured code, which nobody edits
    work: Path
    config: PipelineConfig
    graph: Graph
    snapshots: Mapping[str, Snapshot]
    environment: str
    variables: Mapping[str, str]
    python: str
    tracked: Mapping[str, str]
    cached: bool
    run: str


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
    python: Path | str = sys.executable,
    host: Mapping[str, object] | None = None,
    tracking: Tracking | None = None,
    cached: bool = True,
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
        host=environment.facts() if host is None else host,
        config=dict(config.config),
        seed=config.seed,
        threads=config.threads,
        variables={name: os.environ.get(name, "") for name in config.env},
        package=None,
        signature=None,
        metrics={},
        at=now(),
        seconds=0.0,
        actor=actor,
        experiment=model.name,
    )
    with db.write() as tx:
        runs.begin(tx, started)
        provenance.begin(tx, started)
    serve = tracking(identity) if tracking and config.commands else nullcontext({})
    with serve as tracked:
        plan = Plan(
            root=work / "code",
            work=work,
            config=config,
            graph=dag,
            snapshots=snapshots,
            environment=environment_digest,
            variables=started.variables,
            python=str(python),
            tracked=tracked,
            cached=cached,
            run=identity,
        )
        results, outputs = _Execution(db, objects, plan, now, progress).all()
    ended = _ended(objects, started, plan, model, results, outputs, now)
    with db.write() as tx:
        runs.end(tx, objects, ended)
        provenance.end(tx, objects, ended, outputs)
    _tidy(work)
    failed = next((each for each in ended.steps if each.state is StepState.FAILED), None)
    if failed is not None:
        raise Failure(
            f"step '{failed.name}' failed: {failed.error}",
            hint=f"see {work / f'{failed.name}.log'}; once mended, `windlass run` goes on from this step",
        )
    return ended


class _Execution:
    """One pass over the graph: every step as soon as what it needs is there."""

    def __init__(self, db: Database, objects: ObjectStore, plan: Plan, now: Clock, progress: Progress) -> None:
        self._db, self._objects, self._plan, self._now, self._progress = db, objects, plan, now, progress
        self._outputs: dict[str, Stored] = {}
        self._laying = threading.Lock()

    def all(self) -> tuple[dict[str, StepResult], dict[str, Stored]]:
        results: dict[str, StepResult] = {}
        waiting = list(self._plan.graph.steps)
        running: dict[Future[StepResult], str] = {}
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            while waiting or running:
                for step in list(waiting):
                    needs = [results.get(name) for name in self._plan.graph.needs[step.name]]
                    if any(each and each.state in (StepState.FAILED, StepState.SKIPPED) for each in needs):
                        results[step.name] = StepResult(
                            name=step.name, state=StepState.SKIPPED, recipe="", cause="a step that it needs failed"
                        )
                        waiting.remove(step)
                    elif all(needs):
                        running[pool.submit(self._one, step)] = step.name
                        waiting.remove(step)
                if running:
                    for done in wait(running, return_when=FIRST_COMPLETED).done:
                        results[running.pop(done)] = done.result()
        return {step.name: results[step.name] for step in self._plan.graph.steps}, self._outputs

    def _one(self, step: Step) -> StepResult:
        plan = self._plan
        parts = recipe.parts(
            step_code=recipe.code_of(plan.root, plan.config.file, step),
            inputs={name: self._input(name) for name in step.parameters if self._input(name)},
            config={name: plan.config.config[name] for name in step.parameters if name in plan.config.config},
            seed=plan.config.seed,
            threads=plan.config.threads,
            environment=plan.environment,
            variables=plan.variables,
        )
        name = digest.of(parts)
        with self._db.read() as tx:
            found = cache.find(tx, name) if plan.cached else None
            before = cache.latest(tx, step.name)
        if found is not None and stored.whole(self._objects, found.output):
            self._outputs[step.name] = found.output
            return StepResult(
                name=step.name,
                state=StepState.CACHED,
                recipe=name,
                cause=f"nothing changed since run {found.run[:8]}",
                outputs=stored.flat(step.name, found.output),
            )
        cause = recipe.difference(before, parts)
        self._progress(f"{step.name}: {cause}")
        output, seconds, attempts, error = self._execute(step)
        if output is None:
            return StepResult(
                name=step.name, state=StepState.FAILED, recipe=name, cause=cause, seconds=seconds, attempts=attempts,
                error=error,
            )  # fmt: skip
        with self._db.write() as tx:
            cache.put(tx, recipe=name, step=step.name, parts=parts, output=output, run=plan.run, at=self._now())
        self._outputs[step.name] = output
        return StepResult(
            name=step.name, state=StepState.DONE, recipe=name, cause=cause, seconds=seconds, attempts=attempts,
            outputs=stored.flat(step.name, output),
        )  # fmt: skip

    def _input(self, name: str) -> str:
        """What stands for a parameter in the recipe; "" for what is not data."""
        if name in self._plan.snapshots:
            return self._plan.snapshots[name].tree
        return digest.of(self._outputs[name]) if name in self._outputs else ""

    def _execute(self, step: Step) -> tuple[Stored | None, float, int, str]:
        started, error = time.monotonic(), ""
        for attempt in range(1, step.retries + 2):
            if attempt > 1:
                pause = step.backoff_seconds * 2.0 ** (attempt - 2)
                self._progress(f"{step.name}: {error}; again in {pause:g} s")
                time.sleep(pause)
            output = self._plan.work / f"{step.name}-{attempt}"
            output.mkdir()
            ended = self._attempt(step, output)
            if not ended.error:
                described = (
                    {"kind": "files", "file": "."} if step.command else json.loads((output / "value.json").read_text())
                )
                kept = stored.put(self._objects, described, output)
                return kept, time.monotonic() - started, attempt, ""
            error = ended.error
        return None, time.monotonic() - started, step.retries + 1, error

    def _attempt(self, step: Step, output: Path) -> process.Ended:
        plan, log = self._plan, self._plan.work / f"{step.name}.log"
        arguments = {name: self._argument(name) for name in step.parameters}
        if step.command:
            folders = {
                f"WINDLASS_{'DATA' if name in plan.snapshots else 'INPUT'}_{name.upper().replace('-', '_')}": str(
                    each.get("path") or each["folder"]
                )
                for name, each in arguments.items()
                if "plain" not in each
            }
            variables = process.environment(
                plan.config.threads,
                {**plan.tracked, **folders, "WINDLASS_OUTPUT": str(output), "WINDLASS_SEED": str(plan.config.seed)},
            )
            program = [plan.python if word in ("python", "python3") else word for word in step.command]
            return process.run(program, folder=plan.root, log=log, variables=variables, timeout=step.timeout_seconds)
        job = plan.work / f"{output.name}.job.json"
        job.write_text(
            json.dumps(
                {
                    "root": str(plan.root), "file": plan.config.file, "step": step.name, "seed": plan.config.seed,
                    "arguments": arguments, "output": str(output),
                }
            )
        )  # fmt: skip
        return process.run(
            [plan.python, "-P", "-m", "windlass.pipelines.child", str(job)],
            folder=plan.root,
            log=log,
            variables=process.environment(plan.config.threads, {}),
            timeout=step.timeout_seconds,
        )

    def _argument(self, name: str) -> dict[str, Any]:
        """A parameter's value as the step's process is told of it; files are laid out once, for all steps."""
        plan = self._plan
        if name == graph.SEED:
            return {"plain": plan.config.seed}
        if name in plan.snapshots:
            folder = plan.work / "data" / name
            with self._laying:
                if not folder.exists():
                    data.checkout(self._objects, plan.snapshots[name], folder)
            return {"path": str(folder)}
        if name in self._outputs:
            folder = plan.work / "inputs" / name
            with self._laying:
                described = stored.lay_out(self._objects, self._outputs[name], folder)
            return {"value": described, "folder": str(folder)}
        return {"plain": plan.config.config[name]}


def _ended(
    objects: ObjectStore,
    started: Run,
    plan: Plan,
    model: ModelConfig,
    results: Mapping[str, StepResult],
    outputs: Mapping[str, Stored],
    now: Clock,
) -> Run:
    failed = any(each.state in (StepState.FAILED, StepState.SKIPPED) for each in results.values())
    made = outputs.get(model.step)
    package = str(made["digest"]) if made and made["kind"] == "model" else None
    return replace(
        started,
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
    return {name: recipe.code_of(plan.root, plan.config.file, steps[name]) for name in sorted(wanted)}


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
