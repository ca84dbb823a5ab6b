"""Time, as everything in Windlass sees it: an argument. Only the edges call ``now``.

An instant is an ``int``: microseconds since the Unix epoch, UTC.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from windlass.domain.errors import Invalid

Clock = Callable[[], int]

SECOND = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> int:
    """The wall clock, in microseconds since the epoch."""
    return time.time_ns() // 1000


def text_of(instant: int) -> str:
    """An instant as ISO 8601 in UTC with microseconds, the form every record and report uses."""
    return (_EPOCH + timedelta(microseconds=instant)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse(text: str) -> int:
    """ISO 8601 (no offset means UTC) to an instant.

    Raises:
        Invalid: ``text`` is no such time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"'{text}' is not a time", hint="write it as 2026-11-20T15:04:05Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)
