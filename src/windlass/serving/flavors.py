"""Models in MLflow's format, loaded without importing mlflow where that is possible: it takes seconds.

As in ``model``: a pickle runs code, and is read only from a folder whose every byte was held against its digest.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from windlass.domain.errors import Invalid
from windlass.serving.compiled import Compiled

Rows = Callable[[Any], Any]
_NUMPY = {"long": "int64", "integer": "int32", "double": "float64", "float": "float32"}


def load(folder: Path, flavor: str, options: Mapping[str, str]) -> Any:
    """The model of a package. Raises whatever its code raises; Invalid: it names a file that is not there."""
    match flavor:
        case "sklearn":
            return _serialized(_file(folder, options.get("pickled_model", "model.pkl")), options)
        case "lightgbm":
            file = _file(folder, options.get("data", ""))
            if not options.get("model_class", "").endswith(".Booster"):
                return _serialized(file, options)
            import lightgbm  # noqa: PLC0415 - of the model's environment

            return lightgbm.Booster(model_file=str(file))
        case "onnx":
            return Compiled(_file(folder, options.get("data", "")))
        case "xgboost":
            return _xgboost(_file(folder, options.get("data", "")), options)
        case _:
            import mlflow.pyfunc  # noqa: PLC0415 - whatever is not known here, the model's own mlflow loads

            return mlflow.pyfunc.load_model(str(folder))


def rows_of(types: Sequence[Sequence[str]]) -> Rows:
    """From a table to what the model was trained on: a frame with its columns' own types."""

    def rows(table: Any) -> Any:
        frame = table.select([name for name, _ in types]).to_pandas()
        for name, kind in types:
            wanted = _NUMPY.get(kind)
            if wanted is not None and not (wanted.startswith("int") and frame[name].isna().any()):
                frame[name] = frame[name].astype(wanted)
        return frame

    return rows


def unpickled(file: Path) -> Any:
    """The object in a pickle."""
    data = file.read_bytes()
    if b"sklearn" in data:
        _import_sklearn()
    return pickle.loads(data)  # noqa: S301 - see the module's text


def _import_sklearn() -> None:
    """Import scikit-learn without pandas, and with that without pyarrow: 65 MB and 0.3 s.

    It imports pandas, if that is installed, and does nothing with it then: whatever needs pandas later imports it.
    """
    if "sklearn" in sys.modules or "pandas" in sys.modules:
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]  # to import it is an ImportError now
    try:
        import sklearn  # noqa: F401, PLC0415 - of the model's environment
    except ImportError:
        pass  # said by the pickle, which names what it needs
    finally:
        del sys.modules["pandas"]


def _serialized(file: Path, options: Mapping[str, str]) -> Any:
    if options.get("serialization_format") == "skops":
        import skops.io  # noqa: PLC0415 - of the model's environment

        # All of its types are trusted, as a pickle's are: by the digest of the file.
        return skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))
    return unpickled(file)


def _xgboost(file: Path, options: Mapping[str, str]) -> Any:
    import xgboost  # noqa: PLC0415 - of the model's environment

    name = options.get("model_class", "").rpartition(".")[2]
    kind = getattr(xgboost, name, None)
    if not (isinstance(kind, type) and issubclass(kind, xgboost.Booster | xgboost.XGBModel)):
        raise Invalid(f"'{name[:80]}' is no model of xgboost")
    model = kind()
    model.load_model(str(file))
    return _Booster(model) if kind is xgboost.Booster else model


class _Booster:
    """xgboost's own model, which takes nothing but its own matrix."""

    def __init__(self, booster: Any) -> None:
        self._booster = booster

    def predict(self, rows: Any) -> Any:
        import xgboost  # noqa: PLC0415

        return self._booster.predict(xgboost.DMatrix(rows))


def _file(folder: Path, name: str) -> Path:
    found = (folder / name).resolve()
    if not name or not found.is_relative_to(folder.resolve()) or not found.is_file():
        raise Invalid(f"the package has no file '{name[:80]}'")
    return found
