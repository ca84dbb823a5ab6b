"""A model compiled to ONNX, asked as its estimator would be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from windlass.domain.errors import Failure

_DTYPES: dict[str, Any] = {
    "tensor(double)": np.float64, "tensor(float)": np.float32, "tensor(int64)": np.int64,
    "tensor(int32)": np.int32, "tensor(bool)": np.bool_, "tensor(string)": np.object_,
}  # fmt: skip


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
        unknown = sorted({each.type for each in inputs if each.type not in _DTYPES})
        if unknown or not inputs:
            raise Failure(f"the ONNX model takes {', '.join(unknown) or 'nothing'}, which rows are not made into")
        self._inputs = [(each.name, _DTYPES[each.type]) for each in inputs]
        self._flat = {each.name for each in inputs if len(each.shape) == 1}
        names = [each.name for each in outputs]
        self._label, self._truths = names[:1], truths
        if len(names) > 1 and outputs[1].type in _DTYPES:
            self._chances = names[1:2]
            self.predict_proba = self._predict_proba

    def predict(self, rows: Any) -> Any:
        (labels,) = self._session.run(self._label, self._feed(rows))
        labels = np.asarray(labels)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        return labels.astype(bool) if self._truths else labels

    def _predict_proba(self, rows: Any) -> Any:
        (chances,) = self._session.run(self._chances, self._feed(rows))
        return chances

    def _feed(self, rows: Any) -> dict[str, Any]:
        """One input is the matrix of all columns; several are a column each, by name."""
        if len(self._inputs) == 1:
            name, dtype = self._inputs[0]
            return {name: np.ascontiguousarray(rows, dtype=dtype)}
        columns = {name: np.asarray(rows[name], dtype=dtype) for name, dtype in self._inputs}
        return {name: each if name in self._flat else each[:, np.newaxis] for name, each in columns.items()}
