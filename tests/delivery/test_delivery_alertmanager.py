"""Rollbacks that alerts ask for, and those that follow when the release in charge does not answer as it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from windlass.delivery import alertmanager, history, quarantine, recovery, rollouts
from windlass.delivery.alertmanager import Alert, Means, Taken
from windlass.delivery.strategy import FLIP, Choice, Phase, PhaseKind
from windlass.domain import clock
from windlass.domain.clock import SECOND
from windlass.domain.errors import Refused, Unavailable
from windlass.domain.release import Release
from windlass.domain.states import RolloutState

ON = {"alertmanager": True}
HALF = Phase(kind=PhaseKind.CANARY, weight=0.5)
MINUTE = Phase(kind=PhaseKind.BAKE, seconds=60)


@pytest.fixture
def served(world: Any) -> Any:
    """Two releases, one after the other; the second has been in charge for an hour."""
    world.rollback = ON
    controller = world.first()
    roll_out(world, controller, "1.1.0", FLIP)
    world.time += 3600 * SECOND
    world.one = controller
    return world


def roll_out(world: Any, controller: Any, version: str, *phases: Phase) -> None:
    world.release(version, choice=Choice(phases=phases))
    controller.tick()
    world.ready(version)
    controller.tick()


def alert(world: Any, *, ago: float = 60, fingerprint: str = "f1", status: str = "firing", **labels: str) -> Alert:
    return Alert(
        status=status, labels={"alertname": "Errors", "endpoint": "e", **labels}, fingerprint=fingerprint,
        startsAt=clock.text_of(world.time - round(ago * SECOND)), annotations={"summary": "too many"},
    )  # fmt: skip


def means(world: Any, *, bad: tuple[str, ...] = ()) -> Means:
    def revalidate(release: Release) -> None:
        if release.version in bad:
            raise Unavailable(f"golden row 3 of {release.version} differs")

    def socket(release: str) -> Path:
        with world.db.write() as tx:  # the supervisor's part
            tx.execute("UPDATE workers SET desired = 'up', state = 'ready' WHERE release = ?", (release,))
        return Path(world.folder / "s")

    return Means(gateway_socket=world.folder / "gateway.sock", socket=socket, revalidate=revalidate, wait_seconds=0.0)


def take(world: Any, given: Alert, **options: Any) -> Taken:
    return alertmanager.take(
        world.db, world.objects, given, actor="alertmanager", now=world.now, means=means(world, **options)
    )


def stable(world: Any) -> str:
    route = world.gateway.table.routes["e"]
    with world.db.read() as tx:
        return (rollouts.reference(tx, route.stable) or "").removeprefix("m@")


def test_an_alert_about_the_release_in_charge_puts_the_one_before_back_and_does_so_once(served: Any) -> None:
    given = alert(served)
    assert take(served, given).acted
    assert stable(served) == "1.0.0"
    with served.db.read() as tx:
        last = history.log(tx, "e")[-1]
    assert (last.actor, "alert Errors is firing" in last.reason, "too many" in last.reason) == (
        "alertmanager", True, True,
    )  # fmt: skip
    assert take(served, given) == Taken(
        alert="Errors", fingerprint="f1", endpoint="e", acted=False, outcome="known already: nothing more to do"
    )
    assert stable(served) == "1.0.0"


def test_a_release_that_fails_its_golden_rows_is_passed_over(served: Any) -> None:
    roll_out(served, served.one, "1.2.0", FLIP)
    served.time += 3600 * SECOND
    assert take(served, alert(served), bad=("1.1.0",)).outcome == "m@1.2.0 -> m@1.0.0"


def test_a_storm_of_alerts_undoes_one_release(served: Any) -> None:
    roll_out(served, served.one, "1.2.0", FLIP)
    served.time += 3600 * SECOND
    assert take(served, alert(served, fingerprint="a")).acted
    assert "took over" in take(served, alert(served, fingerprint="b")).outcome
    served.time += 30 * SECOND
    assert "less than 600 s ago" in take(served, alert(served, fingerprint="c", ago=1)).outcome
    assert stable(served) == "1.1.0"


def test_while_a_rollout_is_on_the_candidate_is_to_blame(served: Any) -> None:
    roll_out(served, served.one, "1.2.0", HALF)
    served.time += 100 * SECOND
    given = alert(served, ago=10)
    taken = take(served, given)
    assert taken.acted
    with served.db.read() as tx:
        found = rollouts.find(tx)
        assert quarantine.reason_of(tx, "e", served.bundle("1.2.0").package) is not None
    assert (found.state, stable(served)) == (RolloutState.ROLLED_BACK, "1.1.0")
    assert "alert Errors" in found.verdict
    assert served.gateway.table.routes["e"].candidate is None
    assert not take(served, given).acted


def test_an_alert_that_is_older_than_the_candidate_is_not_its_fault(served: Any) -> None:
    roll_out(served, served.one, "1.2.0", HALF)
    served.time += 100 * SECOND
    assert take(served, alert(served, ago=1000)).outcome == "m@1.1.0 -> m@1.0.0"
    with served.db.read() as tx:
        assert rollouts.find(tx).state is RolloutState.ABORTED


def test_the_releases_own_policy_counts(world: Any) -> None:
    controller = world.first()
    world.rollback = {**ON, "labels": {"severity": "page"}, "whole": False}
    assert "off" in take(world, alert(world, ago=0)).outcome
    roll_out(world, controller, "1.1.0", HALF)
    world.time += 60 * SECOND
    assert "labels" in take(world, alert(world, ago=1)).outcome
    assert take(world, alert(world, ago=1, severity="page")).acted
    roll_out(world, controller, "1.2.0", FLIP)
    world.time += 6000 * SECOND
    assert "whole is false" in take(world, alert(world, ago=1, severity="page", fingerprint="g")).outcome


def test_what_is_resolved_or_about_nothing_here_does_nothing(served: Any) -> None:
    assert "resolved" in take(served, alert(served, status="resolved")).outcome
    assert "no such endpoint" in take(served, alert(served, endpoint="other")).outcome
    nothing = Alert(status="firing", startsAt="2026-01-01T00:00:00Z", fingerprint="x")
    assert "no such endpoint" in take(served, nothing).outcome
    assert stable(served) == "1.1.0"


def test_with_nothing_good_behind_it_an_alert_changes_nothing_and_may_come_again(world: Any) -> None:
    world.rollback = ON
    world.first()
    world.time += 60 * SECOND
    for _ in range(2):
        taken = take(world, alert(world, ago=1))
        assert (taken.acted, "no good release" in taken.outcome) == (False, True)


def recover(world: Any, **options: Any) -> None:
    recovery.tick(world.db, world.objects, now=world.now, means=means(world, **options))


def harmed(world: Any, controller: Any) -> None:
    roll_out(world, controller, "1.2.0", FLIP, MINUTE)
    world.ask(20, fails=lambda number: True)
    controller.tick()
    assert stable(world) == "1.1.0"


def test_after_a_bake_the_release_that_has_all_users_again_is_asked_its_golden_rows(served: Any) -> None:
    harmed(served, served.one)
    recover(served)
    assert stable(served) == "1.1.0"
    with served.db.read() as tx:
        assert tx.rows("SELECT * FROM rechecks") == []
        assert history.log(tx, "e")[-1].reference == "m@1.1.0"


def test_if_it_fails_the_next_last_good_one_takes_over(served: Any) -> None:
    harmed(served, served.one)
    recover(served, bad=("1.1.0",))
    assert stable(served) == "1.0.0"
    with served.db.read() as tx:
        last = history.log(tx, "e")[-1]
    assert (last.actor, "golden row 3 of 1.1.0" in last.reason) == ("windlass", True)


def test_a_release_in_charge_whose_worker_crashes_again_and_again_makes_way(served: Any) -> None:
    recover(served)
    assert stable(served) == "1.1.0"
    served.ready("1.1.0", state="failed", error="out of memory")
    recover(served)
    assert stable(served) == "1.0.0"
    served.ready("1.0.0", state="failed", error="out of memory")
    with pytest.raises(Refused, match="no good release"):
        recover(served)
    assert stable(served) == "1.0.0"


def test_unless_its_policy_says_otherwise(world: Any) -> None:
    world.rollback = {"on_crash": False}
    controller = world.first()
    roll_out(world, controller, "1.1.0", FLIP)
    world.ready("1.1.0", state="failed", error="out of memory")
    recover(world)
    assert stable(world) == "1.1.0"


def test_a_recheck_of_a_release_that_was_left_meanwhile_is_dropped(served: Any) -> None:
    harmed(served, served.one)
    roll_out(served, served.one, "1.3.0", FLIP)
    recover(served, bad=("1.1.0",))
    assert stable(served) == "1.3.0"
    with pytest.raises(Refused):
        served.release("1.2.0")
    with served.db.read() as tx:
        assert tx.rows("SELECT * FROM rechecks") == []
        rollout = rollouts.find(tx)
    assert rollout.state is RolloutState.PROMOTED
