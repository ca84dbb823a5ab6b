"""Moves of stages and aliases, whichever face asks for them: policy first, then the move with its record."""

from __future__ import annotations

from windlass.domain.errors import Failure, Refused, WrongState
from windlass.domain.names import Reference
from windlass.domain.ports import Transaction
from windlass.registry import models, moving, registered
from windlass.registry.registered import VersionEntry
from windlass.workspace.workspace import Workspace


def move_stage(
    ws: Workspace, reference: Reference, stage: str, *, archive_others: bool, actor: str, reason: str
) -> VersionEntry:
    """Move a version to a stage; ``archive_others`` archives what stands in that stage.

    Raises:
        Refused: it is to go to production, and its gate or its approvals are lacking; says what and how to get it.
        NotFound, Invalid: no such version or stage.
        WrongState: others can be archived only from an active stage.
    """
    wanted = moving.stage_named(stage)
    if archive_others and wanted not in (moving.STAGING, moving.PRODUCTION):
        raise WrongState(
            f"Model version transition cannot archive existing model versions because '{stage[:80]}' is not an Active"
            " stage. Valid stages are ['Staging', 'Production']"
        )
    evidence = _cleared(ws, reference) if wanted == moving.PRODUCTION else {}
    at = ws.now()
    with ws.database.write() as tx:
        entry = _entry(ws, tx, reference)
        if archive_others:
            for other in moving.standing_in(tx, entry.model, wanted):
                if other.number != entry.number:
                    why = f"{entry.reference} takes its place"
                    moving.set_stage(tx, other, moving.ARCHIVED, actor=actor, reason=why, at=at)
        moving.set_stage(tx, entry, wanted, actor=actor, reason=reason or "moved", at=at, evidence=evidence)
        return registered.entry_of(tx, entry.model, entry.number)


def move_alias(ws: Workspace, reference: Reference, alias: str, *, actor: str, reason: str) -> VersionEntry:
    """Let an alias stand for a version.

    Raises:
        Refused: policy protects the alias, and the version's gate or approvals are lacking.
        NotFound, Invalid: no such version, or no alias.
    """
    moving.checked_alias(alias)
    evidence = _cleared(ws, reference) if alias in _protected(ws) else {}
    with ws.database.write() as tx:
        entry = _entry(ws, tx, reference)
        moving.set_alias(tx, entry, alias, actor=actor, reason=reason or "moved", at=ws.now(), evidence=evidence)
        return registered.entry_of(tx, entry.model, entry.number)


def remove_alias(ws: Workspace, model: str, alias: str, *, actor: str, reason: str) -> None:
    """Take an alias away.

    Raises:
        Refused: policy protects the alias: what asks for it would fail.
        NotFound, Invalid: no such model, or no alias.
    """
    moving.checked_alias(alias)
    if alias in _protected(ws):
        raise Refused(
            f"alias '{alias}' is protected by [registry] protected_aliases in windlass.toml",
            hint=f"move it to another version instead: windlass alias {model}@VERSION {alias}",
            evidence=["a protected alias moves only to a cleared version"],
        )
    with ws.database.write() as tx:
        moving.delete_alias(tx, model, alias, actor=actor, reason=reason or "removed", at=ws.now())


def _entry(ws: Workspace, tx: Transaction, reference: Reference) -> VersionEntry:
    version = models.find(tx, ws.objects, reference)
    return registered.entry_of(tx, version.model, version.number)


def _cleared(ws: Workspace, reference: Reference) -> dict[str, object]:
    with ws.database.read() as tx:
        version = models.find(tx, ws.objects, reference)
    try:
        gates = ws.config.gates
    except Failure as failure:
        raise Refused(
            f"{version.reference} cannot be cleared: this server's project has no policy",
            hint=f"{failure.message}: gates are declared in windlass.toml",
            evidence=["no gates are declared"],
        ) from None
    from windlass.workspace import gating  # noqa: PLC0415 - the gates' weight, and few moves need a clearance

    clearance = gating.cleared(ws, version, gates.approvals)
    return {"gate_report": clearance.gate_report, "approvals": list(clearance.approvals)}


def _protected(ws: Workspace) -> tuple[str, ...]:
    try:
        return ws.config.registry.protected_aliases
    except Failure:
        return ()  # no project here, and so no policy
