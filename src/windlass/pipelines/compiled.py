"""Compiling an estimator to ONNX, and the test by which it is used or not.

A compiled model is many times as fast for a few rows, and computes in float32 where its operators do. It is used only
if it answers real rows as the estimator does: every label equal, every probability within 1e-6.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

import numpy as np

from windlass.domain.errors import Invalid
from windlass.serving.compiled import Compiled

Wanted = bool | Literal["auto"]

LIBRARIES = ("onnx", "onnxruntime", "skl2onnx")
LEAST_ROWS = 1000
MOST_ROWS = 20_000  # more would take long, and tell little more
TOLERANCE = 1e-6  # of a probability; of another number, times its size if that is over 1
_HINT = "pip install 'windlass[onnx]', in the environment that the pipeline runs in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of compiling a model; ``onnx.json`` in its package. ``why``: for what reason it is not used.

    ``rows`` were compared, of which ``label_mismatches`` had another label; ``max_difference`` is that of any
    probability (of a regression: of any answer, divided by its size if that is over 1).
    """

    used: bool
    why: str = ""
    rows: int = 0
    label_mismatches: int = 0
    max_difference: float = 0.0
    tolerance: float = TOLERANCE
    input: str = ""
    opset: dict[str, int]
    versions: dict[str, str]


def compiled(estimator: Any, rows: Any, wanted: Wanted) -> tuple[Report, bytes | None]:
    """The compiled model, if it answers ``rows`` (what the estimator takes) as the estimator does; and the report.

    Raises:
        Invalid: it is wanted (not "auto"), and the libraries are not installed.
    """
    versions = _versions()
    missing = [name for name in LIBRARIES if name not in versions]
    if missing:
        if wanted is True:
            raise Invalid(f"the model is to be compiled to ONNX, and {', '.join(missing)} is not installed", hint=_HINT)
        return _unused(f"{', '.join(missing)} is not installed", versions), None
    try:
        matrix = np.asarray(rows)
    except (ValueError, TypeError):
        matrix = np.empty(0, dtype=object)
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiub":
        return _unused("the estimator does not take a matrix of numbers", versions), None
    if len(matrix) < LEAST_ROWS:
        return _unused(f"there are {len(matrix)} rows to compare, and {LEAST_ROWS} are needed", versions), None
    tried = [_tried(estimator, rows, matrix, kind, versions) for kind in ("double", "float")]
    # The closest; of those that are not used, one that could at least be compared.
    return min(tried, key=lambda each: (not each[0].used, not each[0].rows, each[0].max_difference))


def _tried(estimator: Any, rows: Any, matrix: Any, kind: str, versions: dict[str, str]) -> tuple[Report, bytes | None]:
    """One conversion, compared with the estimator."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the converter, about versions; what counts is compared below
            made = _converter(estimator)(estimator, kind, matrix.shape[1])
        opset = {each.domain: each.version for each in made.opset_import}
        # In the order of a set, and some twice: it must not be in the package's bytes.
        del made.opset_import[:]
        for domain in sorted(opset):
            made.opset_import.add(domain=domain, version=opset[domain])
        content = made.SerializeToString(deterministic=True)
        session = Compiled(content, truths=_truths(estimator))
        mismatches, difference = _differences(estimator, session, rows)
    except Exception as error:  # noqa: BLE001 - converters raise whatever they like at what they do not know
        said = " ".join(str(error).split())[:200]
        return _unused(f"it cannot be converted: {type(error).__name__}: {said}", versions), None
    why = ""
    if mismatches:
        why = f"{mismatches} of {len(matrix)} rows get another label"
    elif math.isnan(difference):
        why = "an answer is no number"
    elif difference > TOLERANCE:
        why = f"an answer differs by {difference:.3g}, more than {TOLERANCE:g}"
    report = Report(
        used=not why,
        why=why,
        rows=len(matrix),
        label_mismatches=mismatches,
        max_difference=0.0 if math.isnan(difference) else difference,
        input=kind,
        opset={domain or "ai.onnx": version for domain, version in opset.items()},
        versions=versions,
    )
    return report, None if why else content


def _differences(estimator: Any, session: Compiled, rows: Any) -> tuple[int, float]:
    """How many labels differ, and by how much probabilities do (of a regression: answers)."""
    expected, given = np.asarray(estimator.predict(rows)).tolist(), np.asarray(session.predict(rows)).tolist()
    if not hasattr(estimator, "classes_"):
        size = np.maximum(1.0, np.abs(np.asarray(expected, dtype=float)))
        return 0, _largest((np.asarray(given, dtype=float) - np.asarray(expected, dtype=float)) / size)
    mismatches = sum(
        type(one) is not type(other) or one != other for one, other in zip(expected, given, strict=True)
    )  # True is 1 to Python, and is not to whom it is sent
    if not hasattr(estimator, "predict_proba"):
        return mismatches, 0.0
    before, after = np.asarray(estimator.predict_proba(rows)), np.asarray(session.predict_proba(rows))
    # A worker answers with the likeliest class, by the probabilities.
    return mismatches + int((before.argmax(axis=1) != after.argmax(axis=1)).sum()), _largest(after - before)


def _largest(differences: Any) -> float:
    largest = float(np.abs(differences).max())
    return largest if math.isfinite(largest) else math.nan


def _converter(estimator: Any) -> Callable[[Any, str, int], Any]:
    root = type(estimator).__module__.partition(".")[0]
    return {"xgboost": _by_onnxmltools, "lightgbm": _by_onnxmltools}.get(root, _by_skl2onnx)


def _by_skl2onnx(estimator: Any, kind: str, width: int) -> Any:
    from skl2onnx import convert_sklearn  # noqa: PLC0415 - takes seconds to import
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType  # noqa: PLC0415

    tensor = (DoubleTensorType if kind == "double" else FloatTensorType)([None, width])
    # A matrix of probabilities instead of a list of maps.
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    # The name is given because it is drawn at random otherwise, and it is part of the package.
    return convert_sklearn(estimator, name="model", initial_types=[("rows", tensor)], options=options)


def _by_onnxmltools(estimator: Any, kind: str, width: int) -> Any:
    if kind == "double":
        raise ValueError("trees of boosters are float32")
    import onnxmltools  # noqa: PLC0415
    from onnxmltools.convert.common.data_types import FloatTensorType  # noqa: PLC0415

    initial = [("rows", FloatTensorType([None, width]))]
    if type(estimator).__module__.startswith("xgboost"):
        return onnxmltools.convert_xgboost(estimator, name="model", initial_types=initial)
    return onnxmltools.convert_lightgbm(estimator, name="model", initial_types=initial, zipmap=False)


def _truths(estimator: Any) -> bool:
    return np.asarray(getattr(estimator, "classes_", ())).dtype.kind == "b"


def _unused(why: str, versions: dict[str, str]) -> Report:
    return Report(used=False, why=why, opset={}, versions=versions)


def _versions() -> dict[str, str]:
    found = {}
    for name in (*LIBRARIES, "onnxmltools"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
