"""Moves of stages and aliases, whichever face asks for them: policy first, then the move with its record."""

from __future__ import annotations

from collections.abc import Iterable

from windlass.domain.errors import Failure, NotFound, Refused, WrongState
from windlass.domain.names import Reference
from windlass.domain.ports import Transaction
from windlass.registry import models, moving, registered
from windlass.registry.config import RegistryConfig
from windlass.registry.models import Version
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
    at = ws.now()
    with ws.database.write() as tx:
        version = models.find(tx, ws.objects, reference)
        entry = registered.entry_of(tx, version.model, version.number)
        evidence = _cleared(ws, tx, version) if wanted == moving.PRODUCTION else {}
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
    guarded = alias in protected(ws)
    with ws.database.write() as tx:
        version = models.find(tx, ws.objects, reference)
        entry = registered.entry_of(tx, version.model, version.number)
        evidence = _cleared(ws, tx, version) if guarded else {}
        moving.set_alias(tx, entry, alias, actor=actor, reason=reason or "moved", at=ws.now(), evidence=evidence)
        return registered.entry_of(tx, entry.model, entry.number)


def remove_alias(ws: Workspace, model: str, alias: str, *, actor: str, reason: str) -> None:
    """Take an alias away.

    Raises:
        Refused: policy protects the alias: what asks for it would fail.
        NotFound, Invalid: no such model, or no alias.
    """
    moving.checked_alias(alias)
    require_unprotected(ws, model, [alias])
    with ws.database.write() as tx:
        moving.delete_alias(tx, model, alias, actor=actor, reason=reason or "removed", at=ws.now())


def delete_version(ws: Workspace, model: str, number: int, *, actor: str) -> None:
    """Delete a version, and with it the aliases that stand for it.

    Raises:
        Refused: policy protects one of those aliases.
        NotFound, WrongState: as ``registered.delete_version``.
    """
    with ws.database.write() as tx:
        require_unprotected(ws, model, registered.entry_of(tx, model, number).aliases)
        registered.delete_version(tx, model, number, actor=actor, at=ws.now())


def delete_model(ws: Workspace, model: str, *, actor: str) -> None:
    """Delete a model with its versions and their aliases.

    Raises:
        Refused: policy protects one of those aliases.
        NotFound, WrongState: as ``registered.delete``.
    """
    with ws.database.write() as tx:
        require_unprotected(ws, model, registered.find(tx, model).aliases)
        registered.delete(tx, model, actor=actor, at=ws.now())


def require_unprotected(ws: Workspace, model: str, aliases: Iterable[str]) -> None:
    """Raises:
    Refused: policy protects one of ``aliases``: whatever asks for it would fail.
    """
    guarded = protected(ws)
    for alias in aliases:
        if alias in guarded:
            raise Refused(
                f"alias '{alias}' is protected by [registry] protected_aliases in windlass.toml",
                hint=f"move it to another version instead: windlass alias {model}@VERSION {alias}",
                evidence=["a protected alias moves only to a cleared version"],
            )


def _cleared(ws: Workspace, tx: Transaction, version: Version) -> dict[str, object]:
    """The clearance, asked for within the move: what was cleared is what is moved, whatever else goes on."""
    from windlass.workspace import gating  # noqa: PLC0415 - loads the gate's families

    try:
        asked = gating.asked(ws)
    except Failure as failure:
        raise Refused(
            f"{version.reference} cannot be cleared: this server's project has no policy",
            hint=f"{failure.message}: gates are declared in windlass.toml",
            evidence=["no gates are declared"],
        ) from None
    clearance = gating.cleared_in(tx, ws, version, asked)
    return {"gate_report": clearance.gate_report, "approvals": list(clearance.approvals)}


def protected(ws: Workspace) -> tuple[str, ...]:
    """The aliases that stand for cleared versions only."""
    try:
        return ws.config.registry.protected_aliases
    except NotFound:
        return RegistryConfig().protected_aliases  # no project here: what is protected by default, is
