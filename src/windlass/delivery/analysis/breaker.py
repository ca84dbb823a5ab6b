"""The breaker: what is too plain for statistics. Five candidate users in a row failed while stable ones did not."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.delivery.analysis.interval import Interval

FAILURES = 5
# An incident of both arms is not the candidate's: neither since its failures began nor just before may more than this
# share of the stable users have failed. Where there are no stable users, there is nobody to be compared with.
TOLERATED = 0.1
RECENT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """``streak``: how many candidate users failed in a row; ``stables`` and ``stable_errors``: the stable users since
    the first of them; ``recent``: whether the latest stable users failed, as ones and zeros."""

    streak: int = 0
    stables: int = 0
    stable_errors: int = 0
    recent: str = ""
    tripped: bool = False


def fold(state: Breaker, new: Interval) -> Breaker:
    """Take users in."""
    import numpy as np  # noqa: PLC0415

    if state.tripped or not len(new.candidate):
        return state
    candidate, failed = new.candidate, new.failed
    stable = ~candidate
    before = np.frombuffer(state.recent.encode(), dtype=np.uint8) == ord("1")
    flags = np.concatenate([before, failed[stable]])
    at = np.flatnonzero(candidate)
    fails = failed[at]
    # How many candidate users in a row have failed up to each, and where the first of them stands.
    order = np.arange(1, len(at) + 1)
    last_fine = np.maximum.accumulate(np.where(fails, 0, order)) if len(at) else order
    run = np.where(last_fine == 0, order + state.streak, order - last_fine)
    tripped = False
    if fails.sum() + state.streak >= FAILURES:
        users = np.concatenate([[0], stable.cumsum()])
        errors = np.concatenate([[0], (stable & failed).cumsum()])
        for index in np.flatnonzero(fails & (run >= FAILURES)):
            carried = last_fine[index] == 0 and state.streak > 0
            begun = 0 if carried else at[last_fine[index]]
            since = users[at[index]] - users[begun] + (state.stables if carried else 0)
            hit = errors[at[index]] - errors[begun] + (state.stable_errors if carried else 0)
            upto = len(before) + users[at[index]]
            recent = flags[max(0, upto - RECENT) : upto]
            if hit <= TOLERATED * since and recent.sum() <= TOLERATED * len(recent):
                tripped = True
                break
    streak = int(run[-1]) if len(at) and fails[-1] else (0 if len(at) else state.streak)
    stables, hits = 0, 0
    if streak:
        carried = state.streak > 0 and bool(fails.all())
        begun = 0 if carried else int(at[len(at) - streak])
        stables = int(stable[begun:].sum()) + (state.stables if carried else 0)
        hits = int((stable & failed)[begun:].sum()) + (state.stable_errors if carried else 0)
    return Breaker(
        streak=streak,
        stables=stables,
        stable_errors=hits,
        recent="".join("1" if flag else "0" for flag in flags[-RECENT:]),
        tripped=tripped,
    )
