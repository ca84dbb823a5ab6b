"""The numbered migrations that make the schema, the same files for every database.

They are written in the SQL that SQLite and PostgreSQL share, in SQLite's names for types; an adapter translates
those to its own. What was released is never edited: a change of the schema is a new file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from windlass.domain.errors import Unavailable


@dataclass(frozen=True)
class Migration:
    number: int
    statements: tuple[str, ...]


@cache
def migrations() -> tuple[Migration, ...]:
    """All, in order. A statement ends with ``;`` at the end of a line."""
    found = []
    for file in files("windlass.adapters").joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_[a-z_]+\.sql", file.name)
        if match:
            statements = tuple(each for each in file.read_text(encoding="utf-8").split(";\n") if each.strip())
            found.append(Migration(int(match.group(1)), statements))
    return tuple(sorted(found, key=lambda each: each.number))


def pending(current: int) -> tuple[Migration, ...]:
    """What is to be applied to a database of version ``current``, in order; nothing where it is up to date.

    Raises:
        Unavailable: a newer Windlass wrote it.
    """
    newest = migrations()[-1].number
    if current > newest:
        raise Unavailable(
            f"the database was written by a newer Windlass (schema {current}, this one knows {newest})",
            hint="upgrade Windlass",
            retryable=False,
        )
    return tuple(each for each in migrations() if each.number > current)
