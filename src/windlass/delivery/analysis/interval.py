"""What an interval of the prediction log adds to the evidence, as columns: a row a user, in the log's order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from windlass.domain.schema import Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A user's first request in a phase: of which arm, whether that failed, how long it took (0: not comparable),
    what was answered, and when. In a shadow phase the candidate's has ``partner``: the stable release's answer to
    that request. ``values`` and ``partners`` are what the custom signals measured of the two answers."""

    candidate: bool
    failed: bool = False
    latency_us: int = 0
    at: int = 0
    answer: Scalar = None
    partner: Scalar = None
    values: Mapping[str, float] = field(default_factory=dict)
    partners: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Answers whose label came, in the order in which they were taken in.

    ``worse``: of each labelled shadow pair, 1 if the candidate's answer was worse than the stable release's, -1 if it
    was better, 0 if both were as good. ``candidate`` and ``right``: of answers of one arm alone, whose, and whether
    right."""

    worse: Any = ()
    candidate: Any = ()
    right: Any = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Columns, a row a user. ``requests``: how many the candidate was asked; ``paired``: of a shadow phase. Of
    arrays, each has a row a user; ``values`` has by custom signal the user's and the partner's (NaN: none).
    ``broken``: the custom signals that could not be computed, and why."""

    requests: int = 0
    paired: bool = False
    candidate: Any
    failed: Any
    latency_us: Any
    at: Any
    answers: Any = ()
    partners: Any = ()
    values: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    labelled: Labelled = field(default_factory=Labelled)
    broken: Mapping[str, str] = field(default_factory=dict)


def interval(
    observations: Iterable[Observation],
    *,
    requests: int = 0,
    paired: bool = False,
    labelled: Labelled | None = None,
    broken: Mapping[str, str] | None = None,
) -> Interval:
    """Observations as columns."""
    import numpy as np  # noqa: PLC0415 - those who only show what was decided do without

    rows = list(observations)
    names = dict.fromkeys(name for each in rows for name in each.values)
    nan = float("nan")
    return Interval(
        requests=requests,
        paired=paired,
        candidate=np.array([each.candidate for each in rows], dtype=bool),
        failed=np.array([each.failed for each in rows], dtype=bool),
        latency_us=np.array([each.latency_us for each in rows], dtype=np.int64),
        at=np.array([each.at for each in rows], dtype=np.int64),
        answers=[each.answer for each in rows],
        partners=[each.partner for each in rows] if paired else (),
        values={
            name: (
                np.array([each.values.get(name, nan) for each in rows], dtype=float),
                np.array([each.partners.get(name, nan) for each in rows], dtype=float),
            )
            for name in names
        },
        labelled=labelled or Labelled(),
        broken=broken or {},
    )
