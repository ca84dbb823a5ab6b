"""The operation that scores a file of rows."""

from __future__ import annotations

from dataclasses import dataclass

from windlass.domain.errors import Invalid
from windlass.workspace import scoring
from windlass.workspace.operation import operation
from windlass.workspace.scoring import Scored
from windlass.workspace.workspace import Workspace

MOST_WORKERS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Predict:
    """``source`` and ``target``: files, by their suffix Parquet, CSV or JSON lines; ``source`` may be a snapshot's, as
    windlass://NAME@VERSION/PATH. ``workers`` 0: one a processor. ``on_error``: "fail", or "null" and a column "error".
    """

    reference: str
    source: str
    target: str
    columns: tuple[str, ...] = ()
    batch_rows: int = 10_000
    workers: int = 0
    on_error: str = "fail"
    force: bool = False


@operation("model.predict")
def predict(ws: Workspace, request: Predict) -> Scored:
    """Score a file of rows with a model version, in its own environment, and record what was scored."""
    if request.on_error not in ("fail", "null"):
        raise Invalid(f"on_error is '{request.on_error[:80]}'", hint="it is fail or null")
    if not 1 <= request.batch_rows <= 1_000_000:
        raise Invalid(f"batch_rows is {request.batch_rows}", hint="from 1 to 1000000")
    if not 0 <= request.workers <= MOST_WORKERS:
        raise Invalid(f"workers is {request.workers}", hint=f"from 1 to {MOST_WORKERS}, or 0: one a processor")
    plan = scoring.Plan(
        reference=request.reference,
        source=request.source,
        target=request.target,
        keep=scoring.kept(request.columns),
        rows=request.batch_rows,
        workers=scoring.workers_for(request.workers),
        skips=request.on_error == "null",
        force=request.force,
    )
    return scoring.score(ws, plan)
