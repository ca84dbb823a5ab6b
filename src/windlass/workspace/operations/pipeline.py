"""Operations on runs of the pipeline, and the registration of what they made."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.pipelines import runs
from windlass.pipelines.runs import Run
from windlass.registry.models import Version
from windlass.workspace import explaining, training
from windlass.workspace.explaining import Explanation
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    """``fresh``: run every step, whatever the cache holds. ``dry_run``: only say what would run, and why."""

    fresh: bool = False
    dry_run: bool = False


@operation("run.start")
def start(ws: Workspace, request: StartRun) -> Run:
    """Run the pipeline on the latest data; what did not change is not run again."""
    return training.train_here(ws, cached=not request.fresh, dry_run=request.dry_run)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainStep:
    """``step``: a step, or one instance of it (``train[depth=3]``)."""

    step: str


@operation("run.explain")
def explain(ws: Workspace, request: ExplainStep) -> list[Explanation]:
    """Say whether a step would run now, and exactly what of its recipe changed since it ran last."""
    return explaining.explain(ws, request.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRuns:
    limit: int = 20


@operation("run.list", reads_only=True)
def ls(ws: Workspace, request: ListRuns) -> list[Run]:
    """List runs, newest first."""
    with ws.database.read() as tx:
        return runs.ls(tx, request.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowRun:
    """``run`` is an id or its beginning; the latest if not given."""

    run: str | None = None


@operation("run.show", reads_only=True)
def show(ws: Workspace, request: ShowRun) -> Run:
    """Show a run: its steps, what each cost, and why it ran or did not."""
    with ws.database.read() as tx:
        return runs.find(tx, request.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """``run`` is an id or its beginning; the latest if not given."""

    run: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    version: Version
    created: bool


@operation("model.register")
def register(ws: Workspace, request: Register) -> Registered:
    """Register a run's model as the next version, numbered by what changed."""
    with ws.database.read() as tx:
        run = runs.find(tx, request.run)
    version, created = training.register(ws, run, ws.config.model.name)
    return Registered(version=version, created=created)
