"""When a request that failed is sent again: eight attempts in about a day, further apart each time."""

from __future__ import annotations

from windlass.domain.clock import SECOND

_MINUTE, _HOUR = 60, 3600
# After the first attempt, after the second...: a restart is over within seconds, an outage may take the night.
_PAUSES_SECONDS = (1, 30, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 6 * _HOUR, 15 * _HOUR)
ATTEMPTS = len(_PAUSES_SECONDS) + 1
_SPREAD = 0.2


def pause(attempt: int, chance: float) -> int:
    """How long to wait (us) after attempt 1, 2...; ``chance`` in [0, 1) spreads out what failed at the same time."""
    seconds = _PAUSES_SECONDS[min(attempt, len(_PAUSES_SECONDS)) - 1]
    return int(seconds * (1 - _SPREAD + 2 * _SPREAD * chance) * SECOND)
