"""The gateway's way to workers: asked, lost, late, and asked again after it was left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from windlass.domain.errors import Failure, Unavailable
from windlass.serving.pool import Absent, Late, Pool
from windlass.serving.wire import Answers


def ask(pool: Pool, seconds: float = 10.0) -> asyncio.Future[Answers | Failure]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answers | Failure] = loop.create_future()
    pool.ask([{"x": 0.5, "y": 1}], loop.time() + seconds, future.set_result)
    return future


@asynccontextmanager
async def silent(path: Path) -> AsyncIterator[str]:
    """A worker that reads and says nothing."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(lambda _, writer: writers.append(writer), str(path))
    try:
        yield str(path)
    finally:
        server.close()
        for writer in writers:
            writer.close()
            await writer.wait_closed()


def test_who_asks_after_the_pool_was_left_is_answered_and_leaves_nothing_open(workers: Callable[[str], str]) -> None:
    async def run() -> None:
        pool = Pool((workers("good"),))
        assert isinstance(await ask(pool), Answers)
        pool.close()
        await asyncio.sleep(0.05)
        assert pool.connected == 0
        assert isinstance(await ask(pool), Answers)
        await asyncio.sleep(0.05)
        assert (pool.connected, pool.in_flight) == (0, 0)

    asyncio.run(run())


def test_leaving_waits_for_who_is_being_answered(workers: Callable[[str], str]) -> None:
    async def run() -> None:
        pool = Pool((workers("good"),))
        waiting = [ask(pool) for _ in range(20)]
        pool.close()
        assert all(isinstance(each, Answers) for each in await asyncio.gather(*waiting))
        await asyncio.sleep(0.05)
        assert pool.connected == 0

    asyncio.run(run())


def test_a_worker_that_is_not_there_is_said_to_be_absent_and_one_that_says_nothing_late(tmp_path: Path) -> None:
    async def run() -> None:
        nobody = await ask(Pool((str(tmp_path / "nobody.sock"),)))
        assert isinstance(nobody, Absent)
        async with silent(tmp_path / "silent.sock") as path:
            pool = Pool((path,))
            assert isinstance(await ask(pool, 0.05), Late)
            assert pool.in_flight == 0
            pool.close()

    asyncio.run(run())


def test_more_than_a_release_may_have_in_flight_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windlass.serving.pool.MOST_IN_FLIGHT", 3)

    async def run() -> None:
        async with silent(tmp_path / "silent.sock") as path:
            pool = Pool((path,))
            waiting = [ask(pool, 0.2) for _ in range(3)]
            shed = await ask(pool)
            assert isinstance(shed, Unavailable) and not isinstance(shed, Absent | Late)
            assert pool.counts.shed == 1
            assert all(isinstance(each, Late) for each in await asyncio.gather(*waiting))
            pool.close()

    asyncio.run(run())
