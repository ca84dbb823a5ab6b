"""A worker: one model in a process of its own, asked over a Unix socket.

    python -P -B -m windlass.serving.worker PACKAGE SOCKET [--stdin-watch]

It listens once the model has answered its golden rows. Requests that are queued when the model becomes free are
answered together; nobody waits for a batch to fill.
"""

from __future__ import annotations

import os

# Before numpy is imported: one row is too little work to share, and threads would wait for each other.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import argparse
import asyncio
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from windlass.domain.errors import Corrupt, Failure, Unavailable
from windlass.serving import limits
from windlass.serving.answers import Answered
from windlass.serving.client import EXIT_CODES
from windlass.serving.describe import description
from windlass.serving.lifetime import end_with_stdin
from windlass.serving.model import Model, check_golden
from windlass.serving.wire import (
    REQUESTS,
    Answers,
    Describe,
    Description,
    Frames,
    Packed,
    Ping,
    Pong,
    Refusal,
    Reply,
    count_of,
    frame,
)

MOST_ROWS = 256  # in one call of the estimator
MOST_WAITING = 4096
DRAIN_SECONDS = 5.0
SLOW_SECONDS = 0.05
KEPT_SECONDS = 0.5  # slow calls in a row may keep the event loop for as long as this in all


class Worker:
    """The queue between the connections and the model.

    The model is called on the event loop, where a call costs no switch between threads: a third of the time of a small
    model's request. Once slow calls have kept the loop for long, further ones are made in a thread of the model's own.
    """

    def __init__(self, model: Model, description: Description) -> None:
        self._model, self.description = model, description
        self._queue: deque[tuple[Connection, Packed]] = deque()
        self._loop = asyncio.get_running_loop()
        self._filled: threading.Event | None = None  # what the model's thread waits for, once there is one
        self._kept = 0.0  # for how long slow calls in a row have kept the loop
        self._since = 0.0  # when the call that is made now began; 0: none is
        self._deadline = 0  # the first deadline in it, on the monotonic clock in us; 0: none

    def ask(self, connection: Connection, request: Packed) -> None:
        if len(self._queue) >= MOST_WAITING:
            connection.send(Refusal(request.id, Unavailable.kind, "the worker has too many requests waiting"))
            return
        self._queue.append((connection, request))
        if self._filled is not None:
            self._filled.set()
        elif len(self._queue) == 1:
            # After what can be read now has been: it is answered in the same call.
            self._loop.call_soon(self._turn)

    def stuck_us(self) -> int:
        """For how long the model has been in one call that has outlived somebody's deadline."""
        since, now = self._since, time.monotonic()
        return int((now - since) * 1e6) if since and 0 < self._deadline < now * 1e6 else 0

    async def drain(self) -> None:
        """Until all that was asked is answered, or time is up."""
        until = time.monotonic() + DRAIN_SECONDS
        while (self._queue or self._since) and time.monotonic() < until:
            await asyncio.sleep(0.005)

    def _turn(self) -> None:
        """One call on the event loop; then whoever else waits for the loop has its turn."""
        began = time.monotonic()
        _deliver(self._call())
        took = time.monotonic() - began
        self._kept = self._kept + took if took > SLOW_SECONDS else 0.0
        if self._kept > KEPT_SECONDS:
            self._filled = threading.Event()
            self._filled.set()
            threading.Thread(target=self._work, args=(self._filled,), name="model", daemon=True).start()
        elif self._queue:
            self._loop.call_soon(self._turn)

    def _work(self, filled: threading.Event) -> None:
        while True:
            filled.wait()
            filled.clear()
            while self._queue:
                self._loop.call_soon_threadsafe(_deliver, self._call())

    def _call(self) -> list[tuple[Connection, Reply]]:
        """The replies to what is queued now, as far as it fits into one call."""
        self._since = time.monotonic()
        try:
            batch, replies = self._take()
            answers = self._model.ask([request.rows for _, request in batch]) if batch else []
            for (connection, request), answer in zip(batch, answers, strict=True):
                replies.append((connection, _reply(request.id, answer)))
            return replies
        except MemoryError:
            limits.out_of_memory()
        except BaseException as error:  # noqa: BLE001 - package code that calls sys.exit(), for one
            # A worker without its model would let everybody wait: better none, which is started again.
            sys.stderr.write(f"error: the model ended the worker: {type(error).__name__}: {error}\n")
            sys.stderr.flush()
            os._exit(1)
        finally:
            self._since = 0.0

    def _take(self) -> tuple[list[tuple[Connection, Packed]], list[tuple[Connection, Reply]]]:
        """What is to be answered, and refusals of what nobody waits for any more."""
        batch: list[tuple[Connection, Packed]] = []
        refused: list[tuple[Connection, Reply]] = []
        rows, now = 0, time.monotonic_ns() // 1000
        while self._queue and rows < MOST_ROWS:
            connection, request = self._queue.popleft()
            if request.deadline and request.deadline < now:
                late = Refusal(request.id, Unavailable.kind, "the deadline passed before the model was free")
                refused.append((connection, late))
                continue
            batch.append((connection, request))
            rows += count_of(request.rows)
        self._deadline = min((request.deadline for _, request in batch if request.deadline), default=0)
        return batch, refused


class Connection(asyncio.Protocol):
    """One who asks; requests are answered as they are ready, in any order."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._frames = Frames(REQUESTS)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._frames.feed(data):
                if isinstance(message, Packed):
                    self._worker.ask(self, message)
                elif isinstance(message, Ping):
                    self.send(Pong(message.id, self._worker.stuck_us()))
                elif isinstance(message, Describe):
                    self.send(msgspec.structs.replace(self._worker.description, id=message.id))
        except Corrupt:
            if self._transport is not None:
                self._transport.close()

    def send(self, *replies: Reply) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(map(_framed, replies)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM, SIGINT, or (with ``--stdin-watch``) the end of stdin."""
    parser = argparse.ArgumentParser(prog="python -m windlass.serving.worker", description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("socket", type=Path)
    parser.add_argument("--stdin-watch", action="store_true", help="end when stdin does: who started this has died")
    parser.add_argument("--memory-mb", type=int, help="what it may allocate")
    parser.add_argument("--cpu", type=int, help="how many cores it may run on")
    parser.add_argument("--number", type=int, default=0, help="which worker of its release it is: decides which cores")
    parser.add_argument("--nice", type=int, default=0)
    options = parser.parse_args(arguments)
    limits.apply(memory_mb=options.memory_mb, cpu=options.cpu, nice=options.nice, number=options.number)
    try:
        model = Model.load(options.package)
        if model.engine:
            sys.stderr.write(f"answers come from {model.engine}\n")
        check_golden(model)
        described = description(options.package, model)
    except MemoryError:
        limits.out_of_memory()
    except Failure as failure:
        # Libraries say all kinds of things when they cannot allocate.
        limit = f" (it may allocate {options.memory_mb} MB: serving.memory_mb)" if options.memory_mb else ""
        sys.stderr.write(f"error: {failure.message}{limit}\n")
        return next(EXIT_CODES[kind] for kind in type(failure).__mro__ if kind in EXIT_CODES)
    uvloop.run(_serve(model, described, options.socket, watch=options.stdin_watch))
    return 0


async def _serve(model: Model, description: Description, socket: Path, *, watch: bool) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, ended.set)
    worker = Worker(model, description)
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    os.umask(0o077)  # who can connect can ask
    server = await loop.create_unix_server(lambda: Connection(worker), path=str(socket))
    sys.stdout.write('{"ready":true}\n')
    sys.stdout.flush()
    if watch:
        end_with_stdin(ended, by_force_after=DRAIN_SECONDS + 1.0)
    await ended.wait()
    server.close()
    await worker.drain()
    # What was delivered last is still to be written.
    await asyncio.sleep(0.01)
    socket.unlink(missing_ok=True)


def _reply(number: int, answer: Answered | Failure) -> Reply:
    if isinstance(answer, Failure):
        return Refusal(number, answer.kind, answer.message, answer.hint)
    return Answers(number, answer.predictions, answer.probabilities)


def _deliver(replies: list[tuple[Connection, Reply]]) -> None:
    """Give each connection its replies in one piece."""
    if len(replies) == 1:
        connection, reply = replies[0]
        connection.send(reply)
        return
    of: dict[Connection, list[Reply]] = {}
    for connection, reply in replies:
        of.setdefault(connection, []).append(reply)
    for connection, its in of.items():
        connection.send(*its)


def _framed(reply: Reply) -> bytes:
    try:
        return frame(reply)
    except (Failure, TypeError) as error:
        return frame(Refusal(reply.id, Failure.kind, f"the model's answer cannot be sent: {error}"))


if __name__ == "__main__":
    sys.exit(main())
