"""What a dataset is made from, as files that can be versioned."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from windlass.capture import folders
from windlass.capture.config import DatasetConfig, Parameter
from windlass.capture.data import Snapshot
from windlass.domain.errors import Denied, Invalid, NotFound
from windlass.workspace.scratch import scratch
from windlass.workspace.workspace import Workspace


def asked_for(
    text: str | None, config: DatasetConfig | None, parameters: Mapping[str, Parameter], attach: Mapping[str, str]
) -> DatasetConfig:
    """The source that a request names (a path, an ``s3://`` URL or SQL), or else that of ``windlass.toml``.

    Raises:
        NotFound: neither says one.
        Invalid: parameters are given to what takes none.
    """
    from windlass.capture.sources import objects, sql  # noqa: PLC0415 - only what a command uses is loaded

    target = config.target if config else ""
    if text is None:
        if config is None or config == DatasetConfig(target=target):
            raise NotFound(
                "windlass.toml does not say where this dataset comes from",
                hint="say it: `windlass data add SOURCE --name NAME`",
            )
        found = config
    elif sql.is_query(text):
        found = DatasetConfig(sql=text, target=target)
    elif objects.is_url(text):
        found = DatasetConfig(url=text, target=target)
    else:
        found = DatasetConfig(path=text, target=target)
    if (parameters or attach) and not found.sql:
        raise Invalid("only a query takes parameters and attached sources", hint="give a query as the source")
    return replace(
        found, parameters={**found.parameters, **parameters}, attach={**found.attach, **attach}
    )  # fmt: skip


@contextmanager
def materialised(ws: Workspace, source: DatasetConfig, *, trusted: bool) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The files of a source, for as long as the block runs, and their provenance.

    ``trusted``: it stands in ``windlass.toml``. What a remote request names may only be inside the project.

    Raises:
        Denied: a remote request names something outside of it.
        NotFound, Invalid, Unavailable: as the source.
    """
    if source.path:
        yield ws.inside(source.path), {}
        return
    confined = ws.remote and not trusted
    if confined and source.url:
        raise Denied(f"{source.url[:200]} is outside of the project", hint="over HTTP, only windlass.toml may name it")
    with scratch(ws.layout.scratch) as folder:
        yield folder, _made(ws, source, folder, confined)


def _made(ws: Workspace, source: DatasetConfig, folder: Path, confined: bool) -> Mapping[str, Any]:
    from windlass.capture.sources import feast, features, objects, sql  # noqa: PLC0415

    root = ws.layout.root
    if source.url:
        ws.progress(f"listing {source.url}")
        return objects.materialise(source.url, folder, environment=os.environ, progress=ws.progress)
    if source.sql:
        ws.progress("running the query")
        return sql.materialise(
            statement(ws, source.sql, trusted=not confined), folder,
            root=root, parameters=source.parameters, sources=source.attach, environment=os.environ, confined=confined,
        )  # fmt: skip
    if source.events is not None:
        ws.progress(f"joining features to {source.events.path}")
        return features.materialise(source.events, source.features, folder, root=root, confined=confined)
    if source.feast is None:
        raise Invalid("the dataset has no source", hint="say where it comes from in windlass.toml")
    ws.progress(f"asking Feast in {source.feast.repository}")
    repository, events = root / source.feast.repository, root / source.feast.events
    return feast.materialise(repository, events, source.feast.features, folder)


def statement(ws: Workspace, text: str, *, trusted: bool) -> str:
    """The SQL of a request, out of its file where it names one.

    Raises:
        Denied, NotFound, Invalid: the file is outside of the project, is not there, or is no text.
    """
    from windlass.capture.sources import sql  # noqa: PLC0415

    if not trusted and sql.is_file(text):
        ws.inside(text)
    return sql.text_of(text, ws.layout.root)


@contextmanager
def laid_out(ws: Workspace, snapshot: Snapshot) -> Iterator[tuple[Path, Path]]:
    """A snapshot's files in a folder, and an empty folder for what is derived from them, while the block runs."""
    with scratch(ws.layout.scratch) as folder:
        ws.progress(f"laying out {snapshot.reference}")
        folders.checkout(ws.objects, snapshot.tree, folder / "parent")
        made = folder / "made"
        made.mkdir()
        yield folder / "parent", made
