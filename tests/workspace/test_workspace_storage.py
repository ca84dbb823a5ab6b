"""Operations on the store: push, pull, verify with repair, rm, gc, as a project uses them."""

from __future__ import annotations

from pathlib import Path

import pytest

from windlass.domain.errors import Conflict, Denied, NotFound
from windlass.domain.ports import Database
from windlass.registry import lineage
from windlass.workspace import databases
from windlass.workspace.operations.data import AddData, CheckoutData, add, checkout
from windlass.workspace.operations.storage import (
    CheckStore,
    CollectGarbage,
    PullData,
    PushData,
    RemoveData,
    gc,
    pull,
    push,
    remove,
    verify,
)
from windlass.workspace.workspace import Workspace, open_workspace

CONFIG = """
[project]
name = "p"
[remotes.origin]
url = "../remote"
[model]
name = "p"
step = "train"
[endpoint]
name = "p"
"""


@pytest.fixture
def workspace(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv(databases.VARIABLE)  # a second project has a database of its own
    found = made(tmp_path / "project")
    found.database = database
    return found


def made(root: Path) -> Workspace:
    root.mkdir()
    (root / "windlass.toml").write_text(CONFIG)
    return open_workspace(root)


def write(ws: Workspace, name: str, content: bytes) -> None:
    path = ws.layout.root / "data" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def test_a_project_is_shared_and_repaired_through_its_remote(workspace: Workspace, tmp_path: Path) -> None:
    write(workspace, "a", b"one" * 1000)
    with pytest.raises(NotFound, match="no store at"):
        pull(workspace, PullData())
    add(workspace, AddData(name="d", path="data"))
    write(workspace, "b", b"two" * 1000)
    add(workspace, AddData(name="d", path="data"))
    assert push(workspace, PushData(names=("d@2",))).snapshots == ("d@2",)
    assert push(workspace, PushData()).snapshots == ("d@1",)

    other = made(tmp_path / "other")
    assert set(pull(other, PullData(names=("d",))).snapshots) == {"d@1", "d@2"}
    checkout(other, CheckoutData(reference="d@1", destination="out"))
    assert [path.name for path in (other.layout.root / "out").iterdir()] == ["a"]

    for pack in (workspace.layout.objects / "packs").iterdir():
        content = bytearray(pack.read_bytes())
        content[5] ^= 1
        pack.chmod(0o644)
        pack.write_bytes(content)
    found = verify(workspace, CheckStore())
    assert not found.ok
    repaired = verify(workspace, CheckStore(repair_from="origin"))
    assert (repaired.ok, repaired.repaired) == (True, len(found.damaged))
    assert verify(workspace, CheckStore()).ok


def test_an_object_that_is_missing_is_found_and_fetched(workspace: Workspace) -> None:
    write(workspace, "a", b"one" * 1000)
    add(workspace, AddData(name="d", path="data"))
    push(workspace, PushData())
    for pack in (workspace.layout.objects / "packs").iterdir():
        pack.unlink()
    workspace.store.refresh()
    assert [each.what for each in verify(workspace, CheckStore()).damaged] == ["missing"]
    assert verify(workspace, CheckStore(repair_from="origin")).repaired == 2  # the tree, and then its file
    assert verify(workspace, CheckStore()).ok


def test_removed_data_is_freed_and_what_others_need_is_not(workspace: Workspace) -> None:
    write(workspace, "shared", b"shared" * 1000)
    write(workspace, "old", b"old" * 1000)
    add(workspace, AddData(name="d", path="data"))
    (workspace.layout.root / "data" / "old").unlink()
    add(workspace, AddData(name="d", path="data"))
    assert remove(workspace, RemoveData(reference="d@1", dry_run=True)).reference == "d@1"
    assert gc(workspace, CollectGarbage(dry_run=True, grace_seconds=0)).deleted == 0
    remove(workspace, RemoveData(reference="d@1"))
    told = gc(workspace, CollectGarbage(dry_run=True, grace_seconds=0))
    gc(workspace, CollectGarbage(grace_seconds=3600))
    assert told.deleted == 2  # the file, and the tree
    done = gc(workspace, CollectGarbage(grace_seconds=0))
    assert (done.deleted, done.quarantined) == (2, 0)
    assert verify(workspace, CheckStore()).ok
    with pytest.raises(NotFound):
        checkout(workspace, CheckoutData(reference="d@1", destination="out"))
    checkout(workspace, CheckoutData(reference="d@2", destination="out"))


def test_data_that_a_version_came_from_is_kept_unless_forced(workspace: Workspace) -> None:
    write(workspace, "a", b"one")
    add(workspace, AddData(name="d", path="data"))
    with workspace.database.write() as tx:
        lineage.link(tx, "version/p@1.0.0", "snapshot/d@1", "trained on")
    with pytest.raises(Conflict, match=r"p@1\.0\.0 came from d@1"):
        remove(workspace, RemoveData(reference="d@1"))
    assert remove(workspace, RemoveData(reference="d@1", force=True)).reference == "d@1"


def test_a_remote_of_ones_own_choice_is_not_for_requests_from_afar(workspace: Workspace) -> None:
    workspace.remote = True
    with pytest.raises(Denied, match="is not a remote of"):
        push(workspace, PushData(remote="/tmp/elsewhere"))
    with pytest.raises(NotFound, match="no remote 'backup'"):
        push(workspace, PushData(remote="backup"))


def test_links_share_one_read_only_copy_that_is_checked(workspace: Workspace) -> None:
    write(workspace, "a", b"one" * 1000)
    add(workspace, AddData(name="d", path="data"))
    for name in ("x", "y"):
        checkout(workspace, CheckoutData(reference="d", destination=name, links=True))
    first, second = (workspace.layout.root / name / "a" for name in ("x", "y"))
    assert first.stat().st_ino == second.stat().st_ino
    assert first.stat().st_mode & 0o777 == 0o444
    first.chmod(0o644)
    first.write_bytes(b"changed")
    checkout(workspace, CheckoutData(reference="d", destination="z", links=True))
    assert (workspace.layout.root / "z" / "a").read_bytes() == b"one" * 1000
