"""Environment: the interpreter and its distributions, locked with hashes, and built again from the lock.

The digest covers what decides how code behaves and can be built again: interpreter, platform, versions. The host's
facts (CPU, kernel, BLAS) are recorded beside it: they explain a difference, and cannot be rebuilt.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import msgspec

from windlass.domain import digest, ledger
from windlass.domain.clock import Clock
from windlass.domain.errors import Invalid, Unavailable
from windlass.domain.ports import Database, ObjectStore
from windlass.domain.version import VERSION

FORMAT = 1
_SECONDS = 300.0
_OURS = "windlass"

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


def capture() -> Environment:
    """The environment that this process runs in."""
    indexed, local = dict[str, str](), dict[str, str]()
    for found in metadata.distributions():
        name = _normal(found.metadata["Name"] or "")
        if not name or name == _OURS or name in indexed or name in local:
            continue
        origin = found.read_text("direct_url.json")
        if origin is None:
            indexed[name] = found.version
        else:
            # Where it lies on this machine says nothing elsewhere; that it is not from an index does.
            kind = "editable" if json.loads(origin).get("dir_info", {}).get("editable") else "direct"
            local[name] = f"{found.version} ({kind})"
    return Environment(
        python=platform.python_version(),
        implementation=platform.python_implementation().lower(),
        platform=f"{platform.system()}-{platform.machine()}".lower(),
        distributions=tuple(sorted(indexed.items())),
        local=tuple(sorted(local.items())),
    )


def facts() -> dict[str, object]:
    """The host, as far as it may matter to the last bit of a result."""
    return {
        "system": platform.platform(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "libc": " ".join(platform.libc_ver()),
        "executable": Path(sys.executable).name,
    }


def digest_of(environment: Environment) -> str:
    return digest.of(environment)


def store(
    db: Database,
    objects: ObjectStore,
    environment: Environment,
    *,
    actor: str,
    now: Clock,
    progress: Progress = lambda _: None,
) -> str:
    """Record an environment with its lock; returns its digest. It is locked once, when it is first seen.

    Where no lock can be made (no uv, no index), the reason is recorded instead, and ``build`` tells it.
    """
    name = digest_of(environment)
    with db.read() as tx:
        known = tx.row("SELECT lock FROM environments WHERE digest = ?", (name,))
    if known and known["lock"]:
        return name
    progress("locking the environment")
    lock, why = "", ""
    try:
        lock = objects.put(locked(environment).encode())
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
            )
    return name


def locked(environment: Environment) -> str:
    """The lock: every distribution with its version and the hashes of its files, in pip's requirements form.

    Raises:
        Unavailable: there is no uv, or the index does not have a distribution or does not answer.
    """
    pins = "".join(f"{name}=={version}\n" for name, version in environment.distributions)
    return _uv(
        ["pip", "compile", "-", "--generate-hashes", "--no-header", "--no-annotate", "--no-deps", "--quiet",
         "--no-emit-index-url", "--no-config", "--python-version", environment.python],
        stdin=pins,
    )  # fmt: skip


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


def build(db: Database, objects: ObjectStore, name: str, environments: Path, *, progress: Progress) -> Path:
    """The interpreter of an environment built from its lock; built once, in a folder of ``environments``.

    The Windlass that runs now is importable in it.

    Raises:
        Unavailable: it could not be locked when it was captured, or cannot be built now.
        Invalid: it has distributions that no index has.
    """
    folder = environments / name.removeprefix(digest.PREFIX)
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
    if environment.local:
        listed = ", ".join(f"{name} {version}" for name, version in environment.local)
        raise Invalid(f"no index has {listed}", hint="publish them, or install them from an index, and run again")
    progress(f"building the environment: {len(environment.distributions)} distributions")
    environments.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".building-", dir=environments))
    try:
        lock = partial / "lock.txt"
        lock.write_bytes(objects.get(row["lock"]))
        _uv(["venv", "--quiet", "--no-config", "--allow-existing", "--relocatable", "--python", environment.python,
             str(partial)])  # fmt: skip
        _uv(["pip", "install", "--quiet", "--no-config", "--no-deps", "--require-hashes", "--python",
             str(partial / "bin" / "python"), "--requirement", str(lock)])  # fmt: skip
        packages = next((partial / "lib").glob("python*/site-packages"))
        (packages / "windlass.pth").write_text(f"{Path(__file__).parents[2]}\n")
        try:
            partial.rename(folder)
        except OSError:
            if not python.exists():  # somebody else was faster, and theirs is as good
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return python


def _uv(args: Sequence[str], *, stdin: str | None = None) -> str:
    try:
        done = subprocess.run(
            [_find_uv(), *args], input=stdin, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"uv {args[0]} did not end within {_SECONDS:.0f} s") from None
    if done.returncode != 0:
        said = " ".join(line.strip() for line in done.stderr.strip().splitlines()[:3])
        raise Unavailable(f"uv {args[0]} failed: {said}", hint="check that a package index can be reached")
    return done.stdout


def _find_uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    found = shutil.which("uv") or (str(beside) if beside.exists() else os.environ.get("UV"))
    if not found:
        raise Unavailable("there is no uv on this machine", hint="pip install uv", retryable=False)
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
