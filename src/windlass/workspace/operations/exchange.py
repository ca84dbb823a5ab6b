"""Operations that copy tracking in from an MLflow, and out to one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from windlass.domain.errors import Denied, Invalid
from windlass.domain.names import Reference
from windlass.exchange import checking, exporting, importing, sources
from windlass.exchange.comparing import Difference
from windlass.exchange.content import ModelVersion, Source
from windlass.exchange.exporting import Exporter
from windlass.exchange.importing import Importer, Remark, Tally, Wanted
from windlass.exchange.local import LocalSource
from windlass.exchange.writing import Writer
from windlass.workspace import adopting, promoting
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace

MOST_DIFFERENCES = 1000
_WHY = "imported from MLflow"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportMlflow:
    """``uri``: a server's URL or an mlruns folder. ``experiments``: only those of these names; none means all.

    ``into`` is put before the names of experiments and registered models. ``dry_run`` only says what would come,
    ``verify`` only compares what came. ``again`` copies what is complete and unchanged, too.
    """

    uri: str
    experiments: tuple[str, ...] = ()
    into: str = ""
    dry_run: bool = False
    verify: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """What was copied, would be, or was compared: counts; ``unchanged`` runs were there already, ``size`` is in bytes.

    ``names``: experiments that are called otherwise on the other side. ``problems``: what could not be copied;
    ``notes``: what is not as it was. ``differences``: of a comparison, the first thousand of ``different``.
    """

    source: str
    target: str
    did: str
    experiments: int
    runs: int
    unchanged: int
    points: int
    files: int
    size: int
    logged_models: int
    registered_models: int
    versions: int
    names: dict[str, str]
    problems: tuple[Remark, ...]
    notes: tuple[Remark, ...]
    different: int = 0
    differences: tuple[Difference, ...] = ()


@operation("exchange.import")
def import_mlflow(ws: Workspace, request: ImportMlflow) -> Exchanged:
    """Copy experiments, runs, artifacts and registered models out of an MLflow server or folder."""
    source = _source(ws, request.uri)
    job = Importer(
        db=ws.database,
        objects=ws.objects,
        source=source,
        registrar=_Registrar(ws),
        now=ws.now,
        new_id=lambda: secrets.token_hex(16),
        say=ws.progress,
        meter=ws.meter,
    )
    wanted = Wanted(only=frozenset(request.experiments), prefix=request.into, again=request.again)
    found: list[Difference] = []
    count = 0
    try:
        if request.verify:
            tally = Tally()
            for each in checking.check(job, wanted, tally):
                count += 1
                if len(found) < MOST_DIFFERENCES:
                    found.append(each)
        else:
            tally = (importing.preview if request.dry_run else importing.copy_all)(job, wanted)
    finally:
        source.close()
    did = "compared" if request.verify else "would copy" if request.dry_run else "copied"
    return _exchanged(tally, source.identity, "here", did, found, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportMlflow:
    """``url``: an MLflow server's. ``experiments``: only those of these names; none means all. ``verify`` only compares
    what went.
    """

    url: str
    experiments: tuple[str, ...] = ()
    verify: bool = False


@operation("exchange.export")
def export_mlflow(ws: Workspace, request: ExportMlflow) -> Exchanged:
    """Copy experiments, runs, artifacts and registered models to an MLflow server."""
    if not sources.is_server(request.url):
        raise Invalid(
            "an export needs the URL of an MLflow server",
            hint="start one on the folder or the database: mlflow server --backend-store-uri PLACE --port 5000",
        )
    if ws.remote:
        raise Denied("over HTTP, nothing is sent to other servers", hint="run the command where the project is")
    there = sources.server(request.url, os.environ)
    job = Exporter(
        here=LocalSource(ws.database, ws.objects),
        there=there,
        writer=Writer(there.rest),
        now=ws.now,
        say=ws.progress,
        meter=ws.meter,
    )
    only = frozenset(request.experiments)
    found: list[Difference] = []
    count = 0
    try:
        if request.verify:
            tally = Tally()
            for each in exporting.check(job, only, tally):
                count += 1
                if len(found) < MOST_DIFFERENCES:
                    found.append(each)
        else:
            tally = exporting.copy_all(job, only)
    finally:
        there.close()
    did = "compared" if request.verify else "copied"
    return _exchanged(tally, "here", there.identity, did, found, count)


def _source(ws: Workspace, uri: str) -> Source:
    if sources.is_server(uri):
        if ws.remote:
            # With this server's credentials, to wherever the caller says.
            raise Denied(
                "over HTTP, nothing is fetched from other servers", hint="run the command where the project is"
            )
        return sources.server(uri, os.environ)
    return sources.folder(ws.inside(sources.folder_of(uri)))


@dataclass(frozen=True)
class _Registrar:
    ws: Workspace

    def register(self, of: ModelVersion, *, model: str, source: str, tags: Mapping[str, str]) -> int:
        return adopting.register(
            self.ws,
            model=model,
            source=source,
            run_id=of.run_id,
            model_id=of.model_id,
            run_link=of.run_link,
            description=of.description or None,
            tags=tags,
            actor=self.ws.actor,
        ).number

    def move_stage(self, model: str, number: int, stage: str) -> None:
        reference = Reference(model, str(number))
        promoting.move_stage(self.ws, reference, stage, archive_others=False, actor=self.ws.actor, reason=_WHY)

    def move_alias(self, model: str, number: int, alias: str) -> None:
        promoting.move_alias(self.ws, Reference(model, str(number)), alias, actor=self.ws.actor, reason=_WHY)


def _exchanged(
    tally: Tally, source: str, target: str, did: str, differences: list[Difference], different: int
) -> Exchanged:
    return Exchanged(
        source=source,
        target=target,
        did=did,
        experiments=tally.experiments,
        runs=tally.runs,
        unchanged=tally.unchanged,
        points=tally.points,
        files=tally.files,
        size=tally.size,
        logged_models=tally.logged_models,
        registered_models=tally.registered_models,
        versions=tally.versions,
        names=tally.names,
        problems=tuple(tally.problems),
        notes=tuple(tally.notes),
        different=different,
        differences=tuple(differences),
    )
