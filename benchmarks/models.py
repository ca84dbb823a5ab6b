"""The models of the serving benchmark, made in a process of their own: `python models.py gbm|forest FOLDER`.

FOLDER gets `model.pkl`, `rows.json` ({"columns", "data", "expected": P(1) of each row}) and two model packages as runs
make them: `package`, and `package-onnx` of the model compiled to ONNX. (The benchmark itself imports none of this:
pages that it shared with a server would make that one's memory look small.)
"""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

FEATURES, TRAINED, ASKED = 30, 5000, 256


def estimator(kind: str) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier

    made = {"gbm": GradientBoostingClassifier, "forest": RandomForestClassifier}[kind]
    return made(n_estimators=100, random_state=0)


def make(kind: str, folder: Path) -> None:
    import pyarrow as pa
    from sklearn.datasets import make_classification

    from windlass.pipelines import package
    from windlass.pipelines.model import Model

    values, labels = make_classification(TRAINED + ASKED, FEATURES, n_informative=12, random_state=0)
    values = values.round(6)
    trained = estimator(kind).fit(values[:TRAINED], labels[:TRAINED])
    folder.mkdir(parents=True)
    (folder / "model.pkl").write_bytes(pickle.dumps(trained, protocol=5))
    columns, asked = [f"x{at}" for at in range(FEATURES)], values[TRAINED:]
    described = {
        "columns": columns,
        "data": asked.tolist(),
        "expected": trained.predict_proba(asked)[:, 1].tolist(),
    }
    (folder / "rows.json").write_text(json.dumps(described))
    arrays = {name: values[:TRAINED, at] for at, name in enumerate(columns)}
    rows = pa.table({**arrays, "y": labels[:TRAINED]})
    for name, onnx in (("package", False), ("package-onnx", True)):
        model = Model(estimator=trained, rows=rows, target="y", positive=1, onnx=onnx)
        package.write(model, folder / name, folder)


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]))
