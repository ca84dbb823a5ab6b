"""One request's way: to the user's release, to the stable one if that fails, to the shadow, and into the log."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from windlass.domain.errors import Failure, Invalid, NotFound, Unavailable
from windlass.domain.routing import Arm, Route, RouteTable
from windlass.serving import router
from windlass.serving.log import Writer
from windlass.serving.metrics import Metrics
from windlass.serving.pool import RECONNECT_SECONDS, Pool
from windlass.serving.record import Answer, Prediction, Row, Shadow
from windlass.serving.wire import Answers

MOST_SHADOWS = 256
# A candidate gets this share of the user's patience, so that there is some left to ask the stable release.
CANDIDATE_SHARE = 0.5


@dataclass(slots=True)
class Served:
    """What the user gets: answers, or a failure with its status."""

    id: str
    status: int
    release: str = ""
    answers: Answers | None = None
    failure: Failure | None = None
    shadow: Shadowing | None = None


@dataclass(slots=True)
class Shadowing:
    """A request that the candidate is still to be asked, without the user."""

    id: str
    endpoint: str
    route: Route
    user: str
    rows: list[Row]


@dataclass(slots=True)
class _Attempt:
    """What asking one release came to."""

    release: str
    status: int
    answers: Answers | None = None
    failure: Failure | None = None


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

    async def invoke(
        self, endpoint: str, user: str, rows: list[Row], headers: Mapping[bytes, bytes] = router.NO_HEADERS
    ) -> Served:
        """Answer a user. The routes of the moment it was asked hold for all of the request."""
        table, pools = self.table, self.pools
        route = table.routes.get(endpoint)
        if route is None:
            known = ", ".join(sorted(table.routes)) or "none yet"
            return Served("", 404, failure=NotFound(f"no endpoint '{endpoint}'", hint=f"endpoints: {known}"))
        loop = asyncio.get_running_loop()
        identity, at, started = os.urandom(12).hex(), time.time_ns() // 1000, loop.time()
        until = started + route.timeout_ms / 1000
        arm, release = router.assign(route, user, headers)
        if arm is not Arm.STABLE and release != route.stable:
            patience = started + CANDIDATE_SHARE * route.timeout_ms / 1000
            assigned = await _ask(pools, release, rows, patience)
            served = assigned
            if assigned.answers is None:
                served = await self._stable(pools, route, rows, until)
                if assigned.status == 400 and served.answers is not None:
                    # The stable release takes these rows: that the candidate does not is its own fault.
                    assigned.status = 500
        else:
            served = assigned = await self._stable(pools, route, rows, until)
        waited = loop.time() - started
        hashed = router.user_hash(user)
        self.metrics.count(endpoint, assigned.release, arm.value, assigned.status, waited)
        self._log(
            endpoint,
            Prediction(
                id=identity,
                at=at,
                endpoint=endpoint,
                revision=table.revision,
                rollout=route.rollout,
                release=assigned.release,
                arm=arm,
                user=hashed,
                rows=rows,
                answers=_plain(served.answers),
                status=assigned.status,
                user_status=served.status,
                error="" if assigned.failure is None else assigned.failure.message[:500],
                latency_us=int(waited * 1e6),
                answered_by=served.release if served.answers is not None else "",
            ),
        )
        shadow = None
        if route.shadow and route.candidate is not None and arm is Arm.STABLE and served.answers is not None:
            shadow = Shadowing(identity, endpoint, route, hashed, rows)
        return Served(identity, served.status, served.release, served.answers, served.failure, shadow)

    def mirror(self, shadowing: Shadowing) -> None:
        """Ask the candidate what the user was answered; nobody waits for it."""
        if self.shadows >= MOST_SHADOWS:
            self.shadows_dropped += 1
            return
        self.shadows += 1
        task = asyncio.get_running_loop().create_task(self._mirror(shadowing))
        task.add_done_callback(self._mirrored)

    def _mirrored(self, _: asyncio.Task[None]) -> None:
        self.shadows -= 1

    async def _mirror(self, shadowing: Shadowing) -> None:
        loop, route = asyncio.get_running_loop(), shadowing.route
        assert route.candidate is not None
        started = loop.time()
        attempt = await _ask(self.pools, route.candidate, shadowing.rows, started + route.timeout_ms / 1000)
        self._log(
            shadowing.endpoint,
            Shadow(
                id=shadowing.id,
                at=time.time_ns() // 1000,
                endpoint=shadowing.endpoint,
                rollout=route.rollout,
                release=route.candidate,
                user=shadowing.user,
                # The stable release answered these rows: to refuse them is a failure.
                status=500 if attempt.status == 400 else attempt.status,
                answers=_plain(attempt.answers),
                error="" if attempt.failure is None else attempt.failure.message[:500],
                latency_us=int((loop.time() - started) * 1e6),
            ),
        )

    async def _stable(self, pools: Mapping[str, Pool], route: Route, rows: list[Row], until: float) -> _Attempt:
        """Ask the stable release; a worker that is just being started again gets until the deadline to come back."""
        loop = asyncio.get_running_loop()
        while True:
            attempt = await _ask(pools, route.stable, rows, until)
            if attempt.status != 503 or loop.time() + RECONNECT_SECONDS >= until:
                return attempt
            await asyncio.sleep(RECONNECT_SECONDS)

    def _log(self, endpoint: str, record: Prediction | Shadow) -> None:
        writer = self.writers.get(endpoint)
        if writer is None or not writer.append(record):
            self.unlogged += 1


async def _ask(pools: Mapping[str, Pool], release: str, rows: list[Row], until: float) -> _Attempt:
    pool = pools.get(release)
    try:
        if pool is None:
            raise Unavailable("the release has no worker")
        return _Attempt(release, 200, answers=await pool.ask(rows, until))
    except Invalid as failure:
        return _Attempt(release, 400, failure=failure)
    except TimeoutError:
        return _Attempt(release, 504, failure=Unavailable("no answer in time", hint="try again"))
    except Unavailable as failure:
        return _Attempt(release, 503, failure=failure)
    except Failure as failure:
        return _Attempt(release, 500, failure=failure)


def _plain(answers: Answers | None) -> list[Answer] | None:
    return None if answers is None else answers.rows()
