"""What a model answers to the rows of a request, and the project's own code that has the last word on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from windlass.domain.errors import Failure
from windlass.domain.schema import Scalar
from windlass.serving.record import Answer

Postprocess = Callable[[dict[str, list[Scalar]], Any], Mapping[str, Any]]
_SCALARS = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True)
class Answered:
    """One prediction a row; for a classifier the probability of the positive class too."""

    predictions: list[Scalar]
    probabilities: list[float] | None

    def part(self, start: int, end: int) -> Answered:
        chances = self.probabilities
        return Answered(self.predictions[start:end], None if chances is None else chances[start:end])

    def rows(self) -> list[Answer]:
        """The answers row by row, as packages and the prediction log write them."""
        if self.probabilities is None:
            return [{"prediction": each} for each in self.predictions]
        return [
            {"prediction": each, "probability": chance}
            for each, chance in zip(self.predictions, self.probabilities, strict=True)
        ]


def postprocessed(function: Postprocess, answered: Answered, rows: Any) -> Answered:
    """The answers as ``function`` makes them, of theirs and the table of raw ``rows``.

    Raises:
        Failure: it raises, or returns what are not answers to as many rows.
    """
    given: dict[str, list[Any]] = {"prediction": list(answered.predictions)}
    if answered.probabilities is not None:
        given["probability"] = list(answered.probabilities)
    count = len(answered.predictions)
    try:
        made = function(given, rows)
        columns = {str(name): [_plain(each) for each in values] for name, values in dict(made).items()}
    except Exception as error:
        raise Failure(f"the post-processing raised {type(error).__name__}: {error}") from error
    if "prediction" not in columns or not columns.keys() <= {"prediction", "probability"}:
        raise Failure(
            f"the post-processing returned {', '.join(sorted(columns)) or 'nothing'}",
            hint='return {"prediction": [...]}, and "probability" beside it or not',
        )
    for name, values in columns.items():
        if len(values) != count:
            raise Failure(f"the post-processing made {len(values)} of {name} of {count} rows")
        for value in values:
            if not isinstance(value, _SCALARS) or (isinstance(value, float) and not math.isfinite(value)):
                raise Failure(f"the post-processing answered {str(value)[:80]!r} as {name}, which is no answer")
    chances = columns.get("probability")
    if chances is not None and not all(type(each) is float for each in chances):
        raise Failure("the post-processing answered with a probability that is no number")
    return Answered(columns["prediction"], chances)


def _plain(value: Any) -> Any:
    if hasattr(value, "as_py"):
        return value.as_py()  # of pyarrow
    return value.item() if hasattr(value, "item") else value
