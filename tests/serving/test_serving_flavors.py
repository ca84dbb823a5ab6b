"""Models as MLflow's client saves them, served without it: the answers are those of its own pyfunc."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from windlass.domain.errors import Failure, Invalid
from windlass.packaging import mlflow as packaging
from windlass.registry import mlmodel
from windlass.serving.model import Model, check_golden

for _needed in ("mlflow", "skops", "xgboost", "lightgbm", "skl2onnx", "onnxruntime"):
    pytest.importorskip(_needed, reason="MLflow's client and what it saves: the groups 'contract', 'models' and 'onnx'")


def _data() -> tuple[Any, Any]:
    import pandas as pd
    from sklearn.datasets import make_classification

    inputs, truth = make_classification(120, 5, random_state=0)
    return pd.DataFrame(inputs, columns=list("cabed")), truth  # in an order that no sorting makes


def _sklearn(inputs: Any, truth: Any, folder: Path, **given: Any) -> None:
    import mlflow
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mlflow.sklearn.save_model(make_pipeline(StandardScaler(), LogisticRegression()).fit(inputs, truth), folder, **given)


def _pickled(inputs: Any, truth: Any, folder: Path, **given: Any) -> None:
    _sklearn(inputs, truth, folder, serialization_format="cloudpickle", **given)


def _xgboost(inputs: Any, truth: Any, folder: Path, **given: Any) -> None:
    import mlflow
    import xgboost

    mlflow.xgboost.save_model(xgboost.XGBClassifier(n_estimators=5).fit(inputs, truth), folder, **given)


def _xgboost_regression(inputs: Any, truth: Any, folder: Path, **given: Any) -> None:
    import mlflow
    import xgboost

    mlflow.xgboost.save_model(xgboost.XGBRegressor(n_estimators=5).fit(inputs, inputs["a"]), folder, **given)


def _xgboost_booster(inputs: Any, truth: Any, folder: Path, **given: Any) -> None:
    import mlflow
    import xgboost

    made = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(inputs, truth), 5)
    mlflow.xgboost.save_model(made, folder, **given)


def _lightgbm(inputs: Any, truth: Any, folder: Path, **given: Any) -> None:
    import lightgbm
    import mlflow

    made = lightgbm.LGBMClassifier(n_estimators=5, verbose=-1).fit(inputs, truth)
    mlflow.lightgbm.save_model(made, folder, **given)


def _lightgbm_booster(inputs: Any, truth: Any, folder: Path, **given: Any) -> None:
    import lightgbm
    import mlflow

    made = lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(inputs, truth), 5)
    mlflow.lightgbm.save_model(made, folder, **given)


def _onnx(inputs: Any, truth: Any, folder: Path, **given: Any) -> None:
    import mlflow
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import RandomForestClassifier

    fitted = RandomForestClassifier(5, random_state=0).fit(inputs.to_numpy(), truth)
    made = convert_sklearn(fitted, initial_types=[("rows", FloatTensorType([None, inputs.shape[1]]))])
    mlflow.onnx.save_model(made, folder, **given)


def _onnx_columns(inputs: Any, truth: Any, folder: Path, **given: Any) -> None:
    import mlflow
    from onnx import TensorProto, helper

    columns = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in inputs.columns]
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])
    graph = helper.make_graph([helper.make_node("Sum", list(inputs.columns), ["y"])], "sums", columns, [answer])
    opset = [helper.make_opsetid("", 17)]
    mlflow.onnx.save_model(helper.make_model(graph, opset_imports=opset, ir_version=9), folder, **given)


SAVED = [
    _sklearn,
    _pickled,
    _xgboost,
    _xgboost_regression,
    _xgboost_booster,
    _lightgbm,
    _lightgbm_booster,
    _onnx,
    _onnx_columns,
]


# MLflow's client warns of what it finds in its own type hints.
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("save", SAVED, ids=lambda save: save.__name__.strip("_"))
def test_a_saved_model_answers_as_pyfunc_does(save: Callable[..., None], tmp_path: Path) -> None:
    import mlflow
    import numpy as np

    inputs, truth = _data()
    folder = tmp_path / "model"
    signature = mlflow.models.infer_signature(inputs, truth)
    save(inputs, truth, folder, signature=signature, input_example=inputs.head(3))
    described = mlmodel.parse((folder / "MLmodel").read_bytes())
    for name, data in packaging.described(described, (folder / "input_example.json").read_bytes()).items():
        (folder / name).write_bytes(data)
    model = Model.load(folder)
    assert len(model.golden[0]) == 3
    check_golden(model)
    (answers,) = model.answer([json.loads(inputs.to_json(orient="records", double_precision=15))])
    assert not isinstance(answers, Failure), answers
    expected = mlflow.pyfunc.load_model(str(folder)).predict(inputs)
    if hasattr(expected, "columns"):
        expected = expected.iloc[:, 0]  # of ONNX, all outputs; the first is the prediction
    expected = np.asarray(expected, dtype=float)
    assert np.allclose([each["prediction"] for each in answers], expected, atol=1e-6)


@pytest.mark.parametrize("options", [{"data": "../model"}, {"data": "none"}, {"data": "f", "model_class": "os.system"}])
def test_what_a_description_names_stays_in_its_folder_and_is_a_model(tmp_path: Path, options: dict[str, str]) -> None:
    from windlass.serving import flavors

    (tmp_path / "model").write_text("")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "f").write_text("")
    with pytest.raises(Invalid):
        flavors.load(tmp_path / "package", "xgboost", options)
