"""Small real packages of models that behave, and of models that do not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from sklearn.linear_model import LogisticRegression

from windlass.pipelines import package
from windlass.pipelines.model import Model

FEATURES = """
import time
import numpy as np
from sklearn.linear_model import LogisticRegression

held = []

def eat(megabytes):
    held.append(np.ones((megabytes, 1 << 17)))

def answer_nan():
    LogisticRegression.predict_proba = lambda self, rows: np.full((len(rows), 2), np.nan)

def transform(rows):
    x = rows["x"].to_numpy()
    {fault}
    return np.column_stack([x, rows["y"].to_numpy()])
"""


def build(folder: Path, fault: str = "pass") -> Path:
    """A package of a logistic regression over x and y; ``fault`` is a statement of its feature code, over the array x.

    Golden rows lie between -5 and 5, so that ``if x[0] > 9`` is a fault only for who asks for it.
    """
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=200), rng.integers(0, 5, size=200)
    rows = pa.table({"x": x, "y": y, "t": (x > 0).astype(int)})
    root = folder.with_name(f"{folder.name}-code")
    root.mkdir(parents=True)
    (root / "features_of_fleet.py").write_text(FEATURES.format(fault="pass"))
    sys.path.insert(0, str(root))
    try:
        estimator = LogisticRegression().fit(np.column_stack([x, y]), rows["t"].to_numpy())
        model = Model(estimator=estimator, features="features_of_fleet:transform", rows=rows, target="t", positive=1)
        package.write(model, folder, root)
    finally:
        sys.path.remove(str(root))
        sys.modules.pop("features_of_fleet", None)
    (folder / "code" / "features_of_fleet.py").write_text(FEATURES.format(fault=fault))
    return folder
