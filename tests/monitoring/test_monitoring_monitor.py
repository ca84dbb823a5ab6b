"""Windows, alerts, labels and retraining over a real prediction log, on the census."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from windlass.demo.traffic import RELSHIPP
from windlass.domain import ledger
from windlass.domain.clock import SECOND
from windlass.domain.errors import Conflict, Invalid, Refused
from windlass.domain.ports import Database
from windlass.domain.routing import Arm
from windlass.monitoring import alerts, labels, monitor, retraining
from windlass.monitoring.alerts import Alert, AlertState
from windlass.monitoring.labels import text_of
from windlass.monitoring.policy import MonitorPolicy, RetrainingPolicy
from windlass.monitoring.retraining import Retraining, RetrainingEvent, RetrainingState
from windlass.monitoring.windows import Reference
from windlass.serving import log
from windlass.serving.record import Prediction
from windlass.stats import profile

DATA = Path(__file__).parents[2] / "examples" / "employment" / "data"
POLICY = MonitorPolicy(window_rows=1000)
ASKS = RetrainingPolicy(on=("drift",), data="acs", min_labels=1500, cooldown_minutes=60)


def census(year: int) -> pa.Table:
    table = pq.read_table(DATA / f"acs_ma_employment_{year}.parquet").drop_columns(["year"])
    return table.take(np.random.default_rng(year).permutation(table.num_rows))


@pytest.fixture(scope="module")
def reference() -> Reference:
    table = census(2015)
    columns = {name: table[name].to_numpy() for name in table.column_names if name != "employed"}
    columns["prediction"] = table["employed"].to_numpy()
    columns["probability"] = np.where(table["employed"].to_numpy() == 1, 0.9, 0.1)
    return Reference(profile=profile.profile(columns), positive=1)


@dataclass
class World:
    db: Database
    folder: Path
    reference: Reference
    writer: log.Writer
    sent: int = 0
    time: int = 10_000 * SECOND

    def now(self) -> int:
        self.time += SECOND
        return self.time

    def serve(
        self, rows: list[dict[str, Any]], *, release: str = "b3:one", withheld: tuple[str, ...] = ()
    ) -> list[tuple[str, int]]:
        """Answer rows as the truth is, but for every tenth; returns the labels by prediction id."""
        truths = []
        for row in rows:
            self.sent += 1
            inputs = {name: value for name, value in row.items() if name not in ("employed", *withheld)}
            answer = row["employed"] if self.sent % 10 else 1 - row["employed"]
            self.writer.append(
                Prediction(
                    id=f"p{self.sent}", at=self.sent, endpoint="e", revision=1, rollout=None, release=release,
                    arm=Arm.STABLE, user="u", rows=[inputs], status=200, user_status=200, error="", latency_us=1,
                    answers=[{"prediction": answer, "probability": 0.9 if answer else 0.1}], answered_by=release,
                    withheld=withheld,
                )
            )  # fmt: skip
            truths.append((f"p{self.sent}", row["employed"]))
        assert self.writer.flush()
        return truths

    def tick(self, serving: str | None = "b3:one", policy: RetrainingPolicy = ASKS) -> monitor.MonitorStatus:
        while monitor.tick(
            self.db, endpoint="e", serving=serving, reference=lambda release: self.reference,
            predictions=self.folder / "log", policy=lambda release: POLICY,
            retraining_policy=policy, new_id=lambda: "t1", now=self.now,
        ):  # fmt: skip
            pass
        with self.db.read() as tx:
            return monitor.status(tx, "e")


@pytest.fixture
def world(tmp_path: Path, database: Database, reference: Reference) -> Iterator[World]:
    with log.Writer(tmp_path / "log" / "e") as writer:
        yield World(database, tmp_path, reference, writer)


def recoded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "RELP": RELSHIPP[row["RELP"]]} for row in rows]


def test_an_ordinary_year_raises_nothing(world: World) -> None:
    world.serve(census(2016).slice(0, 5200).to_pylist())
    status = world.tick()
    assert [window.rows for window in status.windows] == [1000] * 5
    assert not any(window.drifted for window in status.windows)
    assert status.alerts == ()


def test_a_recoded_column_raises_one_alert_and_clean_windows_end_it(world: World) -> None:
    people = census(2017).to_pylist()
    world.serve(people[:1000])
    world.serve(recoded(people[1000:3000]))
    status = world.tick()
    assert [window.drifted for window in status.windows] == [(), ("RELP",), ("RELP",)]
    assert [(alert.column, alert.state) for alert in status.alerts] == [("RELP", AlertState.FIRING)]
    world.serve(people[3000:5000])
    (alert,) = world.tick().alerts
    assert alert.state is AlertState.RESOLVED
    with world.db.read() as tx:
        assert [entry.action for entry in ledger.entries(tx, subject="alert/e/RELP")] == ["fire", "resolve"]


def test_only_the_release_in_charge_raises_alerts(world: World) -> None:
    world.serve(recoded(census(2017).slice(0, 1000).to_pylist()), release="b3:trial")
    status = world.tick()
    assert status.windows[0].drifted == ("RELP",)
    assert status.alerts == ()


def test_estimated_and_realised_accuracy_of_a_window(world: World) -> None:
    truths = world.serve(census(2016).slice(0, 1000).to_pylist())
    (window,) = world.tick().windows
    assert window.estimated_accuracy == pytest.approx(0.9)
    assert (window.realised_accuracy, window.labels) == (None, 0)
    assert labels.add(world.db, endpoint="e", labels=truths[:500], at=1).added == 500
    (window,) = world.tick().windows
    assert (window.realised_accuracy, window.labels) == (0.9, 500)


def test_labels_may_come_early_twice_and_corrected(world: World) -> None:
    early = labels.add(world.db, endpoint="e", labels=[("p1", 1), ("p2", 0)], at=1)
    assert (early.added, early.unknown) == (2, 2)
    truths = world.serve(census(2016).slice(0, 1000).to_pylist())
    world.tick()
    again = labels.add(world.db, endpoint="e", labels=[*truths, *truths], at=2)
    assert again.unknown == 0
    assert again.added == 998
    assert again.changed + again.unchanged == 2
    corrected = labels.add(world.db, endpoint="e", labels=[("p5", 1 - truths[4][1])], at=3)
    assert (corrected.added, corrected.changed, corrected.unchanged) == (0, 1, 0)
    (window,) = world.tick().windows
    assert window.realised_accuracy == pytest.approx(0.899)


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (1, True), (0, False), (0, -0.0)])
def test_equal_values_have_one_text(one: Any, other: Any) -> None:
    assert text_of(one) == text_of(other)


def test_drift_with_enough_labels_asks_for_one_retraining(world: World) -> None:
    truths = world.serve(recoded(census(2017).slice(0, 2000).to_pylist()))
    assert world.tick().retrainings == ()
    labels.add(world.db, endpoint="e", labels=truths[:1000], at=1)
    assert world.tick().retrainings == ()
    labels.add(world.db, endpoint="e", labels=truths[1000:1600], at=2)
    (asked,) = world.tick().retrainings
    assert (asked.state, asked.release) == (RetrainingState.REQUESTED, "b3:one")
    assert "drift of RELP" in asked.cause
    assert len(world.tick().retrainings) == 1
    with world.db.read() as tx:
        rows = retraining.labelled_rows(
            tx, world.folder / "log" / "e", endpoint="e", position=asked.position, target="employed"
        )
    assert len(rows) == 1600
    assert rows[0]["RELP"] >= 20
    assert [row["employed"] for row in rows] == [truth for _, truth in truths[:1600]]


def test_a_retraining_whose_runner_died_is_taken_over_and_the_dead_one_is_fenced(world: World) -> None:
    with world.db.write() as tx:
        retraining.request(tx, identity="t", endpoint="e", release="r", cause="c", position="0:0", at=1)
        first = retraining.take(tx, holder="one", at=10)
        assert first is not None
        assert retraining.take(tx, holder="two", at=11) is None
        second = retraining.take(tx, holder="two", at=10 + retraining.LEASE + 1)
    assert second is not None
    with pytest.raises(Conflict), world.db.write() as tx:
        retraining.renew(tx, "t", holder="one", at=12)
    with world.db.write() as tx:
        retraining.renew(tx, "t", holder="two", at=12)
        retraining.move(tx, second, RetrainingEvent.HOLD, reason="waits", at=13, reference="m@2.0.0")
        (held,) = retraining.ls(tx, "e")
    assert (held.state, held.reference, held.detail) == (RetrainingState.HELD, "m@2.0.0", "waits")


@given(st.booleans(), st.integers(0, 5000), st.sampled_from(list(RetrainingState)), st.integers(0, 10_000 * SECOND))
def test_the_policy_asks_only_when_all_of_it_holds(
    firing: bool, labelled: int, state: RetrainingState, ago: int
) -> None:
    alert = Alert(
        column="x", state=AlertState.FIRING if firing else AlertState.RESOLVED, since=0, release="r", position="0:0",
        detail="",
    )  # fmt: skip
    now = 20_000 * SECOND
    past = Retraining(
        id="t", endpoint="e", release="r", state=state, cause="", position="0:0", at=now - ago, run="", reference="",
        gate="", detail="",
    )  # fmt: skip
    asked = retraining.wanted([alert], ASKS, [past], labelled, now) is not None
    ended = state in (RetrainingState.HELD, RetrainingState.RELEASED, RetrainingState.FAILED)
    assert asked == (firing and labelled >= 1500 and ended and ago >= 3600 * SECOND)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MonitorPolicy(window_rows=10),
        lambda: MonitorPolicy(alpha=2.0),
        lambda: RetrainingPolicy(on=("drift",)),
        lambda: RetrainingPolicy(min_labels=0),
        lambda: RetrainingPolicy(cooldown_minutes=-1.0),
    ],
)
def test_policies_that_make_no_sense_are_refused(make: Any) -> None:
    with pytest.raises(Invalid):
        make()


LOOP = """
import json, sys
from pathlib import Path
from windlass.workspace.databases import open_database
from windlass.domain import clock
from windlass.monitoring import monitor
from windlass.monitoring.policy import MonitorPolicy, RetrainingPolicy
from windlass.monitoring.windows import Reference
from windlass.stats import profile
folder = Path(sys.argv[1])
db = open_database(folder / "windlass.db")
reference = Reference(profile=profile.from_plain(json.loads((folder / "profile.json").read_text())), positive=1)
monitor.MOST_RECORDS = 200
print("ready", flush=True)
while True:
    monitor.tick(db, endpoint="e", serving="b3:one", reference=lambda release: reference, predictions=folder / "log",
        policy=lambda r: MonitorPolicy(window_rows=1000), retraining_policy=RetrainingPolicy(),
        new_id=lambda: "t", now=clock.now)
"""


def test_killed_at_any_moment_no_row_is_counted_twice_or_lost(world: World) -> None:
    (world.folder / "profile.json").write_text(json.dumps(profile.to_plain(world.reference.profile)))
    world.serve(census(2016).slice(0, 5000).to_pylist())
    for attempt in range(6):
        process = subprocess.Popen([sys.executable, "-c", LOOP, str(world.folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.01 * (attempt + 1))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    status = world.tick()
    assert [window.rows for window in status.windows] == [1000] * 5
    with world.db.read() as tx:
        (counted,) = tx.rows("SELECT COUNT(*) AS n FROM monitored_predictions")
        windows = tx.rows("SELECT profile FROM monitor_windows")
    assert counted["n"] == 5000
    totals = [profile.from_plain(json.loads(row["profile"])).columns["AGEP"].n for row in windows]
    assert totals == [1000] * 5


def test_a_column_that_is_withheld_does_not_drift_and_the_others_are_watched(world: World) -> None:
    people = recoded(census(2017).to_pylist())
    world.serve(people[:2000], withheld=("AGEP",))
    status = world.tick()
    assert [window.drifted for window in status.windows] == [("RELP",), ("RELP",)]
    assert all("AGEP" not in window.effects and "RELP" in window.effects for window in status.windows)
    world.serve(people[2000:4000], withheld=("RELP",))
    assert [window.drifted for window in world.tick().windows[2:]] == [(), ()]


def test_a_column_withheld_of_a_part_of_a_window_is_left_out_of_it(world: World) -> None:
    people = census(2016).to_pylist()
    world.serve(people[:500])
    world.tick()
    world.serve(people[500:1000], withheld=("AGEP", "SEX"))
    world.tick()
    world.serve(people[1000:2000])
    first, second = world.tick().windows
    assert {"AGEP", "SEX"} & set(first.effects) == set() and {"AGEP", "SEX"} <= set(second.effects)
    assert first.drifted == second.drifted == ()


def test_rows_with_withheld_columns_are_not_trained_on(world: World) -> None:
    truths = world.serve(census(2016).slice(0, 10).to_pylist(), withheld=("AGEP",))
    labels.add(world.db, endpoint="e", labels=truths, at=1)
    with world.db.read() as tx, pytest.raises(Refused, match="keeps no AGEP"):
        retraining.labelled_rows(tx, world.folder / "log" / "e", endpoint="e", position="0:0", target="employed")


def test_predictions_that_are_lost_raise_one_alert_until_writing_works_again(world: World) -> None:
    def tell(at: int, **said: Any) -> tuple[str, ...]:
        losses = alerts.Losses(**{"error": "", "dropped": 0, "lost_at": 0, **said})
        with world.db.write() as tx:
            alerts.lost(tx, "e", losses, at)
            return tuple(f"{each.column} {each.state}" for each in alerts.ls(tx, "e"))

    quiet = alerts.QUIET
    assert tell(quiet) == ()
    firing = (f"{alerts.LOST} firing",)
    assert tell(2 * quiet, error="No space left on device", dropped=5, lost_at=2 * quiet) == firing
    assert tell(4 * quiet, error="No space left on device", dropped=7, lost_at=2 * quiet) == firing
    assert tell(5 * quiet, dropped=9, lost_at=5 * quiet - 1) == firing  # it works, but has only just lost some
    resolved = (f"{alerts.LOST} resolved",)
    assert tell(7 * quiet, dropped=9, lost_at=5 * quiet) == resolved
    assert tell(8 * quiet, dropped=9, lost_at=5 * quiet) == resolved
    assert tell(9 * quiet, dropped=10, lost_at=9 * quiet - 5) == firing  # again, without any error: too much came
    with world.db.read() as tx:
        entries = ledger.entries(tx, subject=f"alert/e/{alerts.LOST}")
    assert [entry.action for entry in entries] == ["fire", "resolve", "fire"]
    assert "No space left" in entries[0].reason and "9 answers" in entries[1].reason


def test_a_lost_prediction_is_no_drift_and_asks_for_no_retraining(world: World) -> None:
    with world.db.write() as tx:
        alerts.lost(tx, "e", alerts.Losses(error="full", dropped=1, lost_at=1), 5)
    labels.add(world.db, endpoint="e", labels=world.serve(census(2016).slice(0, 4000).to_pylist()), at=1)
    status = world.tick()
    assert len(status.windows) == 4 and status.retrainings == ()
    assert [(each.column, each.state) for each in status.alerts] == [(alerts.LOST, AlertState.FIRING)]
