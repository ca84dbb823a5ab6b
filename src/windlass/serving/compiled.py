"""A model compiled to ONNX, asked as its estimator would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from windlass.domain.errors import Failure

_DTYPES = {"tensor(double)": np.float64, "tensor(float)": np.float32, "tensor(int64)": np.int64}


class Compiled:
    """``predict`` and, of a classifier, ``predict_proba``, by ONNX Runtime on one thread.

    ``source`` is a file or a model's bytes; ``truths``: the classes are true and false, which ONNX has as 1 and 0.
    Raises ImportError without onnxruntime, and whatever it raises for what is no model.
    """

    def __init__(self, source: Path | bytes, *, truths: bool = False) -> None:
        import onnxruntime  # noqa: PLC0415 - of the model's environment; 50 MB that few models need

        options = onnxruntime.SessionOptions()
        # One row is too little work to share; workers, not threads, use more processors.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        given = source if isinstance(source, bytes) else str(source)
        self._session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or inputs[0].type not in _DTYPES:
            raise Failure(f"the ONNX model takes {', '.join(each.type for each in inputs)}, not one matrix of numbers")
        self._input, self._dtype = inputs[0].name, _DTYPES[inputs[0].type]
        names = [each.name for each in outputs]
        self._label, self._truths = names[:1], truths
        if len(names) > 1 and outputs[1].type in _DTYPES:
            self._chances = names[1:2]
            self.predict_proba = self._predict_proba

    def predict(self, rows: Any) -> Any:
        (labels,) = self._session.run(self._label, {self._input: self._matrix(rows)})
        labels = np.asarray(labels)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        return labels.astype(bool) if self._truths else labels

    def _predict_proba(self, rows: Any) -> Any:
        (chances,) = self._session.run(self._chances, {self._input: self._matrix(rows)})
        return chances

    def _matrix(self, rows: Any) -> Any:
        return np.ascontiguousarray(rows, dtype=self._dtype)
