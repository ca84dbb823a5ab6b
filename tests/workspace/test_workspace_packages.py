"""Packages laid out for workers are those of the store, whatever somebody did to the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from windlass.capture import trees
from windlass.domain.errors import Corrupt, Denied
from windlass.workspace import packages
from windlass.workspace.layout import Layout
from windlass.workspace.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(Layout(tmp_path), actor="dana")


def test_a_tampered_file_is_never_served(ws: Workspace) -> None:
    package = trees.store_files(ws.objects, {"model.pkl": b"weights", "code/features.py": b"x = 1"})
    folder = packages.laid_out(ws, package)
    for change in (
        lambda: (folder / "model.pkl").write_bytes(b"weightz"),
        lambda: (folder / "code" / "extra.py").write_bytes(b"import os"),
        (folder / "code" / "features.py").unlink,
    ):
        change()
        assert packages.laid_out(ws, package) == folder
        assert (folder / "model.pkl").read_bytes() == b"weights"
        assert sorted(path.name for path in folder.rglob("*.py")) == ["features.py"]


def test_a_damaged_object_is_said_and_nothing_is_laid_out(ws: Workspace) -> None:
    package = trees.store_files(ws.objects, {"model.pkl": b"weights"})
    (entry,) = trees.manifest(ws.objects, package).entries
    victim = ws.layout.objects / entry.digest[3:5] / entry.digest[5:]
    victim.chmod(0o644)
    victim.write_bytes(b"weightz")
    with pytest.raises(Corrupt):
        packages.laid_out(ws, package)
    assert not any(ws.layout.packages.iterdir())


def test_paths_of_remote_requests_stay_inside_the_project(ws: Workspace) -> None:
    assert ws.inside("data/rows") == ws.layout.root.resolve() / "data" / "rows"
    assert ws.inside("/etc") == Path("/etc")
    ws.remote = True
    for path in ("/etc", "../other", "data/../../other"):
        with pytest.raises(Denied):
            ws.inside(path)
