"""Writes that go into one transaction: what is wrong with one of them costs no other."""

from __future__ import annotations

import asyncio
import threading

import pytest

from windlass.domain.errors import Failure, Invalid, NotFound
from windlass.domain.ports import Database, Transaction
from windlass.registry.tracking import histories, runs
from windlass.registry.tracking.recording import Log, ModelPoint
from windlass.server.writing import Writer

GOOD = [f"{number:032x}" for number in range(3)]


def points(database: Database, run: str) -> int:
    with database.read() as tx:
        return len(histories.history(tx, run, "loss"))


def log(run: str) -> Log:
    return Log.checked(run, points=[("loss", 0.5, 1, 1000)])


def raises(tx: Transaction) -> None:
    raise ValueError("a fault of ours")


def test_a_write_that_ends_its_transaction_takes_no_other_with_it(database: Database) -> None:
    with database.write() as tx:
        for number, run in enumerate(GOOD):
            runs.create_run(tx, run_id=run, experiment_id="0", name=f"run-{number}", user="u", at=1)
    # What no check of ours foresees, one database takes and the other ends the transaction for.
    unchecked = Log("no\0run", [("loss", 1000, 1, 0.5, 0)])
    entered, go = threading.Event(), threading.Event()

    def first(tx: Transaction) -> str:
        entered.set()
        go.wait(10)
        return "done"

    async def write() -> list[object]:
        writer = Writer(database)
        try:
            held = asyncio.ensure_future(writer.run(first))
            await asyncio.to_thread(entered.wait, 10)
            # All of these gather while the first transaction is held, and so share the next one.
            rest = [
                writer.run(log(GOOD[0])), writer.run(unchecked),writer.run(log(GOOD[1])), writer.run(raises),
                writer.run(log("f" * 32)), writer.run(log(GOOD[2])),
            ]  # fmt: skip
            gathered = asyncio.gather(held, *rest, return_exceptions=True)
            await asyncio.sleep(0)
            go.set()
            return list(await gathered)
        finally:
            writer.close()

    outcomes = asyncio.run(write())
    assert outcomes[0] == "done"
    assert [isinstance(each, Failure) for each in outcomes[1:]] == [False, True, False, True, True, False]
    assert isinstance(outcomes[5], NotFound)
    assert [points(database, run) for run in GOOD] == [1, 1, 1]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", "windlass.server")


@pytest.mark.parametrize(
    ("run", "given"),
    [
        ("no\0run", {}), ("x" * 5000, {}), (GOOD[0], {"model_id": "m-\0"}), (GOOD[0], {"dataset_name": "d\0"}),
        (GOOD[0], {"dataset_digest": "d" * 5000}),
    ],
)  # fmt: skip
def test_text_that_not_every_database_keeps_is_refused_before_one_is_asked(run: str, given: dict[str, str]) -> None:
    point = ("loss", 0.5, 1, 1000)
    of_model = ModelPoint(**{"model_id": "m", "point": point, "dataset_name": None, "dataset_digest": None, **given})
    with pytest.raises(Invalid):
        Log.checked(run, points=[point], of_models=[of_model])
