"""Asking a worker directly, and running one for a while: what gates and golden checks need."""

from __future__ import annotations

import os
import select
import socket as sockets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from windlass.domain.errors import KINDS, Corrupt, Failure, Invalid, Unavailable
from windlass.serving.record import Answer, Row
from windlass.serving.wire import REPLIES, Answers, Ask, Frames, Ping, Pong, Refusal, Reply, frame

# Exit codes of the data plane's processes, as the whole of Windlass uses them.
EXIT_CODES: dict[type[Failure], int] = {Failure: 1, Invalid: 2, Corrupt: 4, Unavailable: 5}


class WorkerClient:
    """A synchronous connection to a worker, made when it is first needed. For one thread."""

    def __init__(self, socket: Path | str) -> None:
        self.socket = str(socket)
        self._connection: sockets.socket | None = None
        self._frames = Frames(REPLIES)
        self._received: list[Reply] = []
        self._last = 0

    def answer(self, rows: list[Row], timeout: float = 10.0) -> list[Answer]:
        """One answer a row: ``{"prediction": ..., "probability": ...}``.

        Raises:
            Invalid: a row does not fit the signature; the message names the column.
            Failure: the feature code or the model raised.
            Unavailable: the worker is not there, or not in time.
        """
        self._last += 1
        # The deadline travels with the request: a worker does not score what nobody waits for.
        deadline = time.monotonic_ns() // 1000 + int(timeout * 1e6)
        reply = self._exchange(frame(Ask(self._last, rows, deadline)), timeout)
        if isinstance(reply, Refusal):
            raise KINDS.get(reply.kind, Failure)(reply.message, reply.hint)
        assert isinstance(reply, Answers)
        return reply.rows()

    def ready(self, timeout: float = 1.0) -> bool:
        """Whether a worker answers there; it listens only once its model answered the golden rows."""
        return self.pulse(timeout) is not None

    def pulse(self, timeout: float = 1.0) -> int | None:
        """For how many us the model has been in one call while others' deadlines passed; None: no answer in time."""
        self._last += 1
        try:
            reply = self._exchange(frame(Ping(self._last)), timeout)
        except Unavailable:
            return None
        assert isinstance(reply, Pong)
        return reply.stuck_us

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(self, request: bytes, timeout: float) -> Reply:
        deadline = time.monotonic() + timeout
        try:
            connection = self._connect(timeout)
            connection.settimeout(timeout)
            connection.sendall(request)
            while True:
                for reply in self._received:
                    if reply.id == self._last:
                        self._received = []
                        return reply
                connection.settimeout(max(deadline - time.monotonic(), 1e-3))
                if not (data := connection.recv(1 << 18)):
                    raise ConnectionResetError("it closed the connection")
                self._received = self._frames.feed(data)
        except (OSError, Corrupt) as error:
            self.close()
            said = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise Unavailable(f"the worker on {self.socket} does not answer: {said}") from None

    def _connect(self, timeout: float) -> sockets.socket:
        if self._connection is None:
            connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
            connection.settimeout(timeout)
            try:
                connection.connect(self.socket)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self._frames = Frames(REPLIES)
            self._received = []
        return self._connection


def worker_command(
    package: Path,
    socket: Path,
    python: str = sys.executable,
    *,
    memory_mb: int | None = None,
    cpu: int | None = None,
    nice: int = 0,
    number: int = 0,
) -> list[str]:
    """The command of a worker that ends with its parent (its stdin must be a pipe that the parent holds open).

    ``memory_mb`` is what it may allocate, ``cpu`` on how many cores it may run: which ones depends on its ``number``.
    """
    limits = [
        *(["--memory-mb", str(memory_mb)] if memory_mb else []),
        *(["--cpu", str(cpu), "--number", str(number)] if cpu else []),
        *(["--nice", str(nice)] if nice else []),
    ]
    # -P: the folder a worker is started in is not a place to import from; only the package's code is.
    # -B: nothing is written into the package, whose every byte has a digest.
    return [python, "-P", "-B", "-m", "windlass.serving.worker", str(package), str(socket), "--stdin-watch", *limits]


@contextmanager
def worker_process(
    package: Path, socket: Path, *, python: str = sys.executable, log: Path | None = None, timeout: float = 60.0
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker for the package, ready to be asked on ``socket`` by a ``WorkerClient``; it ends with the block.

    ``log`` gets what the worker says on stderr, appended.

    Raises:
        Invalid, Corrupt, Failure, Unavailable: it did not start; the message is what it said.
    """
    with tempfile.TemporaryFile() as unnamed, log.open("ab+") if log else unnamed as stderr:
        began = stderr.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            worker_command(package, socket, python), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
        )
        try:
            assert process.stdout is not None
            readable, _, _ = select.select([process.stdout], [], [], timeout)
            if not readable:
                raise Unavailable(f"the worker of {package} was not ready within {timeout:g} s")
            if not process.stdout.readline():
                stderr.seek(began)
                raise _not_started(package, process.wait(), stderr.read().decode(errors="replace"))
            yield process
        finally:
            _stop(process)


def _not_started(package: Path, code: int, stderr: str) -> Failure:
    said = [line for line in stderr.splitlines() if line.strip()]
    kind = next((kind for kind, known in EXIT_CODES.items() if known == code), Failure)
    return kind(said[-1].removeprefix("error: ") if said else f"the worker of {package} ended with code {code}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()
