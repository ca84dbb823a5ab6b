"""The prediction log as a rollout sees it: users' first requests in a phase, and the answers that labels may come
for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from windlass.delivery import custom
from windlass.delivery.analysis import Interval, Labelled, Observation, interval
from windlass.delivery.signals import Signals
from windlass.delivery.strategy import Phase, PhaseKind
from windlass.domain.routing import Arm
from windlass.domain.schema import Scalar
from windlass.monitoring.labels import text_of
from windlass.serving.record import Answer, Prediction, Record, Row, Shadow

BAD_ROWS = 400
# More than evidence ever needs; what comes after them in a rollout is not held against labels.
MOST_ANSWERS = 200_000
# Requests whose shadow did not come within so many others are given up.
MOST_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class Answered:
    """What a label would be held against: a candidate's or a stable answer; of a shadow pair both."""

    candidate: Scalar = None
    stable: Scalar = None
    of_candidate: bool = True
    of_stable: bool = False


@dataclass(slots=True)
class Memory:
    """What was read so far and matters still: the users counted in the phase, stable answers whose shadow has not
    come, and by the id of a label the answers that no label came for. ``fresh``: those since labels were last looked
    for."""

    users: set[str] = field(default_factory=set)
    shadowed: set[str] = field(default_factory=set)
    waiting: dict[str, tuple[Row, Answer, int]] = field(default_factory=dict)
    answers: dict[str, Answered] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    remembered: int = 0
    complete: bool = True  # has the answers of all phases, not only of the one that is on

    def enter(self) -> None:
        """Go on to another phase: every user counts again."""
        self.users, self.shadowed, self.waiting = set(), set(), {}


@dataclass(slots=True)
class _Found:
    """A user's first request, and what custom signals are computed of."""

    observation: Observation
    row: dict[str, Any] | None = None
    partner: dict[str, Any] | None = None


def observed(
    records: Iterable[Record],
    *,
    rollout: str,
    revision: int,
    phase: Phase,
    signals: Signals,
    memory: Memory,
    labels: Sequence[tuple[str, str]] = (),
) -> Interval:
    """What the records of an interval say, and then the labels that came by now: (id, label as text).

    ``revision`` is the first of the phase: what was answered by the routes before it is no evidence of it. ``memory``
    gets the new users, and forgets what a label came for.
    """
    found: list[_Found] = []
    requests = 0
    shadow = phase.kind is PhaseKind.SHADOW
    for record in records:
        if record.rollout != rollout:
            continue
        if isinstance(record, Shadow):
            if shadow:
                requests += 1
                _shadowed(record, signals, memory, found)
        elif record.revision >= revision and record.arm is not Arm.CHOSEN:
            candidate = record.arm is Arm.CANDIDATE
            requests += candidate
            # Rows that no release accepts are the user's fault and nobody's failure.
            if record.status != BAD_ROWS:
                _predicted(record, candidate, signals, memory, found, shadow=shadow)
    measured, broken = _measured(found, signals)
    return interval(
        measured, requests=requests, paired=shadow, broken=broken, labelled=labelled(memory, labels) if labels else None
    )


def labelled(memory: Memory, labels: Sequence[tuple[str, str]]) -> Labelled:
    """Hold answers against their labels; each answer once, by the label that came first."""
    worse: list[int] = []
    candidate: list[bool] = []
    right: list[bool] = []
    for identity, label in labels:
        answer = memory.answers.pop(identity, None)
        if answer is None:
            continue
        arms = ((answer.candidate, answer.of_candidate), (answer.stable, answer.of_stable))
        given = [each for each, of in arms if of]
        amounts = _amounts([*given, _number(label)])
        if answer.of_candidate and answer.of_stable:
            if amounts:
                # Of amounts none is ever exactly right; of two of them one is nearer.
                mine, theirs, truth = amounts
                off = abs(mine - truth), abs(theirs - truth)
                worse.append((off[0] > off[1]) - (off[0] < off[1]))
            else:
                is_right = [text_of(each) == label for each in given]
                worse.append(int(is_right[1]) - int(is_right[0]))
        elif not amounts:
            candidate.append(answer.of_candidate)
            right.append(text_of(given[0]) == label)
    return Labelled(worse=worse, candidate=candidate, right=right)


def _shadowed(record: Shadow, signals: Signals, memory: Memory, found: list[_Found]) -> None:
    asked = memory.waiting.pop(record.id, None)
    if record.user in memory.shadowed:
        return
    memory.shadowed.add(record.user)
    failed = record.status != 200
    answer = None if failed or not record.answers else record.answers[0]
    row, partner, latency_us = asked if asked is not None else (None, None, 0)
    one = _Found(
        Observation(
            candidate=True, failed=failed, latency_us=record.latency_us, at=record.at, answer=_prediction(answer),
            partner=_prediction(partner),
        )
    )  # fmt: skip
    if row is not None and partner is not None and answer is not None:
        if signals.custom:
            one.row = custom.row(row, answer, record.latency_us)
            one.partner = custom.row(row, partner, latency_us)
        if signals.quality.on:
            # Of a request with several rows the first stands for all: its user is one.
            pair = Answered(_prediction(answer), _prediction(partner), of_stable=True)
            _remember(memory, _label_of(record), pair)
    found.append(one)


def _predicted(
    record: Prediction, candidate: bool, signals: Signals, memory: Memory, found: list[_Found], *, shadow: bool
) -> None:
    failed = record.status != 200
    # Where the assigned release failed, what the user got is another's.
    answer = None if failed or not record.answers or not record.rows else record.answers[0]
    first = record.user not in memory.users
    if shadow and answer is not None and record.user not in memory.shadowed:
        memory.waiting[record.id] = (record.rows[0], answer, record.latency_us)
        if len(memory.waiting) > MOST_WAITING:
            del memory.waiting[next(iter(memory.waiting))]
    if not first:
        return
    memory.users.add(record.user)
    one = _Found(
        Observation(
            candidate=candidate, failed=failed, latency_us=record.latency_us, at=record.at, answer=_prediction(answer)
        )
    )
    if answer is not None and not shadow:
        if signals.custom:
            one.row = custom.row(record.rows[0], answer, record.latency_us)
        if signals.quality.on:
            given = _prediction(answer)
            one_arm = Answered(given) if candidate else Answered(None, given, of_candidate=False, of_stable=True)
            _remember(memory, _label_of(record), one_arm)
    found.append(one)


def _label_of(record: Prediction | Shadow) -> str:
    """The id that a label of a request's first row has."""
    return f"{record.id}#0" if len(record.answers or ()) > 1 else record.id


def _remember(memory: Memory, identity: str, answered: Answered) -> None:
    if memory.remembered < MOST_ANSWERS:
        memory.remembered += 1
        memory.answers[identity] = answered
        memory.fresh.append(identity)


def _measured(found: list[_Found], signals: Signals) -> tuple[list[Observation], dict[str, str]]:
    """The observations with what the custom signals say of them."""
    if not signals.custom or not found:
        return [each.observation for each in found], {}
    rows = [each.row for each in found if each.row is not None]
    partners = [each.partner for each in found if each.partner is not None]
    values, broken = custom.measure(signals.custom, rows + partners)
    own, other = iter(values[: len(rows)]), iter(values[len(rows) :])
    made = []
    for each in found:
        seen = each.observation
        made.append(
            Observation(
                candidate=seen.candidate, failed=seen.failed, latency_us=seen.latency_us, at=seen.at,
                answer=seen.answer, partner=seen.partner,
                values={} if each.row is None else next(own),
                partners={} if each.partner is None else next(other),
            )
        )  # fmt: skip
    return made, broken


def _prediction(answer: Answer | None) -> Scalar:
    return None if answer is None else answer.get("prediction")


def _amounts(values: Sequence[Scalar]) -> list[float]:
    """The values if all are numbers and one of them is no integer, as no class's number is."""
    numbers = [float(each) for each in values if isinstance(each, int | float)]
    return numbers if len(numbers) == len(values) and not all(each.is_integer() for each in numbers) else []


def _number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None
