"""Operations on datasets and their snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from windlass.capture import data, trees
from windlass.capture.config import DatasetConfig, Parameter
from windlass.capture.data import DataDiff, Snapshot
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.names import Reference, checked
from windlass.workspace import sourcing
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace

_PART = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AddData:
    """``path`` is where the data comes from: a path, an ``s3://`` URL, or SQL; by default what ``windlass.toml`` says.

    SQL begins with SELECT, WITH or FROM, or is the path of a file that ends with ``.sql``. ``parameters`` are bound to
    its ``$name`` or ``:name``; ``attach`` has the names and URLs of the databases and files that it may name.
    """

    name: str
    path: str | None = None
    reason: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    attach: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    snapshot: Snapshot
    created: bool  # False: the data is as it was, and so is its version


@operation("data.add")
def add(ws: Workspace, request: AddData) -> Added:
    """Version a dataset; data that did not change keeps its version."""
    name = checked(request.name, "dataset name")
    config = ws.config.data.get(name)
    if request.path is None and config is None:
        known = ", ".join(ws.config.data) or "none"
        raise NotFound(
            f"windlass.toml has no dataset '{name}' (it has: {known})",
            hint=f"say where it lies: `windlass data add PATH --name {name}`",
        )
    source = sourcing.asked_for(request.path, config, request.parameters, request.attach)
    trusted = request.path is None and not request.attach
    with sourcing.materialised(ws, source, trusted=trusted) as (path, provenance):
        return _add(ws, name, path, target=source.target, reason=request.reason, source=provenance)


def _add(ws: Workspace, name: str, path: Path, *, target: str, reason: str, source: Mapping[str, Any]) -> Added:
    snapshot, created = data.add(
        ws.database,
        ws.objects,
        name=name,
        path=path,
        target=target,
        reason=reason,
        source=source,
        actor=ws.actor,
        now=ws.now,
        cache=ws.stat_cache,
        progress=ws.progress,
        meter=ws.meter,
    )
    return Added(snapshot=snapshot, created=created)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitData:
    """``into`` has the parts' shares, which make up 1; rows with equal values of ``by`` stay in one part.

    With ``stratify`` every value of that column has the shares exactly.
    """

    reference: str
    into: Mapping[str, float]
    seed: int = 0
    by: str = ""
    stratify: str = ""
    reason: str = ""


@operation("data.split")
def split(ws: Workspace, request: SplitData) -> list[Added]:
    """Split a snapshot's rows into datasets NAME-PART by a recorded recipe."""
    from windlass.capture.sources import splits, tables  # noqa: PLC0415 - only what a command uses is loaded

    recipe = splits.checked(
        splits.Recipe(into=dict(request.into), seed=request.seed, by=request.by, stratify=request.stratify)
    )
    parent = _find(ws, request.reference)
    names = {part: checked(f"{parent.name}-{part}", "dataset name") for part in recipe.into}
    with sourcing.laid_out(ws, parent) as (files, made):
        ws.progress(f"splitting {parent.reference}")
        splits.split(tables.tables(files, parent.reference), recipe, made)
        return [
            _add(
                ws,
                names[part],
                made / part,
                target=parent.target,
                reason=request.reason or f"split from {parent.reference}",
                source={
                    "kind": "split", "of": parent.reference, "tree": parent.tree, "part": part,
                    "recipe": recipe.plain(), "seed": recipe.seed,
                },
            )
            for part in recipe.into
        ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformData:
    """``sql`` names the snapshot's tables together ``data`` or by the dataset's name, and sees nothing else."""

    reference: str
    sql: str
    name: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    reason: str = ""


@operation("data.transform")
def transform(ws: Workspace, request: TransformData) -> Added:
    """Derive a dataset from a snapshot by a query over its tables."""
    from windlass.capture.sources import sql, tables, transforms  # noqa: PLC0415

    name = checked(request.name, "dataset name")
    query = sourcing.statement(ws, request.sql, trusted=not ws.remote)
    parent = _find(ws, request.reference)
    with sourcing.laid_out(ws, parent) as (files, made):
        ws.progress(f"transforming {parent.reference}")
        said = transforms.materialise(query, files, parent.name, made, parameters=request.parameters)
        with tables.opened(sql.FILE, made / sql.FILE) as (schema, _):
            kept = parent.target in schema.names
        config = ws.config.data.get(name, DatasetConfig())
        return _add(
            ws,
            name,
            made,
            target=config.target or (parent.target if kept else ""),
            reason=request.reason or f"derived from {parent.reference}",
            source={"kind": "transform", "of": parent.reference, "tree": parent.tree, **said},
        )


def _find(ws: Workspace, reference: str) -> Snapshot:
    with ws.database.read() as tx:
        return data.find(tx, ws.objects, Reference.parse(reference))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListData:
    pass


@operation("data.list", reads_only=True)
def ls(ws: Workspace, _: ListData) -> list[Snapshot]:
    """List the datasets, each by its latest snapshot."""
    with ws.database.read() as tx:
        return data.ls(tx, ws.objects)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataLog:
    name: str


@operation("data.log", reads_only=True)
def log(ws: Workspace, request: DataLog) -> list[Snapshot]:
    """List the snapshots of a dataset, oldest first."""
    with ws.database.read() as tx:
        return data.log(tx, ws.objects, checked(request.name, "dataset name"))


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffData:
    old: str
    new: str


@operation("data.diff", reads_only=True)
def diff(ws: Workspace, request: DiffData) -> DataDiff:
    """Say what changed between two snapshots."""
    with ws.database.read() as tx:
        old, new = (data.find(tx, ws.objects, Reference.parse(text)) for text in (request.old, request.new))
    return data.diff(ws.objects, old, new)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadData:
    """``start`` and ``stop``: which bytes; at most 4 MiB are given at once."""

    reference: str
    path: str
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePart:
    """Some bytes of a file; ``size`` is that of the whole."""

    content: bytes
    size: int


@operation("data.read", reads_only=True)
def read(ws: Workspace, request: ReadData) -> FilePart:
    """Read a part of one file of a snapshot, straight out of the store."""
    if request.start < 0 or (request.stop is not None and request.stop < request.start):
        raise Invalid(f"{request.start} to {request.stop} is no range of bytes", hint="give 0 or more, the end last")
    with ws.database.read() as tx:
        snapshot = data.find(tx, ws.objects, Reference.parse(request.reference))
    entry = trees.find(ws.objects, snapshot.tree, request.path)
    stop = min(entry.size if request.stop is None else request.stop, request.start + _PART, entry.size)
    with ws.objects.open(entry.digest) as file:
        file.seek(request.start)
        return FilePart(content=file.read(max(0, stop - request.start)), size=entry.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutData:
    """``only``: a glob; only files whose path fits it. ``links``: read-only hard links to one copy in a cache."""

    reference: str
    destination: str
    only: str = ""
    links: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedOut:
    snapshot: Snapshot
    destination: str


@operation("data.checkout")
def checkout(ws: Workspace, request: CheckoutData) -> CheckedOut:
    """Write a snapshot's files to an empty folder."""
    destination = ws.inside(request.destination)
    if destination.is_file() or (destination.is_dir() and next(destination.iterdir(), None)):
        raise Invalid(f"{destination} is not empty", hint="give a folder that does not exist yet")
    with ws.database.read() as tx:
        snapshot = data.find(tx, ws.objects, Reference.parse(request.reference))
    data.checkout(
        ws.objects,
        snapshot,
        destination,
        only=request.only,
        links=ws.layout.files if request.links else None,
        meter=ws.meter,
    )
    return CheckedOut(snapshot=snapshot, destination=str(Path(destination)))
