"""Code: the exact tree that a run used, and which files of it a step depends on. Git by its command line.

A clean working tree is its commit. A dirty one becomes a hidden commit, written through a temporary index and kept
under ``refs/windlass/code/``: the user's index, branch and files are never touched.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from windlass.capture import folders
from windlass.domain import digest
from windlass.domain.errors import Invalid, NotFound, Unavailable

REFS = "refs/windlass/code"
LARGEST = 10 << 20
_SECRETS = (".env", ".pem", ".key", ".p12", ".pfx", "id_rsa", "id_ed25519", ".netrc", "credentials.json")
_PLACEHOLDERS = (".example", ".sample", ".template")  # .env.example says which secrets there are, and none of them
_SECONDS = 60.0
# The project's folder, but for what Windlass keeps in it (or in a project within it).
_OURS_LEFT_OUT = (".", ":(exclude,glob)**/.windlass", ":(exclude,glob)**/.windlass/**")
# Settings of the user's that would change what is captured, or start something of theirs on the way.
_PLAIN = ("-c", "core.fsmonitor=false", "-c", "core.splitIndex=false", "-c", "i18n.commitEncoding=UTF-8")
# Whoever captures the same tree twice gets the same commit.
_NOBODY = {
    "GIT_AUTHOR_NAME": "windlass", "GIT_AUTHOR_EMAIL": "windlass@localhost", "GIT_AUTHOR_DATE": "@0 +0000",
    "GIT_COMMITTER_NAME": "windlass", "GIT_COMMITTER_EMAIL": "windlass@localhost", "GIT_COMMITTER_DATE": "@0 +0000",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """``snapshot`` is the commit that holds exactly what was captured: ``commit`` itself when nothing was changed."""

    commit: str
    snapshot: str
    dirty: bool


def capture(root: Path) -> Code:
    """The code of the project in ``root`` as it stands, changes and new files included.

    Files that Git ignores are not part of it, nor is Windlass's own folder.

    Raises:
        Invalid: no Git repository, or without a commit; a new file is huge or looks like a secret.
        Unavailable: there is no git.
    """
    commit = _commit(root)
    # Only the project's folder counts: a repository may hold other things, which change for their own reasons.
    changed = _changed(root)
    if not changed:
        if _is_ignored(root):
            raise Invalid(
                f"{root} is ignored by the Git repository that it lies in",
                hint="run `windlass init`: it makes the project a repository of its own",
            )
        return Code(commit=commit, snapshot=commit, dirty=False)
    _refuse_unfit(root, changed)
    with tempfile.TemporaryDirectory() as temporary:
        index = Path(temporary) / "index"
        env = {"GIT_INDEX_FILE": str(index)}
        used = root / _git(root, "rev-parse", "--git-path", "index")
        if used.exists():
            # With its times: Git trusts what the index remembers of files older than itself, and reads the rest.
            shutil.copy2(used, index)
        _git(root, "read-tree", "--reset", "HEAD", env=env)
        _git(root, "add", "--all", "--", *_OURS_LEFT_OUT, env=env)
        tree = _git(root, "write-tree", env=env)
    snapshot = _git(root, "commit-tree", tree, "-p", commit, "-m", "Captured by Windlass", env=_NOBODY)
    _git(root, "update-ref", f"{REFS}/{snapshot}", snapshot)
    return Code(commit=commit, snapshot=snapshot, dirty=True)


def checkout(root: Path, snapshot: str, destination: Path) -> None:
    """Write the project's folder as it was in ``snapshot`` to ``destination``, whole or not at all.

    Raises:
        NotFound: the repository has no such commit (any more), or the commit no such folder.
        Conflict: something is at ``destination`` already.
        Invalid: it holds a link out of the project.
    """
    if not (snapshot.isalnum() and _git(root, "cat-file", "-t", snapshot, fails="") == "commit"):
        raise NotFound(f"the repository has no commit {snapshot[:40]}", hint="fetch it from where the code was pushed")
    prefix = _git(root, "rev-parse", "--show-prefix").rstrip("/")
    tree = _git(root, "rev-parse", "--verify", "--quiet", f"{snapshot}:{prefix}", fails="")
    if not tree:
        raise NotFound(f"commit {snapshot[:12]} has no folder {prefix}", hint="was the project moved since?")
    repository = _git(root, "rev-parse", "--absolute-git-dir")
    # Not `git archive`: that leaves out what .gitattributes marks export-ignore, which a run may well need.
    with folders.whole(destination) as partial, tempfile.TemporaryDirectory() as temporary:
        place = {
            "GIT_DIR": repository,
            "GIT_WORK_TREE": str(partial),
            "GIT_INDEX_FILE": str(Path(temporary) / "index"),
        }
        _git(partial, "read-tree", tree, env=place)
        _git(partial, "checkout-index", "--all", "--quiet", env=place)
        shutil.rmtree(partial / ".windlass", ignore_errors=True)
        _refuse_links_out(partial)


def initialise(root: Path, message: str) -> bool:
    """Make ``root`` a Git repository with a first commit, if it is in none yet; returns whether it did.

    Raises:
        Unavailable: there is no git, or it fails.
    """
    if _git(root, "rev-parse", "--is-inside-work-tree", fails="") != "true" or _is_ignored(root):
        _git(root, "init", "--quiet", "--initial-branch=main")
    elif _git(root, "rev-parse", "--verify", "--quiet", "HEAD", fails=""):
        return False
    _git(root, "add", "--all", "--", *_OURS_LEFT_OUT)
    known = _git(root, "config", "user.email", fails="")
    identity = {} if known else {key: value for key, value in _NOBODY.items() if not key.endswith("_DATE")}
    _git(root, "commit", "--quiet", "--no-verify", "--no-gpg-sign", "--allow-empty", "--message", message, env=identity)
    return True


def closure(root: Path, file: Path) -> dict[str, str]:
    """The project's files that ``file`` is made of: itself and what it imports from the project, however deep.

    Returns path -> digest of the content, the paths relative to ``root``.

    Raises:
        NotFound: there is no such file.
    """
    root = root.resolve()
    found: dict[str, str] = {}
    first = (root / file).resolve()
    if not first.is_relative_to(root):
        raise Invalid(f"{file} lies outside the project {root}", hint="a step's code must lie in the project")
    if not first.is_file():
        raise NotFound(f"no file {file} in {root}", hint="name the pipeline's file in windlass.toml: pipeline.file")
    pending = [first, *_packages(root, first.parent)]
    while pending:
        path = pending.pop()
        name = path.relative_to(root).as_posix()
        if name in found:
            continue
        source = path.read_bytes()
        found[name] = digest.of_bytes(source)
        pending += (
            module for module in _imports(root, path, source) if module.relative_to(root).as_posix() not in found
        )
    return dict(sorted(found.items()))


def _imports(root: Path, path: Path, source: bytes) -> Iterator[Path]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return  # it is part of the code as it is; running it will say what is wrong
    package = path.parent
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _modules(root, root, package, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            base = package
            for _ in range(node.level - 1):
                base = base.parent
            parts = node.module.split(".") if node.module else []
            start = base if node.level else root
            if not start.is_relative_to(root):
                continue
            yield from _modules(root, start, package, parts)
            for alias in node.names:
                yield from _modules(root, start, package, [*parts, alias.name])
        elif isinstance(node, ast.Call) and (name := _imported_by_call(node)):
            yield from _modules(root, root, package, name.split("."))


def _imported_by_call(node: ast.Call) -> str | None:
    """The module in ``importlib.import_module("name")`` and ``__import__("name")``."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called not in ("import_module", "__import__") or not node.args:
        return None
    name = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
    return name if isinstance(name, str) and not name.startswith(".") else None


def _packages(root: Path, folder: Path) -> Iterator[Path]:
    """The ``__init__`` files that run before any module of ``folder`` does."""
    while folder != root and (inside := folder / "__init__.py").is_file():
        yield inside
        folder = folder.parent


def _modules(root: Path, start: Path, package: Path, parts: list[str]) -> Iterator[Path]:
    """The files that importing ``parts`` from ``start`` runs, if they are the project's: each package's on the way,
    and the module's; ``*`` may be any module of its package. A script's own folder is searched first, as Python does.
    """
    for base in dict.fromkeys((start, package)) if start == root else (start,):
        place = base
        for index, part in enumerate(parts):
            if part == "*":
                # A package's __all__ may name its modules. A plain folder has none.
                yield from sorted(place.glob("*.py")) if (place / "__init__.py").is_file() else ()
                break
            place = place / part
            if (inside := place / "__init__.py").is_file():
                yield inside
            if index == len(parts) - 1 and (module := place.with_suffix(".py")).is_file():
                yield module


def _commit(root: Path) -> str:
    done = _run(root, ["rev-parse", "--verify", "HEAD^{commit}"], check=False)
    if done.returncode == 0:
        return os.fsdecode(done.stdout).strip()
    said = os.fsdecode(done.stderr)
    if "dubious ownership" in said:
        raise Invalid(
            f"the Git repository of {root} belongs to somebody else",
            hint="git config --global --add safe.directory " + str(root),
        )
    if "not a git repository" in said or "Needed a single revision" in said:
        raise Invalid(
            f"{root} is not in a Git repository with a commit",
            hint="run `windlass init`, or: git init && git add --all && git commit",
        )
    raise _failed(root, "rev-parse", done)


def _changed(root: Path) -> list[tuple[str, Path]]:
    """What differs from the last commit in ``root``: (Git's two letters for it, path)."""
    # -z: names as they are. Renames would add a record of another form.
    said = _git(
        root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *_OURS_LEFT_OUT
    )  # fmt: skip
    if not said:
        return []
    top = Path(_git(root, "rev-parse", "--show-toplevel"))
    return [(line[:2], top / line[3:]) for line in said.split("\0") if line]


def _is_ignored(root: Path) -> bool:
    """Whether the repository that ``root`` lies in ignores the whole of it; its own top it cannot ignore."""
    if not _git(root, "rev-parse", "--show-prefix", fails=""):
        return False
    tracked = _git(root, "ls-files", "--", ".", fails="")
    return not tracked and _run(root, ["check-ignore", "--quiet", "."], check=False).returncode == 0


def _refuse_unfit(root: Path, changed: list[tuple[str, Path]]) -> None:
    for state, path in changed:
        if state != "??":
            continue
        name = os.path.relpath(path, root.resolve())
        if path.is_dir() and not path.is_symlink():
            # Git names a folder here only if it is a repository of its own, and would record no file of it.
            raise Invalid(
                f"{name} is a Git repository of its own, which cannot be captured",
                hint="add it to .gitignore, or add it as plain files",
            )
        if _is_secret(path.name):
            raise Invalid(
                f"{name} looks like a secret and is not in .gitignore",
                hint="add it to .gitignore; secrets are never captured",
            )
        size = path.lstat().st_size if path.exists() else 0
        if size > LARGEST:
            raise Invalid(
                f"{name} is {size >> 20} MiB, too large to be code",
                hint="add it to .gitignore; data is versioned by `windlass data add`",
            )


def _is_secret(name: str) -> bool:
    if name.endswith(_PLACEHOLDERS):
        return False
    return name.endswith(_SECRETS) or name.startswith(".env.")


def _refuse_links_out(folder: Path) -> None:
    folder = folder.resolve()
    for place, inside, names in os.walk(folder):
        for name in [*inside, *names]:
            path = Path(place) / name
            if path.is_symlink():
                # What another folder looks like is no part of the code: a link must stay within, by relative steps.
                target = Path(os.path.normpath(path.parent / path.readlink()))
                if path.readlink().is_absolute() or not target.is_relative_to(folder):
                    raise Invalid(
                        f"{path.relative_to(folder)} is a link out of the project",
                        hint="put the file in its place, or add the link to .gitignore",
                    )


def _git(root: Path, *args: str, env: Mapping[str, str] | None = None, fails: str | None = None) -> str:
    """What git says; ``fails`` is returned instead of an error when it fails."""
    done = _run(root, list(args), env, check=fails is None)
    if done.returncode != 0 and fails is not None:
        return fails
    # Records end in a NUL under -z: their spaces are names. A name need not be text.
    return os.fsdecode(done.stdout) if "-z" in args else os.fsdecode(done.stdout).removesuffix("\n")


def _run(
    root: Path, args: list[str], env: Mapping[str, str] | None = None, *, check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    # A hook or an outer git sets GIT_DIR and its like; ours is the repository of the folder, and no other.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    # GIT_OPTIONAL_LOCKS: `git status` must not refresh the user's index on the way.
    ours = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    if not root.is_dir():
        raise NotFound(f"no folder {root}", hint="check the path")
    try:
        done = subprocess.run(
            ["git", *_PLAIN, "-C", str(root), *args], capture_output=True, check=False, timeout=_SECONDS,
            stdin=subprocess.DEVNULL, env={**clean, **ours, **(env or {})},
        )  # fmt: skip
    except FileNotFoundError:
        raise Unavailable("there is no git on this machine", hint="install git", retryable=False) from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"git {args[0]} did not end within {_SECONDS:.0f} s in {root}") from None
    if check and done.returncode != 0:
        raise _failed(root, args[0], done)
    return done


def _failed(root: Path, command: str, done: subprocess.CompletedProcess[bytes]) -> Unavailable:
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return Unavailable(
        f"git {command} failed in {root}: {said[-1] if said else done.returncode}", hint="see git status"
    )
