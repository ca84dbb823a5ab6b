"""The composition root: a project's folder with the ports plugged in."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from windlass.adapters.files import FileObjectStore
from windlass.adapters.sqlite import SqliteDatabase
from windlass.domain import clock
from windlass.domain.ports import Database, ObjectStore
from windlass.workspace.config import Config, load
from windlass.workspace.layout import Layout, find

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    """Nobody listens."""


@dataclass
class Workspace:
    """Everything an operation may use. ``progress`` gets a line for each thing that takes over a second."""

    layout: Layout
    actor: str
    now: clock.Clock = clock.now
    progress: Progress = field(default=_silent)

    @cached_property
    def config(self) -> Config:
        return load(self.layout.config)

    @cached_property
    def database(self) -> Database:
        return SqliteDatabase(self.layout.database)

    @cached_property
    def objects(self) -> ObjectStore:
        return FileObjectStore(self.layout.objects)


def open_workspace(start: Path, progress: Progress = _silent) -> Workspace:
    """The workspace of the project that ``start`` lies in; the actor is WINDLASS_ACTOR or the user."""
    return Workspace(find(start.resolve()), actor=current_actor(), progress=progress)


def current_actor() -> str:
    return os.environ.get("WINDLASS_ACTOR") or getpass.getuser()
