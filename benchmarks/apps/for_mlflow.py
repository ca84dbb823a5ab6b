"""Saves the model as MLflow serves it, in MLflow's environment: `python for_mlflow.py MODEL.pkl ROWS.json FOLDER`."""

import json
import pickle
import sys
from pathlib import Path

import mlflow.sklearn
import numpy as np
from mlflow.models import infer_signature

with Path(sys.argv[1]).open("rb") as file:
    model = pickle.load(file)
rows = json.loads(Path(sys.argv[2]).read_text())
values = np.array(rows["data"])
# A tensor and not named columns: with those, and a frame for each request, MLflow takes five times as long.
mlflow.sklearn.save_model(
    model, sys.argv[3], signature=infer_signature(values, model.predict_proba(values)),
    pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle",
)  # fmt: skip
