"""A query in DuckDB, run once: one thread, a total order, and no way to write or, if confined, out of a folder.

It runs in a process of its own (``child``), whose working folder is the project's: DuckDB confines relative paths by
the process's folder, its memory goes back to the system, and a query that is given up is ended with its process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from windlass.capture.config import Parameter
from windlass.capture.sources import parquet, sqlite, versions
from windlass.capture.sources.attached import Attached, Kind
from windlass.domain import digest
from windlass.domain.errors import Denied, Failure, Invalid, Unavailable

MEMORY = "256MB"  # more is spilled to the scratch folder
_BATCH = 16_384  # rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One query. ``ordered``: it has a total order itself, which is kept; otherwise the rows are sorted by all columns.

    ``root`` is where relative paths start, and what a ``confined`` query cannot leave; ``scratch`` is a folder that may
    be filled.
    """

    query: str
    parameters: Mapping[str, Parameter]
    attached: tuple[Attached, ...]
    root: str
    scratch: str
    destination: str
    confined: bool
    ordered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``inputs`` are the files, tables and servers that were read, by path, with their digest or version."""

    rows: int
    engine: str
    inputs: Mapping[str, str]


def run(request: Request) -> Result:
    """Run a query and write its rows to ``destination``.

    Raises:
        Invalid: it is not one SELECT, or DuckDB cannot make sense of it.
        Denied: it reads outside of the folder that it is confined to.
        Unavailable: an extension or a server is not there, an input changed meanwhile, or memory does not do.
    """
    import duckdb  # noqa: PLC0415 - heavy, and an extra
    import pyarrow as pa  # noqa: PLC0415

    root, scratch = Path(request.root), Path(request.scratch)
    tables = scratch / "tables"
    tables.mkdir()
    try:
        connection = _connected(scratch)
        query = _one_select(connection, request.query, request.parameters)
        named = _named(connection, query)
        inputs = _attach(connection, request.attached, named, tables)
        if request.confined:
            _confine(connection, root, tables)
        connection.execute("SET lock_configuration = true")
        files = versions.digests(_files(connection, named, root))
        ordered = query if request.ordered else f"SELECT * FROM (\n{query}\n) ORDER BY ALL NULLS LAST"
        reader = connection.sql(ordered, params=dict(request.parameters)).to_arrow_reader(_BATCH)
        rows = parquet.write(reader.schema, reader, Path(request.destination))
        versions.unchanged(files)
    except duckdb.Error as error:
        raise _failure(error, str(error)) from None
    except (pa.ArrowException, OSError) as error:  # what DuckDB says while its rows are fetched
        raise _failure(error, str(error)) from None
    for file, (found, _) in files.items():
        inputs[_told(file, root)] = found
    return Result(rows=rows, engine=f"duckdb {duckdb.__version__}", inputs={**inputs, **_lakes(named, root)})


def _connected(scratch: Path) -> Any:
    import duckdb  # noqa: PLC0415

    connection: Any = duckdb.connect(
        config={
            # More threads would add floats and join rows in an order that differs from run to run.
            "threads": 1,
            "preserve_insertion_order": True,
            "memory_limit": MEMORY,
            "temp_directory": str(scratch / "spilled"),
            "python_enable_replacements": False,  # a table's name is no variable of ours
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _one_select(connection: Any, text: str, parameters: Mapping[str, Parameter]) -> str:
    import duckdb  # noqa: PLC0415

    statements = connection.extract_statements(text)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise Invalid(
            "a source is one SELECT statement" + (f", not {len(statements)}" if len(statements) != 1 else ""),
            hint="it may begin with SELECT, WITH or FROM",
        )
    wanted, given = set(statements[0].named_parameters), set(parameters)
    if wanted != given:
        missing, unknown = ", ".join(sorted(wanted - given)), ", ".join(sorted(given - wanted))
        raise Invalid(
            f"the query's parameter {missing} has no value" if missing else f"the query has no parameter {unknown}",
            hint="give each as name=value" if missing else "write it as $name in the query",
        )
    query: str = statements[0].query
    return query.strip().rstrip(";")


@dataclass(frozen=True, slots=True)
class _Named:
    """What a query's text names: tables by their path, and texts given to table functions with these."""

    tables: tuple[tuple[str, ...], ...]
    texts: tuple[tuple[str, str], ...]


def _named(connection: Any, query: str) -> _Named:
    parsed = json.loads(connection.execute("SELECT json_serialize_sql($1)", [query]).fetchone()[0])
    if parsed["error"]:
        raise Invalid(f"this statement cannot be a source: {parsed.get('error_message', '')}", hint="write a SELECT")
    tables, texts = [], []
    for node in _nodes(parsed["statements"]):
        if node.get("type") == "BASE_TABLE":
            path = (node.get("catalog_name"), node.get("schema_name"), node.get("table_name"))
            tables.append(tuple(part for part in path if part))
        elif node.get("type") == "TABLE_FUNCTION":
            function = node["function"]["function_name"]
            texts += [
                (function, inner["literal"]["text"])
                for inner in _nodes(node["function"])
                if isinstance(inner.get("literal"), dict) and inner["literal"].get("kind") == "STRING"
            ]
    return _Named(tuple(tables), tuple(texts))


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


def _attach(connection: Any, attached: tuple[Attached, ...], named: _Named, folder: Path) -> dict[str, str]:
    inputs: dict[str, str] = {}
    for source in attached:
        match source.kind:
            case Kind.SQLITE:
                inputs |= _attach_sqlite(connection, source, named, folder)
            case Kind.POSTGRES:
                connection.execute(f"ATTACH {_text(source.address)} AS {source.name} (TYPE postgres, READ_ONLY)")
                inputs[source.shown] = "a server, as it was when the query ran"
            case Kind.FILES:
                # A view is looked into when the query is: its files are confined and counted as the query's own.
                connection.execute(f"CREATE VIEW {source.name} AS FROM {_text(source.address)}")
    return inputs


def _attach_sqlite(connection: Any, source: Attached, named: _Named, folder: Path) -> dict[str, str]:
    wanted = [path[-1] for path in named.tables if len(path) > 1 and path[0].lower() == source.name.lower()]
    place = folder / source.name
    place.mkdir()
    connection.execute(f"CREATE SCHEMA {source.name}")
    inputs = {}
    for table, file in sqlite.export(Path(source.address), wanted, place).items():
        quoted = table.replace('"', '""')
        connection.execute(f'CREATE OR REPLACE VIEW {source.name}."{quoted}" AS FROM read_parquet({_text(str(file))})')
        inputs[f"{source.shown}#{table}"] = digest.of_file(file)
    return inputs


def _confine(connection: Any, root: Path, tables: Path) -> None:
    """Nothing is read but what lies in ``root`` and does not begin with a dot (Git's folder, ours, secrets)."""
    shown = [entry for entry in root.iterdir() if not entry.name.startswith(".")]
    folders = [str(entry) for entry in shown if entry.is_dir() and not entry.is_symlink()]
    files = [str(entry) for entry in shown if entry.is_file() and not entry.is_symlink()]
    connection.execute(f"SET allowed_directories = [{', '.join(map(_text, [*folders, str(tables)]))}]")
    connection.execute(f"SET allowed_paths = [{', '.join(map(_text, files))}]")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute("SET autoload_known_extensions = false")
    connection.execute("SET enable_external_access = false")


def _files(connection: Any, named: _Named, root: Path) -> list[Path]:
    """The local files that the query's text names, itself or by a pattern."""
    import duckdb  # noqa: PLC0415

    patterns = {text for _, text in named.texts} | {path[0] for path in named.tables if len(path) == 1}
    views = connection.execute("SELECT sql FROM duckdb_views() WHERE NOT internal AND schema_name = 'main'").fetchall()
    for (made,) in views:
        view = _named(connection, made.partition(" AS ")[2].rstrip(";"))
        patterns |= {text for _, text in view.texts} | {path[0] for path in view.tables if len(path) == 1}
    found: set[Path] = set()
    for pattern in patterns:
        if "://" in pattern or not ({".", "/"} & set(pattern)):
            continue
        try:
            rows = connection.execute("SELECT file FROM glob($1)", [pattern]).fetchall()
        except duckdb.Error:
            continue  # no pattern for files, or one that the query itself will be refused for
        found |= {root / file for (file,) in rows if (root / file).is_file()}
    return sorted(found)


def _lakes(named: _Named, root: Path) -> dict[str, str]:
    versioned: dict[str, str] = {}
    for function, text in named.texts:
        if function == "delta_scan" and (version := versions.of_delta(root / text)) is not None:
            versioned[text] = f"delta version {version}"
        if function == "iceberg_scan" and (snapshot := versions.of_iceberg(root / text)) is not None:
            versioned[text] = f"iceberg snapshot {snapshot}"
    return versioned


def _told(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def _text(value: str) -> str:
    """A text in SQL, for the statements that take no parameters."""
    return "'" + value.replace("'", "''") + "'"


def _failure(error: Exception, said: str) -> Failure:
    import duckdb  # noqa: PLC0415

    message = said.strip().partition("\n\nLINE ")[0].replace("\n", " ")[:500]
    if isinstance(error, duckdb.PermissionException) or "disabled by configuration" in message:
        return Denied(message, hint="name files of the project's folders, none that begins with a dot")
    if needed := re.search(r"(?i)extension ['\"](\w+)['\"]?|['\"](\w+)['\"]? extension", message):
        name = needed[1] or needed[2]
        return Unavailable(
            f"this query needs DuckDB's extension '{name}', which is not installed and cannot be downloaded now",
            hint=f"where there is a network, run `INSTALL {name}` in DuckDB once",
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return Unavailable(f"the query needs more memory than {MEMORY}: {message}", hint="narrow it, or split it")
    if isinstance(error, duckdb.IOException | duckdb.HTTPException | duckdb.ConnectionException):
        return Unavailable(message, hint="check that the source is there and may be read")
    return Invalid(message, hint="try the query in DuckDB first")
