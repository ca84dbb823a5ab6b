"""Run by the last 2.x client, in an environment of its own: python older_client.py URL NAME; prints what it saw."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric, Param, RunTag, ViewType
from sklearn.linear_model import LinearRegression

url, name = sys.argv[1:]
mlflow.set_tracking_uri(url)
mlflow.set_registry_uri(url)
client = MlflowClient()
saw: dict[str, object] = {"version": mlflow.__version__}

experiment = mlflow.set_experiment(name).experiment_id
client.set_experiment_tag(experiment, "team", "é")
client.rename_experiment(experiment, f"{name} renamed")
saw["experiment"] = [client.get_experiment(experiment).name, client.get_experiment(experiment).tags["team"]]

rows = np.arange(20.0).reshape(10, 2)
fitted = LinearRegression().fit(rows, rows @ [1.0, 2.0])
with mlflow.start_run(run_name="parent") as parent, mlflow.start_run(run_name="child", nested=True) as child:
    mlflow.log_params({"depth": 3, "kind": "tree"})
    for step, value in enumerate([0.5, math.nan, 0.25]):
        mlflow.log_metric("loss", value, step=step)
    mlflow.set_tags({"t": "1", "gone": "x"})
    mlflow.delete_tag("gone")
    mlflow.log_input(mlflow.data.from_pandas(pd.DataFrame({"a": [1.0]}), name="ds"), context="training")
    mlflow.log_text("hello", "notes/a.txt")
    mlflow.sklearn.log_model(fitted, "model", registered_model_name=name, pip_requirements=["scikit-learn"])
run = child.info.run_id
client.log_batch(run, [Metric("b", 1.0, 1, 0)], [Param("p", "1")], [RunTag("u", "2")])
got = client.get_run(run)
saw["run"] = [got.info.status, got.data.params, got.data.metrics, got.data.tags["t"], "gone" in got.data.tags]
saw["history"] = [repr(point.value) for point in client.get_metric_history(run, "loss")]
saw["inputs"] = [each.dataset.name for each in got.inputs.dataset_inputs]
saw["parent"] = mlflow.get_parent_run(run).info.run_id == parent.info.run_id
found = mlflow.search_runs([experiment], "metrics.loss < 1 AND params.kind = 'tree'", order_by=["metrics.loss DESC"])
saw["found"] = list(found["tags.mlflow.runName"])
saw["artifacts"] = sorted(item.path for item in client.list_artifacts(run))
saw["text"] = mlflow.artifacts.load_text(f"{got.info.artifact_uri}/notes/a.txt")

client.set_registered_model_alias(name, "m", "1")
client.set_model_version_tag(name, "1", "checked", "yes")
client.transition_model_version_stage(name, "1", "Staging")
version = client.get_model_version_by_alias(name, "m")
saw["version of model"] = [int(version.version), version.current_stage, version.tags["checked"], version.run_id == run]
saw["latest"] = [int(each.version) for each in client.get_latest_versions(name, ["Staging"])]
loaded = mlflow.pyfunc.load_model(f"models:/{name}@m")
saw["predicts"] = bool(np.allclose(loaded.predict(rows), fitted.predict(rows)))
saw["versions"] = [int(each.version) for each in client.search_model_versions(f"name = '{name}'")]
saw["models"] = [each.name for each in client.search_registered_models(f"name = '{name}'")]

with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "x").write_bytes(b"x" * 100_000)
    client.log_artifacts(run, folder, "folder")
    (Path(folder) / "back").mkdir()
    back = Path(client.download_artifacts(run, "folder", str(Path(folder) / "back")))
    saw["there and back"] = (back / "x").stat().st_size

errors = []
for wrong in (
    lambda: client.get_run("0" * 32), lambda: client.log_param(run, "p", "2"), lambda: client.get_experiment("999999"),
    lambda: client.get_registered_model("nobody"), lambda: client.create_registered_model(name),
    lambda: client.search_runs([experiment], "garbage"), lambda: client.get_model_version_by_alias(name, "nobody"),
):  # fmt: skip
    try:
        wrong()
        errors.append("none")
    except MlflowException as error:
        errors.append(error.error_code)
saw["errors"] = errors
client.delete_run(run)
saw["deleted"] = [each.info.run_name for each in client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)]
client.restore_run(run)
client.delete_model_version(name, "1")
client.delete_registered_model(name)
client.delete_experiment(experiment)
print(json.dumps(saw))
