"""Names that people write, parsed strictly: they become parts of paths, URLs and ledger subjects."""

from __future__ import annotations

import re
from dataclasses import dataclass

from windlass.domain.errors import Invalid

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_MODEL = re.compile(r"[^/:@\\\x00-\x1f\x7f]{1,250}")
_VERSION = re.compile(r"[\w-][\w.-]{0,254}")
_SEMVER = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")


def checked(text: str, what: str = "name") -> str:
    """``text`` if it is a legal name.

    Raises:
        Invalid: it is not.
    """
    if not _NAME.fullmatch(text):
        raise Invalid(
            f"'{text[:80]}' is not a {what}",
            hint="use a letter, then up to 63 letters, digits, '-' or '_'",
        )
    return text


def checked_model(text: str) -> str:
    """``text`` if it may be the name of a model: what MLflow's clients may call one, but for ``@``.

    Raises:
        Invalid: it is not.
    """
    if not text.strip():
        raise Invalid("Missing value for required parameter 'name'.")
    if not _MODEL.fullmatch(text) or text in (".", "..") or text != text.strip():
        raise Invalid(
            f"Invalid model name '{text[:80]}'. Names cannot contain '/' or ':'.",
            hint="use up to 250 characters without '/', ':', '@', a backslash or a space at either end",
        )
    return text


@dataclass(frozen=True, slots=True, order=True)
class SemVer:
    """A semantic version without pre-release parts (semver.org 2.0.0)."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    @staticmethod
    def fits(text: str) -> bool:
        """Whether ``text`` is a version."""
        return _SEMVER.fullmatch(text) is not None

    @classmethod
    def parse(cls, text: str) -> SemVer:
        match = _SEMVER.fullmatch(text)
        if match is None:
            raise Invalid(f"'{text[:80]}' is not a version", hint="write it as 1.2.3")
        return cls(*(int(part) for part in match.groups()))


@dataclass(frozen=True, slots=True)
class Reference:
    """``name@version``; None means the latest.

    The version of a dataset is an integer; of a model a semver, an integer or an alias, whose meaning can move.
    """

    name: str
    version: str | None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"

    @classmethod
    def parse(cls, text: str) -> Reference:
        name, at, version = text.partition("@")
        checked_model(name)
        if at and not _VERSION.fullmatch(version):
            raise Invalid(f"'{text[:80]}' is not a reference", hint="write it as name@1.2.3, or name@alias")
        return cls(name, version if at else None)
