"""Custom signals: SQL over answered requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from windlass.delivery.signals import CustomSignal
from windlass.domain.errors import Invalid
from windlass.serving.record import Answer, Row


def row(asked: Row, answer: Answer, latency_us: int) -> dict[str, Any]:
    """What an expression is computed over: the request's columns, its answer's, and how long it took."""
    return {**asked, "prediction": answer.get("prediction"), "probability": answer.get("probability"),
            "latency_ms": latency_us / 1000}  # fmt: skip


def measure(
    signals: Sequence[CustomSignal], rows: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, float]], dict[str, str]]:
    """Each row's values by signal, within the signal's bounds, none where the expression gives NULL; and which signals
    cannot be computed, with the reason."""
    found: list[dict[str, float]] = [{} for _ in rows]
    broken: dict[str, str] = {}
    if not rows:
        return found, broken
    import duckdb  # noqa: PLC0415 - few rollouts have signals of their own
    import pyarrow as pa  # noqa: PLC0415

    names = list(dict.fromkeys(name for each in rows for name in each))
    try:
        answered = pa.table({name: [each.get(name) for each in rows] for name in names})
    except pa.ArrowException as error:
        return found, {each.name: _line(error) for each in signals}
    with duckdb.connect(config={"enable_external_access": False, "threads": 1}) as database:
        database.register("answered", answered)
        database.execute("SET lock_configuration = true")
        for signal in signals:
            try:
                values = database.execute(f"SELECT CAST(({signal.expression}) AS DOUBLE) FROM answered").fetchall()
            except duckdb.Error as error:
                broken[signal.name] = _line(error)
                continue
            if len(values) != len(rows):
                broken[signal.name] = f"it gives {len(values)} values of {len(rows)} answers"
                continue
            low, high = signal.bounds
            for each, (value,) in zip(found, values, strict=True):
                if value is not None and value == value:  # noqa: PLR0124 - NaN is no value
                    each[signal.name] = min(high, max(low, value))
    return found, broken


def check(signals: Sequence[CustomSignal], asked: Row, answer: Answer) -> None:
    """See that every expression can be computed of a request such as this.

    Raises:
        Invalid: names the first that cannot, and why.
    """
    _, broken = measure(signals, [row(asked, answer, 1000)])
    for name, reason in broken.items():
        raise Invalid(
            f"rollout.signals.custom: {name} cannot be computed: {reason}",
            hint="it is SQL over the model's columns, prediction, probability and latency_ms",
        )


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300]
