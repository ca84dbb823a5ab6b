"""Releases: immutable bundles, put into an endpoint's traffic by a rollout and by nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from windlass.delivery import analysis, quarantine, rollouts, routing, strategy, workers
from windlass.delivery.rollouts import Rollout
from windlass.delivery.strategy import Choice, RolloutPolicy
from windlass.domain import digest, ledger
from windlass.domain.clock import Clock
from windlass.domain.errors import Conflict, NotFound, Refused
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
    choice: Choice = Choice(),  # noqa: B008 - it cannot be changed
    force: bool = False,
    actor: str,
    reason: str,
    now: Clock,
    socket: Callable[[str], Path],
    position: str,
    new_id: Callable[[], str],
) -> Rollout:
    """Start the rollout of a release. ``position`` is where the endpoint's prediction log ends now.

    An endpoint's first release is blue-green; later ones go through what is their ``choice``, by default the policy's
    phases.

    Raises:
        Invalid: what is asked makes no sense.
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
        quarantine.require_none(tx, release, force=force, reason=reason)
        chosen = strategy.plan(policy, choice, first=stable is None)
        timeout_ms = timeout_of(release)
        spec = {
            "policy": policy,
            "phases": chosen.phases,
            "timeout_ms": timeout_ms,
            "log": release.serving.get("log"),
            "stable_timeout_ms": timeout_of(find(tx, objects, stable)) if stable else timeout_ms,
        }
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
                chosen.name,
                routing.plain(spec),
                record,
                stable,
                RolloutState.PLANNED,
                identity,
                reason,
                position,
                position,
                routing.plain(analysis.to_plain(analysis.begin(policy, chosen.phases))),
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


def timeout_of(release: Release) -> int:
    """How long a user of the release waits at most, in milliseconds."""
    return int(release.serving.get("timeout_ms", 2000))


def find(tx: Transaction, objects: ObjectStore, release: str) -> Release:
    """A release by its id.

    Raises:
        NotFound: no such release.
    """
    if tx.row("SELECT id FROM releases WHERE id = ?", (release,)) is None:
        raise NotFound(f"no release '{release[:20]}'", hint="see `windlass history`")
    return msgspec.convert(json.loads(objects.get(release)), Release)


def _require_clearance(release: Release, clearance: Clearance) -> None:
    if (clearance.reference, clearance.package, clearance.gate_report) != (
        f"{release.model}@{release.version}", release.package, release.gate_report,
    ):  # fmt: skip
        raise Refused(
            f"{release.model}@{release.version} is not what was cleared ({clearance.reference})",
            hint="gate and approve exactly the package that is to be released",
        )
