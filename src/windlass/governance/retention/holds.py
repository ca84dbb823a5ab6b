"""Legal holds: what is held, and all that it came from, stays whatever the retention says, until the hold is released.

A hold is a transition of the ledger (``hold/THING``), and so is its release.
"""

from __future__ import annotations

from dataclasses import dataclass

from windlass.domain import ledger
from windlass.domain.clock import text_of
from windlass.domain.errors import Conflict, Invalid, NotFound
from windlass.domain.ports import Row, Transaction

_MOST_REASON = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """``released_at`` is None (us) for as long as it holds."""

    thing: str
    reason: str
    actor: str
    at: int
    released_at: int | None = None
    released_by: str = ""
    released_reason: str = ""


def hold(tx: Transaction, thing: str, *, reason: str, actor: str, at: int) -> Hold:
    """Hold a thing (``things.checked``).

    Raises:
        Invalid: there is no reason.
        Conflict: it is held already.
    """
    reason = _checked(reason)
    if (held := find(tx, thing)) is not None:
        raise Conflict(
            f"{thing} is held already, by {held.actor} since {text_of(held.at)[:10]}: {held.reason}",
            hint="one hold is enough; to change its reason, release it and hold it anew",
        )
    subject = f"hold/{thing}"
    ledger.transition(
        tx, subject=subject, action="hold", before=ledger.head(tx, subject), after="held", actor=actor, reason=reason,
        at=at,
    )  # fmt: skip
    last = tx.row("SELECT MAX(at) AS at FROM holds WHERE thing = ?", (thing,))
    at = at if last is None or last["at"] is None or last["at"] < at else last["at"] + 1
    tx.execute(
        "INSERT INTO holds (thing, at, actor, reason, released_by, released_reason) VALUES (?, ?, ?, ?, '', '')",
        (thing, at, actor, reason),
    )
    return Hold(thing=thing, reason=reason, actor=actor, at=at)


def release(tx: Transaction, thing: str, *, reason: str, actor: str, at: int) -> Hold:
    """Let go of a thing.

    Raises:
        Invalid: there is no reason.
        NotFound: it is not held itself.
    """
    reason = _checked(reason)
    held = find(tx, thing)
    if held is None:
        raise NotFound(f"there is no hold on {thing}", hint="`windlass hold ls` lists what is held")
    subject = f"hold/{thing}"
    ledger.transition(
        tx, subject=subject, action="release", before="held", after=None, actor=actor, reason=reason, at=at
    )  # fmt: skip
    tx.execute(
        "UPDATE holds SET released_at = ?, released_by = ?, released_reason = ? WHERE thing = ? AND at = ?",
        (at, actor, reason, thing, held.at),
    )
    return Hold(
        thing=thing, reason=held.reason, actor=held.actor, at=held.at, released_at=at, released_by=actor,
        released_reason=reason,
    )  # fmt: skip


def find(tx: Transaction, thing: str) -> Hold | None:
    """The hold on a thing itself, if there is one."""
    row = tx.row("SELECT * FROM holds WHERE thing = ? AND released_at IS NULL", (thing,))
    return _hold(row) if row else None


def ls(tx: Transaction, *, released: bool = False) -> list[Hold]:
    """The holds that hold, oldest first; with ``released`` those that held too."""
    where = "" if released else "WHERE released_at IS NULL"
    return [_hold(row) for row in tx.rows(f"SELECT * FROM holds {where} ORDER BY at, thing")]


def _hold(row: Row) -> Hold:
    return Hold(**row)


def _checked(reason: str) -> str:
    if not reason.strip():
        raise Invalid("a hold needs a reason, and so does its release", hint="give --reason")
    if len(reason) > _MOST_REASON:
        raise Invalid(f"the reason has {len(reason)} characters", hint=f"{_MOST_REASON} at most")
    return reason.strip()
