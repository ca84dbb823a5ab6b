"""A rollout under load that meets what goes wrong: no user has a failed request, and the rollout ends as it should.

The candidates answer slowly, too late, wrongly, with no number, or never; a worker, the log's disk, the database or
everything goes away in mid-canary.
"""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from fleet_packages import build
from fleet_project import Project, Users, eventually, users

from windlass.delivery import explain, rollouts
from windlass.delivery.rollouts import Live, Rollout
from windlass.delivery.signals import AnswersSignal, LatencySignal, QualitySignal, Signals
from windlass.delivery.strategy import Phase, PhaseKind, RolloutPolicy
from windlass.domain.states import RolloutState
from windlass.monitoring import alerts, labels
from windlass.serving import admin, log
from windlass.serving.record import Prediction
from windlass.workspace import databases

FAULTY = 10.0  # the x at which candidates show their fault: golden rows have none like it
LONG = 15.0  # the x at which every release takes its time
DEADLINE = 120.0
GOOD = f"time.sleep(1) if x[0] == {LONG} else None"

QUIET = Signals(latency=LatencySignal(on=False), answers=AnswersSignal(on=False), quality=QualitySignal(on=False))
SLOWNESS = Signals(
    latency=LatencySignal(users=100, ratio=1.25), answers=AnswersSignal(on=False), quality=QualitySignal(on=False)
)
RIGHTNESS = Signals(latency=LatencySignal(on=False), answers=AnswersSignal(on=False))
HALF = Phase(kind=PhaseKind.CANARY, weight=0.5, margin=0.1, users=100_000)  # goes on till there is harm
SHADOWED = Phase(kind=PhaseKind.SHADOW, margin=0.1, users=100_000)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two gateways, and a release that is good."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="w") as short:
        patch.setenv("XDG_RUNTIME_DIR", short)
        patch.setenv(databases.VARIABLE, "")
        root = tmp_path_factory.mktemp("project")
        (root / "windlass.toml").write_text('[project]\nname = "p"\n[model]\nname = "m"\n[endpoint]\nname = "e"\n')
        made = Project(root, gateways=2)
        try:
            good = build(made.root / "good", GOOD)
            assert made.ended(made.release(good, "1.0.0"), DEADLINE).state is RolloutState.PROMOTED
            yield made
        finally:
            made.close()


@pytest.fixture(autouse=True)
def holds(project: Project) -> Iterator[None]:
    """What is so after every test."""
    yield
    assert project.verified()


def policy(*phases: Phase, signals: Signals = QUIET) -> RolloutPolicy:
    return RolloutPolicy(phases=phases, signals=signals)


def live(project: Project, rollout: Rollout) -> Live:
    with project.workspace.database.read() as tx:
        return rollouts.require(tx, rollout.id)


def recomputed(project: Project, rollout: Rollout) -> tuple[str, ...]:
    """In what the log says otherwise than what was decided."""
    with project.workspace.database.read() as tx:
        return tuple(explain.explain(tx, project.layout.predictions, rollout.id).differences)


@contextmanager
def labelled(project: Project, asking: Users, label: int) -> Iterator[None]:
    """All that is answered gets its label, a little later."""
    ended, done = threading.Event(), 0

    def give() -> None:
        nonlocal done
        while not ended.wait(0.2):
            ids = asking.ids[done:]
            done += len(ids)
            labels.add(
                project.workspace.database, endpoint="e", labels=[(each, label) for each in ids],
                at=project.workspace.now(),
            )  # fmt: skip

    thread = threading.Thread(target=give)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def rolled_back(project: Project, asking: Users, rollout: Rollout) -> str:
    """The verdict, and that the stable release has stayed what serves."""
    stable = live(project, rollout).stable
    ended = project.ended(rollout, DEADLINE)
    assert ended.state is RolloutState.ROLLED_BACK
    asking.more(50)
    assert not asking.failures and asking.again == 0
    with project.workspace.database.read() as tx:
        row = tx.row("SELECT release FROM endpoints WHERE name = ?", (rollout.endpoint,))
    assert row is not None and row["release"] == stable
    assert recomputed(project, rollout) == ()
    return ended.verdict


def test_a_candidate_that_answers_slowly_is_rolled_back(project: Project) -> None:
    # An endpoint that waits for long, so that what comes slowly does come, to whoever is next in the queue as well.
    project.ended(project.release(project.root / "good", "1.0.0", "slow", timeout_ms=40_000), DEADLINE)
    slow = build(project.root / "slow", f"time.sleep(1) if x[0] == {FAULTY} else None")
    with users(project, "slow") as asking:
        rollout = project.release(slow, "1.1.0", "slow", policy=policy(HALF, signals=SLOWNESS), timeout_ms=40_000)
        # It is known what is slow once so many were answered.
        eventually(lambda: live(project, rollout).evidence.stable_users > 200, DEADLINE)
        with users(project, "slow", x=FAULTY, count=2, names="slow-{}".format) as waiting:
            assert rolled_back(project, asking, rollout).startswith("latency: ")
    assert not waiting.failures


@pytest.mark.parametrize(("name", "fault"), [("late", "time.sleep(3.5)"), ("never", "time.sleep(3600)")])
def test_a_candidate_that_answers_too_late_or_never_is_rolled_back(project: Project, name: str, fault: str) -> None:
    with users(project, x=FAULTY) as asking:
        made = build(project.root / name, f"{fault} if x[0] == {FAULTY} else None")
        rollout = project.release(made, f"1.2.0-{name}", policy=policy(HALF))
        assert "candidate users failed" in rolled_back(project, asking, rollout)


def test_a_candidate_that_answers_with_no_number_is_rolled_back(project: Project) -> None:
    nan = build(project.root / "nan", f"answer_nan() if x[0] == {FAULTY} else None")
    with users(project, x=FAULTY) as asking:
        rollout = project.release(nan, "1.3.0", policy=policy(HALF))
        assert "candidate users failed" in rolled_back(project, asking, rollout)


@pytest.mark.parametrize("phase", [SHADOWED, HALF], ids=["shadow", "canary"])
def test_a_candidate_that_answers_wrongly_is_rolled_back_as_labels_arrive(project: Project, phase: Phase) -> None:
    wrong = build(project.root / f"wrong-{phase.kind}", f"x = -x if x[0] == {FAULTY} else x")
    with users(project, x=FAULTY) as asking, labelled(project, asking, label=1):
        rollout = project.release(wrong, f"1.4.0-{phase.kind}", policy=policy(phase, signals=RIGHTNESS))
        assert rolled_back(project, asking, rollout).startswith("quality: ")


def workers_of(project: Project, release: str) -> list[int]:
    """The processes of a release's workers that are ready."""
    return [each.pid for each in project.workers() if each.release == release and each.state == "ready" and each.pid]


def users_seen(project: Project, rollout: Rollout) -> int:
    evidence = live(project, rollout).evidence
    return evidence.users + evidence.stable_users


SOME = Phase(kind=PhaseKind.CANARY, weight=0.5, margin=0.1, users=150)
ALL = Phase(kind=PhaseKind.CANARY, weight=1.0, margin=0.1, users=50)


def known(number: int) -> str:
    """One of 100 users, of whom a phase that asks for 150 of the candidate's never has enough."""
    return f"known-{number % 100}"


def test_a_candidate_worker_that_is_killed_in_mid_canary_comes_back(project: Project) -> None:
    good = build(project.root / "good-1.5", GOOD)
    with users(project, names=known) as asking:
        rollout = project.release(good, "1.5.0", policy=policy(SOME, ALL))
        eventually(lambda: users_seen(project, rollout) == 100, DEADLINE)
        (before,) = workers_of(project, rollout.candidate)
        os.kill(before, signal.SIGKILL)
        eventually(lambda: set(workers_of(project, rollout.candidate)) - {before}, DEADLINE)
        asking.more(100)
        assert live(project, rollout).state is RolloutState.RUNNING
        with users(project) as others:
            assert project.ended(rollout, DEADLINE).state is RolloutState.PROMOTED
    assert not asking.failures and not others.failures
    assert recomputed(project, rollout) == ()


def test_a_candidate_worker_that_is_killed_again_and_again_is_rolled_back(project: Project) -> None:
    good = build(project.root / "good-1.6", GOOD)
    with users(project) as asking:
        rollout = project.release(good, "1.6.0", policy=policy(HALF))
        eventually(lambda: users_seen(project, rollout) > 50, DEADLINE)

        def ended() -> bool:
            for pid in workers_of(project, rollout.candidate):
                os.kill(pid, signal.SIGKILL)
            return live(project, rollout).ended_at is not None

        eventually(ended, DEADLINE)
        assert rolled_back(project, asking, rollout)


def test_a_full_disk_under_one_gateways_log_costs_no_answer_is_told_and_ends(project: Project) -> None:
    pid = project.address()["gateway-1"]["pid"]
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    with users(project, count=12) as asking:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (40, before[1]))  # the kernel refuses what it writes
        try:
            alert = eventually(lambda: alarm(project), DEADLINE)
            found = status(project)["lost"]["e"]
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        assert found["dropped"] > 0 and found["error"] and found["lost_at"]
        assert "answers not logged" in alert["detail"]
        eventually(lambda: not status(project)["lost"]["e"]["error"], DEADLINE)
        asking.more(1)
        since = len(asking.ids)
        asking.more(100)
        eventually(lambda: set(asking.ids[since : since + 100]) <= logged(project), DEADLINE)
    assert not asking.failures and asking.again == 0


def alarm(project: Project) -> Any:
    """The alert that predictions are lost, while it fires."""
    alerts_of_e = [alert for watched in status(project)["monitors"] for alert in watched["alerts"]]
    return next((each for each in alerts_of_e if (each["column"], each["state"]) == (alerts.LOST, "firing")), None)


def status(project: Project) -> dict[str, Any]:
    """What `windlass status` says."""
    command = [sys.executable, "-m", "windlass", "--project", str(project.root), "status", "--json"]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def logged(project: Project) -> set[str]:
    return {each.id for each in log.read(project.layout.predictions / "e")[0] if isinstance(each, Prediction)}


def test_a_database_that_is_locked_in_mid_canary_holds_the_rollout_and_no_user(project: Project) -> None:
    good = build(project.root / "good-1.7", GOOD)
    with users(project, names=known) as asking:
        rollout = project.release(good, "1.7.0", policy=policy(SOME, ALL))
        eventually(lambda: users_seen(project, rollout) == 100, DEADLINE)
        with closing(sqlite3.connect(project.layout.database, isolation_level=None)) as other, users(project) as others:
            other.execute("BEGIN EXCLUSIVE")
            answered, moved = others.answered, live(project, rollout)
            time.sleep(10)
            assert others.answered > answered
            assert live(project, rollout) == moved
            other.execute("ROLLBACK")
            assert project.ended(rollout, DEADLINE).state is RolloutState.PROMOTED
    assert not asking.failures and not others.failures and asking.again == others.again == 0
    assert recomputed(project, rollout) == ()


def test_everything_is_ended_in_mid_canary_and_the_rollout_goes_on_where_it_was(project: Project) -> None:
    good = build(project.root / "good-1.8", GOOD)
    with users(project, names=known) as asking, ThreadPoolExecutor(2) as pool:
        rollout = project.release(good, "1.8.0", policy=policy(SOME, ALL))
        eventually(lambda: users_seen(project, rollout) == 100, DEADLINE)
        before = live(project, rollout)
        assert not asking.failures
        patient = [pool.submit(until_refused, project, known(number)) for number in range(2)]
        eventually(lambda: in_flight(project) >= 2)
        project.close()
        answers = [each for thread in patient for each in thread.result()]
    # Whoever got an answer got a good one, and is in the log; the others could not connect any more.
    assert {each.split()[0] for each in asking.failures} <= {"0"}
    assert len(answers) >= 2 and {status for status, _ in answers} == {200}
    assert {*asking.ids, *(json.loads(said)["id"] for _, said in answers)} <= logged(project)
    project.start()
    eventually(lambda: asked(project.gateway, "GET", "/v2/health/ready")[0] == 200, DEADLINE)
    after = live(project, rollout)
    assert (after.state, after.phase, after.salt) == (RolloutState.RUNNING, before.phase, before.salt)
    assert users_seen(project, rollout) == 100
    with users(project, names=known) as asking:
        asking.more(300)
    assert not asking.failures
    arms = arms_of(project, rollout)
    assert len(arms) == 100 and all(len(each) == 1 for each in arms.values())
    with users(project) as asking:
        assert project.ended(rollout, DEADLINE).state is RolloutState.PROMOTED
    assert not asking.failures
    assert recomputed(project, rollout) == ()


def until_refused(project: Project, user: str) -> list[tuple[int, str]]:
    """The answers to long requests, one after the other, for as long as there is somebody to ask."""
    answers = []
    body = {"inputs": {"x": [LONG], "y": [1]}}
    while True:
        try:
            answers.append(asked(project.gateway, "POST", "/endpoints/e/invocations", body, user))
        except ConnectionRefusedError:
            return answers


def in_flight(project: Project) -> int:
    states = [admin.state(project.layout.gateway_socket(number)) for number in range(2)]
    return sum(each["in_flight"] for state in states for each in state["releases"].values())


def arms_of(project: Project, rollout: Rollout) -> dict[str, set[str]]:
    """Which arms each user was ever in."""
    found: dict[str, set[str]] = {}
    for each in log.read(project.layout.predictions / "e")[0]:
        if isinstance(each, Prediction) and each.rollout == rollout.id:
            found.setdefault(each.user, set()).add(each.arm)
    return found


def asked(gateway: str, method: str, path: str, body: Any = None, user: str = "") -> tuple[int, str]:
    """What one request is answered on a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(gateway).netloc, timeout=60)
    headers = {"content-type": "application/json", "windlass-user": user}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    status, said = response.status, response.read().decode()
    connection.close()
    return status, said
