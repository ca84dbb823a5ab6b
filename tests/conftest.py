"""Fixtures that more than one package's tests use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from postgres_server import Server, serve
from windlass.adapters.postgres import PostgresDatabase
from windlass.domain.ports import Database
from windlass.store.objects import PackedObjects
from windlass.workspace import databases
from windlass.workspace.stores import local_store

# How long an example takes says how busy the machine is.
settings.register_profile("windlass", deadline=None)
settings.load_profile("windlass")


def running(marker: str) -> list[int]:
    """The processes of this machine whose command line holds ``marker``, but for ourselves."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if marker in command and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


@pytest.fixture
def processes() -> Callable[[str], list[int]]:
    return running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One server for all tests, with a database ``migrated`` to copy."""
    with serve() as server:
        server.run("CREATE DATABASE migrated")
        PostgresDatabase(server.url("migrated")).close()
        yield server


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What takes a database runs on each engine, but for what takes long and tests something else."""
    if "open_database" in metafunc.fixturenames:
        alone = metafunc.definition.get_closest_marker("sqlite_only")
        metafunc.parametrize("open_database", ["sqlite"] if alone else ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def open_database(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Database]]:
    """Opens the test's own database once more; on each engine in turn.

    A process that the test starts opens it with ``open_database(tmp_path / "windlass.db")`` of ``workspace.databases``.
    """
    server: Server | None = request.getfixturevalue("postgres") if request.param == "postgres" else None
    url = server.database() if server else ""
    monkeypatch.setenv(databases.VARIABLE, url)
    opened: list[Database] = []

    def open_one() -> Database:
        opened.append(databases.open_database(tmp_path / "windlass.db"))
        return opened[-1]

    yield open_one
    for db in opened:
        db.close()
    if server:
        server.drop(url)


@pytest.fixture
def database(open_database: Callable[[], Database]) -> Database:
    return open_database()


@pytest.fixture
def objects(tmp_path: Path) -> PackedObjects:
    return local_store(tmp_path / "objects")
