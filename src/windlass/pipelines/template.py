"""The files that a new project starts with (`windlass init`): small, commented, and ready to run on one's own table."""

from __future__ import annotations

_CONFIG = """\
# A Windlass project. What is left out has its default.

[project]
name = "{name}"

# Data: a named line of immutable snapshots; put Parquet or CSV files there, then `windlass data add --name rows`.
[data.rows]
path = "data"
target = "target"

# Pipeline: the functions marked with @step; a step that did not change is not run again.
[pipeline]
file = "pipeline.py"
seed = 1
threads = 1
env = [] # environment variables that take part in the recipe

[pipeline.config] # given to steps by the name of their parameter
test_share = 0.2

# A script is a step as it is; what it logs through mlflow is kept with the run.
# [pipeline.commands.legacy]
# run = ["python", "train.py"]
# needs = ["rows"]

# Model: which step returns it, and which its metrics.
[model]
name = "{name}"
step = "train"
metrics = "evaluate"
intended_use = ""

# Groups of people, for approvals.
# [groups]
# leads = ["alex", "sam"]

# Registry: aliases that stand only for versions that are gated and approved, as the stage Production does.
[registry]
protected_aliases = ["production"]

# Gates: what a version must show before anybody may release it.
[gates]
evaluation = "prepare/test"
training = "prepare/train"
target = "target"
approvals = 1 # people other than the one who registered the version
# approval_group = "leads" # only people of this group of [groups]

[gates.metrics]
accuracy = {{ min = 0.7 }}

[gates.drift] # of the evaluation rows against the training rows
alpha = 0.05
min_effect = 0.1

[gates.fairness] # name the protected columns, e.g. columns = ["sex"]
columns = []
max_difference = 0.2
min_group = 100

[gates.corner_cases]
max_failure_rate = 0.0

[gates.latency]
p50_ms = 50
p99_ms = 250

# Endpoint: a stable name that serves exactly one release.
[endpoint]
name = "{name}"
timeout_ms = 2000

# Rollout: a phase ends when the evidence shows that the candidate fails at most `margin` more often than the stable
# release; evidence of harm at any time rolls back. In place of `phases`: steps = [0.01, 0.1, 1] or preset = "low",
# "medium" or "high", by how much harm a bad release could do; `windlass rollout plan` shows what that means.
[rollout]
alpha = 0.05
max_ratio = 1.25
phases = [
    {{ kind = "shadow", margin = 0.02, users = 300 }},
    {{ kind = "canary", weight = 0.01, margin = 0.05 }},
    {{ kind = "canary", weight = 0.05, margin = 0.03 }},
    {{ kind = "canary", weight = 0.25, margin = 0.02 }},
    {{ kind = "canary", weight = 1.0, margin = 0.01 }},
]

# Rollback: what takes a release back without a person, besides the evidence of its rollout.
[rollback]
on_crash = true # its worker crashes again and again
alertmanager = false # alerts whose label `endpoint` names the endpoint

# Monitors: live drift by windows of answered rows.
[monitors]
window_rows = 2000
alpha = 0.01
min_effect = 0.1

# Retraining: the code in charge, on its data and the labelled live rows.
[retraining]
on = [] # or ["drift"]
data = "rows"
min_labels = 2000
cooldown_minutes = 60
release = "approval" # or "auto": released when its gate passes

# Retention: for how many days what is deleted can be restored; after that `windlass purge` frees its space.
[retention]
deleted_days = 30
uploads_days = 7
step_cache_days = 0 # 0: kept for ever
webhook_days = 90

# Webhooks: tell another system of transitions, signed with the secret in this environment variable.
# [webhooks.chat]
# url = "https://hooks.example/windlass"
# events = ["version/*:register", "endpoint/*"]
# secret_env = "CHAT_HOOK_SECRET"
"""

_PIPELINE = '''\
"""Steps are plain functions: parameters name what they need, and what they return is kept."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score

import features
from windlass import Model, step

TARGET = "target"


@step
def prepare(rows: Path, test_share: float, seed: int) -> dict[str, pa.Table]:
    """Read all files and set test rows aside."""
    tables = [pa.parquet.read_table(file) for file in sorted(rows.glob("*.parquet"))]
    tables += [pa.csv.read_csv(file) for file in sorted(rows.glob("*.csv"))]
    table = pa.concat_tables(tables)
    test = np.random.default_rng(seed).random(table.num_rows) < test_share
    return {"train": table.filter(pa.array(~test)), "test": table.filter(pa.array(test))}


@step
def train(prepare: dict[str, pa.Table], seed: int) -> Model:
    """Fit a model on the features of the training rows."""
    rows = prepare["train"]
    estimator = HistGradientBoostingClassifier(early_stopping=False, random_state=seed)
    estimator.fit(features.transform(rows.drop_columns([TARGET])), rows[TARGET].to_numpy())
    return Model(estimator=estimator, features="features:transform", rows=rows, target=TARGET, positive=1)


@step
def evaluate(prepare: dict[str, pa.Table], train: Model) -> dict[str, float]:
    """Measure the model on the test rows."""
    rows = prepare["test"]
    return {"accuracy": accuracy_score(rows[TARGET].to_numpy(), train.predict(rows))}
'''

_FEATURES = '''\
"""What the model sees of a row. The same code runs in training and in serving."""

import numpy as np
import pyarrow as pa


def transform(rows: pa.Table) -> np.ndarray:
    """Every column as it is, in the order of their names; they have to be numbers."""
    return np.column_stack([rows[name].to_numpy() for name in sorted(rows.column_names)])
'''

_IGNORED = """\
# Data is versioned by `windlass data add`, not by Git; .windlass/ holds what Windlass keeps.
data/
.windlass/
__pycache__/
"""


def files(name: str) -> dict[str, str]:
    """Path -> content, for a project of this name."""
    return {
        "windlass.toml": _CONFIG.format(name=name),
        "pipeline.py": _PIPELINE,
        "features.py": _FEATURES,
        ".gitignore": _IGNORED,
    }
