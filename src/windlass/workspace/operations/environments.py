"""Operations on environments: what runs were made in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from windlass.capture import environment, wheels
from windlass.capture.environment import Environment
from windlass.capture.wheels import Vendored
from windlass.domain.digest import PREFIX
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.ports import Transaction
from windlass.pipelines import runs
from windlass.workspace import gating
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One environment; ``locked`` says whether it can be built again, ``why`` what hinders it, ``vendored`` how many of
    its files are in the store.
    """

    digest: str
    at: int
    locked: bool
    why: str
    vendored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEnvironments:
    pass


@operation("environment.list", reads_only=True)
def ls(ws: Workspace, _: ListEnvironments) -> list[Listed]:
    """List the environments that runs were made in, newest first."""
    with ws.database.read() as tx:
        return [Listed(**each) for each in environment.ls(tx)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowEnvironment:
    """``reference``: an environment's digest or its beginning, a model version, or a run's id."""

    reference: str


@operation("environment.show", reads_only=True)
def show(ws: Workspace, request: ShowEnvironment) -> Environment:
    """Show an environment: its interpreter, platform and distributions."""
    return environment.load(ws.objects, _found(ws, request.reference))


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffEnvironments:
    old: str
    new: str


@operation("environment.diff", reads_only=True)
def diff(ws: Workspace, request: DiffEnvironments) -> list[str]:
    """Say in what two environments differ."""
    old, new = (environment.load(ws.objects, _found(ws, each)) for each in (request.old, request.new))
    return environment.compare(old, new)


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorEnvironment:
    reference: str


@operation("environment.vendor")
def vendor(ws: Workspace, request: VendorEnvironment) -> Vendored:
    """Keep an environment's files in the store, so that it can be built again without a network."""
    found = _found(ws, request.reference)
    return wheels.vendor(ws.database, ws.objects, found, actor=ws.actor, now=ws.now, progress=ws.progress)


def _found(ws: Workspace, reference: str) -> str:
    """The digest of an environment, by whatever names it."""
    with ws.database.read() as tx:
        if reference.startswith(PREFIX):
            return _by_digest(tx, reference)
        if re.fullmatch(r"[0-9a-f]{4,32}", reference):
            return runs.find(tx, reference).environment
    version = gating.find_version(ws, reference)
    with ws.database.read() as tx:
        return runs.find(tx, version.run).environment


def _by_digest(tx: Transaction, beginning: str) -> str:
    found = [each["digest"] for each in environment.ls(tx) if each["digest"].startswith(beginning)]
    if not found:
        raise NotFound(f"no environment {beginning[:20]}", hint="`windlass env ls` lists them")
    if len(found) > 1:
        raise Invalid(f"more than one environment begins with {beginning}", hint="give more of it")
    return str(found[0])
