"""The monitor of an endpoint: follows the prediction log, closes windows, raises alerts, asks for retraining."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from windlass.domain.clock import Clock
from windlass.domain.ports import Database, Transaction
from windlass.monitoring import alerts, retraining, windows
from windlass.monitoring.alerts import Alert
from windlass.monitoring.policy import MonitorPolicy, RetrainingPolicy
from windlass.monitoring.retraining import Retraining
from windlass.monitoring.windows import OUTPUTS, Answered, Reference
from windlass.serving import log
from windlass.serving.log import Position

MOST_RECORDS = 5000  # in one transaction
SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowStatus:
    """A full window. ``estimated_accuracy`` is CBPE's, ``realised_accuracy`` is of the ``labels`` that have arrived."""

    release: str
    number: int
    first_at: int
    last_at: int
    rows: int
    drifted: tuple[str, ...]
    drifted_outputs: tuple[str, ...]
    effects: dict[str, float]
    estimated_accuracy: float | None
    realised_accuracy: float | None
    labels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorStatus:
    endpoint: str
    windows: tuple[WindowStatus, ...]
    alerts: tuple[Alert, ...]
    retrainings: tuple[Retraining, ...]


def tick(
    db: Database,
    *,
    endpoint: str,
    serving: str | None,
    reference: Callable[[str], Reference | None],
    predictions: Path,
    policy: Callable[[str], MonitorPolicy],
    retraining_policy: RetrainingPolicy,
    new_id: Callable[[], str],
    now: Clock,
) -> bool:
    """Read on in the log and take in what is new, in one transaction; returns whether there was anything.

    ``reference`` and ``policy`` are by release: what is watched for, and how, came with it. ``serving`` is the release
    in charge: only its windows raise alerts. Whatever dies, the next tick starts where the last transaction ended.
    """
    with db.read() as tx:
        row = tx.row("SELECT position FROM monitors WHERE endpoint = ?", (endpoint,))
    position = Position.parse(row["position"]) if row else log.START
    folder = predictions / endpoint
    records, after = log.read(folder, position, MOST_RECORDS) if folder.is_dir() else ([], position)
    by_release: dict[str, list[Answered]] = {}
    for each in windows.answered(records):
        by_release.setdefault(each.release, []).append(each)
    # A model that came without a profile has nothing that its live rows could be held against.
    references = {
        release: (found, policy(release)) for release in by_release if (found := reference(release)) is not None
    }
    if after == position and not (serving and _firing(db, endpoint)):
        return False
    with db.write() as tx:
        if after != position:
            again = tx.row("SELECT position FROM monitors WHERE endpoint = ?", (endpoint,))
            if (again["position"] if again else str(log.START)) != str(position):
                return True  # another was faster
            for release, (held_against, watched) in references.items():
                closed = windows.fold(
                    tx, endpoint=endpoint, release=release, rows=by_release[release], reference=held_against,
                    policy=watched, position=str(position),
                )  # fmt: skip
                if release == serving:
                    for window in closed:
                        alerts.take(tx, endpoint, window, now())
            tx.execute(
                "INSERT INTO monitors (endpoint, position) VALUES (?, ?)"
                " ON CONFLICT (endpoint) DO UPDATE SET position = excluded.position",
                (endpoint, str(after)),
            )
        if serving is not None:
            _ask(tx, endpoint, serving, retraining_policy, new_id, now())
    return after != position


def status(tx: Transaction, endpoint: str) -> MonitorStatus:
    """What is known of an endpoint's live data: the latest windows, alerts and retrainings."""
    rows = tx.rows(
        "SELECT * FROM monitor_windows WHERE endpoint = ? AND closed = 1 ORDER BY last_at DESC, number DESC LIMIT ?",
        (endpoint, SHOWN),
    )
    shown = []
    for row in reversed(rows):
        right, known = _realised(tx, endpoint, row["release"], row["number"])
        drifted = json.loads(row["drifted"])
        shown.append(
            WindowStatus(
                release=row["release"],
                number=row["number"],
                first_at=row["first_at"],
                last_at=row["last_at"],
                rows=row["answered"],
                drifted=tuple(name for name in drifted if name not in OUTPUTS),
                drifted_outputs=tuple(name for name in drifted if name in OUTPUTS),
                effects=json.loads(row["effects"]),
                estimated_accuracy=None if row["expected_right"] is None else row["expected_right"] / row["answered"],
                realised_accuracy=right / known if known else None,
                labels=known,
            )
        )
    return MonitorStatus(
        endpoint=endpoint,
        windows=tuple(shown),
        alerts=tuple(alerts.ls(tx, endpoint)),
        retrainings=tuple(retraining.ls(tx, endpoint)),
    )


def _firing(db: Database, endpoint: str) -> bool:
    with db.read() as tx:
        return any(alert.is_drifting for alert in alerts.ls(tx, endpoint))


def _ask(
    tx: Transaction, endpoint: str, serving: str, policy: RetrainingPolicy, new_id: Callable[[], str], at: int
) -> None:
    raised = alerts.ls(tx, endpoint)
    firing = [alert for alert in raised if alert.is_drifting]
    if not firing or not policy.on:
        return
    start = log.earliest(Position.parse(alert.position) for alert in firing)
    labelled = _labelled_since(tx, endpoint, serving, str(start))
    cause = retraining.wanted(raised, policy, retraining.ls(tx, endpoint), labelled, at)
    if cause is not None:
        retraining.request(
            tx,
            identity=new_id(),
            endpoint=endpoint,
            release=serving,
            cause=f"{cause}, {labelled:,} labelled live rows",
            position=str(start),
            at=at,
        )


def _labelled_since(tx: Transaction, endpoint: str, release: str, position: str) -> int:
    """How many rows of the release, in windows that began at a position or later, have a label."""
    start = Position.parse(position)
    numbers = [
        row["number"]
        for row in tx.rows(
            "SELECT number, position FROM monitor_windows WHERE endpoint = ? AND release = ?", (endpoint, release)
        )
        if Position.parse(row["position"]) >= start
    ]
    if not numbers:
        return 0
    row = tx.row(
        "SELECT COUNT(*) AS n FROM monitored_predictions p JOIN labels l ON l.endpoint = p.endpoint AND l.id = p.id"
        " WHERE p.endpoint = ? AND p.release = ? AND p.number >= ?",
        (endpoint, release, min(numbers)),
    )
    return int(row["n"]) if row else 0


def _realised(tx: Transaction, endpoint: str, release: str, number: int) -> tuple[int, int]:
    """How many answers of a window were right, of how many with a label."""
    row = tx.row(
        "SELECT COUNT(*) AS n, COALESCE(SUM(CASE WHEN p.prediction = l.label THEN 1 ELSE 0 END), 0) AS right_ones"
        " FROM monitored_predictions p JOIN labels l ON l.endpoint = p.endpoint AND l.id = p.id"
        " WHERE p.endpoint = ? AND p.release = ? AND p.number = ?",
        (endpoint, release, number),
    )
    assert row is not None
    return int(row["right_ones"]), int(row["n"])
