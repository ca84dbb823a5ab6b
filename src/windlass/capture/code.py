"""Code: the exact tree that a run used, and which files of it a step depends on. Git by its command line.

A clean working tree is its commit. A dirty one becomes a hidden commit, written through a temporary index and kept
under ``refs/windlass/code/``: the user's index, branch and files are never touched.
"""

from __future__ import annotations

import ast
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from windlass.domain import digest
from windlass.domain.errors import Invalid, NotFound, Unavailable

REFS = "refs/windlass/code"
LARGEST = 10 << 20
_SECRETS = (".env", ".pem", ".key", ".p12", ".pfx", "id_rsa", "id_ed25519", ".netrc", "credentials.json")
_SECONDS = 60.0
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

    Files that Git ignores are not part of it.

    Raises:
        Invalid: no Git repository, or without a commit; a new file is huge or looks like a secret.
        Unavailable: there is no git.
    """
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", fails="")
    if not commit:
        raise Invalid(
            f"{root} is not in a Git repository with a commit",
            hint="run `windlass init`, or: git init && git add --all && git commit",
        )
    # Only the project's folder counts: a repository may hold other things, which change for their own reasons.
    changed = _git(root, "status", "--porcelain", "-z", "--untracked-files=all", "--", ".")
    if not changed:
        return Code(commit=commit, snapshot=commit, dirty=False)
    top = Path(_git(root, "rev-parse", "--show-toplevel"))
    _refuse_unfit(top, changed)
    with tempfile.TemporaryDirectory() as temporary:
        index = {"GIT_INDEX_FILE": str(Path(temporary) / "index")}
        _git(root, "read-tree", "HEAD", env=index)
        _git(root, "add", "--all", "--", ".", env=index)
        tree = _git(root, "write-tree", env=index)
    snapshot = _git(root, "commit-tree", tree, "-p", commit, "-m", "Captured by Windlass", env=_NOBODY)
    _git(root, "update-ref", f"{REFS}/{snapshot}", snapshot)
    return Code(commit=commit, snapshot=snapshot, dirty=True)


def checkout(root: Path, snapshot: str, destination: Path) -> None:
    """Write the project's folder as it was in ``snapshot`` to ``destination``.

    Raises:
        NotFound: the repository has no such commit (any more).
    """
    if not (snapshot.isalnum() and _git(root, "cat-file", "-t", snapshot, fails="") == "commit"):
        raise NotFound(f"the repository has no commit {snapshot[:40]}", hint="fetch it from where the code was pushed")
    prefix = _git(root, "rev-parse", "--show-prefix")
    archive = _run(root, ["archive", "--format=tar", f"{snapshot}:{prefix.rstrip('/')}"]).stdout
    destination.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(destination, filter="data")


def initialise(root: Path, message: str) -> bool:
    """Make ``root`` a Git repository with a first commit, if it is in none yet; returns whether it did.

    Raises:
        Unavailable: there is no git, or it fails.
    """
    if _git(root, "rev-parse", "--is-inside-work-tree", fails="") == "true":
        if _git(root, "rev-parse", "--verify", "--quiet", "HEAD", fails=""):
            return False
    else:
        _git(root, "init", "--quiet", "--initial-branch=main")
    _git(root, "add", "--all")
    known = _git(root, "config", "user.email", fails="")
    identity = {} if known else {key: value for key, value in _NOBODY.items() if not key.endswith("_DATE")}
    _git(root, "commit", "--quiet", "--message", message, env=identity)
    return True


def closure(root: Path, file: Path) -> dict[str, str]:
    """The project's files that ``file`` is made of: itself and what it imports from the project, however deep.

    Returns path -> digest of the content, the paths relative to ``root``.

    Raises:
        NotFound: there is no such file.
    """
    root = root.resolve()
    found: dict[str, str] = {}
    pending = [(root / file).resolve()]
    if not pending[0].is_file():
        raise NotFound(f"no file {file} in {root}", hint="name the pipeline's file in windlass.toml: pipeline.file")
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


def _modules(root: Path, start: Path, package: Path, parts: list[str]) -> Iterator[Path]:
    """The files that importing ``parts`` from ``start`` runs, if they are the project's: each package's on the way,
    and the module's. A script's own folder is searched first, as Python does."""
    for base in dict.fromkeys((start, package)) if start == root else (start,):
        place = base
        for index, part in enumerate(parts):
            place = place / part
            if (inside := place / "__init__.py").is_file():
                yield inside
            if index == len(parts) - 1 and (module := place.with_suffix(".py")).is_file():
                yield module


def _refuse_unfit(top: Path, changed: str) -> None:
    for line in changed.split("\0"):
        if not line.startswith("??"):
            continue
        path = top / line[3:]
        if path.name.endswith(_SECRETS) or path.name.startswith(".env"):
            raise Invalid(
                f"{line[3:]} looks like a secret and is not in .gitignore",
                hint="add it to .gitignore; secrets are never captured",
            )
        if path.is_file() and path.stat().st_size > LARGEST:
            raise Invalid(
                f"{line[3:]} is {path.stat().st_size >> 20} MiB, too large to be code",
                hint="add it to .gitignore; data is versioned by `windlass data add`",
            )


def _git(root: Path, *args: str, env: Mapping[str, str] | None = None, fails: str | None = None) -> str:
    """What git says; ``fails`` is returned instead of an error when it fails."""
    done = _run(root, list(args), env, check=fails is None)
    if done.returncode != 0 and fails is not None:
        return fails
    # Records end in a NUL under -z: their spaces are names.
    return done.stdout.decode() if "-z" in args else done.stdout.decode().strip()


def _run(
    root: Path, args: list[str], env: Mapping[str, str] | None = None, *, check: bool = True
) -> subprocess.CompletedProcess[bytes]:
    # A hook or an outer git sets GIT_DIR and its like; ours is the repository of the folder, and no other.
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, check=False, timeout=_SECONDS,
            env={**clean, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(env or {})},
        )  # fmt: skip
    except FileNotFoundError:
        raise Unavailable("there is no git on this machine", hint="install git", retryable=False) from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"git {args[0]} did not end within {_SECONDS:.0f} s in {root}") from None
    if check and done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Unavailable(
            f"git {args[0]} failed in {root}: {said[-1] if said else done.returncode}", hint="see git status"
        )
    return done


def fingerprint(files: Mapping[str, str]) -> str:
    """One digest for a closure."""
    return digest.of(dict(files))
