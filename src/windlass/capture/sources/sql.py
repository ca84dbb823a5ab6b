"""A query as a source: run once, kept as one sorted Parquet file, from which alone anything trains."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from windlass.capture.config import Parameter
from windlass.capture.sources import engine
from windlass.capture.sources.attached import Attached, attached, without_secrets
from windlass.capture.sources.parameters import with_dollars
from windlass.domain.errors import KINDS, Invalid, NotFound, Unavailable

FILE = "data.parquet"
_STARTS = ("select", "with", "from")


def is_query(text: str) -> bool:
    """Whether a source is SQL, rather than a path: a statement, or a file that ends with ``.sql``."""
    return is_file(text) or _is_statement(text)


def is_file(text: str) -> bool:
    """Whether a query stands in a file."""
    return text.endswith(".sql") and not _is_statement(text)


def text_of(source: str, root: Path) -> str:
    """The statement, read from its file where the source is a path that ends with ``.sql``.

    Raises:
        NotFound, Invalid: there is no such file, or it is no text.
    """
    if not is_file(source):
        return source
    try:
        return (root / source).read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise NotFound(f"no file {source}", hint="a path starts at the project's folder") from None
    except UnicodeDecodeError:
        raise Invalid(f"{source} is not UTF-8 text") from None


def materialise(
    query: str,
    folder: Path,
    *,
    root: Path,
    parameters: Mapping[str, Parameter] | None = None,
    sources: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    confined: bool,
) -> dict[str, Any]:
    """Run a query and write its rows, sorted, to ``data.parquet`` in ``folder``; returns the provenance.

    ``sources`` are the names and URLs of what is attached (see ``attached``); paths are relative to ``root``, which a
    ``confined`` query cannot leave. ``environment`` fills ``${NAME}`` in the URLs.

    Raises:
        Invalid, NotFound, Denied, Unavailable: as ``engine.run`` and ``attached``; no message has a password.
    """
    given = dict(parameters or {})
    known = attached(sources or {}, root=root, environment=environment or {}, confined=confined)
    result = ask(with_dollars(query, given), folder / FILE, root=root, parameters=given, known=known, confined=confined)
    return {
        "kind": "sql",
        "query": without_secrets(query),
        "parameters": given,
        "sources": {source.name: source.shown for source in known},
        "engine": result.engine,
        "inputs": dict(result.inputs),
    }


def ask(
    query: str,
    destination: Path,
    *,
    root: Path,
    parameters: Mapping[str, Parameter] | None = None,
    known: tuple[Attached, ...] = (),
    confined: bool,
    ordered: bool = False,
) -> engine.Result:
    """Have a process of its own run a query, and write its rows to ``destination``.

    Raises:
        Invalid, Denied, Unavailable: as ``engine.run``; Unavailable also without DuckDB.
    """
    if find_spec("duckdb") is None:
        raise Unavailable("a query needs DuckDB", hint="install the extra: windlass[sql]")
    root = root.resolve()
    with tempfile.TemporaryDirectory(prefix=".query-", dir=destination.parent) as scratch:
        request = engine.Request(
            query=query, parameters=parameters or {}, attached=known, root=str(root), scratch=scratch,
            destination=str(destination), confined=confined, ordered=ordered,
        )  # fmt: skip
        # -P: a module in the project's folder is not taken for one of ours.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "windlass.capture.sources.child"],
            input=msgspec.json.encode(request), capture_output=True, cwd=root, check=False,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    try:
        answer: Any = msgspec.json.decode(done.stdout)
    except msgspec.DecodeError:
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise Unavailable(
            without_secrets(f"the query's process ended with {ended}{': ' if last else ''}{last}"),
            hint="it may have had too little memory; try again, or narrow the query",
        ) from None
    if error := answer.get("error"):
        message = error["message"]
        for source in known:
            message = message.replace(source.address, source.shown)
        raise KINDS[error["kind"]](without_secrets(message), hint=error["hint"])
    return msgspec.convert(answer["result"], engine.Result)


def _is_statement(text: str) -> bool:
    words = text.split(maxsplit=1)
    return len(words) > 1 and words[0].lower() in _STARTS
