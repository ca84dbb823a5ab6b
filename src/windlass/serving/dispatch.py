"""One request's way: to the user's release, to the stable one if that fails, to the shadow, and into the log."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from windlass.domain.errors import Failure, Invalid, NotFound, Unavailable
from windlass.domain.routing import Arm, Route, RouteTable
from windlass.serving import router
from windlass.serving.log import Writer
from windlass.serving.metrics import Metrics
from windlass.serving.pool import RECONNECT_SECONDS, Absent, Late, Lost, Pool
from windlass.serving.record import Answer, Prediction, Row, Shadow
from windlass.serving.wire import Answers

MOST_SHADOWS = 256
# A candidate gets this share of the user's patience, so that there is some left to ask the stable release.
CANDIDATE_SHARE = 0.5
# So many workers may go away with a request before it is held to be what ends them.
MOST_LOSSES = 2
RECORD_BYTES = 512  # of a record in memory, besides its rows
_UNLOGGED = Unavailable("the answer cannot be logged, and must be", hint="the prediction log's disk is full or failing")
_NO_WORKER = Absent("the release has no worker")


@dataclass(slots=True)
class Asked:
    """A request as the dispatcher takes it. Without ``user`` it is a user of its own; without an ``id`` one is made up.
    ``timeout_ms`` is how long the user waits, if less than the endpoint's. ``release``: this one answers, or none.
    ``size`` is the body's, in bytes."""

    endpoint: str
    user: str
    rows: list[Row]
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    id: str = ""
    timeout_ms: int | None = None
    release: str = ""
    size: int = 0


@dataclass(slots=True)
class Served:
    """What the user gets: answers, or a failure with its status."""

    id: str
    status: int
    release: str = ""
    answers: Answers | None = None
    failure: Failure | None = None


Done = Callable[[Served], None]


def _ids() -> Iterator[str]:
    """Ids that nobody gives twice or guesses: 96 random bits each, drawn many at a time."""
    while True:
        drawn = os.urandom(12 * 256).hex()
        for start in range(0, len(drawn), 24):
            yield drawn[start : start + 24]


_new_ids = _ids()


@dataclass(slots=True)
class Dispatcher:
    """Holds what requests share. ``table`` and ``pools`` are swapped as a whole when routes are pushed."""

    table: RouteTable
    pools: Mapping[str, Pool]
    writers: dict[str, Writer]
    metrics: Metrics = field(default_factory=Metrics)
    unlogged: int = 0
    shadows: int = 0
    shadows_dropped: int = 0

    def invoke(self, asked: Asked, done: Done) -> None:
        """Answer a user, by ``done``. The routes of the moment it was asked hold for all of the request."""
        route = self.table.routes.get(asked.endpoint)
        if route is None:
            known = ", ".join(sorted(self.table.routes)) or "none yet"
            failure = NotFound(f"no endpoint '{asked.endpoint[:64]}'", hint=f"endpoints: {known}")
            done(Served(asked.id, 404, failure=failure))
            return
        if asked.release:
            route = replace(route, stable=asked.release, candidate=None, weight=0.0, shadow=False, rules=())
        _Request(self, route, asked, done).begin()

    def log(self, endpoint: str, record: Prediction | Shadow, size: int, done: Callable[[bool], None] | None) -> bool:
        """Log a record; False: it is not, which is counted. ``done`` is ``Writer.append``'s."""
        writer = self.writers.get(endpoint)
        if writer is None:
            self.unlogged += 1
            return False
        return writer.append(record, size, done)


class _Request:
    """A request under way: whom it was given to, and what came of it."""

    __slots__ = (
        "_arm",
        "_asked",
        "_at",
        "_began",
        "_dispatcher",
        "_done",
        "_failure",
        "_id",
        "_key",
        "_loop",
        "_losses",
        "_pools",
        "_release",
        "_revision",
        "_route",
        "_status",
        "_until",
        "_user",
    )  # fmt: skip

    def __init__(self, dispatcher: Dispatcher, route: Route, asked: Asked, done: Done) -> None:
        self._dispatcher, self._route, self._asked, self._done = dispatcher, route, asked, done
        self._pools, self._revision = dispatcher.pools, dispatcher.table.revision
        self._loop = asyncio.get_running_loop()
        self._id = asked.id or next(_new_ids)
        self._key = asked.user or self._id
        self._at = time.time_ns() // 1000
        self._losses = 0

    def begin(self) -> None:
        asked, route = self._asked, self._route
        started = self._loop.time()
        self._began = time.perf_counter()  # the loop's own time goes by whole milliseconds
        patience = (asked.timeout_ms or route.timeout_ms) / 1000
        self._until = started + patience
        if asked.release:
            self._arm, self._release = Arm.CHOSEN, asked.release  # by the user: no evidence, as with a rule
        else:
            self._arm, self._release = router.assign(route, self._key, asked.headers)
        if self._release == route.stable:
            self._ask(route.stable, self._until, self._from_stable)
        else:
            self._ask(self._release, started + CANDIDATE_SHARE * patience, self._from_assigned)

    def _ask(self, release: str, until: float, done: Callable[[Answers | Failure], None]) -> None:
        pool = self._pools.get(release)
        if pool is None:
            done(_NO_WORKER)
        else:
            pool.ask(self._asked.rows, until, done)

    def _from_assigned(self, outcome: Answers | Failure) -> None:
        if isinstance(outcome, Failure):
            self._status, self._failure = status_of(outcome), outcome
            self._ask(self._route.stable, self._until, self._after_fallback)
        else:
            self._end(self._release, 200, None, outcome)

    def _after_fallback(self, outcome: Answers | Failure) -> None:
        if self._again(outcome, self._after_fallback):
            return
        if self._status == 400 and isinstance(outcome, Answers):
            # The stable release takes these rows: that the other does not is its own fault.
            self._status = 500
        self._end(self._route.stable, self._status, self._failure, outcome)

    def _from_stable(self, outcome: Answers | Failure) -> None:
        if isinstance(outcome, Answers):
            self._end(self._release, 200, None, outcome)
        elif not self._again(outcome, self._from_stable):
            self._end(self._release, status_of(outcome), outcome, outcome)

    def _again(self, outcome: Answers | Failure, done: Callable[[Answers | Failure], None]) -> bool:
        """Ask the stable release again: a worker that is just being started gets until the deadline to come back."""
        if not isinstance(outcome, Absent | Lost):
            return False
        if isinstance(outcome, Lost):
            self._losses += 1
            if self._losses >= MOST_LOSSES:
                return False
        if self._loop.time() + RECONNECT_SECONDS >= self._until:
            return False
        self._loop.call_later(RECONNECT_SECONDS, self._ask, self._route.stable, self._until, done)
        return True

    def _end(self, release: str, status: int, error: Failure | None, outcome: Answers | Failure) -> None:
        """``status`` and ``error`` are the assigned release's; ``outcome`` is what the user gets, from ``release``."""
        answers, failure = (None, outcome) if isinstance(outcome, Failure) else (outcome, None)
        user_status = 200 if failure is None else status_of(failure)
        waited = time.perf_counter() - self._began
        asked, route, dispatcher = self._asked, self._route, self._dispatcher
        served = Served(self._id, user_status, release, answers, failure)
        waits = route.log is not None and route.log.answers_wait
        if not waits:
            self._done(served)
        self._user = router.user_hash(self._key)
        dispatcher.metrics.count((asked.endpoint, self._release, self._arm.value), status, waited)
        self._log(
            served if waits else None,
            Prediction(
                id=self._id,
                at=self._at,
                endpoint=asked.endpoint,
                revision=self._revision,
                rollout=route.rollout,
                release=self._release,
                arm=self._arm,
                user=self._user,
                rows=asked.rows,
                answers=_plain(answers),
                status=status,
                user_status=user_status,
                error="" if error is None else error.message[:500],
                latency_us=int(waited * 1e6),
                answered_by=release if answers is not None else "",
            ),
        )
        if route.shadow and answers is not None and self._arm is Arm.STABLE:
            self._mirror()

    def _log(self, served: Served | None, record: Prediction) -> None:
        """Log the answer; ``served`` is what the user has not got yet, and gets as the endpoint's policy says."""
        endpoint, size = self._asked.endpoint, RECORD_BYTES + self._asked.size
        if served is None:
            self._dispatcher.log(endpoint, record, size, None)
            return
        assert self._route.log is not None
        otherwise = Served(self._id, 503, failure=_UNLOGGED) if self._route.log.when_full == "refuse" else served
        if self._route.log.sync == "interval":
            self._done(served if self._dispatcher.log(endpoint, record, size, None) else otherwise)
            return

        def synced(is_logged: bool) -> None:
            self._loop.call_soon_threadsafe(self._done, served if is_logged else otherwise)

        if not self._dispatcher.log(endpoint, record, size, synced):
            self._done(otherwise)

    def _mirror(self) -> None:
        """Ask the candidate what the user was answered; nobody waits for it."""
        dispatcher = self._dispatcher
        if dispatcher.shadows >= MOST_SHADOWS or self._route.candidate is None:
            dispatcher.shadows_dropped += 1
            return
        dispatcher.shadows += 1
        self._began = time.perf_counter()
        self._ask(self._route.candidate, self._loop.time() + self._route.timeout_ms / 1000, self._mirrored)

    def _mirrored(self, outcome: Answers | Failure) -> None:
        dispatcher, route = self._dispatcher, self._route
        dispatcher.shadows -= 1
        assert route.candidate is not None
        answers, failure = (None, outcome) if isinstance(outcome, Failure) else (outcome, None)
        dispatcher.log(
            self._asked.endpoint,
            Shadow(
                id=self._id,
                at=time.time_ns() // 1000,
                endpoint=self._asked.endpoint,
                rollout=route.rollout,
                release=route.candidate,
                user=self._user,
                # The stable release answered these rows: to refuse them is a failure.
                status=200 if failure is None else 500 if isinstance(failure, Invalid) else status_of(failure),
                answers=_plain(answers),
                error="" if failure is None else failure.message[:500],
                latency_us=int((time.perf_counter() - self._began) * 1e6),
            ),
            RECORD_BYTES,
            None,
        )


def status_of(failure: Failure) -> int:
    """The HTTP status that a failure is told by."""
    if isinstance(failure, Invalid):
        return 400
    if isinstance(failure, NotFound):
        return 404
    if isinstance(failure, Late):
        return 504
    return 503 if isinstance(failure, Unavailable) else 500


def _plain(answers: Answers | None) -> list[Answer] | None:
    return None if answers is None else answers.rows()
