"""The composition root: a project's folder with the ports plugged in."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from windlass.capture.statcache import StatCache
from windlass.domain import clock
from windlass.domain.errors import Denied, NotFound
from windlass.domain.ports import Database, ObjectStore
from windlass.domain.progress import Meter, unwatched
from windlass.store.objects import PackedObjects
from windlass.workspace.config import Config, load
from windlass.workspace.databases import open_database
from windlass.workspace.layout import Layout, find
from windlass.workspace.stores import local_store, open_remote

Progress = Callable[[str], None]
# For a run's id, the environment variables by which a command of its finds our MLflow API; a face provides it.
Tracking = Callable[[str], AbstractContextManager[dict[str, str]]]


def _silent(_: str) -> None:
    """Nobody listens."""


@dataclass
class Workspace:
    """Everything an operation may use. ``progress`` gets a line for each thing that takes over a second.

    ``remote``: the requests come over the network, so that a path in one may not leave the project's folder.
    ``authenticated``: the actor is who the request's token says.
    """

    layout: Layout
    actor: str
    now: clock.Clock = clock.now
    progress: Progress = field(default=_silent)
    remote: bool = False
    authenticated: bool = False
    tracking: Tracking | None = None
    meter: Meter = field(default=unwatched)

    def asked_by(self, person: str | None) -> Workspace:
        """The same project and ports for one request, with the configuration read anew: its file may change while a
        server runs. ``person``: whom a token named; without one it is our own actor's.
        """
        fresh = replace(self, actor=person or self.actor, authenticated=person is not None)
        fresh.database = self.database
        fresh.store = self.store
        return fresh

    def inside(self, path: str) -> Path:
        """A path from a request, absolute; a relative one starts at the project's folder.

        Raises:
            Denied: a remote request names something outside of the project.
        """
        root = self.layout.root.resolve()
        found = (root / path).resolve()
        if self.remote and not found.is_relative_to(root):
            raise Denied(f"{path} is outside of the project", hint="over HTTP, paths stay inside the project's folder")
        return found

    @cached_property
    def config(self) -> Config:
        return load(self.layout.config)

    @cached_property
    def database(self) -> Database:
        return open_database(self.layout.database)

    @property
    def objects(self) -> ObjectStore:
        return self.store

    @cached_property
    def store(self) -> PackedObjects:
        return local_store(self.layout.objects)

    def remote_store(self, remote: str, *, create: bool = False) -> PackedObjects:
        """The store of a remote: one that ``windlass.toml`` names, or a URL or a folder.

        Raises:
            NotFound: no such remote.
            Denied: a remote request names a place of its own choice.
            Unavailable: it does not answer.
        """
        known = self.config.remotes
        if remote in known:
            url = known[remote].url
        elif "/" in remote:
            if self.remote:
                raise Denied(f"{remote} is not a remote of windlass.toml", hint="over HTTP, only named remotes")
            url = remote
        else:
            raise NotFound(
                f"windlass.toml has no remote '{remote}' (it has: {', '.join(known) or 'none'})",
                hint=f'add to windlass.toml: [remotes.{remote}] with url = "s3://BUCKET/PREFIX" or a folder',
            )
        return open_remote(url, self.layout.root, self.layout.remotes, create=create)

    @cached_property
    def stat_cache(self) -> StatCache:
        """What was read already of the folders that are versioned."""
        return StatCache(self.layout.home / "cache" / "stat")


def open_workspace(start: Path, progress: Progress = _silent) -> Workspace:
    """The workspace of the project that ``start`` lies in; the actor is WINDLASS_ACTOR or the user."""
    return Workspace(find(start.resolve()), actor=current_actor(), progress=progress)


def current_actor() -> str:
    return os.environ.get("WINDLASS_ACTOR") or getpass.getuser()
