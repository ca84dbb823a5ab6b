import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windlass.domain import ledger
from windlass.domain.errors import Conflict, Corrupt
from windlass.domain.ports import Database, Transaction


def move(tx: Transaction, subject: str, before: str | None, after: str | None, at: int = 1) -> ledger.Entry:
    return ledger.transition(
        tx, subject=subject, action="move", before=before, after=after, actor="ada", reason="why not", at=at
    )


def walk(db: Database) -> int:
    with db.read() as tx:
        heads = {row["subject"]: row["target"] for row in tx.rows("SELECT * FROM heads")}
        return ledger.verify(ledger.entries(tx), heads)


def test_a_name_moves_with_its_record(database: Database) -> None:
    with database.write() as tx:
        move(tx, "alias/m/champion", None, "1")
        move(tx, "alias/m/champion", "1", "2")
        assert ledger.head(tx, "alias/m/champion") == "2"
    assert walk(database) == 2


def test_a_move_from_where_the_name_does_not_stand_is_a_conflict(database: Database) -> None:
    with database.write() as tx:
        move(tx, "alias/m/champion", None, "1")
    with pytest.raises(Conflict), database.write() as tx:
        move(tx, "alias/m/champion", None, "2")
    assert walk(database) == 1


def test_a_transaction_that_fails_leaves_neither_the_move_nor_the_record(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write() as tx:
        move(tx, "alias/m/champion", None, "1")
        raise RuntimeError("the process fails here")
    with database.read() as tx:
        assert ledger.head(tx, "alias/m/champion") is None
        assert ledger.entries(tx) == []


def test_history_up_to_a_time(database: Database) -> None:
    with database.write() as tx:
        move(tx, "endpoint/e", None, "r1", at=10)
        move(tx, "endpoint/e", "r1", "r2", at=20)
    with database.read() as tx:
        assert [e.after for e in ledger.entries(tx, subject="endpoint/e", until=19)] == ["r1"]


CHANGES = [
    "UPDATE ledger SET actor = 'eve' WHERE seq = 2",
    "UPDATE ledger SET reason = reason || ' ' WHERE seq = 3",
    "UPDATE ledger SET evidence = '{\"x\":1}' WHERE seq = 1",
    "UPDATE ledger SET at = at + 1 WHERE seq = 3",
    "DELETE FROM ledger WHERE seq = 2",
    "DELETE FROM ledger WHERE seq = 3",
    "UPDATE heads SET target = 'r9'",
    "DELETE FROM heads",
]


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_behind_the_ledgers_back_is_found(database: Database, change: str) -> None:
    with database.write() as tx:
        for before, after in ((None, "r1"), ("r1", "r2"), ("r2", "r3")):
            move(tx, "endpoint/e", before, after)
        tx.execute(change)
    with pytest.raises(Corrupt):
        walk(database)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=5) | st.none()), max_size=12))
def test_any_sequence_of_moves_verifies(moves: list[tuple[str, str | None]]) -> None:
    entries: list[ledger.Entry] = []
    heads: dict[str, str | None] = {}
    for seq, (subject, after) in enumerate(moves, start=1):
        previous = entries[-1].hash if entries else ledger.GENESIS
        entry = ledger.Entry(
            seq=seq, at=seq, actor="a", action="x", subject=subject, before=heads.get(subject), after=after,
            reason="", evidence=json.loads("{}"), previous=previous,
        )  # fmt: skip
        entries.append(ledger.sealed(entry))
        heads[subject] = after
    assert ledger.verify(entries, heads) == len(moves)
