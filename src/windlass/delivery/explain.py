"""Explaining a rollout: every decision once more, from the prediction log alone, against what was decided."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isclose
from pathlib import Path
from typing import Any

from windlass.delivery import analysis, labelling, observations, replay, rollouts
from windlass.delivery.analysis import Decision, Evidence, Judgement, Reading
from windlass.delivery.observations import Memory
from windlass.delivery.replay import Stretch
from windlass.delivery.rollouts import Live, Rollout, Step
from windlass.domain import ledger
from windlass.domain.errors import NotFound
from windlass.domain.ports import Transaction
from windlass.monitoring import labels as monitored

_CLOSE = 1e-9
_GOING_ON = (Decision.ADVANCE, Decision.PROMOTE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recomputed:
    """A phase's numbers as the log gives them; ``agrees``: they are those that were recorded."""

    kind: str
    weight: float
    requests: int
    users: int
    errors: int
    e_value: float
    promote_e: float
    decision: str
    signals: tuple[Reading, ...]
    recorded: Step
    agrees: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """``differences`` says what differs from what was decided, in words; ``agrees``: nothing does. ``notes``: what is
    worth knowing and changes nothing."""

    rollout: Rollout
    steps: tuple[Recomputed, ...]
    agrees: bool
    differences: tuple[str, ...]
    notes: tuple[str, ...]


def explain(tx: Transaction, predictions: Path, rollout_id: str) -> Explanation:
    """Read what the controller read, in the same intervals and with the same labels, and judge it anew.

    Held against it are the numbers of each phase, the decision of each interval, the evidence that the rollout stands
    on and, because nobody can change that unnoticed, what the ledger has of each move.

    Raises:
        Corrupt: the prediction log is damaged.
    """
    shown, spec = rollouts.find(tx, rollout_id), rollouts.require(tx, rollout_id)
    known, labels = replay.stretches(tx, rollout_id), labelling.kept(tx, rollout_id)
    differences = list(_gaps(known))
    recorded = {step.phase: step for step in shown.steps}
    evidence, memory = analysis.begin(spec.policy, spec.phases), Memory()
    # The split is the one of then, whatever this version would make of the policy; more than alpha it must not be.
    evidence = replace(evidence, split=dict(spec.evidence.split))
    if sum(evidence.split.values()) > spec.policy.alpha * (1 + _CLOSE):
        differences.append(f"the parts of alpha add up to more than {spec.policy.alpha:g}")
    judged: dict[int, tuple[Evidence, Judgement]] = {}
    for stretch in known:
        evidence, memory = _at(evidence, memory, spec, stretch.phase)
        try:
            records = replay.records(predictions / spec.endpoint, stretch)
        except NotFound as error:
            differences.append(f"interval {stretch.seq} cannot be read again: {error.message}")
            break
        new = observations.observed(
            records,
            rollout=rollout_id,
            revision=stretch.revision,
            phase=spec.phases[stretch.phase],
            signals=spec.policy.signals,
            memory=memory,
            labels=labels.get(stretch.seq, ()),
        )
        evidence = analysis.fold(evidence, new, spec.policy, spec.phases)
        verdict = analysis.judge(evidence, spec.policy, spec.phases)
        if (verdict.decision is Decision.ROLL_BACK) != (stretch.decision == Decision.ROLL_BACK) or (
            stretch.decision in _GOING_ON and verdict.decision is Decision.HOLD
        ):
            differences.append(
                f"interval {stretch.seq} of phase {stretch.phase}: {stretch.decision} was decided,"
                f" the log says {verdict.decision}"
            )
        judged[stretch.phase] = (evidence, verdict)
    evidence, _ = _at(evidence, memory, spec, spec.phase)
    differences += _of_evidence(evidence, spec.evidence)
    steps = []
    for index in sorted(recorded):
        if index not in judged:
            # No traffic was looked at: a flip, or a phase that has only begun.
            begun, _ = _at(evidence, Memory(), spec, index) if index > evidence.phase else (evidence, None)
            if begun.phase != index or begun.requests:
                continue
            judged[index] = (begun, analysis.judge(begun, spec.policy, spec.phases))
        step = _step(recorded[index], *judged[index])
        steps.append(step)
        if not step.agrees:
            differences.append(f"phase {index}: {_differing(step)}")
    differences += _of_ledger(tx, rollout_id, judged)
    differences += [f"phase {index} has decisions and no record" for index in sorted(judged.keys() - recorded.keys())]
    return Explanation(
        rollout=shown,
        steps=tuple(steps),
        agrees=not differences,
        differences=tuple(differences),
        notes=tuple(_notes(tx, spec, labels)),
    )


def _at(evidence: Evidence, memory: Memory, spec: Live, phase: int) -> tuple[Evidence, Memory]:
    """As it stood when the phase began, or stands in it."""
    while evidence.phase < phase:
        evidence = analysis.enter(evidence, spec.phases, evidence.phase + 1)
        memory.enter()
    return evidence, memory


def _step(step: Step, evidence: Evidence, judged: Judgement) -> Recomputed:
    decision = judged.decision
    if step.hand or (step.withheld and decision in _GOING_ON):
        decision = Decision(step.decision)  # a person decided it; or the evidence would do, and something else lacks
    made = Recomputed(
        kind=step.kind,
        weight=step.weight,
        requests=evidence.requests,
        users=evidence.users,
        errors=evidence.errors,
        e_value=judged.e_value,
        promote_e=judged.promote_e,
        decision=decision,
        signals=judged.signals,
        recorded=step,
        agrees=False,
    )
    return replace(made, agrees=not _differing(made))


def _differing(step: Recomputed) -> str:
    """Which numbers differ; "" if none does."""
    told = []
    for name in ("requests", "users", "errors", "e_value", "promote_e"):
        mine, theirs = getattr(step, name), getattr(step.recorded, name)
        if not isclose(mine, theirs, rel_tol=_CLOSE):
            told.append(f"{name} is {mine:.6g}, recorded {theirs:.6g}")
    # A person or a clock may hold what the evidence would let go on, or the other way round; not what rolls back.
    harmful = Decision.ROLL_BACK
    if (step.decision == harmful) and (step.recorded.decision != harmful):
        told.append(f"the decision is {step.decision}, recorded {step.recorded.decision}")
    theirs_by_name = {each.signal: each for each in step.recorded.signals}
    if theirs_by_name.keys() != {each.signal for each in step.signals}:
        told.append("the signals are others")
    for reading in step.signals:
        other = theirs_by_name.get(reading.signal)
        if other is not None and not _same(_plain(reading), _plain(other)):
            told.append(f"{reading.signal}: E is {reading.e_value:.6g}, recorded {other.e_value:.6g}")
    return "; ".join(told)


def _of_evidence(mine: Evidence, theirs: Evidence) -> Iterator[str]:
    """The evidence that the rollout goes on with, part by part."""
    recomputed, recorded = analysis.to_plain(mine), analysis.to_plain(theirs)
    for name, value in recomputed.items():
        if not _same(json.loads(json.dumps(value)), json.loads(json.dumps(recorded[name]))):
            yield f"the evidence of {name} is not what the log gives"


def _of_ledger(tx: Transaction, rollout_id: str, judged: Mapping[int, tuple[Evidence, Judgement]]) -> Iterator[str]:
    """What the ledger has of each move of the rollout, against the last interval of its phase."""
    for entry in ledger.entries(tx, subject=f"rollout/{rollout_id}"):
        said = entry.evidence
        if not {"phase", "users", "errors", "e_harm", "e_safe"} <= said.keys() or said["phase"] not in judged:
            continue
        evidence, verdict = judged[said["phase"]]
        numbers = {
            "requests": evidence.requests, "users": evidence.users, "errors": evidence.errors,
            "e_harm": verdict.e_value, "e_safe": verdict.promote_e,
        }  # fmt: skip
        told = [name for name, mine in numbers.items() if not _same(mine, said.get(name, mine))]
        if told:
            yield f"the ledger's '{entry.action}' of phase {said['phase']} has other numbers: {', '.join(told)}"


def _gaps(known: Sequence[Stretch]) -> Iterator[str]:
    for before, after in pairwise(known):
        if after.seq != before.seq + 1 or after.after != before.until or after.phase < before.phase:
            yield f"between interval {before.seq} and {after.seq} something is missing"


def _notes(tx: Transaction, spec: Live, labels: Mapping[int, Sequence[tuple[str, str]]]) -> Iterator[str]:
    taken = {identity: label for each in labels.values() for identity, label in each}
    if not taken:
        return
    now = monitored.values(tx, spec.endpoint, list(taken))
    corrected = sum(now.get(identity) != label for identity, label in taken.items())
    if corrected:
        yield f"{corrected:,} of {len(taken):,} labels were corrected, or taken away, after they had been counted"


def _plain(reading: Reading) -> dict[str, Any]:
    return {
        "users": reading.users, "value": reading.value, "stable_users": reading.stable_users,
        "stable_value": reading.stable_value, "e_value": reading.e_value, "limit": reading.limit,
    }  # fmt: skip


def _same(mine: Any, theirs: Any) -> bool:
    """Equal, but for the last digits of a float."""
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(_same(mine[key], theirs[key]) for key in mine)
    if isinstance(mine, list) and isinstance(theirs, list):
        return len(mine) == len(theirs) and all(map(_same, mine, theirs))
    if isinstance(mine, float) or (isinstance(theirs, float) and mine is not None):
        return theirs is not None and isclose(mine, theirs, rel_tol=_CLOSE, abs_tol=1e-12)
    return bool(mine == theirs)
