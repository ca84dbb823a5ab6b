"""Fixtures that more than one package's tests use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from windlass.adapters.sqlite import SqliteDatabase
from windlass.store.objects import PackedObjects
from windlass.workspace.stores import local_store


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


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    db = SqliteDatabase(tmp_path / "windlass.db")
    yield db
    db.close()


@pytest.fixture
def objects(tmp_path: Path) -> PackedObjects:
    return local_store(tmp_path / "objects")
