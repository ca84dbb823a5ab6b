"""Which ledger entries a webhook is told of: ``SUBJECT`` or ``SUBJECT:ACTION``, with ``*`` for any characters.

``*`` also stands for slashes and for nothing; no other character is special, and case counts. What follows the last
colon is the action; a pattern without a colon means every action. So ``version/*:register``, ``endpoint/churn``,
``*:roll back``, ``*``.
"""

from __future__ import annotations

from collections.abc import Iterable

from windlass.domain.errors import Invalid

LONGEST = 200


def checked(pattern: str) -> str:
    """``pattern`` if it can fit anything.

    Raises:
        Invalid: it cannot, or is too long.
    """
    subject, colon, action = pattern.rpartition(":") if ":" in pattern else (pattern, "", "")
    if not subject or (colon and not action) or len(pattern) > LONGEST or not pattern.isprintable():
        raise Invalid(
            f"'{pattern[:80]}' is no pattern of events",
            hint="write SUBJECT or SUBJECT:ACTION, such as 'version/*:register' or 'endpoint/*'",
        )
    return pattern


def fits(patterns: Iterable[str], *, subject: str, action: str) -> bool:
    """Whether one of the patterns means this transition."""
    return any(_fits(pattern, subject, action) for pattern in patterns)


def _fits(pattern: str, subject: str, action: str) -> bool:
    if ":" not in pattern:
        return _glob(pattern, subject)
    of_subject, _, of_action = pattern.rpartition(":")
    return _glob(of_subject, subject) and _glob(of_action, action)


def _glob(pattern: str, text: str) -> bool:
    """Each part at its first place after the one before: in linear time, as a regular expression need not be."""
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    *between, last = rest
    if not text.startswith(first):
        return False
    place = len(first)
    for part in between:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return len(text) - place >= len(last) and text.endswith(last)
