"""Putting a version into traffic: the release is made of the version and of the project's policies."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict

from windlass.capture import trees
from windlass.delivery import releases
from windlass.delivery.alertmanager import Means
from windlass.delivery.config import PredictionsConfig
from windlass.delivery.releases import Clearance
from windlass.delivery.rollouts import Rollout
from windlass.delivery.strategy import Choice
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.release import Release
from windlass.registry.models import Version
from windlass.serving import log as prediction_log
from windlass.workspace import golden
from windlass.workspace.config import Config
from windlass.workspace.workspace import Workspace

ROLLBACK_SECONDS = 60.0  # how long a release may take to wake before the one before it is tried


def release(
    ws: Workspace,
    version: Version,
    *,
    endpoint: str,
    config: Config,
    clearance: Clearance,
    choice: Choice,
    force: bool,
    reason: str,
) -> Rollout:
    """Start the rollout of a cleared version; its worker comes up, and evidence moves it on.

    Raises:
        Invalid: the prediction log is to withhold a column that the model does not have; or a signal of the project's
            own cannot be computed of what the model answers.
    """
    if signals := config.rollout.signals.custom:
        from windlass.delivery import custom  # noqa: PLC0415 - DuckDB's weight, for those who have such signals

        asked = golden.first(ws, version.package)
        if asked is not None:
            custom.check(signals, *asked)
    bundle = bundled(ws, version, endpoint=endpoint, config=config, clearance=clearance)
    return releases.release(
        ws.database,
        ws.objects,
        release=bundle,
        clearance=clearance,
        policy=config.rollout,
        choice=choice,
        force=force,
        actor=ws.actor,
        reason=reason,
        now=ws.now,
        socket=ws.layout.worker_socket,
        position=str(prediction_log.end(ws.layout.predictions / endpoint)),
        new_id=lambda: secrets.token_hex(8),
    )


def bundled(ws: Workspace, version: Version, *, endpoint: str, config: Config, clearance: Clearance) -> Release:
    """All that switches together.

    Raises:
        Invalid: the prediction log is to withhold a column that the model does not have.
    """
    # Who keeps what is for the project to say now, not for the code that a version was trained by.
    predictions = ws.config.predictions
    _require_columns(ws, version, predictions)
    return Release(
        endpoint=endpoint,
        model=version.model,
        version=version.semver,
        package=version.package,
        environment=version.origin.environment,
        gate_report=clearance.gate_report,
        serving={
            "timeout_ms": config.endpoint.timeout_ms,
            "log": asdict(predictions.policy),
            **config.serving.as_released(),
        },
        monitors=asdict(config.monitors),
        rollback=asdict(config.rollback),
    )


def _require_columns(ws: Workspace, version: Version, config: PredictionsConfig) -> None:
    """A misspelt column would be logged in the clear."""
    if not (config.drop or config.hash):
        return
    try:
        described = json.loads(trees.read(ws.objects, version.package, "windlass.json"))
    except NotFound:  # what MLflow's clients logged without a signature takes any column
        return
    known = [column["name"] for column in described["signature"]["inputs"]]
    for key, columns in (("drop", config.drop), ("hash", config.hash)):
        for column in columns:
            if column not in known:
                raise Invalid(
                    f"predictions.{key} names '{column}', which {version.model}@{version.semver} has no input of",
                    hint=f"its inputs: {', '.join(known)[:300]}",
                )


def means(ws: Workspace) -> Means:
    """What a rollback needs of the workspace."""
    return Means(
        gateway_socket=ws.layout.socket("gateway"),
        socket=ws.layout.worker_socket,
        revalidate=lambda release: golden.revalidate(ws, release),
        wait_seconds=ROLLBACK_SECONDS,
    )
