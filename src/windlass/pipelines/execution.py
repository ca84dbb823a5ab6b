"""One pass over the graph: each step as soon as what it needs is there, from the cache or by an executor.

Outputs are in the store and in the cache before anything that needs them starts: whatever dies, the next run goes on
from there. What ends together is stored together: one flush for many small steps.
"""

from __future__ import annotations

import heapq
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from windlass.capture import folders, trees
from windlass.capture.data import Snapshot
from windlass.capture.trees import Tree
from windlass.domain import digest
from windlass.domain.clock import Clock
from windlass.domain.errors import Failure
from windlass.domain.ports import Batch, Database, ObjectStore
from windlass.pipelines import cache, fanout, process, recipe, stored
from windlass.pipelines.config import PipelineConfig
from windlass.pipelines.executor import Ended, Executor, Job
from windlass.pipelines.fanout import Data, Instance, Output, Plain
from windlass.pipelines.graph import Graph, Step
from windlass.pipelines.runs import StepResult, StepState
from windlass.pipelines.stored import Stored

Progress = Callable[[str], None]
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a run depends on, and where it works."""

    root: Path  # a checkout of the captured code, which nobody edits
    work: Path
    config: PipelineConfig
    graph: Graph
    codes: recipe.Codes
    snapshots: Mapping[str, Snapshot]
    environment: str
    own: Mapping[str, tuple[str, str]]  # requirements file -> the environment's digest and its interpreter
    variables: Mapping[str, str]
    python: str
    tracked: Mapping[str, str]
    cached: bool
    run: str


@dataclass(slots=True)
class _Task:
    """An instance that has to run."""

    instance: Instance
    recipe: str
    parts: Mapping[str, Any]
    cause: str
    attempt: int = 0
    seconds: float = 0.0
    memory: int = 0
    output: Path = field(default_factory=Path)


class Execution:
    """``all`` runs it, once. ``results`` and ``outputs`` have what came of it so far, whatever ends it."""

    def __init__(
        self, db: Database, objects: ObjectStore, plan: Plan, executor: Executor, now: Clock, progress: Progress
    ) -> None:
        self._db, self._objects, self._plan, self._now, self._progress = db, objects, plan, now, progress
        self._executor = executor
        self._cpus = self._free = os.cpu_count() or 1
        self._steps = {step.name: step for step in plan.graph.steps}
        self._waiting = list(plan.graph.steps)
        self._instances: dict[str, list[str]] = {}  # step -> names of its instances
        self._left: dict[str, int] = {}  # instances of a step that have not ended yet
        self._made: dict[str, dict[str, Stored]] = {}  # step -> label -> output
        self._queue: list[_Task] = []
        self._later: list[tuple[float, int, _Task]] = []  # tasks that are tried again: (when, number, task)
        self._running: dict[str, _Task] = {}
        self._number = 0
        self._failed: set[str] = set()
        self._layouts = _Layouts(objects, plan)
        self._is_preloaded = False
        self._found: dict[str, StepResult] = {}
        self.outputs: dict[str, Stored] = {}
        self.libraries: list[dict[str, Any]] = []  # that steps have computed with

    @property
    def results(self) -> dict[str, StepResult]:
        """By instance, in the order of the graph and of each step's fan-out, whatever ended first."""
        ordered = [name for step in self._plan.graph.steps for name in self._instances.get(step.name, [step.name])]
        return {name: self._found[name] for name in ordered if name in self._found}

    def all(self) -> None:
        """Run everything that has to; returns when nothing is left."""
        with self._objects.batch() as batch:
            while True:
                while self._open_ready(batch):
                    pass
                self._start_queued()
                if not (self._running or self._queue or self._later):
                    return
                pause = min([_LOOK_SECONDS, *(when - time.monotonic() for when, _, _ in self._later[:1])])
                ended = self._executor.ended(max(0.0, pause))
                self._settle(ended, batch)
                while self._later and self._later[0][0] <= time.monotonic():
                    self._queue.append(heapq.heappop(self._later)[2])

    def forecast(self) -> None:
        """Only look: ``results`` then say what would be taken from the cache, and what would run and why."""
        with self._objects.batch() as batch:
            while self._open_ready(batch):
                pass
        for task in self._queue:
            self._note(
                StepResult(
                    name=task.instance.name,
                    state=StepState.PLANNED,
                    recipe=task.recipe,
                    cause=task.cause,
                    parts=task.parts,
                ),
                task.instance.step,
            )
        for step in self._waiting:
            after = [name for name in self._plan.graph.needs[step.name] if name not in self.outputs]
            self._note(
                StepResult(name=step.name, state=StepState.PLANNED, recipe="", cause=f"after {', '.join(after)}"), step
            )

    def interrupted(self) -> None:
        """Note of what had to end early that it did."""
        for task in self._running.values():
            self._note(_failed(task, "interrupted"), task.instance.step)
        for step in self._waiting:
            self._note(_skipped(step, "the run was interrupted"), step)

    def _open_ready(self, batch: Batch) -> bool:
        """Look at every step whose needs are met: what is cached is done with; returns whether any step was."""
        needs = self._plan.graph.needs
        ready = [step for step in self._waiting if all(name in self.outputs for name in needs[step.name])]
        blocked = [step for step in self._waiting if any(name in self._failed for name in needs[step.name])]
        for step in blocked:
            self._waiting.remove(step)
            self._failed.add(step.name)
            self._note(_skipped(step, "a step that it needs failed"), step)
        tasks: list[_Task] = []
        for step in ready:
            self._waiting.remove(step)
            try:
                tasks += self._tasks(step)
            except Failure as failure:
                self._failed.add(step.name)
                failed = StepResult(name=step.name, state=StepState.FAILED, recipe="", cause="", error=failure.message)
                self._note(failed, step)
        finished = self._from_cache(tasks)
        return bool(finished or blocked)

    def _tasks(self, step: Step) -> list[_Task]:
        plan = self._plan
        step_code = plan.codes.of(step)
        expanded = fanout.instances(
            step,
            config=plan.config.config,
            seed=plan.config.seed,
            snapshots=plan.snapshots,
            outputs=self.outputs,
            objects=self._objects,
        )
        self._instances[step.name] = [instance.name for instance in expanded]
        self._left[step.name] = len(expanded)
        self._made[step.name] = {}
        if not expanded:
            self.outputs[step.name] = fanout.collected(step, {})
        tasks = []
        for instance in expanded:
            parts = recipe.parts(
                step_code=step_code,
                inputs=instance.inputs(),
                config=instance.config(),
                seed=plan.config.seed,
                threads=plan.config.threads,
                environment=plan.own[step.environment][0] if step.environment else plan.environment,
                variables=plan.variables,
            )
            tasks.append(_Task(instance, digest.of(parts), parts, ""))
        return tasks

    def _from_cache(self, tasks: list[_Task]) -> int:
        """Take from the cache what it has; the rest is queued. Returns how many steps that completed."""
        if not tasks:
            return 0
        finished = 0
        with self._db.read() as tx:
            found = {task.recipe: cache.find(tx, task.recipe) for task in tasks} if self._plan.cached else {}
            before = {task.instance.name: cache.latest(tx, task.instance.name) for task in tasks}
        for task in tasks:
            kept = found.get(task.recipe)
            if kept is not None and stored.whole(self._objects, kept.output):
                result = StepResult(
                    name=task.instance.name,
                    state=StepState.CACHED,
                    recipe=task.recipe,
                    cause=f"nothing changed since run {kept.run[:8]}",
                    outputs=stored.flat(task.instance.name, kept.output),
                )
                self._note(result, task.instance.step)
                finished += self._has_made(task.instance, kept.output)
            else:
                task.cause = recipe.difference(before[task.instance.name], task.parts)
                self._progress(f"{task.instance.name}: {task.cause}")
                self._queue.append(task)
        return finished

    def _has_made(self, instance: Instance, output: Stored) -> bool:
        """Note an instance's output; returns whether its step is complete by it."""
        step = instance.step.name
        self._made[step][instance.label] = output
        self._left[step] -= 1
        if self._left[step]:
            return False
        self.outputs[step] = fanout.collected(instance.step, self._made[step])
        return True

    def _start_queued(self) -> None:
        kept = []
        for task in self._queue:
            # A step that asks for more than there is gets all there is.
            wanted = min(task.instance.step.cpus, self._cpus)
            if task.instance.step.name in self._failed:
                self._note(_failed(task, "another instance of the step failed"), task.instance.step)
            elif wanted <= self._free:
                self._free -= wanted
                self._start(task)
            else:
                kept.append(task)
        self._queue = kept

    def _start(self, task: _Task) -> None:
        plan, step, instance = self._plan, task.instance.step, task.instance
        task.attempt += 1
        self._number += 1
        task.output = plan.work / f"{self._number}-output"
        task.output.mkdir()
        self._running[instance.name] = task
        log = log_of(plan.work, instance.name)
        arguments = {name: self._layouts.argument(bound) for name, bound in instance.arguments.items()}
        python = plan.own[step.environment][1] if step.environment else plan.python
        common: dict[str, Any] = {
            "id": instance.name, "python": python, "folder": plan.root, "log": log,
            "timeout": step.timeout_seconds, "memory": step.memory_mb << 20,
        }  # fmt: skip
        if step.command:
            program = [python if word in ("python", "python3") else word for word in step.command]
            extra = {**plan.variables, **plan.tracked, **self._variables(task, arguments)}
            variables = process.environment(plan.config.threads, extra)
            self._executor.submit(Job(command=program, variables=variables, **common))
            return
        if not self._is_preloaded and not step.environment:
            # Once for all steps: they are forked from a process that has imported this.
            self._is_preloaded = True
            self._executor.preload(plan.python, ["windlass.pipelines.values", *plan.codes.imported()])
        job = plan.work / f"{self._number}-job.json"
        job.write_text(
            json.dumps(
                {
                    "root": str(plan.root), "file": plan.config.file, "step": step.name, "seed": plan.config.seed,
                    "arguments": arguments, "output": str(task.output),
                }
            )
        )  # fmt: skip
        self._executor.submit(Job(job=job, variables={}, **common))

    def _variables(self, task: _Task, arguments: Mapping[str, Any]) -> dict[str, str]:
        """How a command finds what it needs."""
        found = {"WINDLASS_OUTPUT": str(task.output), "WINDLASS_SEED": str(self._plan.config.seed)}
        for name, each in arguments.items():
            if "plain" not in each:
                kind = "DATA" if name in self._plan.snapshots else "INPUT"
                found[f"WINDLASS_{kind}_{name.upper().replace('-', '_')}"] = str(each.get("path") or each["folder"])
        return found

    def _settle(self, ended: list[Ended], batch: Batch) -> None:
        """Store what was made, all of it at once, and note what failed."""
        done: list[tuple[_Task, Stored]] = []
        for each in ended:
            task = self._running.pop(each.id)
            self._free += min(task.instance.step.cpus, self._cpus)
            task.seconds += each.seconds
            task.memory = max(task.memory, each.memory)
            if not each.error:
                try:
                    self._note_libraries(task)
                    done.append((task, stored.put(batch, _described(task), task.output)))
                except Failure as failure:
                    self._give_up(task, failure.message)
            elif task.attempt <= task.instance.step.retries:
                pause = task.instance.step.backoff_seconds * 2.0 ** (task.attempt - 1)
                self._progress(f"{task.instance.name}: {each.error}; again in {pause:g} s")
                self._number += 1
                heapq.heappush(self._later, (time.monotonic() + pause, self._number, task))
            else:
                self._give_up(task, each.error)
        if not done:
            return
        batch.flush()
        with self._db.write() as tx:
            for task, output in done:
                cache.put(
                    tx,
                    recipe=task.recipe,
                    step=task.instance.name,
                    parts=task.parts,
                    output=output,
                    run=self._plan.run,
                    at=self._now(),
                )
        for task, output in done:
            name = task.instance.name
            result = StepResult(
                name=name, state=StepState.DONE, recipe=task.recipe, cause=task.cause, seconds=task.seconds,
                attempts=task.attempt, memory=task.memory, outputs=stored.flat(name, output),
            )  # fmt: skip
            self._note(result, task.instance.step)
            self._has_made(task.instance, output)

    def _note(self, result: StepResult, step: Step) -> None:
        self._found[result.name] = replace(result, needs=self._plan.graph.needs[step.name])

    def _note_libraries(self, task: _Task) -> None:
        if not task.instance.step.command:
            found = json.loads((task.output / "libraries.json").read_text())
            self.libraries += [each for each in found if each not in self.libraries]

    def _give_up(self, task: _Task, error: str) -> None:
        self._note(_failed(task, error), task.instance.step)
        self._failed.add(task.instance.step.name)


class _Layouts:
    """Files that steps read: each dataset and output is laid out once, for all of them."""

    def __init__(self, objects: ObjectStore, plan: Plan) -> None:
        self._objects = objects
        self._plan = plan
        self._lock = threading.Lock()

    def argument(self, bound: Plain | Data | Output) -> dict[str, Any]:
        """A parameter's value, as the step's process is told of it."""
        if isinstance(bound, Plain):
            return {"plain": bound.value}
        if isinstance(bound, Data):
            return {"path": str(self._data(bound))}
        inside = [_file_name(bound.key)] if bound.key else []
        folder = self._plan.work.joinpath("inputs", bound.step, *inside)
        return {"value": stored.lay_out(self._objects, bound.stored, folder), "folder": str(folder)}

    def _data(self, bound: Data) -> Path:
        folder = self._plan.work / "data" / bound.name
        tree = self._plan.snapshots[bound.name].tree
        if not bound.path:
            if not folder.exists():
                folders.checkout(self._objects, tree, folder, read_only=True)
            return folder
        alone = self._plan.work / "data" / f"{bound.name}-{_file_name(bound.path)}"
        target = alone / bound.path
        if not target.exists():
            entry = trees.find(self._objects, tree, bound.path)
            alone.mkdir(parents=True, exist_ok=True)
            folders.write(self._objects, Tree(digest=tree, entries=(entry,)), alone, read_only=True)
        return target


def log_of(work: Path, name: str) -> Path:
    """Where an instance's output goes that it prints."""
    return work / f"{_file_name(name)}.log"


def _described(task: _Task) -> dict[str, Any]:
    if task.instance.step.command:
        return {"kind": "files", "file": "."}
    described: dict[str, Any] = json.loads((task.output / "value.json").read_text())
    return described


def _failed(task: _Task, error: str) -> StepResult:
    return StepResult(
        name=task.instance.name, state=StepState.FAILED, recipe=task.recipe, cause=task.cause, seconds=task.seconds,
        attempts=task.attempt, memory=task.memory, error=error,
    )  # fmt: skip


def _skipped(step: Step, cause: str) -> StepResult:
    return StepResult(name=step.name, state=StepState.SKIPPED, recipe="", cause=cause)


def _file_name(name: str) -> str:
    """A name that can be one of a file: an instance's label may be anything."""
    plain = "".join(each if each.isalnum() or each in "-_.=[]," else "_" for each in name)
    return plain if plain == name and len(plain) < 100 else f"{plain[:80]}-{digest.of(name)[3:11]}"
