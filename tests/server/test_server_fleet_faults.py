"""What is killed under load costs no user a request: workers, gateways, the control process, a hungry candidate."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_packages import build
from fleet_project import Project, eventually, users

from windlass.delivery.autoscaler import available_cores
from windlass.domain.states import RolloutState
from windlass.serving import admin
from windlass.workspace import databases

SLOW = 15.0
HUNGRY = 20.0  # the x at which the candidate of the last test eats


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two gateways, and a release with two workers."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="w") as short:
        patch.setenv("XDG_RUNTIME_DIR", short)
        patch.setenv(databases.VARIABLE, "")
        made = Project(tmp_path_factory.mktemp("project"), gateways=2)
        try:
            good = build(made.root / "good")
            assert made.ended(made.release(good, "1.0.0", min_workers=2)).state is RolloutState.PROMOTED
            yield made
        finally:
            made.close()


def test_a_release_with_two_workers_is_served_by_both(project: Project) -> None:
    assert len(set(project.ready())) == 2
    with users(project) as asking:
        asking.more(300)
        states = [admin.state(project.layout.gateway_socket(number)) for number in range(2)]
    assert not asking.failures
    assert {counts["connected"] for state in states for counts in state["releases"].values()} <= {0, 2}
    assert max(counts["connected"] for state in states for counts in state["releases"].values()) == 2


def test_a_stable_worker_that_is_killed_with_a_second_one_up_costs_no_request(project: Project) -> None:
    with users(project) as asking:
        before = project.ready()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
            asking.more(200)
            eventually(lambda pid=pid: pid not in project.ready() and len(project.ready()) == 2)
    assert not asking.failures and asking.again == 0
    assert not set(before) & set(project.ready())
    assert project.verified()


@pytest.mark.parametrize("which", ["gateway", "gateway-1"])
def test_one_gateway_of_two_that_is_killed_costs_only_connections(project: Project, which: str) -> None:
    with users(project, count=12) as asking:
        before = project.address()[which]
        os.kill(before["pid"], signal.SIGKILL)
        asking.more(200)
        eventually(lambda: admin.state(before["socket"])["pid"] != before["pid"])
        asking.more(100)
    assert not asking.failures and asking.again > 0
    sockets = [project.address()[name]["socket"] for name in ("gateway", "gateway-1")]
    assert len({admin.state(socket)["revision"] for socket in sockets}) == 1
    assert project.verified()


def test_the_control_process_that_is_killed_costs_nothing(project: Project) -> None:
    with users(project) as asking:
        before = project.address()["control"]["pid"]
        os.kill(before, signal.SIGKILL)
        asking.more(300)
        eventually(lambda: project.address()["control"]["pid"] not in (None, before))
    assert not asking.failures and asking.again == 0
    assert project.verified()


def test_two_endpoints_are_served_at_once(project: Project) -> None:
    other = build(project.root / "other")
    with users(project) as asking:
        assert project.ended(project.release(other, "1.0.0", endpoint="f")).state is RolloutState.PROMOTED
        with users(project, "f", count=2) as asking_the_other:
            os.kill(project.ready("e")[0], signal.SIGKILL)
            asking_the_other.more(100)
    assert not asking.failures and not asking_the_other.failures
    assert len(project.ready("f")) == 1


@pytest.mark.skipif(available_cores() < 2, reason="a second worker has no core to run on")
def test_a_release_that_has_too_much_to_do_gets_another_worker(project: Project) -> None:
    slow = build(project.root / "slow", f"time.sleep(0.05) if x[0] == {SLOW} else None")
    project.ended(project.release(slow, "1.0.0", endpoint="g", min_workers=1, max_workers=2))
    with users(project, "g", x=SLOW, count=20) as asking:
        eventually(lambda: len(project.ready("g")) == 2)
        eventually(lambda: _connected(project, "g") == [2, 2])
    assert not asking.failures
    assert project.verified()


def _connected(project: Project, endpoint: str) -> list[int]:
    """How many workers of what the endpoint serves each gateway has asked, of those that it knows."""
    states = [admin.state(project.layout.gateway_socket(number)) for number in range(2)]
    return [state["releases"][state["table"]["routes"][endpoint]["stable"]]["connected"] for state in states]


def test_a_candidate_that_eats_memory_dies_alone_and_is_rolled_back(project: Project) -> None:
    eventually(lambda: len(project.ready()) == 2)
    stable = set(project.ready())
    hungry = build(project.root / "hungry", f"eat(2000) if x[0] == {HUNGRY} else None")
    with users(project, x=HUNGRY) as asking:
        ended = project.ended(project.release(hungry, "1.1.0", memory_mb=700), 90)
    assert not asking.failures and asking.again == 0
    assert ended.state is RolloutState.ROLLED_BACK and ended.verdict
    assert set(project.ready()) == stable
    said = "".join(path.read_text() for path in Path(project.layout.logs).glob("worker-*.log"))
    assert "error: out of memory: serving.memory_mb is 700" in said
    assert project.verified()
