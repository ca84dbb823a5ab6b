"""Comparing: things side by side, and only what differs. Pure: what is compared is given as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One of the things compared: per section (``params``, ``metrics``...) what it has, by name."""

    title: str
    sections: Mapping[str, Mapping[str, Value]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing by name, as each subject has it; None: it has not.

    ``differences``: of numbers, how far each is from the first.
    """

    section: str
    name: str
    values: tuple[Value, ...]
    differences: tuple[float | None, ...] = ()
    same: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """``equal``: how many lines are the same in all subjects, whether they are listed or not."""

    subjects: tuple[str, ...]
    lines: tuple[Line, ...]
    equal: int


def compare(subjects: Sequence[Subject], *, everything: bool = False) -> Comparison:
    """What differs between subjects, section by section in the order of the first; what is equal only if asked for."""
    lines, equal = list[Line](), 0
    for section in dict.fromkeys(name for each in subjects for name in each.sections):
        parts = [each.sections.get(section, {}) for each in subjects]
        for name in dict.fromkeys(name for part in parts for name in part):
            values = tuple(part.get(name) for part in parts)
            same = len({_key(value) for value in values}) == 1
            equal += same
            if everything or not same:
                lines.append(
                    Line(section=section, name=name, values=values, differences=_differences(values), same=same)
                )
    return Comparison(subjects=tuple(each.title for each in subjects), lines=tuple(lines), equal=equal)


def differing(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names whose values are not the same in all parts; all names, if there is one part only."""
    names = dict.fromkeys(name for part in parts for name in part)
    return [name for name in names if len(parts) == 1 or len({_key(part.get(name)) for part in parts}) > 1]


def _key(value: Any) -> tuple[str, str]:
    # NaN equals itself here, and True is no 1.
    return type(value).__name__, repr(value)


def _differences(values: tuple[Value, ...]) -> tuple[float | None, ...]:
    first = values[0]
    if not _is_number(first) or not any(_is_number(each) for each in values[1:]):
        return ()
    return tuple(
        float(each) - float(first) if _is_number(each) and first is not None and each is not None else None
        for each in values
    )


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
