"""What a model takes and gives: its signature."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

Scalar = int | float | str | bool | None


class Kind(StrEnum):
    INTEGER = "integer"
    NUMBER = "number"
    STRING = "string"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    name: str
    kind: Kind
    nullable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """The columns of a request row, and of the answer to it."""

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
