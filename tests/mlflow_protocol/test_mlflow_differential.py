"""The same calls to MLflow's own server and to ours: the answers are compared field by field (`beside.py`)."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from beside import Both, Difference
from differences import DIFFERENCES
from scenarios import SCENARIOS
from servers import Wire, mlflow_server, our_server

GROUP = "MLflow's client and its server are in the group 'contract'"


@pytest.fixture(scope="module")
def wires() -> Iterator[tuple[Wire, Wire]]:
    """Two servers of their own: that nobody else writes to them is what makes their answers comparable."""
    pytest.importorskip("alembic", reason=GROUP)
    pytest.importorskip("mlflow", reason=GROUP)
    with (
        tempfile.TemporaryDirectory(prefix="beside-") as folder,
        mlflow_server(Path(folder).resolve() / "mlflow") as theirs,
        our_server(Path(folder).resolve() / "ours") as ours,
    ):
        pair = (Wire(theirs.url), Wire(ours.url))
        yield pair
        for wire in pair:
            wire.close()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario(wires: tuple[Wire, Wire], scenario: Callable[[Both], None]) -> None:
    both = Both(*wires, DIFFERENCES)
    both.collected = []
    scenario(both)
    assert not both.collected, f"{len(both.collected)} mismatches\n\n" + "\n\n".join(both.collected)


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: row.name)
def test_every_difference_is_met(wires: tuple[Wire, Wire], row: Difference) -> None:
    """A row that nothing meets any more is struck from the table."""
    both = Both(*wires, DIFFERENCES)
    both.collected = []
    row.example(both)
    assert row.name in both.met, f"no longer met; mismatches: {both.collected}"
