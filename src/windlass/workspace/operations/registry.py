"""Operations on the registry: stages, aliases, tags, searches, and versions of what was logged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from windlass.domain.errors import Invalid, NotFound
from windlass.domain.names import Reference, checked_model
from windlass.domain.ports import Transaction
from windlass.registry import comparing, grammar, models, registered
from windlass.registry.comparing import Comparison
from windlass.registry.models import Version
from windlass.registry.registered import RegisteredModel, VersionEntry
from windlass.registry.search import registry as models_search
from windlass.registry.search import runs as runs_search
from windlass.registry.tracking import experiments, runs
from windlass.registry.tracking.runs import TrackedRun
from windlass.registry.tracking.stages import ACTIVE
from windlass.workspace import adopting, promoting
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace

_MOST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveStage:
    """``stage``: staging, production, archived or none. ``archive_others`` archives what stands in that stage."""

    reference: str
    stage: str
    archive_others: bool = False
    reason: str = ""


@operation("registry.stage")
def stage(ws: Workspace, request: MoveStage) -> VersionEntry:
    """Move a version to a stage; to production only with a passing gate and the approvals that policy asks for."""
    return promoting.move_stage(
        ws,
        Reference.parse(request.reference),
        request.stage,
        archive_others=request.archive_others,
        actor=ws.actor,
        reason=request.reason,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveAlias:
    reference: str
    alias: str
    reason: str = ""


@operation("registry.alias")
def alias(ws: Workspace, request: MoveAlias) -> VersionEntry:
    """Let an alias stand for a version; one that policy protects only for a cleared version."""
    reference = Reference.parse(request.reference)
    return promoting.move_alias(ws, reference, request.alias, actor=ws.actor, reason=request.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """``protected``: policy lets it stand for cleared versions only."""

    model: str
    alias: str
    reference: str
    protected: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAliases:
    """``model``: of all models, if none is named."""

    model: str | None = None


@operation("registry.aliases", reads_only=True)
def aliases(ws: Workspace, request: ListAliases) -> list[Alias]:
    """List the aliases and the versions that they stand for."""
    protected = promoting.protected(ws)
    found = []
    with ws.database.read() as tx:
        named = [request.model] if request.model is not None else models_search.search_models(
            tx, "", (), start=0, most=_MOST
        )  # fmt: skip
        for model in registered.read(tx, named):
            for name, number in model.aliases.items():
                entry = registered.entry_of(tx, model.name, number)
                found.append(
                    Alias(model=model.name, alias=name, reference=entry.reference, protected=name in protected)
                )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveAlias:
    model: str
    alias: str
    reason: str = ""


@operation("registry.unalias")
def unalias(ws: Workspace, request: RemoveAlias) -> list[Alias]:
    """Take an alias away, unless policy protects it; gives those that the model has left."""
    model = checked_model(request.model)
    with ws.database.read() as tx:
        if request.alias not in registered.find(tx, model).aliases:
            raise NotFound(f"model '{model}' has no alias '{request.alias[:80]}'", hint=f"windlass alias ls {model}")
    promoting.remove_alias(ws, model, request.alias, actor=ws.actor, reason=request.reason)
    return aliases(ws, ListAliases(model=model))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """``thing`` is MODEL or MODEL@VERSION. ``tags`` are set; ``remove`` names those that are taken away."""

    thing: str
    tags: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


@operation("registry.tag")
def tag(ws: Workspace, request: Tag) -> dict[str, str]:
    """Set and remove tags of a model or of a version; gives those that it then has."""
    reference = Reference.parse(request.thing)
    with ws.database.write() as tx:
        if reference.version is None:
            for key, value in request.tags.items():
                registered.set_tag(tx, reference.name, key, value)
            for key in request.remove:
                registered.delete_tag(tx, reference.name, key)
            return dict(registered.find(tx, reference.name).tags)
        version = models.find(tx, ws.objects, reference)
        for key, value in request.tags.items():
            registered.set_version_tag(tx, version.model, version.number, key, value)
        for key in request.remove:
            registered.delete_version_tag(tx, version.model, version.number, key)
        return dict(registered.entry_of(tx, version.model, version.number).tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchModels:
    """``filter`` and ``order_by`` in MLflow's grammar for registered models."""

    filter: str = ""
    order_by: tuple[str, ...] = ()
    limit: int = 1000


@operation("registry.models", reads_only=True)
def search_models(ws: Workspace, request: SearchModels) -> list[RegisteredModel]:
    """List registered models with their tags and aliases."""
    with ws.database.read() as tx:
        found = models_search.search_models(tx, request.filter, request.order_by, start=0, most=_most(request.limit))
        return registered.read(tx, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRuns:
    """``filter`` and ``order_by`` in MLflow's grammar for runs; of all experiments, if none is named."""

    filter: str = ""
    experiment: str | None = None
    order_by: tuple[str, ...] = ()
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRun:
    """A run that was found; times in microseconds. A metric that JSON has no number for is a text: NaN, Infinity."""

    run: str
    name: str
    experiment: str
    status: str
    user: str
    started_at: int
    ended_at: int | None
    params: Mapping[str, str]
    metrics: Mapping[str, float | str]
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRuns:
    """``columns``: what was asked for, then what differs among the runs, as ``metrics.NAME`` or ``params.NAME``."""

    runs: list[FoundRun]
    columns: tuple[str, ...]


@operation("registry.runs", reads_only=True)
def search_runs(ws: Workspace, request: SearchRuns) -> FoundRuns:
    """Search runs by metrics, params, tags and attributes."""
    filters = grammar.parse_filter(request.filter, grammar.RUNS)
    orders = grammar.parse_order(request.order_by, grammar.RUNS)
    with ws.database.read() as tx:
        asked = runs_search.Asked(_experiments(tx, request.experiment), (ACTIVE,), filters, orders)
        numbers = [number for number, _ in runs_search.search(tx, asked, start=0, most=_most(request.limit))]
        found = runs.read(tx, numbers)
        titles = dict(tx.tuples("SELECT id, name FROM experiments"))
    named = [(each.kind, each.key) for each in filters] + [(each.kind, each.key) for each in orders]
    return FoundRuns(
        runs=[_found(each, titles[int(each.experiment_id)]) for each in found],
        columns=tuple(
            f"{kind}s.{key}"
            for kind, key in dict.fromkeys([*named, *_differing(found)])
            if kind in ("metric", "param", "tag")
        ),
    )


def _differing(found: list[TrackedRun]) -> list[tuple[str, str]]:
    params = comparing.differing([each.params for each in found])
    metrics = comparing.differing([{key: str(m.value) for key, m in each.metrics.items()} for each in found])
    return [*(("metric", key) for key in metrics), *(("param", key) for key in params)]


def _found(run: TrackedRun, experiment: str) -> FoundRun:
    return FoundRun(
        run=run.run_id,
        name=run.name,
        experiment=experiment,
        status=run.status,
        user=run.user,
        started_at=run.started_at * 1000,
        ended_at=None if run.ended_at is None else run.ended_at * 1000,
        params=run.params,
        metrics={key: _number(metric.value) for key, metric in run.metrics.items()},
        tags=run.tags,
    )


def _number(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")


def _experiments(tx: Transaction, name: str | None) -> list[int]:
    if name is None:
        return [number for (number,) in tx.tuples("SELECT id FROM experiments WHERE stage = ? ORDER BY id", (ACTIVE,))]
    found = experiments.experiment_id(tx, name)
    if found is None:
        known = [each for (each,) in tx.tuples("SELECT name FROM experiments WHERE stage = ? ORDER BY id", (ACTIVE,))]
        raise NotFound(f"no experiment '{name[:200]}'", hint=f"there are: {', '.join(known[:20])}")
    return [int(found)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """``source``: ``runs:/RUN/PATH``, ``models:/MODEL_ID`` or ``mlflow-artifacts:/…``: what this project keeps."""

    source: str
    model: str
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@operation("registry.adopt")
def adopt(ws: Workspace, request: Adopt) -> Version:
    """Register files that were logged through MLflow's protocol as the next version of a model."""
    return adopting.register(
        ws,
        model=checked_model(request.model),
        source=request.source,
        description=request.description,
        tags=request.tags,
        actor=ws.actor,
        create=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """``things``: versions (MODEL@VERSION, MODEL for its latest) and runs (an id or the beginning of it)."""

    things: tuple[str, ...]
    everything: bool = False


@operation("registry.compare", reads_only=True)
def compare(ws: Workspace, request: Compare) -> Comparison:
    """Show versions or runs side by side: only what differs, unless everything is asked for."""
    from windlass.workspace import side_by_side  # noqa: PLC0415 - loads the gate's families

    with ws.database.read() as tx:
        return side_by_side.compare(ws, tx, request.things, everything=request.everything)


def _most(limit: int) -> int:
    if not 1 <= limit <= _MOST:
        raise Invalid(f"limit is {limit}", hint=f"use 1 to {_MOST}")
    return limit
