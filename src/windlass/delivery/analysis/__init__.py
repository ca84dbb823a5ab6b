"""The analysis of a rollout: evidence folded from intervals of the prediction log, and the verdict on it."""

from windlass.delivery.analysis.evidence import Evidence, begin, enter, fold, from_plain, to_plain
from windlass.delivery.analysis.interval import Interval, Labelled, Observation, interval
from windlass.delivery.analysis.verdict import Decision, Finding, Judgement, Reading, duration, held, judge

__all__ = [
    "Decision", "Evidence", "Finding", "Interval", "Judgement", "Labelled", "Observation", "Reading",
    "begin", "duration", "enter", "fold", "from_plain", "held", "interval", "judge", "to_plain",
]  # fmt: skip
