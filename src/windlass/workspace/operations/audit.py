"""Operations that prove what happened: reproduction and verification."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from windlass.adapters.sqlite import SqliteDatabase
from windlass.capture import data
from windlass.domain.errors import Invalid
from windlass.domain.names import Reference
from windlass.pipelines import reproduce as reproduction
from windlass.pipelines import runs
from windlass.pipelines.reproduce import Reproduction
from windlass.pipelines.runs import Run, RunStatus
from windlass.workspace import gating, training, verification
from windlass.workspace.operation import operation
from windlass.workspace.stores import local_store
from windlass.workspace.verification import Verification
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduce:
    """``reference``: a model version, or the id of a run. ``into`` is an empty folder, kept afterwards; without it, a
    temporary one. ``here``: with the project's code, settings and interpreter as they are now.
    """

    reference: str
    into: str | None = None
    here: bool = False


@operation("model.reproduce")
def reproduce(ws: Workspace, request: Reproduce) -> Reproduction:
    """Rebuild a version from its records in an empty folder and compare the bytes."""
    reference, run, package = _asked_for(ws, request.reference)
    with tempfile.TemporaryDirectory(prefix="windlass-reproduce-") as temporary:
        folder = ws.inside(request.into) if request.into else Path(temporary) / "rebuilt"
        if folder.exists() and (folder.is_file() or next(folder.iterdir(), None)):
            raise Invalid(f"{folder} is not empty", hint="give a folder that does not exist yet")
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / ".windlass"
        config = ws.config if request.here else training.config_of(ws, run)
        with ws.database.read() as tx:
            snapshots = {
                Reference.parse(name).name: data.find(tx, ws.objects, Reference.parse(name)) for name in run.snapshots
            }
        return reproduction.reproduce(
            ws.database,
            ws.objects,
            reference=reference,
            run=run,
            package=package,
            root=ws.layout.root,
            folder=folder,
            environments=ws.layout.environments,
            config=config.pipeline,
            model=config.model,
            snapshots=snapshots,
            scratch=(SqliteDatabase(scratch / "windlass.db"), local_store(scratch / "objects")),
            here=request.here,
            actor=ws.actor,
            now=ws.now,
            progress=ws.progress,
        )


def _asked_for(ws: Workspace, reference: str) -> tuple[str, Run, str]:
    """What is to be rebuilt: its name, its run, and the package that the run made, if any."""
    if re.fullmatch(r"[0-9a-f]{4,32}", reference):
        with ws.database.read() as tx:
            run = runs.find(tx, reference)
        if run.status != RunStatus.FINISHED:
            raise Invalid(f"run {run.id[:8]} is {run.status}", hint="only what has finished can be rebuilt")
        return f"run {run.id[:8]}", run, run.package or ""
    version = gating.find_version(ws, reference)
    with ws.database.read() as tx:
        return version.reference, runs.find(tx, version.run), version.package


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    pass


@operation("audit.verify", reads_only=True)
def verify(ws: Workspace, _: Verify) -> Verification:
    """Walk the ledger, every digest, the lineage and the prediction log; find any flipped byte."""
    return verification.verify(ws)
