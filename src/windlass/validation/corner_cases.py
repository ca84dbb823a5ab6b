"""Corner cases: one typical row, changed in one column at a time to what the schema allows and to what it does not.

The typical row holds each column's most frequent training value. A row that the signature accepts must get an answer,
one that it rejects must be rejected as invalid; an exception, a hang, a dead worker or an answer that is no number is
a failure. The cases are enumerated, not sampled: their failure rate is exact and has no interval. What they cannot
find is a fault that takes two unusual columns at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

import pyarrow as pa

from windlass.domain.errors import Invalid
from windlass.domain.evidence import CheckResult, Verdict
from windlass.domain.schema import Column, Kind, Scalar, Signature
from windlass.validation.policy import CornerCasePolicy

FAMILY = "corner_cases"
MOST_SHOWN = 20

Row = dict[str, Scalar]

_HUGE_INTEGER = 2**63 - 1  # the widest that a request can carry
_HUGE_NUMBER = 1e30  # beyond any real quantity, within single precision
_TEXT = "not a number"
_UNSEEN = "a category never seen in training"


class Expected(StrEnum):
    ANSWER = "answer"
    REJECTION = "rejection"
    EITHER = "answer or rejection"


class Outcome(StrEnum):
    ANSWERED = "answered"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    column: str  # empty: the typical row itself
    change: str
    row: Row
    expected: Expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A case with what the model made of it; ``said`` is the answer or the error."""

    case: Case
    outcome: Outcome
    said: str

    @property
    def failed(self) -> bool:
        match self.case.expected:
            case Expected.ANSWER:
                return self.outcome is not Outcome.ANSWERED
            case Expected.REJECTION:
                return self.outcome is not Outcome.REJECTED
            case Expected.EITHER:
                return self.outcome is Outcome.FAILED


def typical(signature: Signature, training: pa.Table) -> Row:
    """The most frequent training value of each input; of values equally frequent, the first in order."""
    return {column.name: _mode(column, _values(column, training)) for column in signature.inputs}


def cases(signature: Signature, training: pa.Table) -> list[Case]:
    """Every case that the signature and the training rows give, no row twice."""
    base = typical(signature, training)
    found = [Case(column="", change="typical", row=base, expected=Expected.ANSWER)]
    for column in signature.inputs:
        seen: list[Scalar] = [base[column.name]]
        for change, value, expected in _changes(column, _values(column, training)):
            # bool is an int in Python: True must not count as the 1 that was tried before.
            if any(type(value) is type(other) and value == other for other in seen):
                continue
            seen.append(value)
            row = {**base, column.name: value}
            found.append(Case(column=column.name, change=change, row=row, expected=expected))
        absent = {name: value for name, value in base.items() if name != column.name}
        expected = Expected.EITHER if column.nullable else Expected.REJECTION
        found.append(Case(column=column.name, change="missing", row=absent, expected=expected))
    return found


def _changes(column: Column, values: Sequence[Scalar]) -> Iterator[tuple[str, Scalar, Expected]]:
    match column.kind:
        case Kind.INTEGER:
            yield from _integers([int(value) for value in values if value is not None])
        case Kind.NUMBER:
            yield from _numbers([float(value) for value in values if value is not None])
        case Kind.STRING:
            yield from _strings([str(value) for value in values if value is not None])
        case Kind.BOOLEAN:
            yield from (("false", False, Expected.ANSWER), ("true", True, Expected.ANSWER))
    wrong: Scalar = 7 if column.kind is Kind.STRING else _TEXT
    yield "wrong type", wrong, Expected.REJECTION
    yield "null", None, Expected.ANSWER if column.nullable else Expected.REJECTION


def _integers(values: Sequence[int]) -> Iterator[tuple[str, Scalar, Expected]]:
    low, high = min(values, default=0), max(values, default=0)
    between = next((value for value in range(low, min(high, low + 1000)) if value not in set(values)), None)
    for change, value in (
        ("smallest", low),
        ("largest", high),
        ("below the smallest", low - 1),
        ("above the largest", high + 1),
        ("far above the largest", high + 10 * (high - low + 1)),
        ("zero", 0),
        ("negative", -1),
    ):
        yield change, value, Expected.ANSWER
    if between is not None:
        yield "unseen category", between, Expected.ANSWER
    yield "huge", _HUGE_INTEGER, Expected.EITHER


def _numbers(values: Sequence[float]) -> Iterator[tuple[str, Scalar, Expected]]:
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    width = (high - low) or 1.0
    for change, value in (
        ("smallest", low),
        ("largest", high),
        ("below the smallest", low - width),
        ("above the largest", high + width),
        ("zero", 0.0),
        ("negative", -1.0),
        ("huge", _HUGE_NUMBER),
    ):
        yield change, value, Expected.ANSWER


def _strings(values: Sequence[str]) -> Iterator[tuple[str, Scalar, Expected]]:
    counts = Counter(values)
    if counts:
        yield "rarest category", min(counts, key=lambda value: (counts[value], value)), Expected.ANSWER
    yield "empty", "", Expected.ANSWER
    yield "unseen category", _UNSEEN, Expected.ANSWER
    yield "not ASCII", "Ünïcødé ✓ \u202e\u0000", Expected.ANSWER
    yield "huge", "x" * 10_000, Expected.ANSWER


def is_answer(answer: Mapping[str, Scalar]) -> bool:
    """Whether an answer says something: a NaN, or a probability outside of 0 to 1, says nothing."""
    prediction, probability = answer.get("prediction"), answer.get("probability", 0.0)
    if prediction is None or (isinstance(prediction, float) and not math.isfinite(prediction)):
        return False
    return isinstance(probability, int | float) and 0 <= probability <= 1


def check(policy: CornerCasePolicy, asked: Sequence[Asked], planned: int, died: str = "") -> list[CheckResult]:
    """The share of cases that failed. ``died`` says where the worker ended or hung, if it did: that fails whatever the
    rate, and leaves the rest of the ``planned`` cases unasked."""
    failures = [each for each in asked if each.failed]
    rate = len(failures) / len(asked) if asked else None
    if died or (rate is not None and rate > policy.max_failure_rate):
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.INCONCLUSIVE if rate is None else Verdict.PASS
    summary = f"{len(failures)} of {len(asked)} cases failed"
    if failures:
        first = failures[0]
        summary += f", first: {first.case.column or 'the typical row'}, {first.case.change}: {first.said[:200]}"
    if died:
        summary += f"; after that ({died}) the worker answered no more, {planned - len(asked)} cases are unasked"
    outcomes = Counter(each.outcome.value for each in asked)
    return [
        CheckResult(
            name="corner cases",
            family=FAMILY,
            verdict=verdict,
            summary=summary,
            value=rate,
            threshold=policy.max_failure_rate,
            n=len(asked),
            details={
                "outcomes": {outcome.value: outcomes[outcome.value] for outcome in Outcome},
                "failures": [_shown(each) for each in failures[:MOST_SHOWN]],
                "failures_left_out": max(0, len(failures) - MOST_SHOWN),
            },
        )
    ]


def _shown(asked: Asked) -> Mapping[str, object]:
    """What it takes to send the case again."""
    case = asdict(asked.case)
    case["row"] = {name: _cut(value) for name, value in asked.case.row.items()}
    return {**case, "expected": asked.case.expected.value, "outcome": asked.outcome.value, "said": asked.said[:500]}


def _cut(value: Scalar) -> Scalar:
    return f"{value[:40]}… ({len(value)} characters)" if isinstance(value, str) and len(value) > 80 else value


def _mode(column: Column, values: Sequence[Scalar]) -> Scalar:
    counts = Counter(value for value in values if value is not None and value == value)  # noqa: PLR0124
    if not counts:
        return None
    most = max(counts.values())
    value = min(
        (value for value, count in counts.items() if count == most), key=lambda value: (str(type(value)), value)
    )
    return float(value) if column.kind is Kind.NUMBER else value


def _values(column: Column, training: pa.Table) -> list[Scalar]:
    if column.name not in training.column_names:
        raise Invalid(
            f"the training rows lack the column {column.name}, an input of the model",
            hint="gates.training in windlass.toml must name rows with every input",
        )
    values: list[Scalar] = training[column.name].to_pylist()
    return values
