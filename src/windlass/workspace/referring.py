"""Runs by what people write of them: an id, or the beginning of one."""

from __future__ import annotations

from windlass.domain.errors import Invalid
from windlass.domain.ports import Transaction

_LEAST = 4


def run_named(tx: Transaction, text: str) -> str | None:
    """The id of the run that begins so; None if none does.

    Raises:
        Invalid: more than one does.
    """
    if not _LEAST <= len(text) <= 32 or text.strip("0123456789abcdef"):
        return None
    # 'g' is the letter after the last hex digit.
    found = tx.tuples(
        "SELECT run_id FROM runs WHERE run_id >= ? AND run_id < ? ORDER BY run_id LIMIT 2", (text, f"{text}g")
    )
    if len(found) > 1:
        raise Invalid(f"more than one run begins with '{text}'", hint="give more of its id")
    return str(found[0][0]) if found else None
