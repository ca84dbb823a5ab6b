"""Verdicts and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One measurement with a verdict. ``low`` and ``high`` bound ``value`` at the stated confidence.

    A result that is not ``blocking`` is reported and seen by the approver, and does not decide the gate.
    """

    name: str
    family: str
    verdict: Verdict
    summary: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    n: int = 0
    blocking: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)


def decide(results: Sequence[CheckResult]) -> Verdict:
    """The verdict of a gate: the worst of what blocks; no evidence at all is inconclusive, never a pass."""
    blocking = {result.verdict for result in results if result.blocking}
    for worst in (Verdict.FAIL, Verdict.ERROR, Verdict.INCONCLUSIVE):
        if worst in blocking:
            return worst
    return Verdict.PASS if blocking else Verdict.INCONCLUSIVE
