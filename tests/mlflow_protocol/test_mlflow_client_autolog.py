"""Autologging: what libraries log by themselves arrives, whichever server it goes to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")  # the client's own, and the libraries'

Name = Callable[[str], str]


@pytest.fixture
def data() -> tuple[Any, Any]:
    import numpy as np

    rows = np.random.default_rng(1).normal(size=(60, 3))
    return rows, (rows[:, 0] > 0).astype(int)


@pytest.fixture
def logging(fluent: Any, unique: Name) -> Iterator[Any]:
    fluent.set_experiment(unique("autolog"))
    yield fluent
    fluent.autolog(disable=True)


def only_run(fluent: Any) -> Any:
    (run,) = fluent.search_runs(output_format="list")
    return fluent.get_run(run.info.run_id)


def test_scikit_learn(logging: Any, data: tuple[Any, Any]) -> None:
    from sklearn.linear_model import LogisticRegression

    # By the default, skops, a model's types would have to be trusted by name before it is loaded.
    logging.sklearn.autolog(serialization_format="cloudpickle")
    fitted = LogisticRegression(C=0.5).fit(*data)
    run = only_run(logging)
    assert (run.info.status, run.data.params["C"]) == ("FINISHED", "0.5")
    assert run.data.metrics["training_accuracy_score"] > 0.8
    assert run.inputs.dataset_inputs[0].tags[0].value == "train"
    (output,) = run.outputs.model_outputs
    loaded = logging.pyfunc.load_model(f"models:/{output.model_id}")
    assert (loaded.predict(data[0]) == fitted.predict(data[0])).all()


def test_a_search_has_nested_runs(logging: Any, data: tuple[Any, Any]) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    logging.sklearn.autolog(log_models=False)
    GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(*data)
    runs = logging.search_runs(output_format="list")
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert (len(runs), len(children)) == (3, 2)
    assert {run.data.params["C"] for run in children} == {"0.1", "1.0"}


def test_xgboost(logging: Any, data: tuple[Any, Any]) -> None:
    xgboost = pytest.importorskip("xgboost", reason="what models may be made with is in the group 'models'")
    logging.xgboost.autolog(log_models=False)
    matrix = xgboost.DMatrix(data[0], label=data[1])
    xgboost.train(
        {"objective": "binary:logistic", "max_depth": 2}, matrix, 5, evals=[(matrix, "train")], verbose_eval=False
    )
    run = only_run(logging)
    assert run.data.params["max_depth"] == "2"
    assert len(logging.MlflowClient().get_metric_history(run.info.run_id, "train-logloss")) == 5


def test_lightgbm(logging: Any, data: tuple[Any, Any]) -> None:
    lightgbm = pytest.importorskip("lightgbm", reason="what models may be made with is in the group 'models'")
    logging.lightgbm.autolog(log_models=False)
    rows = lightgbm.Dataset(data[0], label=data[1])
    lightgbm.train(
        {"objective": "binary", "num_leaves": 4, "verbose": -1}, rows, 5, valid_sets=[rows], valid_names=["train"]
    )
    run = only_run(logging)
    assert run.data.params["num_leaves"] == "4"
    assert len(logging.MlflowClient().get_metric_history(run.info.run_id, "train-binary_logloss")) == 5
