"""Databases: the one that this process is told to use, plugged in."""

from __future__ import annotations

import os
from pathlib import Path

from windlass.adapters.sqlite import SqliteDatabase
from windlass.domain.errors import Invalid, Unavailable
from windlass.domain.ports import Database

VARIABLE = "WINDLASS_DATABASE"


def open_database(file: Path) -> Database:
    """The database that WINDLASS_DATABASE names, or else the project's own file.

    Raises:
        Invalid: the variable has something else than ``postgresql://...``.
        Unavailable: the server does not answer, or the extra ``postgres`` is not installed.
    """
    url = os.environ.get(VARIABLE, "")
    if not url:
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
    return PostgresDatabase(url)
