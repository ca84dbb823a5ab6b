"""Operations that prove what happened: reproduction and verification."""

from __future__ import annotations

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
from windlass.workspace import gating, training, verification
from windlass.workspace.operation import operation
from windlass.workspace.stores import local_store
from windlass.workspace.verification import Verification
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduce:
    """``into`` is an empty folder, kept afterwards; without it, a temporary one."""

    reference: str
    into: str | None = None


@operation("model.reproduce")
def reproduce(ws: Workspace, request: Reproduce) -> Reproduction:
    """Rebuild a version from its records in an empty folder and compare the bytes."""
    version = gating.find_version(ws, request.reference)
    with ws.database.read() as tx:
        run = runs.find(tx, version.run)
    with tempfile.TemporaryDirectory(prefix="windlass-reproduce-") as temporary:
        folder = ws.inside(request.into) if request.into else Path(temporary) / "rebuilt"
        if folder.exists() and (folder.is_file() or next(folder.iterdir(), None)):
            raise Invalid(f"{folder} is not empty", hint="give a folder that does not exist yet")
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / ".windlass"
        config = training.config_of(ws, run)
        with ws.database.read() as tx:
            snapshots = {
                Reference.parse(name).name: data.find(tx, ws.objects, Reference.parse(name)) for name in run.snapshots
            }
        return reproduction.reproduce(
            ws.database,
            ws.objects,
            reference=version.reference,
            run=run,
            package=version.package,
            root=ws.layout.root,
            folder=folder,
            environments=ws.layout.environments,
            config=config.pipeline,
            model=config.model,
            snapshots=snapshots,
            scratch=(SqliteDatabase(scratch / "windlass.db"), local_store(scratch / "objects")),
            actor=ws.actor,
            now=ws.now,
            progress=ws.progress,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    pass


@operation("audit.verify", reads_only=True)
def verify(ws: Workspace, _: Verify) -> Verification:
    """Walk the ledger, every digest, the lineage and the prediction log; find any flipped byte."""
    return verification.verify(ws)
