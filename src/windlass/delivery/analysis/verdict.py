"""The decision of a rollout, on numbers alone: given the same evidence, the same verdict, for anybody.

Each signal that is on has a test for harm, with a part of alpha: a candidate is rolled back once the evidence against
it reaches one over that part. The breaker needs no statistics. To go on, a phase needs evidence that the candidate
fails at most its margin more often, and no signal may be near its limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from windlass.delivery import signals
from windlass.delivery.analysis import answers, breaker, means
from windlass.delivery.analysis.evidence import Evidence
from windlass.delivery.strategy import Phase, RolloutPolicy

# Evidence of a tenth of what rolls back is near: of innocent candidates it is seldom reached, and soon left again.
NEAR = 10.0


class Decision(StrEnum):
    HOLD = "hold"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"


class Finding(StrEnum):
    SILENT = "silent"  # nothing was measured
    FINE = "fine"
    NEAR = "near"  # harm is likely: no step is taken
    HARM = "harm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A signal's numbers. ``value`` and ``stable_value`` are what was measured of ``users`` and ``stable_users``
    (shares, or means); ``e_value`` is the evidence of harm, ``limit`` what rolls back."""

    signal: str
    users: int
    value: float | None
    stable_users: int
    stable_value: float | None
    e_value: float
    limit: float
    finding: Finding
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A decision with its numbers. ``e_value`` and ``limit`` are of the signal that is nearest to its limit;
    ``withheld``: what is lacking yet, where the evidence would do."""

    decision: Decision
    e_value: float
    limit: float
    promote_e: float
    needed: str
    verdict: str = ""
    withheld: str = ""
    signals: tuple[Reading, ...] = ()


def judge(evidence: Evidence, policy: RolloutPolicy, phases: Sequence[Phase], *, forecast: bool = True) -> Judgement:
    """What the evidence says now; without ``forecast`` a hold does not say what it needs."""
    phase = phases[evidence.phase]
    readings = tuple(_readings(evidence, policy))
    worst = max(readings, key=lambda each: each.e_value / each.limit)
    promote = evidence.failing.safe.e_value
    judged = Judgement(
        decision=Decision.HOLD, e_value=worst.e_value, limit=worst.limit, promote_e=promote, needed="", signals=readings
    )
    if evidence.breaker.tripped:
        seen = _failures(evidence)
        verdict = f"breaker: {breaker.FAILURES} users in a row failed on the candidate; {seen}"
        return replace(judged, decision=Decision.ROLL_BACK, verdict=verdict)
    if worst.finding is Finding.HARM:
        numbers = f"(E = {worst.e_value:.3g}, limit {worst.limit:.4g})"
        verdict = f"{worst.signal}: {_told(worst, evidence, policy)} {numbers}"
        return replace(judged, decision=Decision.ROLL_BACK, verdict=verdict)
    if not phase.by_evidence:
        if evidence.users < phase.users:
            return replace(judged, needed=f"needs {phase.users - evidence.users:,} more candidate users")
    elif promote < 1 / policy.alpha or evidence.users < phase.users:
        return replace(judged, needed=_needed(evidence, policy, phase)) if forecast else judged
    elif lacking := _lacking(evidence, readings):
        return replace(judged, needed=lacking)
    last = evidence.phase == len(phases) - 1
    return replace(judged, decision=Decision.PROMOTE if last else Decision.ADVANCE)


def held(judged: Judgement) -> Judgement:
    """The same numbers, and no move."""
    return replace(judged, decision=Decision.HOLD)


def _readings(evidence: Evidence, policy: RolloutPolicy) -> Iterator[Reading]:
    split, failing = evidence.split, evidence.failing

    def reading(
        name: str, e_value: float, users: int, value: float | None, stables: int, other: float | None, note: str = ""
    ) -> Reading:
        limit = 1 / split[name]
        finding = Finding.FINE if users else Finding.SILENT
        if e_value >= limit / NEAR:
            finding = Finding.HARM if e_value >= limit else Finding.NEAR
        return Reading(
            signal=name, users=users, value=value, stable_users=stables, stable_value=other, e_value=e_value,
            limit=limit, finding=finding, note=note,
        )  # fmt: skip

    yield reading(
        signals.ERRORS, failing.ratio.e_value, failing.users, _share(failing.failed, failing.users),
        failing.stable_users, _share(failing.stable_failed, failing.stable_users),
    )  # fmt: skip
    if signals.RATE in split:
        rate = failing.rate
        note = f"more than {rate.limit:.2%} of all users" if rate else "once all users are the candidate's"
        users = failing.users if rate else 0
        yield reading(
            signals.RATE, rate.e_value if rate else 1.0, users, _share(failing.failed, users), 0, None, note
        )  # fmt: skip
    if slow := evidence.latency:
        note = f"over {slow.slow_us / 1000:.4g} ms" if slow.slow_us else "slow is not yet known"
        yield reading(
            signals.LATENCY, slow.test.e_value, slow.users, _share(slow.slow, slow.users), slow.stable_users,
            _share(slow.stable_slow, slow.stable_users), note,
        )  # fmt: skip
    if given := evidence.answers:
        widest = answers.widest(given)
        yield reading(
            signals.ANSWERS, given.test.e_value, sum(given.counts), widest[1] if widest else None,
            sum(given.stable_counts), widest[2] if widest else None,
            f"'{widest[0]}'" if widest else "the usual answers are not yet known",
        )  # fmt: skip
    if right := evidence.quality:
        pairs, lost, won = right.pairs
        note = (
            f"of {pairs:,} labelled pairs {lost:,} worse, {won:,} better"
            if pairs
            else ""
            if right.users
            else "no labels"
        )
        yield reading(
            signals.QUALITY, right.e_value, pairs + right.users, _share(right.total, right.users),
            pairs + right.stable_users, _share(right.stable_total, right.stable_users), note,
        )  # fmt: skip
    for each in policy.signals.custom:
        measured = evidence.custom[each.name]
        yield reading(
            each.name, measured.e_value, measured.users,
            means.shown(each, measured.total, measured.users) if measured.users else None, measured.stable_users,
            means.shown(each, measured.stable_total, measured.stable_users) if measured.stable_users else None,
            f"cannot be computed: {measured.broken}" if measured.broken else "",
        )  # fmt: skip


def _told(worst: Reading, evidence: Evidence, policy: RolloutPolicy) -> str:
    """Harm, as the record tells it."""
    match worst.signal:
        case signals.ERRORS | signals.RATE:
            return _failures(evidence)
        case signals.LATENCY:
            return (
                f"{worst.value:.2%} of {worst.users:,} candidate users waited {worst.note},"
                f" {worst.stable_value:.2%} of {worst.stable_users:,} stable ones"
            )
        case signals.ANSWERS:
            return (
                f"{worst.note} was {worst.value:.1%} of {worst.users:,} candidate answers,"
                f" {worst.stable_value:.1%} of {worst.stable_users:,} stable ones"
            )
        case signals.QUALITY:
            right = evidence.quality
            told = [worst.note] if worst.note else []
            if right and right.users and right.stable_users:
                told.append(
                    f"{worst.value:.1%} of {right.users:,} candidate answers right,"
                    f" {worst.stable_value:.1%} of {right.stable_users:,} stable ones"
                )
            return "; ".join(told)
    return (
        f"{worst.value:.4g} on average of {worst.users:,} candidate users,"
        f" {worst.stable_value:.4g} of {worst.stable_users:,} stable ones"
    )


def _failures(evidence: Evidence) -> str:
    seen = evidence.failing
    return (
        f"{seen.failed} of {seen.users:,} candidate users failed,"
        f" {seen.stable_failed} of {seen.stable_users:,} stable ones"
    )


def _lacking(evidence: Evidence, readings: Sequence[Reading]) -> str:
    """Why no step is taken, where failures alone would let it; "" if nothing is in the way."""
    for each in readings:
        if each.finding is Finding.NEAR:
            near = f"E = {each.e_value:.3g} of {each.limit:.4g}"
            return f"{each.signal} is near its limit ({near}): waits till that is clear"
        measured = evidence.custom.get(each.signal)
        if measured is not None and measured.broken:
            return f"{each.signal} {each.note}"
    return ""


def _needed(evidence: Evidence, policy: RolloutPolicy, phase: Phase) -> str:
    more = evidence.failing.safe.needed(policy.alpha)
    if more is None:
        return f"not within {phase.margin:.0%} of the stable release so far"
    more = max(more, phase.users - evidence.users)
    told = f"needs about {more:,} more candidate user{'' if more == 1 else 's'}"
    span = evidence.last_at - evidence.first_at
    if evidence.users < 2 or span <= 0:
        return told
    return f"{told}: {duration(more * span / (evidence.users - 1) / 1e6)} at this rate"


def duration(seconds: float) -> str:
    """A time as people say it."""
    for unit, size, below in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if seconds < below:
            return f"{max(1, round(seconds / size))} {unit}"
    return f"{round(seconds / 86_400):,} days"


def _share(hits: float, users: int) -> float | None:
    return hits / users if users else None
