"""What a query may name besides files: sources attached by URL, and what of a URL may be told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from windlass.domain.errors import Denied, Invalid, NotFound

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_SQLITE_FILES = (".sqlite", ".sqlite3", ".db")
_TABLE_FILES = (".parquet", ".csv", ".csv.gz", ".tsv", ".json", ".jsonl", ".ndjson")
_USER_IN_URL = re.compile(r"(?<=://)[^/\s'\"@]*@")
_SECRET_WORD = re.compile(r"(?i)\b(password|passwd|secret|token|key)(\s*=\s*)('[^']*'|\"[^\"]*\"|[^\s&;'\"]+)")


class Kind(StrEnum):
    SQLITE = "sqlite"
    POSTGRES = "postgres"
    FILES = "files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """``address`` is for the engine and may hold a password; ``shown`` is for people and records, and never does."""

    name: str
    kind: Kind
    address: str
    shown: str


def attached(
    urls: Mapping[str, str], *, root: Path, environment: Mapping[str, str], confined: bool
) -> tuple[Attached, ...]:
    """The sources by the names that a query gives them.

    A URL is ``sqlite:PATH``, ``postgresql://...``, or the path or URL of Parquet, CSV or JSON files (``*`` allowed);
    a path is relative to ``root``. ``${NAME}`` stands for an environment variable, so that no file has a password.

    Raises:
        Invalid: a name or a URL has another form.
        NotFound: an environment variable or a SQLite file is not there.
        Denied: ``confined``, and it lies outside of ``root``.
    """
    return tuple(_attached(name, url, root, environment, confined) for name, url in sorted(urls.items()))


def without_secrets(text: str) -> str:
    """``text`` without the users, passwords and tokens in its URLs and connection strings."""
    return _SECRET_WORD.sub(r"\1\2***", _USER_IN_URL.sub("", text))


def shown(url: str) -> str:
    """A URL as records have it: no user, no password, no query string."""
    parts = urlsplit(url)
    if not parts.scheme or not parts.netloc:
        return without_secrets(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _attached(name: str, url: str, root: Path, environment: Mapping[str, str], confined: bool) -> Attached:
    if not _NAME.fullmatch(name):
        raise Invalid(f"'{name[:80]}' is not a name for a source", hint="use letters, digits and '_'")
    full = url if confined else _expanded(url, environment)
    if full.startswith(("postgresql://", "postgres://")):
        if confined:
            raise Denied(f"source {name} is a database server", hint="over HTTP, only windlass.toml may name one")
        return Attached(name=name, kind=Kind.POSTGRES, address=full, shown=shown(full))
    if full.startswith("sqlite:") or (full.endswith(_SQLITE_FILES) and "://" not in full):
        relative = re.sub(r"^sqlite:(//)?", "", full)
        file = _inside(relative, root, confined)
        if not file.is_file():
            raise NotFound(f"source {name}: no SQLite file {relative}", hint="a path starts at the project's folder")
        return Attached(name=name, kind=Kind.SQLITE, address=str(file), shown=relative)
    if not full.endswith(_TABLE_FILES):
        raise Invalid(
            f"source {name} is '{shown(url)[:200]}', which is no kind of source known here",
            hint="known: sqlite:PATH, postgresql://..., and Parquet, CSV or JSON files",
        )
    if "://" in full and confined:
        raise Denied(f"source {name} is outside of the project", hint="over HTTP, only windlass.toml may name one")
    if "://" not in full:
        _inside(full, root, confined)
    return Attached(name=name, kind=Kind.FILES, address=full, shown=shown(full))


def _inside(path: str, root: Path, confined: bool) -> Path:
    found = (root / path).resolve()
    inner = found.relative_to(root.resolve()).parts if found.is_relative_to(root.resolve()) else None
    if confined and (inner is None or any(part.startswith(".") for part in inner)):
        raise Denied(f"{path} is outside of the project", hint="over HTTP, paths stay inside the project's folder")
    return found


def _expanded(url: str, environment: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        try:
            return environment[match[1]]
        except KeyError:
            raise NotFound(f"the environment has no variable {match[1]}", hint=f"export {match[1]}=...") from None

    return re.sub(r"\$\{(\w+)\}", value, url)
