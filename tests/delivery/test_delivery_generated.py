"""Generated histories of an endpoint, on a real database: whatever happens in whatever order, what must hold does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from windlass.adapters.sqlite import SqliteTransaction
from windlass.delivery import by_hand, rollback, rollouts, routing, workers
from windlass.delivery.strategy import Choice, Phase, PhaseKind, Preset, preset
from windlass.domain import ledger
from windlass.domain.clock import SECOND
from windlass.domain.errors import Failure, Refused, Unavailable
from windlass.domain.routing import Arm
from windlass.domain.states import ROLLOUT, RolloutState
from windlass.serving import router

VERSIONS = ("1.0.0", "1.1.0", "1.2.0")
MOVES = ("pause", "resume", "resume", "abort", "promote", "approve", "approve")
PEOPLE = ("dana", "sam", "kim")  # dana releases
CANARY, ALL = (Phase(kind=PhaseKind.CANARY, weight=weight, margin=0.2) for weight in (0.3, 1.0))
FLIP = Phase(kind=PhaseKind.BLUE_GREEN)
WAYS = (
    (FLIP,),
    (FLIP, Phase(kind=PhaseKind.BAKE, seconds=60)),
    (CANARY, ALL),
    (Phase(kind=PhaseKind.SHADOW, margin=0.2), CANARY, Phase(kind=PhaseKind.BLUE_GREEN, approval=True)),
    (Phase(kind=PhaseKind.BLUE_GREEN, approval=True), Phase(kind=PhaseKind.BAKE, users=50, approval=True)),
    preset(Preset.HIGH),
)


class Killed(BaseException):
    """The process is gone: no handler of errors sees it."""


@contextmanager
def killed_at(statement: int | None) -> Iterator[None]:
    """Die before the n-th statement that changes something."""
    if statement is None:
        yield
        return
    left, whole = statement, SqliteTransaction.execute

    def execute(tx: SqliteTransaction, sql: str, params: Any = ()) -> int:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        return whole(tx, sql, params)

    SqliteTransaction.execute = execute  # type: ignore[method-assign]
    try:
        with suppress(Killed):
            yield
    finally:
        SqliteTransaction.execute = whole  # type: ignore[method-assign]


class Interrupted:
    """A database whose n-th write is preceded by something that somebody else does."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self.read = db.read
        self.before: Callable[[], None] | None = None
        self.left = 0

    @contextmanager
    def write(self) -> Iterator[Any]:
        self.left -= 1
        if self.left == 0 and self.before is not None:
            self.before()
        with self._db.write() as tx:
            yield tx


maybe_killed = st.one_of(st.none(), st.none(), st.integers(1, 25))
people, versions = st.sampled_from(PEOPLE), st.sampled_from(VERSIONS)


class Endpoint(RuleBasedStateMachine):
    def __init__(self, make_world: Callable[[], Any]) -> None:
        super().__init__()
        self.world = make_world()
        self.db = self.world.db
        self.db._connection().execute("PRAGMA synchronous = OFF")  # no power is cut here
        self.cleared: set[str] = set()
        self.served = False
        self.interrupted = Interrupted(self.db)
        self.controllers = []
        for holder in ("one", "two"):
            controller = self.world.controller(holder)
            controller._db = self.interrupted
            self.controllers.append(controller)

    def teardown(self) -> None:
        # Whatever happened, a release that is good gets through from here, once nobody holds it up.
        with self.db.read() as tx:
            live = rollouts.live(tx)
        for each in live:
            with suppress(Failure):
                by_hand.abort(self.db, each.id, actor="sam", reason="", now=self.world.now)
        rollout = self.world.release("9.0.0", choice=Choice(phases=(FLIP,)))
        self.world.ready("9.0.0")
        self.world.time += 10 * SECOND
        self.controllers[0].tick()
        self.controllers[0].tick()
        with self.db.read() as tx:
            assert rollouts.find(tx, rollout.id).state is RolloutState.PROMOTED
        assert self.world.gateway.table.routes["e"].stable == self.world.bundle("9.0.0").id

    @rule(version=versions, way=st.sampled_from(WAYS), cleared=st.sampled_from([True, True, True, False]),
          force=st.booleans(), reason=st.sampled_from(["", "the feed was at fault"]), kill=maybe_killed)  # fmt: skip
    def release(
        self, version: str, way: tuple[Phase, ...], cleared: bool, force: bool, reason: str, kill: int | None
    ) -> None:
        bundle = self.world.bundle(version)
        with self.db.read() as tx:
            barred = tx.row("SELECT * FROM quarantine WHERE package = ?", (bundle.package,)) is not None
            first = tx.row("SELECT * FROM endpoints WHERE release IS NOT NULL") is None
        if cleared:
            self.cleared.add(bundle.id)
        clearance = self.world.clearance(bundle if cleared else self.world.bundle("0.0.0"))
        choice = Choice() if first else Choice(phases=way)
        try:
            with killed_at(kill):
                self.world.release(version, choice=choice, clearance=clearance, force=force, reason=reason)
                assert cleared
                assert not barred or (force and reason)
        except Refused:
            assert not cleared or (barred and not (force and reason))
        except Failure:
            pass

    @initialize(first=st.sampled_from([True, True, True, False]))
    def a_first_release(self, first: bool) -> None:
        if first:
            self.release("1.0.0", (FLIP,), cleared=True, force=False, reason="", kill=None)
            self.goes_well("1.0.0", users=0, kill=None)

    @rule(version=versions, way=st.sampled_from(WAYS), users=st.sampled_from([0, 200]), kill=maybe_killed)
    def a_release_that_is_ready(self, version: str, way: tuple[Phase, ...], users: int, kill: int | None) -> None:
        self.release(version, way, cleared=True, force=False, reason="", kill=None)
        self.goes_well(version, users, kill)

    @rule(version=versions, users=st.sampled_from([0, 200, 400]), kill=maybe_killed)
    def goes_well(self, version: str, users: int, kill: int | None) -> None:
        """What a good candidate needs to get on, in whatever phase it is."""
        self.tick(0, 1, None)
        self.worker(version, "ready")
        self.tick(0, 1, None)
        self.traffic(users, 0)
        self.tick(0, 2, kill)

    @rule(kill=maybe_killed)
    def goes_badly(self, kill: int | None) -> None:
        self.traffic(60, 1)
        self.tick(0, 1, kill)
        self.time_passes(1)
        self.tick(0, 1, None)

    @rule(version=versions, state=st.sampled_from(["ready", "ready", "ready", "failed"]))
    def worker(self, version: str, state: str) -> None:
        self.world.ready(version, state=state, error="" if state == "ready" else "it fell over")

    @rule(count=st.sampled_from([10, 120]), bad=st.sampled_from([0, 0, 0, 3, 1]))
    def traffic(self, count: int, bad: int) -> None:
        if "e" in self.world.gateway.table.routes:
            self.world.ask(count, fails=lambda number: bad and number % bad == 0)

    @rule(which=st.sampled_from([0, 1]), times=st.integers(1, 3), kill=maybe_killed)
    def tick(self, which: int, times: int, kill: int | None) -> None:
        with killed_at(kill):
            for _ in range(times):
                self.controllers[which].tick()

    @rule(at=st.integers(1, 3), what=st.sampled_from(["pause", "promote", "approve", "rollback", "two"]))
    def something_happens_while_the_controller_thinks(self, at: int, what: str) -> None:
        def happen() -> None:
            self.interrupted.before = None
            if what == "two":
                self.world.time += 10 * SECOND
                self.controllers[1].tick()
            elif what == "rollback":
                self.roll_back(partial=False, sound=VERSIONS, kill=None)
            else:
                self.by_hand(what, person="sam", full=False, kill=None)

        self.interrupted.before, self.interrupted.left = happen, at
        self.controllers[0].tick()
        self.interrupted.before = None

    @rule(seconds=st.sampled_from([1, 10, 2000]))
    def time_passes(self, seconds: int) -> None:
        self.world.time += seconds * SECOND

    @rule(what=st.sampled_from(MOVES), person=people, full=st.booleans(), kill=maybe_killed)
    def by_hand(self, what: str, person: str, full: bool, kill: int | None) -> None:
        with self.db.read() as tx:
            live = rollouts.live(tx)
        if not live:
            return
        options = {"full": full} if what == "promote" else {}
        with killed_at(kill), suppress(Failure):
            getattr(by_hand, what)(self.db, live[0].id, actor=person, reason="because", now=self.world.now, **options)

    @rule(partial=st.booleans(), sound=st.sets(versions).map(tuple), kill=maybe_killed)
    def roll_back(self, partial: bool, sound: tuple[str, ...], kill: int | None) -> None:
        with self.db.write() as tx:  # workers that come up at once, of the releases before
            for version in VERSIONS:
                tx.execute(
                    "UPDATE workers SET desired = 'up', state = 'ready' WHERE release = ? AND desired = 'down'",
                    (self.world.bundle(version).id,),
                )

        def revalidate(release: Any) -> None:
            if release.version not in sound:
                raise Unavailable("golden row 1 differs")

        with killed_at(kill), suppress(Failure):
            result = rollback.rollback(
                self.db, self.world.objects, endpoint="e", partial=partial, reason="incident", actor="sam",
                now=self.world.now, gateway_socket=self.world.folder / "gateway.sock",
                socket=lambda r: self.world.folder / f"{r[3:9]}.sock", revalidate=revalidate, wait_seconds=0.0,
            )  # fmt: skip
            assert partial or result.to_reference.partition("@")[2] in sound

    @invariant()
    def what_must_hold_holds(self) -> None:
        with self.db.read() as tx:
            heads = {row["subject"]: row["target"] for row in tx.rows("SELECT subject, target FROM heads")}
            ledger.verify(ledger.entries(tx), heads)
            live = rollouts.live(tx)
            endpoint = tx.row("SELECT * FROM endpoints WHERE name = 'e'")
            table = routing.current(tx).table
            up = {each.release for each in workers.desired(tx)}
        assert len(live) <= 1
        if endpoint is None:
            assert not live
            return
        assert endpoint["rollout"] == (live[0].id if live else None)
        assert not self.served or endpoint["release"] is not None
        if endpoint["release"] is None:
            assert not table.routes
            return
        self.served = True
        assert heads["endpoint/e"] == endpoint["release"]
        for routes in (table.routes, self.world.gateway.table.routes):
            if "e" in routes:
                self.sound(routes["e"], up)
        route = table.routes["e"]
        assert route.stable == endpoint["release"]
        trial = next((each for each in live if each.state in (RolloutState.RUNNING, RolloutState.PAUSED)), None)
        assert (route.candidate, route.rollout) == ((trial.candidate, trial.id) if trial else (None, None))
        if trial:
            phase = trial.phases[trial.phase]
            assert trial.stable == endpoint["release"]
            assert (route.weight, route.shadow) == (phase.share, phase.kind is PhaseKind.SHADOW)
            entered = [index for index in range(trial.phase + 1) if trial.phases[index].approval]
            assert all(trial.approved >= index for index in entered)
            assert not ROLLOUT.ends(trial.state)

    def sound(self, route: Any, up: set[str]) -> None:
        """A route that anybody may be sent by: to releases that are cleared and up, each user to one."""
        assert route.stable in self.cleared
        assert route.stable in up
        assert 0 <= route.weight <= 1
        if route.candidate is None:
            assert (route.weight, route.shadow) == (0.0, False)
        else:
            assert route.candidate in self.cleared
            assert route.candidate in up
        arms = [router.assign(route, f"user-{number}")[0] for number in range(200)]
        assert set(arms) <= ({Arm.STABLE, Arm.CANDIDATE} if route.candidate else {Arm.STABLE})
        assert abs(arms.count(Arm.CANDIDATE) / 200 - route.weight) < 0.2
        if route.weight in (0.0, 1.0):
            assert arms.count(Arm.CANDIDATE) == 200 * route.weight


def test_no_order_of_events_serves_what_may_not_or_loses_what_serves(make_world: Callable[[], Any]) -> None:
    run_state_machine_as_test(
        lambda: Endpoint(make_world),
        settings=settings(
            max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
