"""Taking deleted model versions back."""

from __future__ import annotations

from windlass.domain import ledger
from windlass.domain.errors import WrongState
from windlass.domain.ports import Row, Transaction
from windlass.registry import registered


def restore_version(tx: Transaction, row: Row, *, actor: str, reason: str, at: int) -> None:
    """Take a version back, and its model with it if that was deleted too; the aliases that it had are not set again.

    Raises:
        WrongState: it is not deleted, or was purged.
    """
    reference = f"{row['model']}@{row['semver']}"
    if row["deleted_at"] is None:
        raise WrongState(f"{reference} is not deleted", hint="nothing to do")
    if row["purged_at"] is not None:
        raise WrongState(f"{reference} was purged: its files are gone", hint="see `windlass verify` and the ledger")
    registered.ensure(tx, row["model"], at=at)
    ledger.transition(
        tx, subject=f"version/{reference}", action="restore", before=None, after=row["record"], actor=actor,
        reason=reason, at=at,
    )  # fmt: skip
    tx.execute(
        "UPDATE model_versions SET deleted_at = NULL, updated_at = ? WHERE model = ? AND number = ?",
        (at, row["model"], row["number"]),
    )
    registered.touch(tx, row["model"], at=at)
