"""Runs of the pipeline: what was asked, what each step did and why, and everything that the result came from."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

from windlass.capture.code import Code
from windlass.domain import digest, ledger
from windlass.domain.errors import Invalid, NotFound
from windlass.domain.ports import ObjectStore, Transaction
from windlass.registry import lineage
from windlass.registry.models import Origin

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
# Deleted is what tracking calls so.
_STAYS = "NOT EXISTS (SELECT 1 FROM runs WHERE runs.run_id = pipeline_runs.id AND runs.stage = 'deleted')"


class StepState(StrEnum):
    DONE = "done"
    CACHED = "cached"
    FAILED = "failed"
    SKIPPED = "skipped"  # something that it needs failed
    PLANNED = "planned"  # a dry run: it would run


class RunStatus(StrEnum):
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    PLANNED = "planned"  # a dry run: nothing was done, and nothing recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """``cause``: why it ran, or why it did not; ``outputs``: artifact -> digest; ``needs``: the steps before it."""

    name: str
    state: StepState
    recipe: str
    cause: str
    seconds: float = 0.0
    attempts: int = 0
    memory: int = 0  # the peak of its process, in bytes
    outputs: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    needs: tuple[str, ...] = ()
    parts: Mapping[str, Any] | None = None  # of its recipe; only in a dry run


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run; its record holds the whole provenance of what it made."""

    id: str
    status: RunStatus
    steps: tuple[StepResult, ...]
    snapshots: Mapping[str, str]  # dataset@version -> tree
    code: Code
    closure: str  # digest of what the steps that made the model depend on in the project
    environment: str
    host: Mapping[str, Any]  # facts: they explain a difference, and are no part of a recipe
    config: Mapping[str, Any]
    seed: int
    threads: int
    variables: Mapping[str, str]
    package: str | None
    signature: str | None
    metrics: Mapping[str, float]
    at: int
    seconds: float
    actor: str
    experiment: str
    format: int = FORMAT


def begin(tx: Transaction, run: Run) -> None:
    """Record that a run has started."""
    tx.execute(
        "INSERT INTO pipeline_runs (id, status, record, at) VALUES (?, ?, ?, ?)",
        (run.id, run.status, digest.canonical(asdict(run)).decode(), run.at),
    )


def end(tx: Transaction, objects: ObjectStore, run: Run) -> None:
    """Record how a run ended; from now on its record cannot change unseen."""
    body = digest.canonical(asdict(run))
    tx.execute("UPDATE pipeline_runs SET status = ?, record = ? WHERE id = ?", (run.status, body.decode(), run.id))
    ledger.transition(
        tx,
        subject=f"run/{run.id}",
        action="run",
        before=None,
        after=objects.put(body),
        actor=run.actor,
        reason=run.status,
        at=run.at + int(run.seconds * 1e6),
    )
    for snapshot in run.snapshots:
        lineage.link(tx, f"run/{run.id}", f"snapshot/{snapshot}", "read")
    lineage.link(tx, f"run/{run.id}", f"environment/{run.environment}", "ran in")
    if run.code.commit:
        lineage.link(tx, f"run/{run.id}", f"commit/{run.code.commit}", "ran code of")


def find(tx: Transaction, run: str | None = None) -> Run:
    """A run by its id or the beginning of it; the latest if none is named.

    Raises:
        NotFound: no such run.
        Invalid: more than one begins so.
    """
    if run is None:
        rows = tx.rows(f"SELECT record FROM pipeline_runs WHERE {_STAYS} ORDER BY at DESC, id LIMIT 1")
    elif run.isalnum():
        rows = tx.rows("SELECT record FROM pipeline_runs WHERE id LIKE ? LIMIT 2", (f"{run}%",))
    else:
        rows = []
    if not rows:
        raise NotFound(
            f"no run '{run}'" if run else "no run yet", hint="`windlass runs` lists them; `windlass run` makes one"
        )
    if len(rows) > 1:
        raise Invalid(f"more than one run begins with '{run}'", hint="give more of its id")
    return _load(rows[0]["record"])


def ls(tx: Transaction, limit: int) -> list[Run]:
    """Runs that are not deleted, newest first."""
    rows = tx.rows(f"SELECT record FROM pipeline_runs WHERE {_STAYS} ORDER BY at DESC, id LIMIT ?", (max(0, limit),))
    return [_load(row["record"]) for row in rows]


def table(objects: ObjectStore, run: Run, artifact: str) -> pa.Table:
    """A table that a run made: STEP, or STEP/KEY where the step returned several.

    Raises:
        NotFound: it made no such artifact.
        Invalid: it is no table.
    """
    import pyarrow as pa  # noqa: PLC0415 - a run with nothing to do has to be quick
    import pyarrow.parquet as pq  # noqa: PLC0415

    outputs = {name: each for step in run.steps for name, each in step.outputs.items()}
    if artifact not in outputs:
        raise NotFound(f"no artifact '{artifact}' (it has: {', '.join(sorted(outputs)) or 'none'})")
    try:
        return pq.read_table(io.BytesIO(objects.get(outputs[artifact])))
    except pa.ArrowInvalid:
        raise Invalid(f"artifact '{artifact}' of run {run.id[:8]} is no table") from None


def origin(run: Run) -> Origin:
    """What determines the model that a run made."""
    return Origin(
        data=dict(run.snapshots),
        code=run.closure,
        environment=run.environment,
        config=dict(run.config),
        seed=run.seed,
    )


def _load(record: str) -> Run:
    return msgspec.convert(json.loads(record), Run)
