"""MLflow's calls on registered models and their versions."""

from __future__ import annotations

from windlass.server.mlflow.edge import Call

CALLS: dict[tuple[str, str], Call] = {}
