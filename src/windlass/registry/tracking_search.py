"""Which runs, in which order: the plain part of MLflow's search grammar, over runs already read.

``clause (AND clause)*``, a clause being ``metrics.NAME < 0.5``, ``params.NAME = 'x'``, ``tags.NAME != 'x'`` or
``attributes.status = 'FINISHED'``; names with odd characters stand in double quotes or backticks. What the whole
grammar has beyond this (LIKE, IN, IS NULL, datasets) is refused, never ignored.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from windlass.domain.errors import Invalid
from windlass.registry.tracking import TrackedRun

MAX_FILTER = 10_000

_KINDS = {
    "metric": "metric", "metrics": "metric", "param": "param", "params": "param", "parameter": "param",
    "parameters": "param", "tag": "tag", "tags": "tag", "attribute": "attribute", "attributes": "attribute",
    "attr": "attribute", "run": "attribute",
}  # fmt: skip
_ATTRIBUTES: dict[str, Callable[[TrackedRun], Any]] = {
    "run_id": lambda run: run.run_id,
    "run_name": lambda run: run.name,
    "user_id": lambda run: run.user,
    "status": lambda run: run.status.value,
    "start_time": lambda run: run.started_at // 1000,
    "end_time": lambda run: None if run.ended_at is None else run.ended_at // 1000,
}
_ALIASES = {"Run name": "run_name", "run name": "run_name", "Created": "start_time", "created": "start_time"}
_NUMERIC = {"start_time", "end_time"}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip
_NAME = r"""(?:(?P<kind>[A-Za-z]+)\s*\.\s*)?(?P<name>"[^"]+"|`[^`]+`|[\w.\-/]+)"""
_CLAUSE = re.compile(rf"\s*{_NAME}\s*(?P<op><=|>=|!=|==|=|<|>)\s*(?P<value>'[^']*'|\"[^\"]*\"|[^\s'\"]+)\s*")
_ORDER = re.compile(rf"\s*{_NAME}\s*(?P<way>ASC|DESC)?\s*", re.IGNORECASE)
_AND = re.compile(r"AND\s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a clause or an order looks at."""

    kind: str
    name: str

    def of(self, run: TrackedRun) -> Any:
        if self.kind == "metric":
            return run.metrics[self.name].value if self.name in run.metrics else None
        if self.kind == "attribute":
            return _ATTRIBUTES[self.name](run)
        return (run.params if self.kind == "param" else run.tags).get(self.name)

    @property
    def numeric(self) -> bool:
        return self.kind == "metric" or (self.kind == "attribute" and self.name in _NUMERIC)


@dataclass(frozen=True, slots=True)
class Clause:
    subject: Subject
    op: str
    value: Any

    def holds(self, run: TrackedRun) -> bool:
        found = self.subject.of(run)
        return found is not None and _COMPARE[self.op](found, self.value)


def matching(runs: Sequence[TrackedRun], text: str) -> list[TrackedRun]:
    """The runs for which the filter holds, in the order given.

    Raises:
        Invalid: the filter is not in the grammar above.
    """
    clauses = parse(text)
    return [run for run in runs if all(clause.holds(run) for clause in clauses)]


def ordered(runs: Sequence[TrackedRun], orders: Sequence[str]) -> list[TrackedRun]:
    """The runs by MLflow's ``order_by``: missing values last, the newest first among equals.

    Raises:
        Invalid: an order names nothing that a run has.
    """
    found = sorted(runs, key=lambda run: (-run.started_at, run.run_id))
    for text in reversed(orders):
        match = _ORDER.fullmatch(text)
        if match is None:
            raise Invalid(f"cannot order by '{text[:200]}'", hint="write it as metrics.accuracy DESC")
        subject = _subject(match)
        values = {run.run_id: subject.of(run) for run in found}
        known = [run for run in found if not _missing(values[run.run_id])]
        unknown = [run for run in found if _missing(values[run.run_id])]
        # A stable sort in reverse keeps equals in their order too.
        known.sort(key=lambda run: values[run.run_id], reverse=(match["way"] or "ASC").upper() == "DESC")
        found = known + unknown
    return found


def parse(text: str) -> list[Clause]:
    """A filter as its clauses; an empty one has none.

    Raises:
        Invalid: it is not in the grammar.
    """
    if len(text) > MAX_FILTER:
        raise Invalid(f"a filter of {len(text)} characters is too long")
    clauses: list[Clause] = []
    at = 0
    while text[at:].strip():
        if clauses:
            joined = _AND.match(text, at)
            if joined is None:
                raise _beyond(text[at:])
            at = joined.end()
        match = _CLAUSE.match(text, at)
        if match is None:
            raise _beyond(text[at:])
        clauses.append(_clause(match))
        at = match.end()
    return clauses


def _clause(match: re.Match[str]) -> Clause:
    subject, op, written = _subject(match), match["op"], match["value"]
    quoted = written[0] in "'\""
    if not subject.numeric:
        if not quoted or op not in ("=", "==", "!="):
            raise Invalid(
                f"cannot compare {subject.kind} '{subject.name}' by {op} with {written[:80]}",
                hint="compare it by = or != with a value in quotes",
            )
        return Clause(subject, op, written[1:-1])
    try:
        return Clause(subject, op, float(written if not quoted else "quoted"))
    except ValueError:
        raise Invalid(f"{subject.kind} '{subject.name}' is compared with {written[:80]}, which is no number") from None


def _subject(match: re.Match[str]) -> Subject:
    name = match["name"].strip('"`')
    kind = _KINDS.get((match["kind"] or "attribute").lower())
    if kind == "attribute":
        name = _ALIASES.get(name, name)
    if kind is None or (kind == "attribute" and name not in _ATTRIBUTES):
        raise Invalid(
            f"a run has no '{match[0].strip()[:80]}'",
            hint=f"metrics.NAME, params.NAME, tags.NAME or attributes.NAME ({', '.join(_ATTRIBUTES)})",
        )
    return Subject(kind, name)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _beyond(rest: str) -> Invalid:
    return Invalid(
        f"cannot read the filter at '{rest.strip()[:80]}'",
        hint="clauses like metrics.m > 0.5 or params.p = 'x', joined by AND; LIKE, IN and IS are not supported yet",
    )
