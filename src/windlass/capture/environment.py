"""Environment: the interpreter and its distributions, locked with hashes, and built again from the lock.

The digest covers what decides how code behaves and can be built again: interpreter, platform, versions. The host's
facts (CPU, kernel, BLAS) are recorded beside it: they explain a difference, and cannot be rebuilt.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from windlass.capture import distributions, locks, uv, wheels
from windlass.capture.locks import Lock
from windlass.domain import digest, ledger
from windlass.domain.clock import Clock
from windlass.domain.errors import Corrupt, Unavailable
from windlass.domain.ports import Database, ObjectStore, Row, Transaction
from windlass.domain.version import VERSION

FORMAT = 1
_SECONDS = 300.0

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """``distributions`` are (name, version), by name; those that no index has are in ``local`` with their origin."""

    python: str
    implementation: str
    platform: str
    distributions: tuple[tuple[str, str], ...]
    local: tuple[tuple[str, str], ...] = ()
    windlass: str = VERSION
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class _Remembered:
    """What was found installed while the folders of installed packages were as ``key`` says."""

    key: str
    environment: Environment


def capture(cache: Path | None = None) -> Environment:
    """The environment that this process runs in; remembered in the file ``cache`` until something is installed."""
    # Reading every distribution's metadata takes a tenth of a second. Installing or removing one changes its folder.
    places = [(place, os.stat(place).st_mtime_ns) for place in sys.path if os.path.isdir(place)]  # noqa: PTH112, PTH116
    key = digest.of([sys.executable, sys.version, VERSION, str(Path.cwd()), places])
    try:
        if cache is not None:
            found = msgspec.json.decode(cache.read_bytes(), type=_Remembered)
            if found.key == key:
                return found.environment
    except (OSError, msgspec.DecodeError):
        pass
    found = _Remembered(key, msgspec.convert(distributions.inventory(), Environment))
    if cache is not None:
        with suppress(OSError):
            cache.parent.mkdir(parents=True, exist_ok=True)
            partial = cache.with_name(f".{cache.name}.{os.getpid()}")
            partial.write_bytes(msgspec.json.encode(found))
            partial.replace(cache)
    return found.environment


def digest_of(environment: Environment) -> str:
    return digest.of(environment)


def store(
    db: Database,
    objects: ObjectStore,
    environment: Environment,
    *,
    project: Path | None = None,
    actor: str,
    now: Clock,
    progress: Progress = lambda _: None,
) -> str:
    """Record an environment with its lock; returns its digest. It is locked once, when it is first seen.

    The hashes are those of the lock file of ``project``, where it has one that knows what is installed; where what is
    installed differs from it, that is told and recorded. Where no lock can be made (no uv, no index), the reason is
    recorded instead, and ``build`` tells it.
    """
    name = digest_of(environment)
    with db.read() as tx:
        known = tx.row("SELECT lock FROM environments WHERE digest = ?", (name,))
    if known and known["lock"]:
        return name
    progress("locking the environment")
    lock, why = "", ""
    theirs = locks.find(project) if project else None
    differing = locks.compare(theirs, environment.distributions) if theirs else []
    for line in differing:
        progress(line)
    try:
        lock = objects.put(locked(environment, theirs).encode())
    except Unavailable as error:
        why = error.message
        progress(f"the environment could not be locked: {why}")
    objects.put(digest.canonical(environment))
    at = now()
    with db.write() as tx:
        found = tx.row("SELECT lock FROM environments WHERE digest = ?", (name,))
        if found is None or (lock and not found["lock"]):
            tx.execute(
                "INSERT INTO environments (digest, lock, why, at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (digest) DO UPDATE SET lock = excluded.lock, why = excluded.why",
                (name, lock, why, at),
            )
            ledger.transition(
                tx,
                subject=f"environment/{name}",
                action="lock",
                before=ledger.head(tx, f"environment/{name}"),
                after=lock or None,
                actor=actor,
                reason=why or "first seen",
                at=at,
                evidence={"lock file": theirs.file, "differing": differing} if theirs else {},
            )
    return name


def of_requirements(
    db: Database,
    objects: ObjectStore,
    requirements: str,
    environments: Path,
    *,
    actor: str,
    now: Clock,
    progress: Progress = lambda _: None,
) -> str:
    """Record the environment that a requirements file means with the interpreter that runs; returns its digest.

    What the file leaves open is decided once, by uv, and kept in ``environments``.

    Raises:
        Unavailable: there is no uv, or the requirements cannot be met.
    """
    here = capture()
    key = digest.of([requirements, here.python, here.implementation, here.platform]).removeprefix(digest.PREFIX)
    resolved = environments / "resolved" / key
    if not resolved.exists():
        progress("resolving a step's requirements")
        command = ["pip", "compile", "-", "--generate-hashes", "--no-header", "--no-annotate", "--quiet",
                   "--no-emit-index-url", "--python", sys.executable, "--python-version", here.python]  # fmt: skip
        text = uv.run(command, stdin=requirements)
        resolved.parent.mkdir(parents=True, exist_ok=True)
        partial = resolved.with_name(f".{resolved.name}.{os.getpid()}")
        partial.write_text(text)
        partial.replace(resolved)
    text = resolved.read_text()
    pins = sorted((name, found[0].version) for name, found in locks.requirements(text).pins.items())
    meant = replace(here, distributions=tuple(pins), local=())
    with db.read() as tx:
        if tx.row("SELECT digest FROM environments WHERE digest = ?", (digest_of(meant),)):
            return digest_of(meant)
    lock, name, at = objects.put(text.encode()), objects.put(digest.canonical(meant)), now()
    with db.write() as tx:
        if tx.execute(
            "INSERT INTO environments (digest, lock, why, at) VALUES (?, ?, '', ?) ON CONFLICT DO NOTHING",
            (name, lock, at),
        ):
            subject = f"environment/{name}"
            ledger.transition(
                tx, subject=subject, action="lock", before=ledger.head(tx, subject), after=lock, actor=actor,
                reason="a step's requirements", at=at,
            )  # fmt: skip
    return name


def locked(environment: Environment, project: Lock | None = None) -> str:
    """The lock: every distribution with its version and the hashes of its files, in pip's requirements form.

    What the project's lock knows the hashes of is not asked of an index.

    Raises:
        Unavailable: there is no uv, or the index does not have a distribution or does not answer.
    """
    known: dict[str, tuple[str, ...]] = {}
    for name, version in environment.distributions:
        pin = project.pin(name, version) if project else None
        if pin and pin.hashes:
            known[name] = pin.hashes
    asked = [each for each in environment.distributions if each[0] not in known]
    lines = [
        f"{name}=={version} \\\n" + " \\\n".join(f"    --hash=sha256:{each}" for each in known[name])
        for name, version in environment.distributions
        if name in known
    ]
    ours = "".join(f"{line}\n" for line in lines)
    return ours + _resolved(environment, asked) if asked else ours


def _resolved(environment: Environment, asked: Sequence[tuple[str, str]]) -> str:
    """Pins with their hashes, by uv."""
    pins = "".join(f"{name}=={version}\n" for name, version in asked)
    command = [
        "pip", "compile", "-", "--generate-hashes", "--no-header", "--no-annotate", "--no-deps", "--quiet",
        "--no-emit-index-url", "--no-emit-find-links", "--python", sys.executable,
        "--python-version", environment.python,
    ]  # fmt: skip
    try:
        # What is installed was downloaded, so its hashes are known here: no network, as a rule.
        return uv.run([*command, "--offline"], stdin=pins)
    except Unavailable:
        return uv.run(command, stdin=pins)


def ls(tx: Transaction) -> list[Row]:
    """Every environment, newest first: digest, at, whether it is locked, why not, and how many files are vendored."""
    rows = tx.rows(
        "SELECT e.digest, e.at, e.lock, e.why, COUNT(f.name) AS vendored FROM environments e"
        " LEFT JOIN environment_files f ON f.environment = e.digest"
        " GROUP BY e.digest, e.at, e.lock, e.why ORDER BY e.at DESC, e.digest"
    )
    return [
        {**{name: value for name, value in row.items() if name != "lock"}, "locked": bool(row["lock"])} for row in rows
    ]


def load(objects: ObjectStore, name: str) -> Environment:
    """The environment of a digest.

    Raises:
        NotFound, Corrupt: as the store.
    """
    return msgspec.convert(json.loads(objects.get(name)), Environment)


def compare(old: Environment, new: Environment) -> list[str]:
    """Which fields differ, one line each."""
    found = [
        f"{field}: {getattr(old, field)} -> {getattr(new, field)}"
        for field in ("python", "implementation", "platform", "windlass")
        if getattr(old, field) != getattr(new, field)
    ]
    for before, after in ((dict(old.distributions), dict(new.distributions)), (dict(old.local), dict(new.local))):
        found += [
            f"{name}: {before.get(name, 'not installed')} -> {after.get(name, 'not installed')}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]
    return found


def build(
    db: Database, objects: ObjectStore, name: str, environments: Path, *, progress: Progress = lambda _: None
) -> Path:
    """The interpreter of an environment built from its lock; built once, in a folder of ``environments``.

    The Windlass that runs now is importable in it. Distributions that no index has are left out, which is said.

    Raises:
        Unavailable: it could not be locked when it was captured, or cannot be built now.
        Corrupt: what was built is not what was recorded.
    """
    folder = environments / digest.checked(name).removeprefix(digest.PREFIX)
    python = folder / "bin" / "python"
    if python.exists():
        return python
    environment = load(objects, name)
    with db.read() as tx:
        row = tx.row("SELECT lock, why FROM environments WHERE digest = ?", (name,))
    if row is None or not row["lock"]:
        raise Unavailable(
            f"environment {digest.short(name)} has no lock: {row['why'] if row else 'it was not recorded here'}",
            hint="run `windlass run` again where uv and a package index can be reached",
        )
    lock = objects.get(row["lock"])
    progress(f"building the environment: {len(environment.distributions)} distributions")
    if environment.local:
        listed = ", ".join(f"{each} {version}" for each, version in environment.local)
        progress(f"no index has {listed}: left out of the environment")
    # Where it is built is where it stays until it is whole: nobody takes half an environment for one.
    with _building(environments) as partial, wheels.laid_out(db, objects, name) as files:
        _fill(partial, environment, lock, files)
        try:
            partial.rename(folder)
        except OSError as error:
            if not python.exists():  # else somebody was faster, and theirs is as good
                raise Unavailable(f"cannot write {folder}: {error.strerror}", hint="remove it, and retry") from None
    return python


@contextmanager
def _building(environments: Path) -> Iterator[Path]:
    try:
        environments.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".building-", dir=environments))
    except OSError as error:
        raise Unavailable(f"cannot write {environments}: {error.strerror}", hint="check the disk") from None
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fill(folder: Path, environment: Environment, lock: bytes, files: Path | None) -> None:
    uv.run(["venv", "--quiet", "--no-project", "--allow-existing", "--relocatable", "--python", _base(environment),
         str(folder)])  # fmt: skip
    python = folder / "bin" / "python"
    if lock:
        required = folder / "lock.txt"
        required.write_bytes(lock)
        offline = ["--no-index", "--offline", "--find-links", str(files)] if files else []
        uv.run(["pip", "install", "--quiet", "--no-deps", "--require-hashes", "--python", str(python), *offline,
             "--requirement", str(required)])  # fmt: skip
    # A link to the one package: a path to the folder that holds it could bring in all that is installed beside it.
    packages = next((folder / "lib").glob("python*/site-packages"))
    (packages / distributions.OURS).symlink_to(Path(__file__).parents[1].resolve(), target_is_directory=True)
    built = inspect(python)
    expected = replace(environment, local=(), windlass=built.windlass)
    if differences := compare(expected, built):
        raise Corrupt(
            f"the environment built is not the one recorded: {'; '.join(differences[:5])}",
            hint="build on the platform that it was recorded on",
            expected=digest_of(expected),
            actual=digest_of(built),
        )


def inspect(python: Path) -> Environment:
    """The environment of another interpreter.

    Raises:
        Unavailable: it does not run.
    """
    # -I: nothing of where it is started, nor of this process's variables.
    command = [str(python), "-I", str(Path(distributions.__file__))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
        return msgspec.convert(json.loads(done.stdout), Environment)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{python} does not run: {error}", hint="remove its folder, and retry") from None


def _base(environment: Environment) -> str:
    """Of the interpreters of a version the one that runs now, if it is of it: others may be compiled otherwise."""
    running = (platform.python_version(), platform.python_implementation().lower())
    same = running == (environment.python, environment.implementation)
    return sys.executable if same else f"{environment.implementation}@{environment.python}"
