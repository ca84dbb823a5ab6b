"""Lock files of a project: uv.lock, pylock.toml (PEP 751), requirements.txt, or conda's environment.yml.

A lock says which version of a distribution is meant, and, but for conda's, the hashes of its files. What runs is what
is installed: where that differs from the lock, the difference is told and recorded.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from windlass.domain.errors import Invalid

_LARGEST = 20 << 20
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==\s*([A-Za-z0-9][A-Za-z0-9.!+_-]*)")
_HASH = re.compile(r"--hash[= ]sha256:([0-9a-f]{64})")
_CONDA = re.compile(r"\s*-\s+([A-Za-z0-9][A-Za-z0-9._-]*)\s*==?\s*([0-9][A-Za-z0-9.!+_]*)(?:=\S*)?\s*(?:#.*)?$")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Pin:
    """One version of a distribution, with the sha256 of each of its files, as far as the lock knows them."""

    version: str
    hashes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lock:
    """``file`` is its name; ``pins`` by normalised name of the distribution: a lock for many platforms may have more
    than one version of it.
    """

    file: str
    pins: Mapping[str, tuple[Pin, ...]] = field(default_factory=dict)

    def pin(self, name: str, version: str) -> Pin | None:
        """The pin of exactly this version."""
        return next((each for each in self.pins.get(name, ()) if each.version == version), None)


def find(root: Path) -> Lock | None:
    """The lock of the project in ``root``, if it has one: the first that exists of those above.

    Raises:
        Invalid: it cannot be read.
    """
    for name, read in _FORMATS.items():
        path = root / name
        if path.is_file():
            if path.stat().st_size > _LARGEST:
                raise Invalid(f"{name} is {path.stat().st_size >> 20} MiB, too large to be a lock file")
            try:
                return Lock(name, _by_name(read(path.read_text(encoding="utf-8"))))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise Invalid(f"{path} cannot be read as a lock: {error}", hint="write it anew with its tool") from None
    return None


def requirements(text: str) -> Lock:
    """The pins of a file in pip's form."""
    return Lock("requirements.txt", _by_name(_requirements(text)))


def compare(lock: Lock, installed: Sequence[tuple[str, str]]) -> list[str]:
    """Where what is installed is not what a lock says, one line each; what the lock does not know is not told."""
    found = []
    for name, version in installed:
        pins = lock.pins.get(name, ())
        if pins and lock.pin(name, version) is None:
            said = " or ".join(each.version for each in pins)
            found.append(f"{name}: {lock.file} says {said}, installed is {version}")
    return found


def _by_name(pins: Sequence[tuple[str, Pin]]) -> dict[str, tuple[Pin, ...]]:
    found: dict[str, tuple[Pin, ...]] = {}
    for name, pin in pins:
        key = re.sub(r"[-_.]+", "-", name).lower()
        found[key] = (*found.get(key, ()), pin)
    return found


def _uv(text: str) -> list[tuple[str, Pin]]:
    return [
        (each["name"], Pin(each["version"], _hashes([each.get("sdist"), *each.get("wheels", ())])))
        for each in tomllib.loads(text).get("package", ())
        if "version" in each and not {"editable", "virtual"} & each.get("source", {}).keys()
    ]


def _pylock(text: str) -> list[tuple[str, Pin]]:
    return [
        (each["name"], Pin(each["version"], _hashes([each.get("sdist"), *each.get("wheels", ())])))
        for each in tomllib.loads(text).get("packages", ())
        if "version" in each
    ]


def _hashes(files: Sequence[Mapping[str, Any] | None]) -> tuple[str, ...]:
    """The sha256 of files, as uv.lock ("sha256:...") or pylock.toml (a table) has them."""
    found = []
    for each in files:
        said = each.get("hash") or each.get("hashes", {}).get("sha256", "") if each else ""
        digest = str(said).removeprefix("sha256:")
        if _HEX.fullmatch(digest):
            found.append(digest)
    return tuple(dict.fromkeys(found))


def _requirements(text: str) -> list[tuple[str, Pin]]:
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        match = _PIN.match(line.strip())
        if match:
            found.append((match.group(1), Pin(match.group(2), tuple(_HASH.findall(line)))))
    return found


def _conda(text: str) -> list[tuple[str, Pin]]:
    # By line, not as YAML: only pins matter, and a parser would follow what a hostile file makes of it.
    found = [(match.group(1), Pin(match.group(2))) for line in text.splitlines() if (match := _CONDA.match(line))]
    return [(name, pin) for name, pin in found if name not in ("python", "pip")]


_FORMATS: dict[str, Callable[[str], list[tuple[str, Pin]]]] = {
    "uv.lock": _uv,
    "pylock.toml": _pylock,
    "requirements.txt": _requirements,
    "environment.yml": _conda,
    "environment.yaml": _conda,
}
