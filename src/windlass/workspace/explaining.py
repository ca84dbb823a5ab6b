"""Why a step would run now: its recipe held against the one by which it ran last."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.capture import environment
from windlass.domain.digest import short
from windlass.domain.errors import Failure, NotFound
from windlass.domain.ports import Transaction
from windlass.pipelines import cache, recipe
from windlass.pipelines.recipe import Change
from windlass.pipelines.runs import StepState
from windlass.workspace import training
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would become of a step: ``cached``, or ``planned`` to run; ``changes``: of its recipe since it ran last."""

    step: str
    state: StepState
    cause: str
    recipe: str
    changes: tuple[Change, ...]


def explain(ws: Workspace, name: str) -> list[Explanation]:
    """A step's instances, each with what changed.

    Raises:
        NotFound: the pipeline has no such step.
    """
    forecast = training.train_here(ws, dry_run=True)
    found = [each for each in forecast.steps if name in (each.name, each.name.partition("[")[0])]
    if not found:
        known = ", ".join(dict.fromkeys(each.name.partition("[")[0] for each in forecast.steps))
        raise NotFound(f"the pipeline has no step '{name}' (it has: {known})")
    explained = []
    with ws.database.read() as tx:
        for each in found:
            before = cache.latest(tx, each.name)
            changes: list[Change] = []
            if before is not None and each.parts is not None and each.state is StepState.PLANNED:
                changes = [_told(ws, tx, change) for change in recipe.changes(before, each.parts)]
            explained.append(
                Explanation(
                    step=each.name, state=each.state, cause=each.cause, recipe=each.recipe, changes=tuple(changes)
                )
            )
    return explained


def _told(ws: Workspace, tx: Transaction, change: Change) -> Change:
    """A change with what people call the things, where they have names."""
    if change.part == "environment":
        try:
            old, new = (environment.load(ws.objects, str(each)) for each in (change.before, change.after))
        except Failure:
            return change
        lines = environment.compare(old, new)
        return Change(part=change.part, name="; ".join(lines) or change.name, before=change.before, after=change.after)
    if change.part == "inputs":
        return Change(
            part=change.part,
            name=change.name,
            before=_snapshot(tx, change.before),
            after=_snapshot(tx, change.after),
        )
    return change


def _snapshot(tx: Transaction, digest: object) -> object:
    """A dataset's version by its tree; what a step made is told by its digest."""
    if digest is None:
        return None
    row = tx.row("SELECT name, version FROM snapshots WHERE tree = ? ORDER BY version DESC", (str(digest),))
    return f"{row['name']}@{row['version']}" if row else short(str(digest))
