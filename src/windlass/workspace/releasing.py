"""Putting a version into traffic: the release is made of the version and of the project's policies."""

from __future__ import annotations

import secrets
from dataclasses import asdict

from windlass.delivery import releases
from windlass.delivery.releases import Clearance
from windlass.delivery.rollouts import Rollout
from windlass.delivery.strategy import Choice
from windlass.domain.release import Release
from windlass.registry.models import Version
from windlass.serving import log as prediction_log
from windlass.workspace.config import Config
from windlass.workspace.workspace import Workspace


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
    """Start the rollout of a cleared version; its worker comes up, and evidence moves it on."""
    bundle = Release(
        endpoint=endpoint,
        model=version.model,
        version=version.semver,
        package=version.package,
        environment=version.origin.environment,
        gate_report=clearance.gate_report,
        serving={"timeout_ms": config.endpoint.timeout_ms},
        monitors=asdict(config.monitors),
        rollback=asdict(config.rollout),
    )
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
