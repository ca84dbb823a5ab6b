"""Gating a version: its package in a real worker, its run's held-out rows, the project's policy."""

from __future__ import annotations

import secrets

import pyarrow as pa

from windlass.capture import data, trees
from windlass.delivery.releases import Clearance
from windlass.domain import names
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.ports import Transaction
from windlass.governance import policy as clearance_policy
from windlass.governance.approvals import Asked
from windlass.pipelines import runs
from windlass.registry import models
from windlass.registry.models import Version
from windlass.validation import gate, reports
from windlass.validation.gate import GateReport
from windlass.validation.policy import GatePolicy
from windlass.workspace import packages
from windlass.workspace.config import load
from windlass.workspace.workspace import Workspace

DATASET = "dataset:"


def find_version(ws: Workspace, reference: str) -> Version:
    with ws.database.read() as tx:
        return models.find(tx, ws.objects, names.Reference.parse(reference))


def run_gate(ws: Workspace, version: Version, policy: GatePolicy) -> tuple[str, GateReport]:
    """Run every check of the policy on a version and store the report."""
    measured_on = list[str]()
    evaluation, reference = (_rows(ws, version, name, measured_on) for name in (policy.evaluation, policy.training))
    folder = packages.laid_out(ws, version.package)
    socket = ws.layout.socket(f"gate-{secrets.token_hex(4)}")
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    ws.layout.logs.mkdir(parents=True, exist_ok=True)
    report = gate.run(
        reference=version.reference,
        package=version.package,
        folder=folder,
        evaluation=evaluation,
        training=reference,
        policy=policy,
        python=packages.python_of(ws, version.origin.environment, folder),
        socket=socket,
        log=ws.layout.logs / "gate.log",
        now=ws.now,
        progress=ws.progress,
    )
    saved = reports.save(ws.database, ws.objects, report, measured_on=measured_on, actor=ws.actor, now=ws.now)
    return saved, report


def _rows(ws: Workspace, version: Version, named: str, measured_on: list[str]) -> pa.Table:
    """The rows that ``gates.evaluation`` or ``gates.training`` name: of a snapshot, or of the version's own run."""
    if named.startswith(DATASET):
        return _snapshot(ws, named.removeprefix(DATASET), measured_on)
    hint = f"set gates.evaluation and gates.training in windlass.toml to STEP, STEP/KEY or {DATASET}NAME"
    with ws.database.read() as tx:
        try:
            run = runs.find(tx, version.run)
        except (NotFound, Invalid):
            raise Invalid(
                f"{version.reference} was not made by a pipeline of this project, so it has no artifact '{named}'",
                hint=hint,
            ) from None
    try:
        return runs.table(ws.objects, run, named)
    except NotFound as error:
        raise Invalid(
            f"the gate needs an artifact that run {run.id[:8]} did not make: {error.message}", hint=hint
        ) from None


def _snapshot(ws: Workspace, text: str, measured_on: list[str]) -> pa.Table:
    name, _, path = text.partition("/")
    with ws.database.read() as tx:
        snapshot = data.find(tx, ws.objects, names.Reference.parse(name))
    measured_on.append(snapshot.reference)
    files = [
        each
        for each in trees.manifest(ws.objects, snapshot.tree, under=path).entries
        if each.path.endswith((".parquet", ".csv"))
    ]
    if not files:
        raise Invalid(f"'{DATASET}{text}' has no .parquet or .csv file", hint=f"name one: {DATASET}NAME@VERSION/FILE")
    return pa.concat_tables([_table(ws, each) for each in files], promote_options="permissive")


def _table(ws: Workspace, entry: trees.Entry) -> pa.Table:
    from pyarrow import csv, parquet  # noqa: PLC0415

    with ws.objects.open(entry.digest) as file:
        return parquet.read_table(file) if entry.path.endswith(".parquet") else csv.read_csv(file)


def asked(ws: Workspace) -> Asked:
    """The approvals that policy asks for; read afresh, so that who left a group counts no more from then on."""
    config = load(ws.layout.config)
    group = config.gates.approval_group
    return Asked(needed=config.gates.approvals, group=group, members=config.groups.get(group, ()))


def cleared(ws: Workspace, version: Version, asked: Asked) -> Clearance:
    """The permission to release a version.

    Raises:
        Refused: its gate has not passed, or it lacks approvals; names what is missing and how to get it.
    """
    with ws.database.read() as tx:
        return cleared_in(tx, ws, version, asked)


def cleared_in(tx: Transaction, ws: Workspace, version: Version, asked: Asked) -> Clearance:
    """As ``cleared``, within a transaction: what it says holds as long as that lasts."""
    try:
        report = reports.find(tx, ws.objects, version.reference)
    except NotFound:
        report = None
    return clearance_policy.cleared(tx, version=version, report=report, asked=asked)
