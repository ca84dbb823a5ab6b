"""What each tool is asked to do with data: one fresh store and the commands of each work on it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from measuring import Command, run


@dataclass(frozen=True, slots=True)
class Store:
    """``source`` is what ``add`` reads (its own copy where the tool wants the data in its folder).

    ``again`` are the ways to ask about unchanged data. ``checkout`` of the first or second version (the latest) puts
    the data at ``restored``, once ``cleared`` is removed. ``kept`` holds what is stored.
    """

    source: Path
    add: Command
    again: dict[str, Command]
    checkout: Callable[[int], Command]
    restored: Path
    cleared: Path
    kept: Path
    verify: Command


def _do(env: dict[str, str], folder: Path, *words: str | Path) -> None:
    run(Command(tuple(map(str, words)), folder, env))


def _copied(data: Path, folder: Path) -> Path:
    copy = folder / "data" / data.name
    copy.parent.mkdir(exist_ok=True)
    if data.is_dir():
        shutil.copytree(data, copy)
    else:
        shutil.copy2(data, copy)
    return copy


def _windlass(program: Path, folder: Path, data: Path, env: dict[str, str]) -> Store:
    _do(env, folder.parent, program, "init", folder)
    source, restored = _copied(data, folder), folder.parent / "checked-out"

    def command(*words: str) -> Command:
        return Command((str(program), *words), folder, env)

    add = command("data", "add", str(source), "--name", "bench")
    whole = subprocess.run([program, "data", "verify", "--help"], check=False, capture_output=True).returncode == 0
    return Store(
        source, add, {"data add": add}, lambda at: command("data", "checkout", f"bench@{at}", str(restored)),
        # A single file comes back under its name, in the folder.
        restored if data.is_dir() else restored / data.name, restored,
        folder / ".windlass", command("data", "verify") if whole else command("verify"),
    )  # fmt: skip


def _dvc(program: Path, folder: Path, data: Path, env: dict[str, str]) -> Store:
    folder.mkdir()
    _do(env, folder, "git", "init", "-q")
    _do(env, folder, program, "init", "-q")
    for name, value in (("cache.type", "copy"), ("core.analytics", "false"), ("core.check_update", "false")):
        _do(env, folder, program, "config", name, value)
    source = _copied(data, folder)

    def command(*words: str) -> Command:
        return Command((str(program), *words), folder, env)

    path = str(source.relative_to(folder))
    add = command("add", "-q", path)
    status = command("status")
    again = {"dvc add": add, "dvc status": status}
    return Store(
        source, add, again, lambda _: command("checkout", "-q", f"{path}.dvc"), source, source, folder / ".dvc", status
    )


def _restic(program: Path, folder: Path, data: Path, env: dict[str, str]) -> Store:
    folder.mkdir()
    env = {**env, "RESTIC_REPOSITORY": str(folder / "repository")}
    _do(env, folder, program, "init", "-q")
    source = _copied(data, folder)
    target = folder.parent / "restored"

    def command(*words: str) -> Command:
        return Command((str(program), *words), source.parent, env)

    add = command("backup", "-q", source.name)
    return Store(
        source, add, {"restic backup": add}, lambda _: command("restore", "-q", "latest", "--target", str(target)),
        target / source.name, target, folder / "repository", command("check", "-q", "--read-data"),
    )  # fmt: skip


def _git_lfs(program: Path, folder: Path, data: Path, env: dict[str, str]) -> Store:
    folder.mkdir()
    env = {**env, "PATH": f"{program.parent}:{env['PATH']}"}
    _do(env, folder, "git", "init", "-q")
    _do(env, folder, "git", "lfs", "install", "--local")
    _do(env, folder, "git", "lfs", "track", "data/**")
    source = _copied(data, folder)

    def command(words: str) -> Command:
        return Command(("sh", "-c", words), folder, env)

    again = {"git add": command("git add data")}
    add = command("git add .gitattributes data && git commit -qm data")
    return Store(
        source,
        add,
        again,
        lambda _: command("git checkout -q -- data"),
        source,
        source,
        folder / ".git",
        command("git lfs fsck"),
    )


_MAKERS: dict[str, Callable[[Path, Path, Path, dict[str, str]], Store]] = {
    "windlass": _windlass,
    "dvc": _dvc,
    "restic": _restic,
    "git-lfs": _git_lfs,
}
NAMES = tuple(_MAKERS)


def fresh(name: str, program: Path, folder: Path, data: Path, env: dict[str, str]) -> Store:
    """An empty store of this tool below ``folder``, beside the data it is to keep."""
    folder.mkdir(parents=True)
    return _MAKERS[name](program, folder / "store", data, env)
