"""Explaining a rollout: every decision once more, from the prediction log alone, against what was decided."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from windlass.delivery import analysis, observations, rollouts
from windlass.delivery.analysis import Decision
from windlass.delivery.rollouts import Rollout, Step
from windlass.domain.ports import Transaction
from windlass.domain.states import RolloutState
from windlass.serving import log
from windlass.serving.log import Position


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
    recorded: Step
    agrees: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    rollout: Rollout
    steps: tuple[Recomputed, ...]


def explain(tx: Transaction, predictions: Path, rollout_id: str) -> Explanation:
    """Read what the controller read, in the same intervals, and judge it anew.

    Raises:
        Corrupt: the prediction log is damaged.
    """
    shown = rollouts.find(tx, rollout_id)
    spec = rollouts.require(tx, rollout_id)
    intervals = tx.rows("SELECT * FROM rollout_intervals WHERE rollout = ? ORDER BY seq", (rollout_id,))
    recorded = {step.phase: step for step in shown.steps}
    evidence = analysis.begin(spec.policy, spec.phases)
    found: dict[int, Recomputed] = {}
    seen: set[str] = set()
    if spec.state in (RolloutState.PROMOTED, RolloutState.ROLLED_BACK, RolloutState.RUNNING) and not intervals:
        found = {
            step.phase: _of(step, evidence, analysis.judge(evidence, spec.policy, spec.phases)) for step in shown.steps
        }
    for interval in intervals:
        if interval["phase"] != evidence.phase:
            evidence = analysis.enter(evidence, spec.phases, interval["phase"])
            seen = set()
        records, _ = log.read(
            predictions / spec.endpoint, Position.parse(interval["after"]), until=Position.parse(interval["until"])
        )
        phase = spec.phases[evidence.phase]
        new, requests = observations.observed(
            records, rollout=rollout_id, revision=interval["revision"], phase=phase, seen=seen
        )
        evidence = analysis.fold(evidence, new, requests)
        judged = analysis.judge(evidence, spec.policy, spec.phases)
        if evidence.phase in recorded:
            found[evidence.phase] = _of(recorded[evidence.phase], evidence, judged)
    return Explanation(rollout=shown, steps=tuple(found[index] for index in sorted(found)))


def _of(step: Step, evidence: analysis.Evidence, judged: analysis.Judgement) -> Recomputed:
    decision = judged.decision
    if step.hand or (step.withheld and decision in (Decision.ADVANCE, Decision.PROMOTE)):
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
        recorded=step,
        agrees=False,
    )
    numbers = ("requests", "users", "errors", "decision")
    same = all(getattr(made, name) == getattr(step, name) for name in numbers)
    close = all(
        abs(getattr(made, name) - getattr(step, name)) <= 1e-9 * abs(getattr(step, name))
        for name in ("e_value", "promote_e")
    )
    return Recomputed(**{name: getattr(made, name) for name in made.__dataclass_fields__} | {"agrees": same and close})
