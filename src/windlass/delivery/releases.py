"""Releases: immutable bundles, put into an endpoint's traffic by a rollout and by nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from windlass.delivery import analysis, rollouts, routing, strategy, workers
from windlass.delivery.rollouts import Rollout
from windlass.delivery.strategy import RolloutPolicy, Strategy
from windlass.domain import digest, ledger
from windlass.domain.clock import Clock
from windlass.domain.errors import Conflict, Invalid, NotFound, Refused
from windlass.domain.ports import Database, ObjectStore, Transaction
from windlass.domain.release import Release
from windlass.domain.states import RolloutState
from windlass.registry import lineage


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearance:
    """The permission to release a version: the gate report that passed on this package, and who approved it."""

    reference: str
    package: str
    gate_report: str
    approvals: tuple[str, ...]


def release(
    db: Database,
    objects: ObjectStore,
    *,
    release: Release,
    clearance: Clearance,
    policy: RolloutPolicy,
    strategy_name: str | None = None,
    force: bool = False,
    actor: str,
    reason: str,
    now: Clock,
    socket: Callable[[str], Path],
    position: str,
    new_id: Callable[[], str],
) -> Rollout:
    """Start the rollout of a release. ``position`` is where the endpoint's prediction log ends now.

    An endpoint's first release is blue-green; later ones follow ``strategy_name``, by default the policy's phases.

    Raises:
        Refused: the clearance is for something else, or the package was rolled back before (``force`` overrides).
        Conflict: a rollout is on at the endpoint, or it serves this release already.
    """
    _require_clearance(release, clearance)
    record = objects.put(digest.canonical(release))
    at = now()
    with db.write() as tx:
        endpoint = tx.row("SELECT * FROM endpoints WHERE name = ?", (release.endpoint,))
        stable = endpoint["release"] if endpoint else None
        if endpoint and endpoint["rollout"]:
            raise Conflict(
                f"a rollout is on at {release.endpoint} ({endpoint['rollout'][:8]})",
                hint=f"wait for it, or end it: windlass rollout abort {endpoint['rollout'][:8]}",
            )
        if stable == release.id:
            raise Conflict(f"{release.endpoint} serves {clearance.reference} already", hint="nothing to do")
        _require_no_quarantine(tx, release, force=force, reason=reason)
        chosen = Strategy.BLUE_GREEN if stable is None else strategy.parse(strategy_name or Strategy.PROGRESSIVE)
        if stable is None and strategy_name not in (None, Strategy.BLUE_GREEN):
            raise Invalid(
                f"{release.endpoint} serves nothing yet: there is no stable release to compare with",
                hint="the first release is blue-green; leave --strategy out",
            )
        phases = strategy.phases(policy, chosen)
        identity = new_id()
        tx.execute(
            "INSERT INTO endpoints (name, release, previous, rollout) VALUES (?, NULL, '[]', ?)"
            " ON CONFLICT (name) DO UPDATE SET rollout = excluded.rollout",
            (release.endpoint, identity),
        )
        tx.execute(
            "INSERT INTO rollouts (id, endpoint, strategy, policy, candidate, stable, state, phase, salt, reason,"
            " verdict, revision, position, phase_position, evidence, started_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, '', 0, ?, ?, ?, ?)",
            (
                identity,
                release.endpoint,
                chosen,
                routing.plain(
                    {
                        "policy": policy,
                        "phases": phases,
                        "timeout_ms": int(release.serving.get("timeout_ms", 2000)),
                        "log": release.serving.get("log"),
                    }
                ),
                record,
                stable,
                RolloutState.PLANNED,
                identity,
                reason,
                position,
                position,
                routing.plain(analysis.to_plain(analysis.begin(policy, phases))),
                at,
            ),
        )
        ledger.transition(
            tx,
            subject=f"rollout/{identity}",
            action="plan",
            before=None,
            after=f"{RolloutState.PLANNED}:0",
            actor=actor,
            reason=reason,
            at=at,
            evidence={"clearance": asdict(clearance), "release": record, "forced": force},
        )
        admit(tx, release, clearance, record=record, socket=str(socket(record)), at=at)
        return rollouts.find(tx, identity)


def admit(tx: Transaction, release: Release, clearance: Clearance, *, record: str, socket: str, at: int) -> None:
    """Let a cleared release be served: its record, its lineage, its worker. ``record`` is its digest in the store.

    Raises:
        Refused: the clearance is for something else.
    """
    _require_clearance(release, clearance)
    tx.execute(
        "INSERT INTO releases (id, endpoint, reference, package, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (record, release.endpoint, clearance.reference, release.package, at),
    )
    workers.want(tx, release, socket, at)
    lineage.link(tx, f"release/{record}", f"version/{clearance.reference}", "is")
    lineage.link(tx, f"release/{record}", f"object/{clearance.gate_report}", "cleared by")


def find(tx: Transaction, objects: ObjectStore, release: str) -> Release:
    """A release by its id.

    Raises:
        NotFound: no such release.
    """
    if tx.row("SELECT id FROM releases WHERE id = ?", (release,)) is None:
        raise NotFound(f"no release '{release[:20]}'", hint="see `windlass history`")
    return msgspec.convert(json.loads(objects.get(release)), Release)


def quarantine(tx: Transaction, endpoint: str, release: str, reason: str, at: int) -> None:
    """Keep what was rolled back from coming back unnoticed."""
    tx.execute(
        "INSERT INTO quarantine (endpoint, package, reason, at) SELECT ?, package, ?, ? FROM releases WHERE id = ?"
        " ON CONFLICT DO NOTHING",
        (endpoint, reason, at, release),
    )


def quarantined(tx: Transaction, endpoint: str, package: str) -> str | None:
    """Why a package was rolled back from an endpoint; None if it never was."""
    row = tx.row("SELECT reason FROM quarantine WHERE endpoint = ? AND package = ?", (endpoint, package))
    return row["reason"] if row else None


def _require_clearance(release: Release, clearance: Clearance) -> None:
    if (clearance.reference, clearance.package, clearance.gate_report) != (
        f"{release.model}@{release.version}", release.package, release.gate_report,
    ):  # fmt: skip
        raise Refused(
            f"{release.model}@{release.version} is not what was cleared ({clearance.reference})",
            hint="gate and approve exactly the package that is to be released",
        )


def _require_no_quarantine(tx: Transaction, release: Release, *, force: bool, reason: str) -> None:
    why = quarantined(tx, release.endpoint, release.package)
    if why is None:
        return
    if not (force and reason.strip()):
        raise Refused(
            f"{release.model}@{release.version} was rolled back from {release.endpoint} before",
            hint="release a mended version; or, if it was not at fault: --force --reason WHY",
            evidence=[why],
        )
    tx.execute("DELETE FROM quarantine WHERE endpoint = ? AND package = ?", (release.endpoint, release.package))
