"""A rollout under load that meets what goes wrong: no user has a failed request, and the rollout ends as it should.

The candidates answer slowly, too late, wrongly, with no number, or never; a worker, the log's disk, the database or
everything goes away in mid-canary.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fleet_packages import build
from fleet_project import Project, Users, eventually, users

from windlass.delivery import explain, rollouts
from windlass.delivery.rollouts import Live, Rollout
from windlass.delivery.signals import AnswersSignal, LatencySignal, QualitySignal, Signals
from windlass.delivery.strategy import Phase, PhaseKind, RolloutPolicy
from windlass.domain.states import RolloutState
from windlass.monitoring import labels
from windlass.workspace import databases

FAULTY = 10.0  # the x at which candidates show their fault: golden rows have none like it
LONG = 15.0  # the x at which every release takes its time
DEADLINE = 120.0
GOOD = f"time.sleep(1.5) if x[0] == {LONG} else None"

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
        made = Project(tmp_path_factory.mktemp("project"), gateways=2)
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
        row = tx.row("SELECT release FROM endpoints WHERE name = 'e'")
    assert row is not None and row["release"] == stable
    assert recomputed(project, rollout) == ()
    return ended.verdict


def test_a_candidate_that_answers_slowly_is_rolled_back(project: Project) -> None:
    slow = build(project.root / "slow", f"time.sleep(1) if x[0] == {FAULTY} else None")
    with users(project) as asking:
        rollout = project.release(slow, "1.1.0", policy=policy(HALF, signals=SLOWNESS))
        # It is known what is slow once so many were answered.
        eventually(lambda: live(project, rollout).evidence.stable_users > 200, DEADLINE)
        with users(project, x=FAULTY, count=2, names="slow-{}".format) as waiting:
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
