"""Operations on datasets and their snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from windlass.capture import data, trees
from windlass.capture.data import DataDiff, Snapshot
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.names import Reference, checked
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace

_PART = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AddData:
    """``path`` is by default where ``windlass.toml`` says the dataset lies."""

    name: str
    path: str | None = None
    reason: str = ""


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
    path = ws.inside(request.path or (config.path if config else ""))
    snapshot, created = data.add(
        ws.database,
        ws.objects,
        name=name,
        path=path,
        target=config.target if config else "",
        reason=request.reason,
        actor=ws.actor,
        now=ws.now,
        cache=ws.stat_cache,
        progress=ws.progress,
        meter=ws.meter,
    )
    return Added(snapshot=snapshot, created=created)


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
