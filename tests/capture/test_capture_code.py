"""Code: exact captures of a Git repository, and import closures. Real git, real repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from windlass.capture import code
from windlass.domain import digest
from windlass.domain.errors import Conflict, Invalid, NotFound, Unavailable


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)


def git(root: Path, *args: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    command = ["git", *identity, "-C", str(root), *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(root: Path, message: str = "a change") -> str:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    place.mkdir()
    git(place, "init", "--quiet", "--initial-branch=main")
    (place / "pipeline.py").write_text("one = 1\n")
    (place / "gone.py").write_text("")
    (place / ".gitignore").write_text("ignored*\n")
    commit(place)
    return place


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def captured(root: Path) -> dict[str, str]:
    """What a checkout of a capture holds."""
    destination = root.parent / f"out-{len(list(root.parent.iterdir()))}"
    code.checkout(root, code.capture(root).snapshot, destination)
    return contents(destination)


def traces(root: Path) -> tuple[object, ...]:
    """All that a user would notice of a repository."""
    index = root / ".git" / "index"
    return (
        index.read_bytes(),
        index.stat().st_mtime_ns,
        git(root, "rev-parse", "HEAD"),
        git(root, "for-each-ref", "refs/heads", "refs/tags", "refs/stash"),
        git(root, "--no-optional-locks", "status", "--porcelain"),
        contents(root),
        sorted(path.name for path in (root / ".git").iterdir()),
    )


def test_an_unchanged_tree_is_its_commit(root: Path) -> None:
    head = git(root, "rev-parse", "HEAD")
    assert code.capture(root) == code.Code(commit=head, snapshot=head, dirty=False)
    (root / "ignored.txt").write_text("no part of the code")
    assert not code.capture(root).dirty
    assert git(root, "for-each-ref", code.REFS) == ""
    assert captured(root) == {"pipeline.py": "one = 1\n", "gone.py": "", ".gitignore": "ignored*\n"}


def test_a_changed_tree_is_captured_with_new_changed_and_deleted_files(root: Path) -> None:
    head = git(root, "rev-parse", "HEAD")
    (root / "pipeline.py").write_text("one = 2\n")
    (root / "gone.py").unlink()
    (root / "ignored.txt").write_text("no")
    (root / "new").mkdir()
    (root / "new" / "features.py").write_text("new")
    (root / "new" / "features.py").chmod(0o755)
    found = code.capture(root)
    assert (found.commit, found.dirty) == (head, True)
    assert git(root, "rev-parse", f"{found.snapshot}^") == head
    assert git(root, "for-each-ref", "--format=%(refname)") .splitlines() == [
        "refs/heads/main", f"{code.REFS}/{found.snapshot}",
    ]  # fmt: skip
    out = root.parent / "out"
    code.checkout(root, found.snapshot, out)
    assert contents(out) == {"pipeline.py": "one = 2\n", "new/features.py": "new", ".gitignore": "ignored*\n"}
    assert os.access(out / "new" / "features.py", os.X_OK)
    assert not os.access(out / "pipeline.py", os.X_OK)


def test_a_capture_leaves_no_trace_in_index_branch_or_files(root: Path) -> None:
    (root / "staged.py").write_text("staged")
    git(root, "add", "staged.py")
    (root / "staged.py").write_text("changed after it was staged")
    (root / "new.py").write_text("new")
    os.utime(root / "gone.py", (1, 1))  # git status would refresh the index for it
    before = traces(root)
    assert captured(root)["staged.py"] == "changed after it was staged"
    assert traces(root) == before


def test_the_same_tree_has_the_same_id_whenever_and_wherever_it_is_captured(root: Path, tmp_path: Path) -> None:
    (root / "pipeline.py").write_text("one = 2\n")
    (root / "new.py").write_text("new")
    first = code.capture(root)
    git(root, "add", "new.py")
    assert code.capture(root) == first
    git(tmp_path, "clone", "--quiet", str(root), "clone")
    clone = tmp_path / "clone"
    shutil.copy(root / "pipeline.py", clone)
    shutil.copy(root / "new.py", clone)
    assert code.capture(clone) == first
    (root / "new.py").write_text("newer")
    assert code.capture(root).snapshot != first.snapshot


def test_a_change_that_size_and_time_do_not_show_is_seen(root: Path) -> None:
    """Git's racy rule: what was written as late as the index itself is compared by content."""
    for number in range(5):
        (root / "pipeline.py").write_text(f"one = {number + 3}\n")
        assert captured(root)["pipeline.py"] == f"one = {number + 3}\n"


def test_a_project_in_a_subfolder_is_captured_alone(root: Path) -> None:
    project = root / "models" / "employment"
    project.mkdir(parents=True)
    (project / "pipeline.py").write_text("mine")
    head = commit(root)
    (root / "pipeline.py").write_text("somebody else's change")
    git(root, "add", "pipeline.py")
    (root / "id_rsa").write_text("somebody else's secret")
    assert code.capture(project) == code.Code(commit=head, snapshot=head, dirty=False)
    assert captured(project) == {"pipeline.py": "mine"}
    (project / "new.py").write_text("new")
    assert captured(project) == {"pipeline.py": "mine", "new.py": "new"}
    found = code.capture(project)
    assert git(root, "show", f"{found.snapshot}:pipeline.py") == "one = 1"
    moved = root / "elsewhere"
    moved.mkdir()
    with pytest.raises(NotFound, match="no folder elsewhere"):
        code.checkout(moved, head, root.parent / "moved")


@pytest.mark.parametrize("name", [".env", ".env.local", "server.pem", "tls.key", "id_rsa", "sub/.env"])
def test_a_new_file_that_looks_like_a_secret_is_refused(root: Path, name: str) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text("secret")
    with pytest.raises(Invalid, match="looks like a secret") as caught:
        code.capture(root)
    assert name in caught.value.message
    assert ".gitignore" in caught.value.hint
    with (root / ".gitignore").open("a") as file:
        file.write(name)
    assert name not in captured(root)


def test_what_only_names_secrets_or_is_committed_is_no_secret(root: Path) -> None:
    (root / ".env.example").write_text("PASSWORD=")
    (root / "public.pem").write_text("certificate")
    git(root, "add", "public.pem")
    assert {".env.example", "public.pem"} <= captured(root).keys()


def test_a_new_file_too_large_to_be_code_is_refused(root: Path) -> None:
    with (root / "data.bin").open("wb") as file:
        file.truncate(code.LARGEST + 1)
    with pytest.raises(Invalid, match="too large to be code") as caught:
        code.capture(root)
    assert "windlass data add" in caught.value.hint


def test_a_repository_within_is_refused_rather_than_lost(root: Path) -> None:
    (root / "inner").mkdir()
    git(root / "inner", "init", "--quiet")
    (root / "inner" / "a.py").write_text("a")
    commit(root / "inner")
    with pytest.raises(Invalid, match="repository of its own"):
        code.capture(root)


def test_what_windlass_keeps_is_never_captured(root: Path) -> None:
    for place in (root, root / "nested"):
        (place / ".windlass").mkdir(parents=True)
        (place / ".windlass" / "windlass.db").write_text("state")
    assert not code.capture(root).dirty
    (root / "new.py").write_text("new")
    assert [name for name in captured(root) if "windlass" in name] == []
    git(root, "add", "--force", ".windlass")
    git(root, "commit", "--quiet", "--message", "by mistake")
    assert [name for name in captured(root) if "windlass" in name] == []


def test_names_that_are_hard_to_print_are_captured(root: Path) -> None:
    names = [b"line\nbreak.py", b"?? question.py", "größe.py".encode(), b"not\xfftext.py", b" space .py", b'quote".py']
    for name in names:
        with open(os.path.join(os.fsencode(root), name), "wb") as file:  # noqa: PTH118, PTH123 - bytes are no Path
            file.write(b"x")
    out = root.parent / "out"
    code.checkout(root, code.capture(root).snapshot, out)
    assert set(names) <= {os.fsencode(path.name) for path in out.iterdir()}


def test_a_merge_in_progress_is_captured_as_the_files_stand(root: Path) -> None:
    git(root, "checkout", "--quiet", "-b", "theirs")
    (root / "pipeline.py").write_text("theirs\n")
    commit(root)
    git(root, "checkout", "--quiet", "main")
    (root / "pipeline.py").write_text("ours\n")
    commit(root)
    merge = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a", "merge", "--quiet", "theirs"]
    assert subprocess.run(merge, capture_output=True, check=False).returncode == 1
    before = traces(root)
    assert "<<<<<<<" in captured(root)["pipeline.py"]
    assert traces(root) == before


def test_attributes_leave_nothing_out_of_a_checkout(root: Path) -> None:
    (root / ".gitattributes").write_text("gone.py export-ignore\npipeline.py export-subst\n")
    (root / "pipeline.py").write_text("commit = '$Format:%H$'\n")
    commit(root)
    assert captured(root)["pipeline.py"] == "commit = '$Format:%H$'\n"
    assert "gone.py" in captured(root)


def test_links_stay_within_the_project(root: Path) -> None:
    (root / "link.py").symlink_to("pipeline.py")
    assert captured(root)["link.py"] == "one = 1\n"
    for target in ("/etc/passwd", "../../elsewhere", str(root / "pipeline.py")):
        (root / "link.py").unlink()
        (root / "link.py").symlink_to(target)
        with pytest.raises(Invalid, match=r"link\.py is a link out"):
            code.checkout(root, code.capture(root).snapshot, root.parent / "out")
        assert not (root.parent / "out").exists()


def test_a_checkout_goes_to_an_empty_place_only(root: Path, tmp_path: Path) -> None:
    found = code.capture(root)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(Conflict):
        code.checkout(root, found.snapshot, tmp_path / "full")
    (tmp_path / "empty").mkdir()
    code.checkout(root, found.snapshot, tmp_path / "empty")
    for unknown in ("0" * 40, "HEAD~9", "--help", "", "main:pipeline.py"):
        with pytest.raises(NotFound, match="no commit"):
            code.checkout(root, unknown, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "full", "project"]


def test_without_a_repository_or_a_commit_the_hint_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="not in a Git repository") as caught:
        code.capture(tmp_path)
    assert "windlass init" in caught.value.hint
    git(tmp_path, "init", "--quiet")
    with pytest.raises(Invalid, match="with a commit") as caught:
        code.capture(tmp_path)
    assert "git commit" in caught.value.hint
    with pytest.raises(NotFound):
        code.capture(tmp_path / "nowhere")


def test_without_git_the_hint_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="no git") as caught:
        code.capture(root)
    assert caught.value.hint == "install git"


def test_an_outer_gits_variables_do_not_lead_astray(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = code.capture(root)
    git(tmp_path, "init", "--quiet", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "other" / "index"))
    assert code.capture(root) == expected


def test_a_new_project_becomes_a_repository_with_a_commit(tmp_path: Path) -> None:
    (tmp_path / "pipeline.py").write_text("one = 1\n")
    (tmp_path / ".windlass").mkdir()
    (tmp_path / ".windlass" / "state").write_text("state")
    assert code.initialise(tmp_path, "Start")
    assert git(tmp_path, "log", "--format=%s %an") == "Start windlass"
    assert git(tmp_path, "ls-tree", "-r", "--name-only", "HEAD") == "pipeline.py"
    assert not code.capture(tmp_path).dirty
    assert not code.initialise(tmp_path, "again")
    assert git(tmp_path, "rev-list", "--count", "HEAD") == "1"


def test_the_users_identity_and_repository_are_kept(root: Path, tmp_path: Path) -> None:
    head = git(root, "rev-parse", "HEAD")
    (root / "sub").mkdir()
    (root / "sub" / "pipeline.py").write_text("new")
    assert not code.initialise(root / "sub", "Start")
    assert git(root, "rev-parse", "HEAD") == head
    git(tmp_path, "init", "--quiet", "fresh")
    git(tmp_path / "fresh", "config", "user.email", "ada@example.org")
    git(tmp_path / "fresh", "config", "user.name", "Ada")
    git(tmp_path / "fresh", "config", "commit.gpgSign", "true")
    hook = tmp_path / "fresh" / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    assert code.initialise(tmp_path / "fresh", "Start")
    assert git(tmp_path / "fresh", "log", "--format=%an") == "Ada"


def test_a_folder_that_its_repository_ignores_becomes_its_own(root: Path) -> None:
    project = root / "ignored-project"
    project.mkdir()
    (project / "pipeline.py").write_text("mine")
    with pytest.raises(Invalid, match="is ignored by") as caught:
        code.capture(project)
    assert "windlass init" in caught.value.hint
    assert code.initialise(project, "Start")
    assert captured(project) == {"pipeline.py": "mine"}


CLOSURES: dict[str, tuple[dict[str, str], set[str]]] = {
    "nothing of the project": ({"main": "import os, json\nfrom pathlib import Path\n"}, set()),
    "a module": ({"main": "import a", "a": "", "b": ""}, {"a"}),
    "however deep": ({"main": "import a", "a": "import b", "b": "import c", "c": "", "d": ""}, {"a", "b", "c"}),
    "a cycle": ({"main": "import a", "a": "import main\nimport a"}, {"a"}),
    "in a function": ({"main": "def f():\n    if f:\n        import a\n", "a": ""}, {"a"}),
    "a package runs its init": ({"main": "import p.a", "p/__init__": "import b", "p/a": "", "b": "", "p/c": ""},
                                {"p/__init__", "p/a", "b"}),
    "each package on the way": ({"main": "import p.q.a", "p/__init__": "", "p/q/__init__": "", "p/q/a": ""},
                                {"p/__init__", "p/q/__init__", "p/q/a"}),
    "a name from a module": ({"main": "from a import name", "a": "name = 1"}, {"a"}),
    "a module from a package": ({"main": "from p import a", "p/__init__": "", "p/a": ""}, {"p/__init__", "p/a"}),
    "a module from a plain folder": ({"main": "from p.q import a", "p/q/a": ""}, {"p/q/a"}),
    "relative": ({"main": "import p.a", "p/__init__": "", "p/a": "from . import b\nfrom .c import x", "p/b": "",
                  "p/c": "x = 1"}, {"p/__init__", "p/a", "p/b", "p/c"}),
    "relative, from above": ({"main": "import p.q.a", "p/__init__": "", "p/q/__init__": "", "p/b": "",
                              "p/q/a": "from .. import b"}, {"p/__init__", "p/q/__init__", "p/q/a", "p/b"}),
    "relative, out of the project": ({"main": "from .... import a", "a": ""}, set()),
    "a star may mean all modules": ({"main": "from p import *", "p/__init__": "__all__ = ['a']", "p/a": ""},
                                    {"p/__init__", "p/a"}),
    "by a call": ({"main": "import importlib\nimportlib.import_module('a')\n__import__('b')", "a": "", "b": ""},
                  {"a", "b"}),
    "a file that is no Python": ({"main": "import a", "a": "import b\ndef ("}, {"a"}),
    "a file with a null byte": ({"main": "import a", "a": "\0"}, {"a"}),
    "not what only sounds alike": ({"main": "import ab", "a": "", "abc": ""}, set()),
}  # fmt: skip


@pytest.mark.parametrize("case", CLOSURES)
def test_a_closure_is_what_a_file_imports_from_the_project(tmp_path: Path, case: str) -> None:
    files, imported = CLOSURES[case]
    for name, content in files.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    expected = {f"{name}.py": digest.of_bytes(files[name].encode()) for name in {"main", *imported}}
    assert code.closure(tmp_path, Path("main.py")) == expected


def test_a_closure_from_within_a_package_holds_what_runs_before_it(tmp_path: Path) -> None:
    for name, content in {"p/__init__": "from . import z", "p/features": "", "p/z": "", "p/other": ""}.items():
        (tmp_path / f"{name}.py").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(content)
    assert set(code.closure(tmp_path, Path("p/features.py"))) == {"p/__init__.py", "p/features.py", "p/z.py"}


def test_a_script_in_a_folder_sees_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "train.py").write_text("import near, far")
    (tmp_path / "jobs" / "near.py").write_text("")
    (tmp_path / "far.py").write_text("")
    assert set(code.closure(tmp_path, Path("jobs/train.py"))) == {"jobs/train.py", "jobs/near.py", "far.py"}


def test_a_closure_changes_with_what_is_imported_and_with_nothing_else(tmp_path: Path) -> None:
    for name, content in {"main": "import a", "a": "import b", "b": "x = 1", "other": "x = 1"}.items():
        (tmp_path / f"{name}.py").write_text(content)
    before = code.closure(tmp_path, Path("main.py"))
    (tmp_path / "other.py").write_text("x = 2")
    assert code.closure(tmp_path, Path("main.py")) == before
    (tmp_path / "b.py").write_text("x = 2")
    assert code.closure(tmp_path, Path("main.py")) != before


def test_a_closure_needs_a_file_in_the_project(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        code.closure(tmp_path, Path("main.py"))
    for outside in ("/etc/passwd", "../main.py"):
        with pytest.raises(Invalid, match="outside the project"):
            code.closure(tmp_path, Path(outside))
