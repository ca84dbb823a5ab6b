"""Databases: the one that this process is told to use, plugged in."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from windlass.adapters.sqlite import SqliteDatabase
from windlass.domain.errors import Invalid, Unavailable
from windlass.domain.ports import Database

VARIABLE = "WINDLASS_DATABASE"


def open_database(file: Path) -> Database:
    """The database that WINDLASS_DATABASE names, or else the project's own file.

    A project stays with its database: beside ``file`` it is noted which server's it uses. With another one, empty as
    it may be, everything in the store would look like garbage.

    Raises:
        Invalid: the variable has something else than ``postgresql://...``, or not this project's database.
        Unavailable: the server does not answer, or the extra ``postgres`` is not installed.
    """
    url = os.environ.get(VARIABLE, "")
    note = file.with_name("database")
    if not url:
        if note.exists():
            raise Invalid(
                f"this project's database is on a server, and {VARIABLE} does not say where",
                hint=f"set {VARIABLE}; to begin anew with a file instead, delete {note}",
            )
        return SqliteDatabase(file)
    if not url.startswith("postgresql://"):
        # Not shown: it may have a password.
        raise Invalid(
            f"{VARIABLE} does not start with postgresql://",
            hint="write it as postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or leave it empty for SQLite",
        )
    try:
        from windlass.adapters.postgres import PostgresDatabase  # noqa: PLC0415 - an extra
    except ImportError:
        raise Unavailable(
            f"{VARIABLE} needs the extra postgres", hint="pip install 'windlass[postgres]'", retryable=False
        ) from None
    if file.exists():
        raise Invalid(
            f"this project's database is the file {file}, and {VARIABLE} is set",
            hint=f"unset {VARIABLE}; to begin anew on the server instead, move the file away",
        )
    found = PostgresDatabase(url)
    _hold_to(note, found.identity, found.name)
    return found


def _hold_to(note: Path, identity: str, name: str) -> None:
    """Note which database a project uses, the first time; from then on it must be that one."""
    try:
        noted = note.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        noted = ""
    if noted and noted != identity:
        raise Invalid(
            f"{name} is not the database that this project has used until now",
            hint=f"correct {VARIABLE}; to begin anew with this one, delete {note}",
        )
    if not noted:
        note.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=note.parent, delete=False) as partial:
            partial.write(f"{identity}\n")
        Path(partial.name).replace(note)
