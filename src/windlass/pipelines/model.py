"""``windlass.Model``: what a training step returns, and what a later step gets."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from windlass.domain.errors import Invalid


@dataclass(frozen=True, kw_only=True)
class Model:
    """A fitted estimator with the feature code that goes before it, in training and in serving.

    ``features`` is "module:function" of the project: a function of a table of raw rows; None: the raw columns as they
    are. ``rows`` are the raw training rows with the ``target``; a step that gets the model back has None there.
    ``positive`` is the class whose probability is served.
    """

    estimator: Any
    features: str | None = None
    rows: pa.Table | None = None
    target: str
    positive: int | str | None = None

    def predict(self, rows: pa.Table) -> np.ndarray[Any, Any]:
        """One prediction for each raw row; the target may be among its columns."""
        return np.asarray(self.estimator.predict(self._inputs(rows)))

    def probability(self, rows: pa.Table) -> np.ndarray[Any, Any]:
        """The probability of ``positive`` for each raw row."""
        if self.positive is None:
            raise Invalid("the model has no positive class", hint="give windlass.Model(positive=...)")
        column = list(self.estimator.classes_).index(self.positive)
        return np.asarray(self.estimator.predict_proba(self._inputs(rows)))[:, column]

    def _inputs(self, rows: pa.Table) -> Any:
        raw = rows.drop_columns([self.target]) if self.target in rows.column_names else rows
        return prepared(self.features, raw)


def prepared(features: str | None, raw: pa.Table) -> Any:
    """What the estimator gets for raw rows."""
    if features is None:
        return np.column_stack([column.to_numpy() for column in raw.columns])
    module, _, function = features.partition(":")
    return getattr(importlib.import_module(module), function)(raw)
