"""What can be imported from: a server's URL, or a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from windlass.domain.errors import Invalid, NotFound
from windlass.exchange.content import Source
from windlass.exchange.folder import META, REGISTRY, TRASH, FolderSource
from windlass.exchange.rest import Rest, credentials, parsed
from windlass.exchange.server import ServerSource

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def folder_of(uri: str) -> str:
    """The path of a folder from what was given for it.

    Raises:
        Invalid: it is nothing that can be imported from.
    """
    scheme = urlsplit(uri).scheme if "://" in uri or uri.startswith("file:") else ""
    if scheme == "file":
        return unquote(urlsplit(uri).path)
    if scheme.partition("+")[0] in _DATABASES:
        raise Invalid(
            "a database of MLflow's is not read by itself",
            hint="start `mlflow server --backend-store-uri` on it, and import from the server's URL",
        )
    if scheme or not uri:
        raise Invalid(
            f"cannot import from {scheme or 'nothing'}", hint="give the URL of an MLflow server, or an mlruns folder"
        )
    return uri


def server(url: str, environment: Mapping[str, str]) -> ServerSource:
    """Raises Invalid."""
    return ServerSource(Rest(parsed(url), credentials(environment)))


def folder(path: Path) -> Source:
    """Raises:
    NotFound: there is no such folder.
    Invalid: MLflow did not write it.
    """
    if not path.is_dir():
        raise NotFound(f"there is no folder {path}", hint="give an mlruns folder, or the URL of an MLflow server")
    found = path.resolve()
    known = [each for each in found.iterdir() if each.name in (TRASH, REGISTRY) or (each / META).is_file()]
    if not known:
        inside = found / "mlruns"
        hint = f"there is one in it: {inside}" if inside.is_dir() else "it holds a folder for each experiment"
        raise Invalid(f"{path} is not a folder in the layout of MLflow's file store", hint=hint)
    return FolderSource(found)
