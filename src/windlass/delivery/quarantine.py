"""The quarantine: what was rolled back from an endpoint does not come back to it without a person's reason."""

from __future__ import annotations

from windlass.domain.errors import Refused
from windlass.domain.ports import Transaction
from windlass.domain.release import Release


def put(tx: Transaction, endpoint: str, release: str, reason: str, at: int) -> None:
    """Keep what was rolled back from coming back unnoticed."""
    tx.execute(
        "INSERT INTO quarantine (endpoint, package, reason, at) SELECT ?, package, ?, ? FROM releases WHERE id = ?"
        " ON CONFLICT DO NOTHING",
        (endpoint, reason, at, release),
    )


def reason_of(tx: Transaction, endpoint: str, package: str) -> str | None:
    """Why a package was rolled back from an endpoint; None if it never was."""
    row = tx.row("SELECT reason FROM quarantine WHERE endpoint = ? AND package = ?", (endpoint, package))
    return row["reason"] if row else None


def require_none(tx: Transaction, release: Release, *, force: bool, reason: str) -> None:
    """See that a release may come; ``force`` with a reason lifts its quarantine.

    Raises:
        Refused: it was rolled back before.
    """
    why = reason_of(tx, release.endpoint, release.package)
    if why is None:
        return
    if not (force and reason.strip()):
        raise Refused(
            f"{release.model}@{release.version} was rolled back from {release.endpoint} before",
            hint="release a mended version; or, if it was not at fault: --force --reason WHY",
            evidence=[why],
        )
    tx.execute("DELETE FROM quarantine WHERE endpoint = ? AND package = ?", (release.endpoint, release.package))
