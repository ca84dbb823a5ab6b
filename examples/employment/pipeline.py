"""Does a person work? Trained on the American Community Survey, a file a year.

Each step is a plain function: its parameters name what it needs, and what it returns is kept. `windlass run` runs
those whose code, data, environment, config or seed changed.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score, roc_auc_score

import features
from windlass import Model, step

TARGET = "employed"


@step
def prepare(acs: Path, test_share: float, seed: int) -> dict[str, pa.Table]:
    """Put all years together and set test rows aside."""
    years = [pq.read_table(file) for file in sorted(acs.glob("*.parquet"))]
    people = pa.concat_tables(years).drop_columns(["year"])
    test = np.random.default_rng(seed).random(people.num_rows) < test_share
    return {"train": people.filter(pa.array(~test)), "test": people.filter(pa.array(test))}


@step(retries=1, timeout_seconds=600)
def train(prepare: dict[str, pa.Table], trees: int, seed: int) -> Model:
    """Fit gradient boosting on the features of the training rows."""
    rows = prepare["train"]
    estimator = HistGradientBoostingClassifier(max_iter=trees, early_stopping=False, random_state=seed)
    estimator.fit(features.transform(rows), rows[TARGET].to_numpy())
    return Model(estimator=estimator, features="features:transform", rows=rows, target=TARGET, positive=1)


@step
def evaluate(prepare: dict[str, pa.Table], train: Model) -> dict[str, float]:
    """Measure the model on the test rows."""
    rows = prepare["test"]
    truth = rows[TARGET].to_numpy()
    return {
        "accuracy": accuracy_score(truth, train.predict(rows)),
        "roc_auc": roc_auc_score(truth, train.probability(rows)),
    }
