"""The packaged model, read and asked: rows in, answers out. The package's format is in docs/internals/package.md.

A pickle runs code when it is read: a package is loaded only from a folder whose every byte was held against the digest
that the registry names.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from windlass.domain.errors import Corrupt, Failure, Invalid
from windlass.domain.schema import Scalar, Signature
from windlass.serving import flavors
from windlass.serving.answers import Answered, Postprocess, postprocessed
from windlass.serving.compiled import Compiled
from windlass.serving.golden import TOLERANCE, require_same, tolerance_of
from windlass.serving.record import Answer, Row
from windlass.serving.rows import Reader, unpacked

FORMATS = (1, 2)  # 2: of a model that MLflow's clients logged

Rows = Sequence[Row] | msgspec.Raw


@dataclass(frozen=True, kw_only=True)
class Model:
    """A loaded package."""

    signature: Signature
    estimator: Any
    features: Any  # a function of a table, or None
    classes: tuple[Scalar, ...] | None
    positive: Scalar
    golden: tuple[list[Row], list[Answer] | None]  # no answers: nobody recorded any
    tolerance: float = TOLERANCE  # of golden answers
    postprocess: Postprocess | None = None
    engine: str = ""  # what answers, where that is not the estimator itself; or why it is

    @staticmethod
    def load(folder: Path) -> Model:
        """Read a package; its code becomes importable in this process.

        Raises:
            Invalid: the folder holds no package of a format known here.
            Failure: the package's code or pickle raises.
        """
        try:
            described = json.loads((folder / "windlass.json").read_bytes())
            if described["format"] not in FORMATS:
                raise Invalid(f"{folder} is a package of format {described['format']}", hint="upgrade Windlass")
            signature = msgspec.convert(described["signature"], Signature)
            golden = json.loads((folder / "golden.json").read_bytes())
            rows, answers = list(golden["rows"]), golden["answers"]
            tolerance = tolerance_of(golden)
            classes = described["classes"]
        except (OSError, ValueError, KeyError, TypeError, msgspec.ValidationError) as error:
            raise Invalid(f"{folder} holds no package: {error}") from None
        try:
            loader, positive = described.get("loader"), described["positive"]
            postprocess, engine = None, ""
            if loader is None:
                features = _function(folder, described["features"])
                postprocess = _function(folder, described.get("postprocess"))
                estimator, engine = _estimator(folder, classes)
            else:
                features = flavors.rows_of(loader["types"])
                estimator = flavors.load(folder, loader["flavor"], loader["options"])
                classes = _classes(estimator)
                # Of two classes MLflow's models name none; the second is the positive one to scikit-learn's metrics.
                positive = classes[1] if classes is not None and len(classes) == 2 else None
        except Exception as error:
            raise Failure(f"the package cannot be loaded: {type(error).__name__}: {error}") from error
        return Model(
            signature=signature,
            estimator=estimator,
            features=features,
            classes=None if classes is None else tuple(classes),
            positive=positive,
            golden=(rows, answers),
            tolerance=tolerance,
            postprocess=postprocess,
            engine=engine,
        )

    @cached_property
    def reader(self) -> Reader:
        return Reader(self.signature)

    def answer(self, requests: Sequence[Rows]) -> list[list[Answer] | Failure]:
        """The answers of each request, or why it has none."""
        return [each if isinstance(each, Failure) else each.rows() for each in self.ask(requests)]

    def ask(self, requests: Sequence[Rows]) -> list[Answered | Failure]:
        """What is answered to each request, rows read already or as they came in msgpack; or why nothing is.

        Feature code sees one request's rows at a time, never those of another; the estimator is called once for all.
        """
        prepared: list[Any] = []
        tables: list[Any] = []  # of raw rows, for the post-processing
        for rows in requests:
            try:
                made, table = self._prepared(rows)
                prepared.append(made)
                tables.append(table)
            except Failure as failure:
                prepared.append(failure)
            except MemoryError:
                raise  # the worker's end, not a request's
            except Exception as error:  # noqa: BLE001 - whatever the feature code raises
                prepared.append(Failure(f"the feature code raised {type(error).__name__}: {error}"))
        good = [each for each in prepared if not isinstance(each, Failure)]
        if not good:
            return prepared
        together = self._together(good)
        if isinstance(together, Failure) and len(good) > 1:
            # One request's rows must not fail another's: ask for each alone.
            alone = [self._together([each]) for each in good]
        elif isinstance(together, Failure) or len(good) == 1:
            alone = [together]
        else:
            alone, start = [], 0
            for each in good:
                alone.append(together.part(start, start + len(each)))
                start += len(each)
        if self.postprocess is not None:
            alone = [
                each if isinstance(each, Failure) else _post(self.postprocess, each, table)
                for each, table in zip(alone, tables, strict=True)
            ]
        if len(good) == len(prepared):
            return alone
        remaining = iter(alone)
        return [each if isinstance(each, Failure) else next(remaining) for each in prepared]

    def score(self, table: Any) -> Answered:
        """What is answered to a table of raw rows, typed as the signature says; feature code sees all of them at once.

        Raises:
            Failure: the feature code, the model or the post-processing raised, or gave what is no answer.
        """
        try:
            made = self._made(table)
        except (Failure, MemoryError):
            raise
        except Exception as error:
            raise Failure(f"the feature code raised {type(error).__name__}: {error}") from error
        answered = self._together([made])
        if isinstance(answered, Failure):
            raise answered
        return answered if self.postprocess is None else postprocessed(self.postprocess, answered, table)

    def _together(self, prepared: list[Any]) -> Answered | Failure:
        try:
            if len(prepared) == 1:
                return self._predict(prepared[0], len(prepared[0]))
            return self._predict(_stacked(prepared), sum(map(len, prepared)))
        except Failure as failure:
            return failure
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the estimator raises
            return Failure(f"the model raised {type(error).__name__}: {error}")

    def _prepared(self, rows: Rows) -> tuple[Any, Any]:
        """What the estimator takes; and the table of raw rows, if there is any."""
        reader = self.reader
        if self.features is None and self.postprocess is None and reader.numeric:
            return reader.matrix(rows) if isinstance(rows, msgspec.Raw) else reader.matrix_of(rows), None
        table = reader.table_of(unpacked(rows) if isinstance(rows, msgspec.Raw) else rows)
        return self._made(table), table

    def _made(self, table: Any) -> Any:
        """What the estimator takes, of a table of raw rows."""
        if self.features is None:
            return np.column_stack([column.to_numpy() for column in table.columns])
        made = self.features(table)
        if len(made) != len(table):
            raise Failure(f"the feature code made {len(made)} rows of {len(table)}")
        return made

    def _predict(self, rows: Any, count: int) -> Answered:
        if self.classes is None or self.positive is None or not hasattr(self.estimator, "predict_proba"):
            given = self.estimator.predict(rows)
            flat = isinstance(given, np.ndarray) and given.ndim == 1
            predictions = given.tolist() if flat else [_plain(each) for each in given]
            _require(len(predictions) == count, f"the model gave {len(predictions)} answers to {count} rows")
            _require(all(map(_finite, predictions)), "the model answered with a number that is none")
            return Answered(predictions, None)
        chances = np.asarray(self.estimator.predict_proba(rows))
        if count == 1 and chances.shape == (1, len(self.classes)):
            # One row is many times as fast without numpy.
            row = chances[0].tolist()
            _require(all(map(math.isfinite, row)), "the model answered with a probability that is no number")
            return Answered([self.classes[row.index(max(row))]], [row[self.classes.index(self.positive)]])
        _require(chances.shape == (count, len(self.classes)), f"the model gave probabilities of shape {chances.shape}")
        _require(bool(np.isfinite(chances).all()), "the model answered with a probability that is no number")
        positive = chances[:, self.classes.index(self.positive)].tolist()
        return Answered([self.classes[index] for index in chances.argmax(axis=1).tolist()], positive)


def check_golden(model: Model) -> None:
    """Ask the model its golden rows, as one request, as they were when it was packaged.

    Raises:
        Corrupt: it answers otherwise, or not at all.
    """
    rows, expected = model.golden
    if not rows:
        return
    (answers,) = model.answer([rows])
    if isinstance(answers, Failure):
        raise Corrupt(f"the golden rows get no answer: {answers.message}", hint=answers.hint)
    if expected is not None:
        require_same(expected, answers, model.tolerance)


def _post(function: Postprocess, answered: Answered, table: Any) -> Answered | Failure:
    try:
        return postprocessed(function, answered, table)
    except Failure as failure:
        return failure


def _estimator(folder: Path, classes: Sequence[Scalar] | None) -> tuple[Any, str]:
    """The compiled model if it passed its test when it was packaged and can be run here, else the estimator."""
    engine = ""
    if (folder / "model.onnx").exists():
        try:
            return Compiled(folder / "model.onnx", truths=isinstance((classes or [None])[0], bool)), "ONNX Runtime"
        except Exception as error:  # noqa: BLE001 - not installed, or a version that cannot read it: it is the faster way only
            engine = f"the estimator itself, because ONNX Runtime cannot run model.onnx: {error}"
    return flavors.unpickled(folder / "model.pkl"), engine


def _function(folder: Path, reference: str | None) -> Any:
    if reference is None:
        return None
    if (code := str(folder / "code")) not in sys.path:
        sys.path.insert(0, code)
    module, _, function = reference.partition(":")
    return getattr(importlib.import_module(module), function)


def _classes(estimator: Any) -> list[Scalar] | None:
    found = getattr(estimator, "classes_", None)
    return None if found is None else [_plain(each) for each in found]


def _stacked(prepared: list[Any]) -> Any:
    if isinstance(prepared[0], np.ndarray):
        return np.concatenate(prepared)
    import pandas as pd  # noqa: PLC0415 - only feature code that returns its frames needs it

    return pd.concat(prepared, ignore_index=True)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Failure(what)


class _PyFunc:
    """What MLflow's ``pyfunc`` calls."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, data: Any, params: Any = None) -> list[Scalar]:
        (answers,) = self._model.answer([data.to_dict("records")])
        if isinstance(answers, Failure):
            raise answers
        return [each["prediction"] for each in answers]


def _load_pyfunc(path: str) -> _PyFunc:
    """MLflow's entry point (``loader_module`` in ``MLmodel``)."""
    return _PyFunc(Model.load(Path(path)))
