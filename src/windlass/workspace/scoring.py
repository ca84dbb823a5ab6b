"""Batch scoring: a file of rows through a version's packaged model, in processes of its own environment.

Pieces are read, scored by several processes and written in the order they were read; as many are in memory at once as
there are processes, twice.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from windlass.capture import data, trees
from windlass.domain import digest, ledger
from windlass.domain.errors import KINDS, Denied, Failure, Invalid, NotFound
from windlass.domain.names import Reference
from windlass.registry import lineage, models
from windlass.registry.models import Version
from windlass.serving.batch import ANSWER, ANSWERED, ASKED, MADE
from windlass.workspace import packages, rowfiles
from windlass.workspace.scratch import scratch
from windlass.workspace.workspace import Workspace

SNAPSHOT = "windlass://"
_BETWEEN_LINES = 2.0
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What was scored: ``errors`` of the ``rows`` have null instead of an answer. Digests are of the files' bytes."""

    reference: str
    rows: int
    errors: int
    seconds: float
    input: str
    output: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to score, and how."""

    reference: str
    source: str
    target: str
    keep: tuple[str, ...]
    rows: int  # in a piece
    workers: int
    skips: bool
    force: bool


def score(ws: Workspace, plan: Plan) -> Scored:
    """Score a file, and write down what was scored with what.

    Raises:
        NotFound, Invalid: no such version, file, or column; a row does not fit: says which.
        Conflict: the output is there already.
        Failure: the model has no answer, or the output cannot be written.
    """
    for name in plan.keep:
        if name in MADE:
            raise Invalid(f"a column '{name}' cannot be kept beside the answers", hint="rename it first")
    with ws.database.read() as tx:
        version = models.find(tx, ws.objects, Reference.parse(plan.reference))
    target = ws.inside(plan.target)
    if target.is_relative_to(ws.layout.home.resolve()):
        raise Denied(f"{plan.target} lies in Windlass' own folder", hint="write to another one")
    output = rowfiles.Output(target, force=plan.force)
    package = packages.laid_out(ws, version.package)
    python = packages.python_of(ws, version.origin.environment, package)
    described = json.loads((package / "windlass.json").read_bytes())
    needed = [each["name"] for each in described["signature"]["inputs"]]
    with _source(ws, plan.source) as (path, origin):
        if path.resolve() == output.path.resolve():
            raise Invalid("the output is the input", hint="write to another file")
        if not path.is_file():
            raise NotFound(f"no file {path}")
        given = digest.of_file(path)
        began = time.monotonic()
        try:
            form, read = rowfiles.form_of(path), rowfiles.read(path, needed, plan.keep, plan.rows)
            rows, errors = _through(ws, plan, [_command(python, package, form, plan)] * plan.workers, read, output)
            output.finish()
        finally:
            output.abandon()
    made = digest.of_file(output.path)
    origin = origin or f"object/{given}"
    _record(ws, version, origin, given=given, made=made, rows=rows, errors=errors)
    return Scored(
        reference=version.reference,
        rows=rows,
        errors=errors,
        seconds=time.monotonic() - began,
        input=given,
        output=made,
        path=str(output.path),
    )


@contextmanager
def _source(ws: Workspace, source: str) -> Iterator[tuple[Path, str]]:
    """The file to read, and the node of the lineage that it is of, if there is one.

    A snapshot's file (windlass://NAME@VERSION/PATH) is laid out for as long as the block runs.
    """
    if not source.startswith(SNAPSHOT):
        yield ws.inside(source), ""
        return
    reference, _, inside = source.removeprefix(SNAPSHOT).partition("/")
    with ws.database.read() as tx:
        snapshot = data.find(tx, ws.objects, Reference.parse(reference))
    if not inside:
        files = [each.path for each in trees.manifest(ws.objects, snapshot.tree).files]
        if len(files) != 1:
            raise Invalid(f"{reference} has {len(files)} files", hint=f"say which: {SNAPSHOT}{reference}/PATH")
        inside = files[0]
    with scratch(ws.layout.scratch) as folder:
        path = folder / Path(inside).name
        with ws.objects.open(trees.find(ws.objects, snapshot.tree, inside).digest) as stored, path.open("wb") as file:
            shutil.copyfileobj(stored, file, 1 << 20)
        yield path, f"snapshot/{snapshot.reference}"


def _through(
    ws: Workspace, plan: Plan, commands: Sequence[list[str]], rows: rowfiles.Rows, output: rowfiles.Output
) -> tuple[int, int]:
    """Read, score by a process a command, write; how many rows there were, and how many without an answer."""
    with ExitStack() as stack:
        processes = [stack.enter_context(_process(command)) for command in commands]
        idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        for process in processes:
            idle.put(process)
        pool = stack.enter_context(ThreadPoolExecutor(len(commands), "score"))
        # Before the pool is waited for: whoever still asks a process learns that it has ended.
        for process in processes:
            stack.callback(process.end)

        def ask(first: int, table: pa.Table) -> pa.Table:
            process = idle.get()
            try:
                return process.ask(first, table)
            finally:
                idle.put(process)

        for process in processes:
            process.wait_until_ready()
        told = _Telling(ws, rows)
        waiting: deque[Future[pa.Table]] = deque()
        first = 1
        for table in rows.pieces:
            waiting.append(pool.submit(ask, first, table))
            first += table.num_rows
            if len(waiting) >= 2 * len(commands):
                told.wrote(output, waiting.popleft().result())
        while waiting:
            told.wrote(output, waiting.popleft().result())
    if not told.rows:
        raise Invalid(f"{plan.source} has no rows")
    return told.rows, told.errors


class _Telling:
    """Writes pieces, counts, and says now and then how far it is."""

    def __init__(self, ws: Workspace, source: rowfiles.Rows) -> None:
        self._ws, self._source = ws, source
        self._began = self._said = time.monotonic()
        self.rows = self.errors = 0

    def wrote(self, output: rowfiles.Output, table: pa.Table) -> None:
        output.write(table)
        self.rows += table.num_rows
        if "error" in table.column_names:
            self.errors += table.num_rows - table["error"].null_count
        now = time.monotonic()
        if now - self._said < _BETWEEN_LINES:
            return
        self._said = now
        took, done = now - self._began, min(1.0, self._source.done())
        left = f", about {took * (1 - done) / done:.0f} s left" if done else ""
        self._ws.progress(f"{self.rows:,} rows scored, {self.rows / took:,.0f} rows/s{left}")


class _Process:
    """A model in a process of its own; asked by one thread at a time."""

    def __init__(self, process: subprocess.Popen[bytes], log: Any) -> None:
        self._process, self._log = process, log

    def wait_until_ready(self) -> None:
        self._answer()

    def ask(self, first: int, table: pa.Table) -> pa.Table:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        packed = sink.getvalue()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(ASKED.pack(len(packed), first))
            self._process.stdin.write(packed)
            self._process.stdin.flush()
        except OSError:
            raise self._ended() from None
        return pa.ipc.open_stream(self._answer()).read_all()

    def end(self) -> None:
        self._process.kill()

    def _answer(self) -> bytes:
        assert self._process.stdout is not None
        head = self._process.stdout.read(ANSWERED.size)
        if len(head) < ANSWERED.size:
            raise self._ended()
        kind, length = ANSWERED.unpack(head)
        data = self._process.stdout.read(length)
        if len(data) < length:
            raise self._ended()
        if kind != ANSWER:
            said = json.loads(data)
            if said["kind"]:
                raise KINDS.get(said["kind"], Failure)(said["message"], said["hint"])
        return data

    def _ended(self) -> Failure:
        code = self._process.wait(10)
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return Failure(f"a scoring process ended with code {code}: {lines[-1] if lines else 'it said nothing'}")


def _command(python: str, package: Path, form: str, plan: Plan) -> list[str]:
    options = ["--form", form, "--on-error", "null" if plan.skips else "fail"]
    options += [f"--keep={name}" for name in plan.keep]
    return [python, "-P", "-B", "-m", "windlass.serving.batch", str(package), *options]


@contextmanager
def _process(command: list[str]) -> Iterator[_Process]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env={**os.environ, **_ONE_THREAD},
        )  # fmt: skip
        try:
            yield _Process(process, log)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(BrokenPipeError):  # what was not flushed has no reader any more
                    pipe.close()


def _record(ws: Workspace, version: Version, origin: str, *, given: str, made: str, rows: int, errors: int) -> None:
    """Say in the ledger and in the lineage what was scored with what, and what came of it."""
    subject = f"scored/{made}"
    with ws.database.write() as tx:
        ledger.transition(
            tx,
            subject=subject,
            action="model.predict",
            before=ledger.head(tx, subject),
            after=made,
            actor=ws.actor,
            reason=f"{rows} rows scored by {version.reference}",
            at=ws.now(),
            evidence={"version": version.reference, "package": version.package, "input": given, "output": made,
                      "rows": rows, "errors": errors},
        )  # fmt: skip
        lineage.link(tx, subject, f"version/{version.reference}", "scored by")
        lineage.link(tx, subject, origin, "scored from")


def workers_for(asked: int) -> int:
    """How many processes: as asked, or one a processor, at most 8."""
    return asked or min(8, len(os.sched_getaffinity(0)))


def kept(columns: Sequence[str]) -> tuple[str, ...]:
    """Columns to keep: given apart or with commas between, each once."""
    return tuple(dict.fromkeys(name for each in columns for name in each.split(",") if name))
