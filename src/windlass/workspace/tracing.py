"""The whole graph of lineage: what is written down as edges, and what tables of their own say.

Aliases and stages move, endpoints change what they serve, a snapshot's record says its source: as edges these are
derived when somebody asks, so that nothing is said twice and nothing can disagree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from windlass.capture import data
from windlass.domain import digest
from windlass.domain.digest import short
from windlass.domain.errors import NotFound
from windlass.domain.names import Reference
from windlass.domain.ports import Transaction
from windlass.domain.states import RolloutState
from windlass.registry import lineage, models
from windlass.registry.lineage import Direction, Edge, Link
from windlass.workspace.referring import run_named
from windlass.workspace.workspace import Workspace

_KINDS = {
    "version": "model version",
    "run": "run",
    "snapshot": "snapshot",
    "source": "source",
    "dataset": "logged dataset",
    "environment": "environment",
    "commit": "commit",
    "object": "object",
    "release": "release",
    "endpoint": "endpoint",
    "predictions": "prediction log",
    "approval": "approval",
    "alias": "alias",
    "stage": "stage",
    "logged-model": "logged model",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """``id`` is its full name; ``label`` is for people."""

    id: str
    kind: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """``up``: what it came from; ``down``: what came from it. ``models``: the versions among what came from it."""

    node: str
    nodes: list[Node]
    up: list[Edge]
    down: list[Edge]
    models: list[str]


def trace(ws: Workspace, tx: Transaction, thing: str) -> Lineage:
    """The graph around a thing: MODEL@VERSION, DATASET@VERSION, the beginning of a run's id, or a node's full name.

    Raises:
        NotFound: nothing is known of it.
    """
    node = _node(ws, tx, thing)
    derived = list(_derived(ws, tx))
    up = lineage.walk(tx, node, Direction.UP, derived)
    down = lineage.walk(tx, node, Direction.DOWN, derived)
    if not up and not down:
        raise NotFound(
            f"nothing is known of '{thing[:200]}'", hint="name a version, a snapshot or a run: employment@1.0.0"
        )
    names = dict.fromkeys([node, *(name for edge in (*up, *down) for name in (edge.child, edge.parent))])
    packages = {edge.parent for edge in (*up, *down) if edge.child.startswith("version/") and edge.relation == "is"}
    trained = dict.fromkeys(edge.child for edge in down if edge.child.startswith("version/"))
    return Lineage(
        node=node,
        nodes=list(_described(tx, names, packages)),
        up=up,
        down=down,
        models=[name.removeprefix("version/") for name in trained],
    )


def _node(ws: Workspace, tx: Transaction, thing: str) -> str:
    kind, slash, rest = thing.partition("/")
    if slash:
        if kind not in _KINDS or not rest:
            raise NotFound(f"'{thing[:200]}' is no thing of lineage", hint=f"it begins with {'/, '.join(_KINDS)}/")
        return thing
    reference = Reference.parse(thing)
    if tx.row("SELECT 1 AS one FROM registered_models WHERE name = ? AND deleted_at IS NULL", (reference.name,)):
        return f"version/{models.find(tx, ws.objects, reference).reference}"
    if tx.row("SELECT 1 AS one FROM snapshots WHERE name = ?", (reference.name,)):
        return f"snapshot/{data.find(tx, ws.objects, reference).reference}"
    run = run_named(tx, thing)
    if run is not None:
        return f"run/{run}"
    raise NotFound(
        f"no model, dataset or run '{thing[:200]}'", hint="`windlass models ls` and `windlass data ls` list them"
    )


def _derived(ws: Workspace, tx: Transaction) -> Iterator[Link]:
    for row in tx.rows("SELECT reference, report, actor FROM approvals"):
        yield _approval(row["reference"], row["actor"]), "approves", f"object/{row['report']}"
    for model, alias, semver in tx.tuples(
        "SELECT a.model, a.alias, v.semver FROM model_aliases a"
        " JOIN model_versions v ON v.model = a.model AND v.number = a.number"
    ):
        yield f"alias/{model}/{alias}", "stands for", f"version/{model}@{semver}"
    for model, stage, semver in tx.tuples(
        "SELECT model, stage, semver FROM model_versions WHERE stage <> 'None' AND deleted_at IS NULL"
    ):
        yield f"stage/{model}/{stage}", "stands for", f"version/{model}@{semver}"
    yield from _delivered(tx)
    for name, version in tx.tuples("SELECT name, version FROM snapshots"):
        snapshot = data.find(tx, ws.objects, Reference(name, str(version)))
        for relation, source in sources_of(snapshot.source):
            yield f"snapshot/{snapshot.reference}", relation, source


def _delivered(tx: Transaction) -> Iterator[Link]:
    for name, release in tx.tuples("SELECT name, release FROM endpoints WHERE release IS NOT NULL"):
        yield f"endpoint/{name}", "serves", f"release/{release}"
    # Before it is warm, a release answers nobody.
    for endpoint, release in tx.tuples(
        "SELECT DISTINCT r.endpoint, r.id FROM releases r JOIN rollouts o ON o.candidate = r.id"
        " WHERE o.state NOT IN (?, ?)",
        (RolloutState.PLANNED.value, RolloutState.WARMING.value),
    ):
        yield f"predictions/{endpoint}/{release}", "answered by", f"release/{release}"
    for release, reference, actor in tx.tuples(
        "SELECT r.id, a.reference, a.actor FROM releases r"
        " JOIN lineage l ON l.child = ('release/' || r.id) AND l.relation = 'cleared by'"
        " JOIN approvals a ON ('object/' || a.report) = l.parent AND a.at <= r.at"
    ):
        yield f"release/{release}", "approved by", _approval(reference, actor)


def _approval(reference: str, actor: str) -> str:
    return f"approval/{reference}/{actor}"


def sources_of(said: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(relation, node) of what a snapshot's provenance names: other snapshots, systems, files with their digests."""
    match said.get("kind"):
        case "split":
            return [("split from", f"snapshot/{said['of']}")]
        case "transform":
            return [("derived from", f"snapshot/{said['of']}")]
        case "s3":
            return [("downloaded from", f"source/{said['url']}")]
        case "sql" | "features" | "feast":
            named = [*(f"source/{shown}" for shown in said.get("sources", {}).values()),
                     *(f"source/{name}" for name in said.get("inputs", {}))]  # fmt: skip
            return [("queried from", name) for name in dict.fromkeys(named)] or [
                ("queried from", f"source/query {digest.of(said.get('query', ''))}")
            ]
    return []


def _described(tx: Transaction, names: Iterable[str], packages: Collection[str]) -> Iterator[Node]:
    for name in names:
        kind, _, rest = name.partition("/")
        known, label = _KINDS.get(kind, kind), short(rest) if rest.startswith(digest.PREFIX) else rest
        match kind:
            case "object":
                known, label = ("package", label) if name in packages else _object(tx, rest)
            case "run" | "logged-model":
                label = rest[:8] if kind == "run" else rest
            case "commit":
                label = rest[:12] or "unknown"
            case "release":
                label = _release(tx, rest)
            case "predictions":
                endpoint, _, release = rest.partition("/")
                label = f"{endpoint}, of release {short(release)}"
            case "approval":
                reference, _, actor = rest.partition("/")
                label = f"by {actor} of {reference}"
            case "alias" | "stage":
                model, _, what = rest.partition("/")
                label = f"{model}@{what}" if kind == "alias" else f"{what} of {model}"
            case "dataset":
                label = rest[:80]
        yield Node(id=name, kind=known, label=label)


def _object(tx: Transaction, name: str) -> tuple[str, str]:
    report = tx.row("SELECT reference, verdict FROM gate_reports WHERE report = ?", (name,))
    if report is not None:
        return "gate report", f"of {report['reference']}: {report['verdict']} ({short(name)})"
    return "object", short(name)


def _release(tx: Transaction, name: str) -> str:
    row = tx.row("SELECT endpoint, reference FROM releases WHERE id = ?", (name,))
    return f"of {row['reference']} to {row['endpoint']} ({short(name)})" if row else short(name)
