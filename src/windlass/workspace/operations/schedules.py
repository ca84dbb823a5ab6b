"""Operations on the schedules of windlass.toml."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from windlass.domain.errors import Conflict, Failure, NotFound
from windlass.pipelines import schedules
from windlass.pipelines.schedules import Schedule
from windlass.workspace import scheduling
from windlass.workspace.operation import operation
from windlass.workspace.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class ListSchedules:
    pass


@operation("schedule.list", reads_only=True)
def ls(ws: Workspace, _: ListSchedules) -> list[Schedule]:
    """List the schedules with their last and next fire."""
    with ws.database.read() as tx:
        return schedules.ls(tx, ws.config.schedules, ws.now())


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseSchedule:
    name: str
    paused: bool = True


@operation("schedule.pause")
def pause(ws: Workspace, request: PauseSchedule) -> list[Schedule]:
    """Let a schedule rest, or go on from now."""
    _known(ws, request.name)
    with ws.database.write() as tx:
        schedules.due(tx, ws.config.schedules, ws.now())  # makes sure that it has its row
        schedules.pause(tx, request.name, paused=request.paused)
        if not request.paused:
            schedules.restart(tx, request.name, ws.now())
        return schedules.ls(tx, ws.config.schedules, ws.now())


@dataclass(frozen=True, slots=True, kw_only=True)
class FireSchedule:
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    name: str
    run: str


@operation("schedule.run")
def run(ws: Workspace, request: FireSchedule) -> Fired:
    """Fire a schedule now, as if it were due."""
    _known(ws, request.name)
    at, holder = ws.now(), secrets.token_hex(8)
    with ws.database.write() as tx:
        if not schedules.take(tx, request.name, at, holder=holder, now=at):
            raise Conflict(f"schedule '{request.name}' fires at this very moment", hint="see `windlass schedule ls`")
    done, error = scheduling.fire(ws, request.name, at, holder=holder)
    if error:
        raise Failure(f"schedule '{request.name}' failed: {error}", hint=f"see {ws.layout.logs}")
    return Fired(name=request.name, run=done)


def _known(ws: Workspace, name: str) -> None:
    if name not in ws.config.schedules:
        raise NotFound(
            f"windlass.toml has no schedule '{name}' (it has: {', '.join(ws.config.schedules) or 'none'})",
            hint=f'add to windlass.toml: [schedules.{name}] with cron = "0 2 * * *"',
        )
