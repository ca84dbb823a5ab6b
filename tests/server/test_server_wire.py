"""Requests are decoded strictly, errors have one form, and a pool is bounded."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from windlass.domain.errors import KINDS, Failure, Invalid, Refused
from windlass.server import wire
from windlass.server.errors import STATUS, Busy, TooLarge, body_of, status_of
from windlass.server.threads import Pool
from windlass.server.ticking import Loops


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    name: str
    limit: int = 5
    only: tuple[str, ...] = ()
    at: Path | None = None
    flag: bool = False
    extra: dict[str, float] = field(default_factory=dict)


def test_a_body_is_decoded_with_its_defaults() -> None:
    assert wire.decoded(b'{"name": "a", "at": "x/y", "only": ["b"]}', Asked) == Asked(
        name="a", at=Path("x/y"), only=("b",)
    )


def test_a_query_is_decoded_with_numbers_flags_and_repeated_parameters() -> None:
    items = [("name", "7"), ("limit", "3"), ("only", "a"), ("only", "b"), ("flag", "true")]
    assert wire.queried(items, Asked) == Asked(name="7", limit=3, only=("a", "b"), flag=True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "required field 'name'"),
        (b'{"name": 5}', "at '\\$.name'|Expected `str`|Expected 'str'"),
        (b'{"name": "a", "limit": "3"}', "limit"),
        (b'{"name": "a", "nmae": "b"}', "unknown field 'nmae'"),
    ],
)
def test_a_malformed_request_is_invalid_and_says_where(body: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        wire.decoded(body, Asked)


def test_a_parameter_given_twice_is_invalid() -> None:
    with pytest.raises(Invalid, match="given twice"):
        wire.queried([("name", "a"), ("name", "b")], Asked)


def test_every_kind_of_error_has_a_status() -> None:
    assert set(KINDS.values()) <= set(STATUS)
    assert (status_of(TooLarge("x")), status_of(Busy("x")), status_of(Failure("x"))) == (413, 503, 500)


def test_a_refusal_carries_its_evidence() -> None:
    body = body_of(Refused("no", "do this", evidence=("a", "b")))
    assert body == {"error": {"kind": "refused", "message": "no", "hint": "do this", "evidence": ["a", "b"]}}


def test_a_pool_tells_who_is_one_too_many_to_come_back() -> None:
    pool = Pool("test", workers=1, waiting=1)
    gate = threading.Event()

    async def scenario() -> list[object]:
        running = [asyncio.create_task(pool.run(lambda: gate.wait(10))) for _ in range(2)]
        await asyncio.sleep(0.01)
        with pytest.raises(Busy):
            await pool.run(lambda: None)
        gate.set()
        return await asyncio.gather(*running)

    assert asyncio.run(scenario()) == [True, True]
    pool.close()


@dataclass
class Count:
    name: str
    fails: int = 0
    runs: int = 0

    def run(self) -> None:
        self.runs += 1
        if self.runs <= self.fails:
            raise Failure("not yet")

    def interval_seconds(self) -> float:
        return 0.001


def test_a_tick_that_fails_is_tried_again_and_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = Count("good"), Count("bad", fails=1)
    loops = Loops([good, bad])
    loops.start()
    until = time.monotonic() + 10
    while bad.runs < 3 or good.runs < 3:
        assert time.monotonic() < until
        time.sleep(0.005)
    loops.stop(5)
    ended = (good.runs, bad.runs)
    assert "bad failed 1 time(s)" in caplog.text
    time.sleep(0.02)
    assert (good.runs, bad.runs) == ended
