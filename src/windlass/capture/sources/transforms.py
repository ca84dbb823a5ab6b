"""Transforms: a dataset derived from the tables of another by a query, which sees nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windlass.capture.config import Parameter
from windlass.capture.sources import sql, tables
from windlass.capture.sources.parameters import with_dollars


def materialise(
    query: str, parent: Path, name: str, folder: Path, *, parameters: Mapping[str, Parameter]
) -> dict[str, Any]:
    """Run a query over the tables in ``parent``; its rows go, sorted, to ``data.parquet`` in ``folder``.

    The query names all tables together ``data`` or by the dataset's ``name``, and a file whose name no other has by
    that name without the ending. Returns what is to be recorded of it.

    Raises:
        Invalid: there are no tables, or the query makes no sense.
        Denied: it reads anything else.
    """
    files = list(tables.tables(parent, name))
    whole = _union(files)
    stems = Counter(Path(file).stem.lower() for file in files)  # DuckDB's names have no case
    views = {stem: _union([file]) for file in files if stems[stem := Path(file).stem.lower()] == 1}
    views |= {name.lower(): whole, "data": whole}
    named = ", ".join(f"{_name(view)} AS ({text})" for view, text in views.items())
    wrapped = f"WITH {named} SELECT * FROM (\n{with_dollars(query, parameters).strip().rstrip(';')}\n)"
    result = sql.ask(wrapped, folder / sql.FILE, root=parent, parameters=parameters, confined=True)
    return {"query": query, "parameters": dict(parameters), "engine": result.engine}


def _union(files: list[str]) -> str:
    readers = {".parquet": "read_parquet", ".csv": "read_csv"}
    parts = []
    for ending, reader in readers.items():
        if paths := ", ".join(_text(file) for file in files if file.endswith(ending)):
            parts.append(f"FROM {reader}([{paths}], union_by_name = true)")
    return " UNION ALL BY NAME ".join(parts)


def _name(view: str) -> str:
    return '"' + view.replace('"', '""') + '"'


def _text(path: str) -> str:
    return "'" + path.replace("'", "''") + "'"
