"""Retraining by policy: the code that is in charge, on its data and on what live traffic has taught since.

The working tree has no say in it: what somebody is editing must not go live because the data drifted.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from windlass.capture import code as code_capture
from windlass.capture import data
from windlass.capture.data import Snapshot
from windlass.delivery import releases
from windlass.delivery.strategy import Choice
from windlass.domain.clock import SECOND
from windlass.domain.errors import Conflict, Failure, Invalid, Refused
from windlass.domain.evidence import Verdict
from windlass.domain.names import Reference
from windlass.governance.approvals import Asked
from windlass.monitoring import retraining
from windlass.monitoring.retraining import LEASE, Retraining, RetrainingEvent
from windlass.pipelines import runs
from windlass.registry.models import Version
from windlass.workspace import gating, releasing, training
from windlass.workspace.config import Config, load
from windlass.workspace.layout import CONFIG_FILE
from windlass.workspace.workspace import Workspace


def tick(ws: Workspace, *, holder: str) -> None:
    """Carry out the retraining that is due, if one is; whatever becomes of it is recorded."""
    with ws.database.write() as tx:
        due = retraining.take(tx, holder=holder, at=ws.now())
    if due is None:
        return
    with _held(ws, due, holder):
        try:
            _carry_out(ws, due)
        except Conflict:
            raise
        except Failure as failure:
            with ws.database.write() as tx:
                retraining.move(tx, due, RetrainingEvent.FAIL, reason=failure.message, at=ws.now())


def _carry_out(ws: Workspace, due: Retraining) -> None:
    with ws.database.read() as tx:
        charged = releases.find(tx, ws.objects, due.release)
    version = gating.find_version(ws, f"{charged.model}@{charged.version}")
    with ws.database.read() as tx:
        past = runs.find(tx, version.run)
    with tempfile.TemporaryDirectory(prefix="windlass-retraining-") as temporary:
        folder = Path(temporary)
        code_capture.checkout(ws.layout.root, past.code.snapshot, folder / "code")
        config = load(folder / "code" / CONFIG_FILE)
        snapshots = _snapshots(ws, past.snapshots)
        name = ws.config.retraining.data
        if name not in snapshots:
            raise Invalid(
                f"retraining.data is '{name}', which {version.reference} was not trained on",
                hint=f"it was trained on: {', '.join(snapshots)}",
            )
        snapshots[name] = _with_live_rows(ws, due, snapshots[name], config, folder / "data")
    run = training.train(ws, root=ws.layout.root, config=config, code=past.code, snapshots=snapshots)
    made, _ = training.register(ws, run, config.model.name)
    digest, report = gating.run_gate(ws, made, config.gates)
    _decide(ws, due, config, run.id, made, digest, report.verdict)


def _decide(
    ws: Workspace, due: Retraining, config: Config, run: str, made: Version, gate: str, verdict: Verdict
) -> None:
    """Hold the result, or release it, by the policy."""
    event, reason = RetrainingEvent.HOLD, f"the gate says {verdict}"
    if verdict is Verdict.PASS:
        reason = f"the gate passed; waits for: windlass approve {made.reference}"
        if ws.config.retraining.release == "auto":
            try:
                rollout = releasing.release(
                    ws,
                    made,
                    endpoint=due.endpoint,
                    config=config,
                    clearance=gating.cleared(ws, made, Asked(needed=0)),
                    choice=Choice(),
                    force=False,
                    reason=f"retrained: {due.cause}",
                )
            except (Refused, Conflict) as refusal:
                reason = f"the gate passed, the release did not start: {refusal.message}"
            else:
                event, reason = RetrainingEvent.RELEASE, f"the gate passed; rollout {rollout.id[:8]} has begun"
    with ws.database.write() as tx:
        retraining.move(tx, due, event, reason=reason, at=ws.now(), run=run, reference=made.reference, gate=gate)


def _snapshots(ws: Workspace, trained_on: Mapping[str, str]) -> dict[str, Snapshot]:
    with ws.database.read() as tx:
        found = [data.find(tx, ws.objects, Reference.parse(reference)) for reference in trained_on]
    return {snapshot.name: snapshot for snapshot in found}


def _with_live_rows(ws: Workspace, due: Retraining, snapshot: Snapshot, config: Config, folder: Path) -> Snapshot:
    """The next snapshot of the dataset: what the release in charge was trained on, and the labelled live rows."""
    target = snapshot.target or config.gates.target
    with ws.database.read() as tx:
        rows = retraining.labelled_rows(
            tx, ws.layout.predictions / due.endpoint, endpoint=due.endpoint, position=due.position, target=target
        )
    data.checkout(ws.objects, snapshot, folder)
    folder.chmod(0o755)
    parts = sorted(folder.rglob("*.parquet"))
    if not parts:
        raise Invalid(f"{snapshot.reference} has no Parquet file to take the live rows' types from")
    table = _typed(rows, pq.read_schema(parts[0]))
    pq.write_table(table, folder / f"zz-live-{due.id[:8]}.parquet", compression="zstd")
    added, _ = data.add(
        ws.database,
        ws.objects,
        name=snapshot.name,
        path=folder,
        target=snapshot.target,
        reason=f"live rows added: {due.cause}",
        actor=ws.actor,
        now=ws.now,
        progress=ws.progress,
    )
    return added


def _typed(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Live rows in the types of the dataset; columns that a request does not carry are null."""
    try:
        columns = [pa.array([row.get(field.name) for row in rows], type=field.type) for field in schema]
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise Invalid(f"live rows do not fit the dataset's types: {error}") from None
    return pa.Table.from_arrays(columns, schema=pa.schema([(field.name, field.type) for field in schema]))


@contextmanager
def _held(ws: Workspace, due: Retraining, holder: str) -> Iterator[None]:
    """Renew the lease for as long as the block runs, so that nobody else takes what is not dead."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(LEASE / SECOND / 3):
            with ws.database.write() as tx:
                retraining.renew(tx, due.id, holder=holder, at=ws.now())

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
