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

import uvloop

from windlass.domain.errors import Corrupt, Failure, Unavailable
from windlass.serving import limits
from windlass.serving.client import EXIT_CODES
from windlass.serving.lifetime import end_with_stdin
from windlass.serving.model import Model, check_golden
from windlass.serving.wire import REQUESTS, Answers, Ask, Frames, Ping, Pong, Refusal, Reply, frame

MOST_ROWS = 256  # in one call of the estimator
MOST_WAITING = 4096
DRAIN_SECONDS = 5.0


class Worker:
    """The queue between the connections and the model's thread."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._queue: deque[tuple[Connection, Ask]] = deque()
        self._filled = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._busy = False
        self._call = (0, 0)  # when the model's call began, and the first deadline in it; monotonic us, 0: none
        threading.Thread(target=self._work, name="model", daemon=True).start()

    def ask(self, connection: Connection, request: Ask) -> None:
        if len(self._queue) >= MOST_WAITING:
            connection.send(Refusal(request.id, Unavailable.kind, "the worker has too many requests waiting"))
            return
        self._queue.append((connection, request))
        self._filled.set()

    def stuck_us(self) -> int:
        """For how long the model has been in one call that has outlived somebody's deadline."""
        (began, deadline), now = self._call, time.monotonic_ns() // 1000
        return now - began if 0 < deadline < now else 0

    async def drain(self) -> None:
        """Until all that was asked is answered, or time is up."""
        until = time.monotonic() + DRAIN_SECONDS
        while (self._queue or self._busy) and time.monotonic() < until:
            await asyncio.sleep(0.005)

    def _work(self) -> None:
        try:
            self._work_on()
        except MemoryError:
            limits.out_of_memory()
        except BaseException as error:  # noqa: BLE001 - package code that calls sys.exit(), for one
            # A worker without its model's thread would let everybody wait: better none, which is started again.
            sys.stderr.write(f"error: the model's thread ended: {type(error).__name__}: {error}\n")
            sys.stderr.flush()
            os._exit(1)

    def _work_on(self) -> None:
        while True:
            self._filled.wait()
            self._busy = True
            self._filled.clear()
            while batch := self._take():
                deadlines = [request.deadline for _, request in batch if request.deadline]
                self._call = (time.monotonic_ns() // 1000, min(deadlines, default=0))
                answers = self._model.answer([request.rows for _, request in batch])
                replies = [
                    (connection, _reply(request.id, answer))
                    for (connection, request), answer in zip(batch, answers, strict=True)
                ]
                self._call = (0, 0)
                self._loop.call_soon_threadsafe(_deliver, replies)
            self._busy = False

    def _take(self) -> list[tuple[Connection, Ask]]:
        """What is queued now, as far as it fits into one call; what nobody waits for any more is left out."""
        batch: list[tuple[Connection, Ask]] = []
        rows, now = 0, time.monotonic_ns() // 1000
        while self._queue and rows < MOST_ROWS:
            connection, request = self._queue.popleft()
            if request.deadline and request.deadline < now:
                late = Refusal(request.id, Unavailable.kind, "the deadline passed before the model was free")
                self._loop.call_soon_threadsafe(connection.send, late)
                continue
            batch.append((connection, request))
            rows += len(request.rows)
        return batch


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
                if isinstance(message, Ask):
                    self._worker.ask(self, message)
                elif isinstance(message, Ping):
                    self.send(Pong(message.id, self._worker.stuck_us()))
        except Corrupt:
            if self._transport is not None:
                self._transport.close()

    def send(self, reply: Reply) -> None:
        try:
            data = frame(reply)
        except (Failure, TypeError) as error:
            data = frame(Refusal(reply.id, Failure.kind, f"the model's answer cannot be sent: {error}"))
        if self._transport is not None:
            self._transport.write(data)


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
        check_golden(model)
    except MemoryError:
        limits.out_of_memory()
    except Failure as failure:
        # Libraries say all kinds of things when they cannot allocate.
        limit = f" (it may allocate {options.memory_mb} MB: serving.memory_mb)" if options.memory_mb else ""
        sys.stderr.write(f"error: {failure.message}{limit}\n")
        return next(EXIT_CODES[kind] for kind in type(failure).__mro__ if kind in EXIT_CODES)
    uvloop.run(_serve(model, options.socket, watch=options.stdin_watch))
    return 0


async def _serve(model: Model, socket: Path, *, watch: bool) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, ended.set)
    worker = Worker(model)
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket.unlink(missing_ok=True)
    os.umask(0o077)  # who can connect can ask
    server = await loop.create_unix_server(lambda: Connection(worker), path=str(socket))
    sys.stdout.write('{"ready":true}\n')
    sys.stdout.flush()
    if watch:
        end_with_stdin(ended)
    await ended.wait()
    server.close()
    await worker.drain()
    # What the model's thread delivered last is still to be written.
    await asyncio.sleep(0.01)
    socket.unlink(missing_ok=True)


def _reply(number: int, answer: object) -> Reply:
    if isinstance(answer, Failure):
        return Refusal(number, answer.kind, answer.message, answer.hint)
    assert isinstance(answer, list)
    chances = [each["probability"] for each in answer] if "probability" in answer[0] else None
    return Answers(number, [each["prediction"] for each in answer], chances)


def _deliver(replies: list[tuple[Connection, Reply]]) -> None:
    for connection, reply in replies:
        connection.send(reply)


if __name__ == "__main__":
    sys.exit(main())
