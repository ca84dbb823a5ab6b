"""``windlass.Model``: what a training step returns, and what a later step gets."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from windlass.domain.errors import Invalid
from windlass.serving.answers import Answered, postprocessed


@dataclass(frozen=True, kw_only=True)
class Model:
    """A fitted estimator with the feature code that goes before it, in training and in serving.

    ``features`` is "module:function" of the project: a function of a table of raw rows; None: the raw columns as they
    are. ``rows`` are the raw training rows with the ``target``; a step that gets the model back has None there.
    ``positive`` is the class whose probability is served. ``postprocess`` is "module:function" too: of the answers (a
    dict of ``prediction`` and, with ``positive``, ``probability``: lists) and of the table of raw rows; it returns such
    a dict. ``onnx``: the packaged estimator is compiled to ONNX, and served so if it then answers the training rows as
    it did; "auto": if the libraries are installed.
    """

    estimator: Any
    features: str | None = None
    rows: pa.Table | None = None
    target: str
    positive: int | str | None = None
    postprocess: str | None = None
    onnx: bool | Literal["auto"] = False

    def predict(self, rows: pa.Table) -> np.ndarray[Any, Any]:
        """One prediction for each raw row; the target may be among its columns."""
        if self.postprocess is not None:
            return np.asarray(self.answered(rows).predictions)
        return np.asarray(self.estimator.predict(self._inputs(rows)))

    def probability(self, rows: pa.Table) -> np.ndarray[Any, Any]:
        """The probability of ``positive`` for each raw row."""
        if self.positive is None:
            raise Invalid("the model has no positive class", hint="give windlass.Model(positive=...)")
        if self.postprocess is not None:
            chances = self.answered(rows).probabilities
            if chances is None:
                raise Invalid("the post-processing answers with no probability", hint="return it beside the prediction")
            return np.asarray(chances)
        return self._probability(rows)

    def answered(self, rows: pa.Table) -> Answered:
        """What a worker answers to raw rows."""
        predictions = np.asarray(self.estimator.predict(self._inputs(rows))).tolist()
        chances = None if self.positive is None else self._probability(rows).tolist()
        made = Answered(predictions, chances)
        if self.postprocess is None:
            return made
        return postprocessed(function_named(self.postprocess), made, self._raw(rows))

    def _probability(self, rows: pa.Table) -> np.ndarray[Any, Any]:
        column = list(self.estimator.classes_).index(self.positive)
        return np.asarray(self.estimator.predict_proba(self._inputs(rows)))[:, column]

    def _inputs(self, rows: pa.Table) -> Any:
        return prepared(self.features, self._raw(rows))

    def _raw(self, rows: pa.Table) -> pa.Table:
        return rows.drop_columns([self.target]) if self.target in rows.column_names else rows


def prepared(features: str | None, raw: pa.Table) -> Any:
    """What the estimator gets for raw rows."""
    if features is None:
        return np.column_stack([column.to_numpy() for column in raw.columns])
    return function_named(features)(raw)


def function_named(reference: str) -> Any:
    """The project's function "module:function"."""
    module, _, function = reference.partition(":")
    return getattr(importlib.import_module(module), function)
