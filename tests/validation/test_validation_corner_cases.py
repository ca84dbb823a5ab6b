from __future__ import annotations

import pyarrow as pa
import pytest

from windlass.domain.errors import Invalid
from windlass.domain.evidence import Verdict
from windlass.domain.schema import Column, Kind, Signature
from windlass.validation import corner_cases
from windlass.validation.corner_cases import Asked, Case, Expected, Outcome
from windlass.validation.policy import CornerCasePolicy

SIGNATURE = Signature(
    inputs=(
        Column(name="age", kind=Kind.INTEGER),
        Column(name="pay", kind=Kind.NUMBER, nullable=True),
        Column(name="town", kind=Kind.STRING),
        Column(name="member", kind=Kind.BOOLEAN),
    ),
    outputs=(),
)
TRAINING = pa.table(
    {
        "age": [30, 30, 40, 5, 32],
        "pay": [10.0, 10.0, None, -5.0, 80.0],
        "town": ["b", "a", "b", "a", "c"],
        "member": [True, True, False, True, True],
        "target": [1, 0, 1, 0, 1],
    }
)


def tried(column: str) -> dict[str, Case]:
    return {case.change: case for case in corner_cases.cases(SIGNATURE, TRAINING) if case.column == column}


def test_the_typical_row_holds_the_most_frequent_values() -> None:
    assert corner_cases.typical(SIGNATURE, TRAINING) == {"age": 30, "pay": 10.0, "town": "a", "member": True}


def test_every_case_differs_from_the_typical_row_in_one_column() -> None:
    base = corner_cases.typical(SIGNATURE, TRAINING)
    first, *rest = corner_cases.cases(SIGNATURE, TRAINING)
    assert (first.row, first.expected) == (base, Expected.ANSWER)
    for case in rest:
        changed = [name for name in base if name not in case.row or repr(case.row[name]) != repr(base[name])]
        assert changed == [case.column]
    assert len({repr(case.row) for case in [first, *rest]}) == len(rest) + 1


def test_an_integer_is_taken_to_its_boundaries_and_beyond() -> None:
    values = {change: case.row.get("age") for change, case in tried("age").items()}
    assert values == {
        "smallest": 5,
        "largest": 40,
        "below the smallest": 4,
        "above the largest": 41,
        "far above the largest": 400,
        "zero": 0,
        "negative": -1,
        "unseen category": 6,
        "huge": 2**63 - 1,
        "wrong type": "not a number",
        "null": None,
        "missing": None,
    }


def test_what_the_signature_rejects_must_be_rejected() -> None:
    expected = {(case.column, case.change): case.expected for case in corner_cases.cases(SIGNATURE, TRAINING)}
    assert expected["age", "null"] is Expected.REJECTION
    assert expected["age", "missing"] is Expected.REJECTION
    assert expected["town", "wrong type"] is Expected.REJECTION
    assert expected["pay", "null"] is Expected.ANSWER
    assert expected["pay", "missing"] is Expected.EITHER
    assert expected["member", "false"] is Expected.ANSWER
    assert expected["town", "unseen category"] is Expected.ANSWER


def asked(expected: Expected, outcome: Outcome) -> Asked:
    return Asked(case=Case(column="age", change="zero", row={"age": 0}, expected=expected), outcome=outcome, said="so")


@pytest.mark.parametrize("expected", Expected)
@pytest.mark.parametrize("outcome", Outcome)
def test_a_case_fails_when_the_outcome_is_not_the_expected_one(expected: Expected, outcome: Outcome) -> None:
    fine = {
        Expected.ANSWER: {Outcome.ANSWERED},
        Expected.REJECTION: {Outcome.REJECTED},
        Expected.EITHER: {Outcome.ANSWERED, Outcome.REJECTED},
    }
    assert asked(expected, outcome).failed is (outcome not in fine[expected])


def test_the_failure_rate_decides_and_failures_are_shown_with_their_row() -> None:
    good = asked(Expected.ANSWER, Outcome.ANSWERED)
    bad = asked(Expected.ANSWER, Outcome.FAILED)
    (clean,) = corner_cases.check(CornerCasePolicy(), [good] * 10, 10)
    assert (clean.verdict, clean.value) == (Verdict.PASS, 0.0)
    (failing,) = corner_cases.check(CornerCasePolicy(), [good] * 9 + [bad], 10)
    assert (failing.verdict, failing.value) == (Verdict.FAIL, 0.1)
    assert failing.details["failures"][0]["row"] == {"age": 0}
    (tolerant,) = corner_cases.check(CornerCasePolicy(max_failure_rate=0.1), [good] * 9 + [bad], 10)
    assert tolerant.verdict is Verdict.PASS
    (dead,) = corner_cases.check(CornerCasePolicy(max_failure_rate=0.5), [good] * 9 + [bad], 40, "at age, zero")
    assert dead.verdict is Verdict.FAIL
    assert "30 cases are unasked" in dead.summary


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"prediction": 1, "probability": 0.5}, True),
        ({"prediction": 2.5}, True),
        ({"prediction": "yes", "probability": 1.0}, True),
        ({"prediction": float("nan")}, False),
        ({"prediction": None}, False),
        ({"prediction": 1, "probability": float("nan")}, False),
        ({"prediction": 1, "probability": 1.2}, False),
    ],
)
def test_an_answer_that_is_no_number_is_no_answer(answer: dict[str, object], says: bool) -> None:
    assert corner_cases.is_answer(answer) is says  # type: ignore[arg-type]


def test_training_rows_without_an_input_are_refused() -> None:
    with pytest.raises(Invalid, match="town"):
        corner_cases.cases(SIGNATURE, TRAINING.drop_columns(["town"]))
