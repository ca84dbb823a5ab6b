"""The numbers of experiments, runs and logged models: one that was used is never given again, even after a purge.

What was rendered of a run is kept by its number, an experiment's number is its public id, and rows of what was purged
may still be there.
"""

from __future__ import annotations

from windlass.domain.ports import Transaction


def following(table: str, kind: str) -> str:
    """The next number of a table, as a table ``numbered`` of one row and column ``following`` to select from."""
    return (
        "(SELECT COALESCE(MAX(number), 0) + 1 AS following FROM ("
        f"SELECT MAX(id) AS number FROM {table}"
        f" UNION ALL SELECT number FROM purged_numbers WHERE kind = '{kind}') AS known) AS numbered"
    )


def retire(tx: Transaction, kind: str, number: int) -> None:
    """Remember that a number, and every one below it, was used."""
    tx.execute(
        "INSERT INTO purged_numbers (kind, number) VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET number ="
        " CASE WHEN excluded.number > purged_numbers.number THEN excluded.number ELSE purged_numbers.number END",
        (kind, number),
    )
