"""Gating a version: its package in a real worker, its run's held-out rows, the project's policy."""

from __future__ import annotations

import secrets

from windlass.delivery.releases import Clearance
from windlass.domain import names
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.ports import Transaction
from windlass.governance import policy as clearance_policy
from windlass.pipelines import runs
from windlass.registry import models
from windlass.registry.models import Version
from windlass.validation import gate, reports
from windlass.validation.gate import GateReport
from windlass.validation.policy import GatePolicy
from windlass.workspace import packages
from windlass.workspace.workspace import Workspace


def find_version(ws: Workspace, reference: str) -> Version:
    with ws.database.read() as tx:
        return models.find(tx, ws.objects, names.Reference.parse(reference))


def run_gate(ws: Workspace, version: Version, policy: GatePolicy) -> tuple[str, GateReport]:
    """Run every check of the policy on a version and store the report."""
    with ws.database.read() as tx:
        run = runs.find(tx, version.run)
    try:
        evaluation = runs.table(ws.objects, run, policy.evaluation)
        reference = runs.table(ws.objects, run, policy.training)
    except NotFound as error:
        raise Invalid(
            f"the gate needs an artifact that run {run.id[:8]} did not make: {error.message}",
            hint="set gates.evaluation and gates.training in windlass.toml to STEP or STEP/KEY",
        ) from None
    socket = ws.layout.socket(f"gate-{secrets.token_hex(4)}")
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    ws.layout.logs.mkdir(parents=True, exist_ok=True)
    report = gate.run(
        reference=version.reference,
        package=version.package,
        folder=packages.laid_out(ws, version.package),
        evaluation=evaluation,
        training=reference,
        policy=policy,
        python=packages.python_of(ws, version.origin.environment),
        socket=socket,
        log=ws.layout.logs / "gate.log",
        now=ws.now,
        progress=ws.progress,
    )
    return reports.save(ws.database, ws.objects, report, actor=ws.actor, now=ws.now), report


def cleared(ws: Workspace, version: Version, needed: int) -> Clearance:
    """The permission to release a version.

    Raises:
        Refused: its gate has not passed, or it lacks approvals; names what is missing and how to get it.
    """
    with ws.database.read() as tx:
        return cleared_in(tx, ws, version, needed)


def cleared_in(tx: Transaction, ws: Workspace, version: Version, needed: int) -> Clearance:
    """As ``cleared``, within a transaction: what it says holds as long as that lasts."""
    try:
        report = reports.find(tx, ws.objects, version.reference)
    except NotFound:
        report = None
    return clearance_policy.cleared(tx, version=version, report=report, needed=needed)
