"""All that a verdict rests on: counts and tests, folded together interval by interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from windlass.delivery import signals
from windlass.delivery.analysis import answers, breaker, errors, latency, means
from windlass.delivery.analysis.answers import Answers
from windlass.delivery.analysis.breaker import Breaker
from windlass.delivery.analysis.errors import Errors
from windlass.delivery.analysis.interval import Interval
from windlass.delivery.analysis.latency import Latency
from windlass.delivery.analysis.means import Means
from windlass.delivery.strategy import Phase, PhaseKind, RolloutPolicy
from windlass.domain.errors import Corrupt


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """``requests``, ``users`` and ``errors`` are of the candidate in the phase, ``first_at`` and ``last_at`` the
    times (us since the epoch) of its first and latest user there; the signals run on from phase to phase. ``split``:
    each test's part of alpha, as it was when the rollout began. A signal that is off is None."""

    phase: int = 0
    requests: int = 0
    users: int = 0
    errors: int = 0
    stable_users: int = 0
    stable_errors: int = 0
    first_at: int = 0
    last_at: int = 0
    split: Mapping[str, float]
    breaker: Breaker = field(default_factory=Breaker)
    failing: Errors
    latency: Latency | None
    answers: Answers | None
    quality: Means | None
    custom: Mapping[str, Means]


def begin(policy: RolloutPolicy, phases: Sequence[Phase]) -> Evidence:
    """Before anything was seen."""
    chosen = policy.signals
    made = Evidence(
        split=signals.split(chosen, policy.alpha, alone=any(is_alone(each) for each in phases)),
        failing=errors.begin(policy.max_ratio, phases[0].margin),
        latency=latency.begin(chosen.latency) if chosen.latency.on else None,
        answers=answers.begin(chosen.answers) if chosen.answers.on else None,
        quality=means.begin_quality(chosen.quality) if chosen.quality.on else None,
        custom={each.name: means.begin_custom(each) for each in chosen.custom},
    )
    return enter(made, phases, 0)


def enter(evidence: Evidence, phases: Sequence[Phase], index: int) -> Evidence:
    """Go on to a phase: its own counts begin anew, the evidence of harm stays."""
    phase = phases[index]
    return replace(
        evidence,
        phase=index, requests=0, users=0, errors=0, stable_users=0, stable_errors=0, first_at=0, last_at=0,
        breaker=Breaker(),
        failing=errors.enter(evidence.failing, phase.margin, alone=is_alone(phase)),
        latency=evidence.latency and replace(evidence.latency, block=latency.EMPTY),
        answers=evidence.answers and answers.enter(evidence.answers),
        quality=evidence.quality and means.enter(evidence.quality),
        custom={name: means.enter(each) for name, each in evidence.custom.items()},
    )  # fmt: skip


def fold(evidence: Evidence, new: Interval, policy: RolloutPolicy, phases: Sequence[Phase]) -> Evidence:
    """Take an interval in: the new users' first requests in their order, and the labels that came."""
    chosen = policy.signals
    count = len(new.candidate)
    made = evidence
    if count:
        users, hits = int(new.candidate.sum()), int((new.candidate & new.failed).sum())
        times = new.at[new.candidate]
        made = replace(
            evidence,
            users=evidence.users + users,
            errors=evidence.errors + hits,
            stable_users=evidence.stable_users + count - users,
            stable_errors=evidence.stable_errors + int(new.failed.sum()) - hits,
            first_at=evidence.first_at or (int(times[0]) if users else 0),
            last_at=int(times[-1]) if users else evidence.last_at,
            breaker=breaker.fold(evidence.breaker, new),
            failing=errors.fold(evidence.failing, new, alone=is_alone(phases[evidence.phase])),
            latency=evidence.latency and latency.fold(evidence.latency, new, chosen.latency),
            answers=evidence.answers and answers.fold(evidence.answers, new, chosen.answers),
            custom={each.name: means.fold_custom(evidence.custom[each.name], new, each) for each in chosen.custom},
        )
    return replace(
        made,
        requests=evidence.requests + new.requests,
        quality=made.quality and means.fold_quality(made.quality, new.labelled),
    )


def to_plain(evidence: Evidence) -> dict[str, Any]:
    """As the database holds it."""
    plain: dict[str, Any] = msgspec.to_builtins(evidence)
    return plain


def from_plain(plain: Mapping[str, Any]) -> Evidence:
    """
    Raises:
        Corrupt: it is no evidence of this version of Windlass.
    """
    try:
        return msgspec.convert(plain, Evidence)
    except msgspec.ValidationError as error:
        raise Corrupt(
            f"the evidence of a rollout cannot be read: {error}",
            hint="another version of Windlass wrote it: finish or abort the rollout with that one",
        ) from None


def is_alone(phase: Phase) -> bool:
    """Whether all users are the candidate's."""
    return phase.kind is not PhaseKind.BLUE_GREEN and phase.share == 1
