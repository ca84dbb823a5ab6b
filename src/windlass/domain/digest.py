"""Identity of immutable things: blake3 digests, written ``b3:`` and 64 hex digits.

Values are hashed in one canonical encoding: JSON, keys sorted, no spaces, UTF-8, shortest floats, no NaN.
A dataclass is the object of its fields, an enum its value, a tuple a list.
"""

from __future__ import annotations

import dataclasses
import json
import re
from enum import Enum
from pathlib import Path
from typing import Any

from blake3 import blake3

from windlass.domain.errors import Invalid

PREFIX = "b3:"
_FORM = re.compile(r"b3:[0-9a-f]{64}")
_BLOCK = 1 << 20


def of_bytes(data: bytes) -> str:
    return PREFIX + blake3(data).hexdigest()


def of_file(path: Path) -> str:
    hasher = blake3()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            hasher.update(block)
    return PREFIX + hasher.hexdigest()


def of(value: Any) -> str:
    """The digest of a plain value, by its canonical encoding."""
    return of_bytes(canonical(value))


def canonical(value: Any) -> bytes:
    """The one encoding of a value that is ever hashed.

    Raises:
        Invalid: the value holds something without a canonical form (NaN, bytes, a set, an object).
    """
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
        )
        return text.encode()
    except (TypeError, ValueError) as error:
        raise Invalid(f"no canonical form: {error}") from None


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} is not a plain value")


def checked(text: str) -> str:
    """``text`` if it has the form of a digest.

    Raises:
        Invalid: it has not; nothing that is no digest may become part of a path.
    """
    if not _FORM.fullmatch(text):
        raise Invalid(f"'{text[:80]}' is not a digest", hint="a digest is b3: and 64 hex digits")
    return text


def is_one(text: str) -> bool:
    """Whether ``text`` has the form of a digest."""
    return _FORM.fullmatch(text) is not None


def short(digest: str) -> str:
    """For people: enough of a digest to recognise it."""
    return digest[: len(PREFIX) + 12]
