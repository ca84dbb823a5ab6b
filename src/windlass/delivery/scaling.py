"""How many workers a release should have: decided on what was measured lately, and on nothing else.

Up within seconds, down after a minute. The two thresholds lie so far apart that one worker less never looks like too
few: what the larger number was chosen for (``TARGET_*``) is more than what the smaller one would have to bear before
it is taken (``CALM_*``). A steady load is therefore answered once, and then left alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from windlass.domain.clock import SECOND

# Cores that a worker keeps busy, of the one that it can.
HOT_BUSY, TARGET_BUSY, CALM_BUSY = 0.8, 0.6, 0.5
# Requests that are with a worker at a time: waiting, where the model does not compute but waits for something itself.
HOT_WAITING, TARGET_WAITING, CALM_WAITING = 8.0, 6.0, 4.0
UP_SECONDS, DOWN_SECONDS = 2.0, 60.0
FEWEST_SAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A release at one moment: cores that all its workers keep busy, requests in flight, and how many were turned away
    since the sample before. ``at`` is in us."""

    at: int
    busy: float
    in_flight: int
    shed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    size: int
    why: str = ""


def decide(samples: Sequence[Sample], *, size: int, least: int, most: int, cores: int, changed_at: int) -> Desired:
    """The number of workers to have now, from samples in the order of their time.

    ``size`` is the number now, since ``changed_at`` (us): what was measured before says nothing of it. Never below
    ``least``; never above ``most``, nor above the machine's ``cores``, unless ``least`` asks for it.
    """
    ceiling = max(least, min(most, cores))
    if not least <= size <= ceiling:
        return Desired(size=min(max(size, least), ceiling), why="its limits")
    known = [each for each in samples if each.at > changed_at]
    if not known:
        return Desired(size=size)
    return _more(known, size, ceiling) or _less(known, size, least, changed_at) or Desired(size=size)


def _more(known: Sequence[Sample], size: int, ceiling: int) -> Desired | None:
    now = known[-1].at
    recent = [each for each in known if each.at > now - UP_SECONDS * SECOND]
    if size >= ceiling or len(recent) < FEWEST_SAMPLES:
        return None
    shed = sum(each.shed for each in recent)
    if not shed and not all(_hot(each, size) for each in recent):
        return None
    # By the least of the load: a peak is no reason for more than what was there all the time.
    busy, waiting = min(each.busy for each in recent), min(each.in_flight for each in recent)
    wanted = max(size + 1, math.ceil(busy / TARGET_BUSY), math.ceil(waiting / TARGET_WAITING))
    why = f"{busy:.1f} cores busy, {waiting} requests in flight" + (f", {shed} turned away" if shed else "")
    return Desired(size=min(wanted, ceiling), why=why)


def _less(known: Sequence[Sample], size: int, least: int, changed_at: int) -> Desired | None:
    now = known[-1].at
    since = now - DOWN_SECONDS * SECOND
    window = [each for each in known if each.at > since]
    if size <= least or changed_at > since or known[0].at > since + UP_SECONDS * SECOND:
        return None  # not known for long enough
    if not all(_calm(each, size - 1) for each in window):
        return None
    busy, waiting = max(each.busy for each in window), max(each.in_flight for each in window)
    return Desired(size=size - 1, why=f"at most {busy:.1f} cores busy and {waiting} requests in flight for a minute")


def _hot(sample: Sample, size: int) -> bool:
    return sample.busy >= HOT_BUSY * size or sample.in_flight >= HOT_WAITING * size


def _calm(sample: Sample, size: int) -> bool:
    return sample.shed == 0 and sample.busy <= CALM_BUSY * size and sample.in_flight <= CALM_WAITING * size
