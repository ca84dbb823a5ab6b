"""Windows: so many answered rows of a release, as counts over the bins of its training profile.

A row's id is its request's, or ID#INDEX where a request had several; labels arrive under the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from windlass.domain.ports import Row, Transaction
from windlass.domain.schema import Scalar
from windlass.monitoring.labels import text_of
from windlass.monitoring.policy import MonitorPolicy
from windlass.serving.record import Answer, Prediction
from windlass.stats import drift, performance, profile
from windlass.stats.drift import Outcome
from windlass.stats.profile import Profile

OUTPUTS = ("prediction", "probability")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a release's live rows are compared with: its training profile, and which answer its probability is of."""

    profile: Profile
    positive: Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One row that a user got an answer to."""

    id: str
    at: int
    release: str
    row: dict[str, Scalar]
    answer: Answer
    withheld: tuple[str, ...] = ()  # columns that are not in the row as they were sent, by policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A window that is full: which inputs drifted, and by how much each is away from training."""

    release: str
    number: int
    position: str
    first_at: int
    rows: int
    drifted: tuple[str, ...]
    effects: dict[str, float]


def answered(records: Iterable[object]) -> Iterator[Answered]:
    """The rows that users got answers to, in the log's order."""
    for record in records:
        if isinstance(record, Prediction) and record.answers is not None:
            several = len(record.rows) > 1
            for index, (row, answer) in enumerate(zip(record.rows, record.answers, strict=True)):
                yield Answered(
                    id=f"{record.id}#{index}" if several else record.id,
                    at=record.at,
                    release=record.answered_by,
                    row=row,
                    answer=answer,
                    withheld=record.withheld,
                )


def fold(
    tx: Transaction,
    *,
    endpoint: str,
    release: str,
    rows: list[Answered],
    reference: Reference,
    policy: MonitorPolicy,
    position: str,
) -> list[Closed]:
    """Add a release's rows to its windows; returns those that became full. They begin at ``position`` of the log."""
    closed = []
    while rows:
        window = _open(tx, endpoint, release, position)
        space = policy.window_rows - window["answered"]
        part, rows = rows[:space], rows[space:]
        counted = _counted(reference.profile, part)
        if window["profile"]:
            counted = _merged(profile.from_plain(json.loads(window["profile"])), counted)
        total = window["answered"] + len(part)
        full = total >= policy.window_rows
        drifted, effects = _compare(reference.profile, counted, policy) if full else ((), {})
        first_at = window["first_at"] or part[0].at
        tx.execute(
            "UPDATE monitor_windows SET answered = ?, expected_right = ?, first_at = ?, last_at = ?, profile = ?,"
            " closed = ?, drifted = ?, effects = ? WHERE endpoint = ? AND release = ? AND number = ?",
            (
                total, _sum(window["expected_right"], _expected_right(part, reference)), first_at, part[-1].at,
                json.dumps(profile.to_plain(counted)), int(full), json.dumps(drifted), json.dumps(effects),
                endpoint, release, window["number"],
            ),
        )  # fmt: skip
        tx.many(
            "INSERT INTO monitored_predictions (endpoint, id, release, number, prediction) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (endpoint, id) DO NOTHING",
            [(endpoint, each.id, release, window["number"], text_of(each.answer["prediction"])) for each in part],
        )
        if full:
            closed.append(
                Closed(
                    release=release, number=window["number"], position=window["position"], first_at=first_at,
                    rows=total, drifted=drifted, effects=effects,
                )
            )  # fmt: skip
    return closed


def _open(tx: Transaction, endpoint: str, release: str, position: str) -> Row:
    """The release's window that is not full yet."""
    last = tx.row(
        "SELECT * FROM monitor_windows WHERE endpoint = ? AND release = ? ORDER BY number DESC LIMIT 1",
        (endpoint, release),
    )
    if last is not None and not last["closed"]:
        return last
    number = last["number"] + 1 if last else 1
    tx.execute(
        "INSERT INTO monitor_windows (endpoint, release, number, position, closed, first_at, last_at, answered,"
        " expected_right, profile, drifted, effects) VALUES (?, ?, ?, ?, 0, 0, 0, 0, 0.0, '', '[]', '{}')",
        (endpoint, release, number, position),
    )
    return {"number": number, "position": position, "answered": 0, "expected_right": 0.0, "first_at": 0, "profile": ""}


def _counted(reference: Profile, rows: list[Answered]) -> Profile:
    """The rows over the reference's bins. A column that the log withholds of any is not counted: it would look as if
    its values were missing."""
    withheld = {name for each in rows for name in each.withheld}
    shown = profile.select(reference, [name for name in reference.columns if name not in withheld])
    return profile.count(shown, _columns(shown, rows))


def _merged(one: Profile, other: Profile) -> Profile:
    """Both together, in the columns that neither withholds."""
    shared = [name for name in one.columns if name in other.columns]
    return profile.merge(profile.select(one, shared), profile.select(other, shared))


def _columns(reference: Profile, rows: list[Answered]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in reference.columns:
        values = [each.answer.get(name) if name in OUTPUTS else each.row.get(name) for each in rows]
        found[name] = np.array(values, dtype=object)
    return found


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _expected_right(rows: list[Answered], reference: Reference) -> float | None:
    """How many answers are expected to be right; None for a model that gives no probability."""
    if reference.positive is None or "probability" not in rows[0].answer:
        return None
    chances = np.array([each.answer["probability"] for each in rows], dtype=float)
    positive = np.array([each.answer["prediction"] == reference.positive for each in rows])
    return performance.estimated_right(chances, positive)


def _compare(reference: Profile, current: Profile, policy: MonitorPolicy) -> tuple[tuple[str, ...], dict[str, float]]:
    """Which columns drifted, of those that were counted. Inputs and outputs are two families of tests: an output drifts
    because inputs do."""
    drifted: list[str] = []
    effects: dict[str, float] = {}
    inputs = [name for name in current.columns if name not in OUTPUTS]
    outputs = [name for name in current.columns if name in OUTPUTS]
    for names in (inputs, outputs):
        if not names:
            continue
        found = drift.drift(
            profile.select(reference, names), profile.select(current, names), policy.alpha, policy.min_effect
        )
        effects |= {each.column: round(each.effect, 6) for each in found}
        drifted += [each.column for each in found if each.verdict is Outcome.DRIFT]
    return tuple(drifted), effects
