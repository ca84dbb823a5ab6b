"""Golden rows: the answers that were packaged with a model, by which a worker shows that it is that model still."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from windlass.domain.errors import Corrupt
from windlass.serving.record import Answer

TOLERANCE = 1e-9


def tolerance_of(golden: Mapping[str, Any]) -> float:
    """By how much floats may differ from those in a package's ``golden.json``."""
    return float(golden.get("tolerance", TOLERANCE))


def require_same(expected: Sequence[Answer], actual: Sequence[Answer], tolerance: float = TOLERANCE) -> None:
    """Hold answers to golden rows against those packaged; floats to ``tolerance`` (of a number over 1, times it).

    Raises:
        Corrupt: they differ; names the row.
    """
    if len(expected) != len(actual):
        raise Corrupt(f"{len(actual)} golden rows are answered, and {len(expected)} answers were packaged")
    for number, (packaged, given) in enumerate(zip(expected, actual, strict=True), start=1):
        if not _same(packaged, given, tolerance):
            raise Corrupt(
                f"golden row {number} is answered {given}, and was {packaged} when the model was packaged",
                hint="its environment or its machine changed; see `windlass reproduce`",
                expected=str(packaged),
                actual=str(given),
            )


def _same(expected: Answer, actual: Answer, tolerance: float) -> bool:
    if expected.keys() != actual.keys():
        return False
    for name, value in expected.items():
        other = actual[name]
        if isinstance(value, float) and isinstance(other, float):
            if not abs(value - other) <= tolerance * (max(1.0, abs(value)) if tolerance > TOLERANCE else 1.0):
                return False
        elif value != other:
            return False
    return True
