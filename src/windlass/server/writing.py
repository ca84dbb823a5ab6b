"""Many requests' writes in one transaction (group commit): one thread writes, and answers only what is committed.

While one transaction waits for the disk, the writes that come in gather for the next. So the rate of small writes is
not bound by the disk's latency, and an answered write is durable all the same.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from windlass.domain.errors import Failure, Unavailable
from windlass.domain.ports import Database, Transaction
from windlass.registry.tracking.recording import Log, record
from windlass.server.errors import Busy, unforeseen

MOST_AT_ONCE = 256
MOST_WAITING = 4096

_log = logging.getLogger("windlass.server")

Work = Callable[[Transaction], Any]


@dataclass(slots=True)
class _Item:
    work: Work | Log
    future: asyncio.Future[Any]
    outcome: Any = None
    failure: Exception | None = None


class Writer:
    """``close`` finishes what was taken."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._waiting = 0
        self._thread: threading.Thread | None = None

    async def run(self, work: Work | Log) -> Any:
        """What ``work`` returns, once it is committed; of a log, nothing.

        Raises:
            Busy: too many wait already.
            Failure: what was wrong with this work; it left nothing behind, and others are not touched by it.
        """
        if self._waiting >= MOST_WAITING:
            raise Busy("the server has more to write than it will queue", hint="try again in a moment")
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="writer", daemon=True)
            self._thread.start()
        future = asyncio.get_running_loop().create_future()
        self._waiting += 1
        try:
            self._queue.put(_Item(work, future))
            return await future
        finally:
            self._waiting -= 1

    def close(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _serve(self) -> None:
        while (item := self._queue.get()) is not None:
            items = [item]
            ended = False
            while len(items) < MOST_AT_ONCE and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    ended = True
                    break
                items.append(following)
            self._write(items)
            loop = items[0].future.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, items)
            if ended:
                return

    def _write(self, items: Sequence[_Item]) -> None:
        try:
            self._commit(items)
        except Unavailable as failure:
            _fail(items, failure)
        except Exception as error:  # noqa: BLE001 - a fault of ours must not end the thread that all writes go through
            if len(items) > 1:
                # Something in one of them ended the transaction of all: each for itself, then.
                for item in items:
                    item.outcome = item.failure = None
                    self._write([item])
            elif isinstance(error, Failure):
                _fail(items, error)
            else:
                _log.error("a write failed", exc_info=error)
                _fail(items, unforeseen())

    def _commit(self, items: Sequence[_Item]) -> None:
        with self._db.write() as tx:
            start = 0
            while start < len(items):
                end = start
                while end < len(items) and isinstance(items[end].work, Log):
                    end += 1
                if end > start:
                    _record(tx, items[start:end])
                    start = end
                else:
                    _perform(tx, items[start])
                    start += 1


def _record(tx: Transaction, items: Sequence[_Item]) -> None:
    logs = [item.work for item in items if isinstance(item.work, Log)]
    for item, problem in zip(items, record(tx, logs), strict=True):
        item.failure = problem


def _perform(tx: Transaction, item: _Item) -> None:
    assert not isinstance(item.work, Log)
    try:
        with tx.savepoint():
            item.outcome = item.work(tx)
    except Unavailable:
        raise  # of the database itself: nothing of this transaction will stand
    except Failure as failure:
        item.failure = failure
    except Exception as error:  # noqa: BLE001 - one request's fault is not the others'
        _log.error("a write failed", exc_info=error)
        item.failure = unforeseen()


def _fail(items: Sequence[_Item], failure: Failure) -> None:
    for item in items:
        item.failure = failure


def _settle(items: Sequence[_Item]) -> None:
    for item in items:
        if item.future.done():
            continue  # its client went away
        if item.failure is not None:
            item.future.set_exception(item.failure)
        else:
            item.future.set_result(item.outcome)
