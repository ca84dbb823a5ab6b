"""The decision of a rollout, on numbers alone: given the same observations, the same verdict, for anybody.

Three signals may roll back, each with a third of alpha: the ratio of error rates to the stable release's, the error
rate itself once the candidate has all the traffic, and the ratio of slow answers. A breaker on five failures in a row
needs no statistics. To go on, a phase needs evidence that the candidate fails at most its margin more often.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from windlass.delivery.strategy import Phase, PhaseKind, RolloutPolicy
from windlass.stats import evalues
from windlass.stats.evalues import NonInferiority, RateTest, RatioTest
from windlass.stats.intervals import wilson

BREAKER = 5
SIGNALS = 3
SLOW_RATIO = 4.0
SLOW_FACTOR = 2
# What a user notices. A trial's worker is woken seldom, and on a busy machine waits many milliseconds for a processor.
NOTICEABLE_US = 250_000
LATENCIES = 500


class Decision(StrEnum):
    HOLD = "hold"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True, slots=True)
class Observation:
    """A user's first request in a phase: of which arm, whether that failed, how long it took (0: not comparable)."""

    candidate: bool
    failed: bool
    latency_us: int = 0
    paired: bool = False  # shadow: the stable release answered the very same request


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that a verdict rests on. ``requests``, ``users`` and ``errors`` are of the phase; the tests run on."""

    phase: int = 0
    requests: int = 0
    users: int = 0
    errors: int = 0
    stable_users: int = 0
    stable_errors: int = 0
    streak: int = 0
    waiting: tuple[int, int] = (0, 0)  # stable users, and errors, not yet paired with a candidate's user
    all_users: int = 0  # over the whole rollout
    all_errors: int = 0
    all_stable_users: int = 0
    all_stable_errors: int = 0
    baseline: float = 0.0  # what the stable release's error rate is at least, when there is none left to pair with
    latencies: tuple[int, ...] = ()
    slow_us: int = 0
    ratio: RatioTest
    slow: RatioTest
    rate: RateTest | None = None
    safe: NonInferiority


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A decision with its numbers. ``e_value`` is the greatest of the tests for harm, against ``limit``."""

    decision: Decision
    e_value: float
    limit: float
    promote_e: float
    needed: str
    verdict: str = ""
    withheld: str = ""  # what is lacking yet, where the evidence would do


def begin(policy: RolloutPolicy, phases: tuple[Phase, ...]) -> Evidence:
    """Before anything was seen."""
    return Evidence(
        ratio=RatioTest(limit=policy.max_ratio),
        slow=RatioTest(limit=SLOW_RATIO),
        safe=NonInferiority(phases[0].margin),
        rate=_rate(phases[0], 0, 0),
    )


def enter(evidence: Evidence, phases: tuple[Phase, ...], index: int) -> Evidence:
    """Go on to a phase: its own counts begin anew, the evidence of harm stays."""
    low, _ = wilson(evidence.all_stable_errors, evidence.all_stable_users, 0.98)
    return replace(
        evidence,
        phase=index, requests=0, users=0, errors=0, stable_users=0, stable_errors=0, streak=0, waiting=(0, 0),
        baseline=low if evidence.all_stable_users else 0.0,
        safe=NonInferiority(phases[index].margin),
        rate=_rate(phases[index], evidence.all_stable_errors, evidence.all_stable_users),
    )  # fmt: skip


def fold(evidence: Evidence, observations: Iterable[Observation], requests: int) -> Evidence:
    """Take an interval in: the new users' first requests in their order, and how many requests the candidate had."""
    pairs: list[tuple[float, float]] = []
    c = k = s = m = slow_c = slow_k = slow_s = slow_m = 0
    users, errors = evidence.waiting
    streak, latencies, slow_us = evidence.streak, list(evidence.latencies), evidence.slow_us
    for each in observations:
        late = bool(slow_us and each.latency_us > slow_us)
        if each.candidate:
            c, k = c + 1, k + each.failed
            streak = streak + 1 if each.failed else 0
            if each.paired:
                s += 1
                pairs.append((float(each.failed), 0.0))
            else:
                pairs.append((float(each.failed), errors / users if users else evidence.baseline))
                users = errors = 0
            if slow_us and each.latency_us:
                slow_c, slow_k = slow_c + 1, slow_k + late
            if streak >= BREAKER:
                break  # nothing after it could change the verdict
        else:
            s, m = s + 1, m + each.failed
            users, errors = users + 1, errors + each.failed
            if slow_us:
                slow_s, slow_m = slow_s + 1, slow_m + late
            elif each.latency_us and not each.failed:
                latencies.append(each.latency_us)
                if len(latencies) >= LATENCIES:
                    usual = sorted(latencies)[int(0.99 * len(latencies))]
                    slow_us = max(SLOW_FACTOR * usual, usual + NOTICEABLE_US)
                    latencies = []
    return replace(
        evidence,
        requests=evidence.requests + requests,
        users=evidence.users + c,
        errors=evidence.errors + k,
        stable_users=evidence.stable_users + s,
        stable_errors=evidence.stable_errors + m,
        streak=streak,
        waiting=(users, errors),
        all_users=evidence.all_users + c,
        all_errors=evidence.all_errors + k,
        all_stable_users=evidence.all_stable_users + s,
        all_stable_errors=evidence.all_stable_errors + m,
        latencies=tuple(latencies),
        slow_us=slow_us,
        ratio=evidence.ratio.update(candidates=c, candidate_errors=k, stables=s, stable_errors=m),
        slow=evidence.slow.update(candidates=slow_c, candidate_errors=slow_k, stables=slow_s, stable_errors=slow_m),
        rate=evidence.rate.update(users=c, errors=k) if evidence.rate else None,
        safe=evidence.safe.update(pairs),
    )


def judge(evidence: Evidence, policy: RolloutPolicy, phases: tuple[Phase, ...]) -> Judgement:
    """What the evidence says now."""
    phase = phases[evidence.phase]
    limit = SIGNALS / policy.alpha
    rate = evidence.rate.e_value if evidence.rate else 0.0
    harm = max(evidence.ratio.e_value, evidence.slow.e_value, rate)
    promote = evidence.safe.e_value
    judged = Judgement(decision=Decision.HOLD, e_value=harm, limit=limit, promote_e=promote, needed="")
    seen = (
        f"{evidence.all_errors} of {evidence.all_users:,} candidate users failed,"
        f" {evidence.all_stable_errors} of {evidence.all_stable_users:,} stable ones"
    )
    if evidence.streak >= BREAKER:
        return _back(judged, f"breaker: {BREAKER} users in a row failed on the candidate; {seen}")
    if evidence.ratio.e_value >= limit:
        return _back(judged, f"errors: {seen} (E = {evidence.ratio.e_value:.3g}, limit {limit:g})")
    if rate >= limit:
        return _back(judged, f"error rate: {seen} (E = {rate:.3g}, limit {limit:g})")
    if evidence.slow.e_value >= limit:
        return _back(
            judged,
            f"latency: more than {SLOW_RATIO:g} times as often over {evidence.slow_us / 1000:.1f} ms as the stable"
            f" release (E = {evidence.slow.e_value:.3g}, limit {limit:g})",
        )
    if (promote >= 1 / policy.alpha or not phase.by_evidence) and evidence.users >= phase.users:
        last = evidence.phase == len(phases) - 1
        return replace(judged, decision=Decision.PROMOTE if last else Decision.ADVANCE)
    return replace(judged, needed=_needed(evidence, policy, phase))


def held(judged: Judgement) -> Judgement:
    """The same numbers, and no move."""
    return replace(judged, decision=Decision.HOLD)


def to_plain(evidence: Evidence) -> dict[str, Any]:
    """As the database holds it."""
    plain: dict[str, Any] = {}
    for name in evidence.__dataclass_fields__:
        value = getattr(evidence, name)
        tested = isinstance(value, RatioTest | RateTest | NonInferiority)
        plain[name] = evalues.to_plain(value) if tested else value
    return plain


def from_plain(plain: Mapping[str, Any]) -> Evidence:
    return Evidence(
        **{
            **plain,
            "waiting": tuple(plain["waiting"]),
            "latencies": tuple(plain["latencies"]),
            "ratio": evalues.ratio_test(plain["ratio"]),
            "slow": evalues.ratio_test(plain["slow"]),
            "rate": None if plain["rate"] is None else evalues.rate_test(plain["rate"]),
            "safe": evalues.non_inferiority(plain["safe"]),
        }
    )


def _rate(phase: Phase, errors: int, users: int) -> RateTest | None:
    """Where all users are the candidate's, it is held against what the stable release's rate may have been at most."""
    if phase.kind is PhaseKind.BLUE_GREEN or phase.share < 1:
        return None
    _, high = wilson(errors, users, 0.98) if users else (0.0, 0.0)
    return RateTest(limit=min(0.5, high + phase.margin))


def _back(judged: Judgement, verdict: str) -> Judgement:
    return replace(judged, decision=Decision.ROLL_BACK, verdict=verdict)


def _needed(evidence: Evidence, policy: RolloutPolicy, phase: Phase) -> str:
    if not phase.by_evidence:
        return f"needs {phase.users - evidence.users:,} more candidate users"
    more = evidence.safe.needed(policy.alpha)
    if more is None:
        return f"not within {phase.margin:.0%} of the stable release so far"
    more = max(more, phase.users - evidence.users)
    return f"needs about {more:,} more candidate users"
