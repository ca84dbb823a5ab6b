"""Scheduled runs: what is due is run by `windlass run` in a process of its own, which may take as long as it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from windlass.domain.errors import Conflict
from windlass.pipelines import schedules
from windlass.workspace.workspace import Workspace

_RENEW_SECONDS = schedules.LEASE_SECONDS / 4
_TAIL = 2000


def tick(ws: Workspace, *, holder: str) -> None:
    """Run every schedule that is due, one after another."""
    if not ws.config.schedules:
        return
    with ws.database.write() as tx:
        due = schedules.due(tx, ws.config.schedules, ws.now())
    for name, at in due:
        with ws.database.write() as tx:
            ours = schedules.take(tx, name, at, holder=holder, now=ws.now())
        if ours:
            fire(ws, name, at, holder=holder)


def fire(ws: Workspace, name: str, at: int, *, holder: str) -> tuple[str, str]:
    """Run the pipeline for a fire that is ours; returns the run's id, and the error if it failed."""
    config = ws.config.schedules[name]
    command = [sys.executable, "-m", "windlass", "--project", str(ws.layout.root), "run", "--json"]
    command += ["--fresh"] if config.fresh else []
    ws.layout.logs.mkdir(parents=True, exist_ok=True)
    log = ws.layout.logs / f"schedule-{name}.log"
    with (
        log.open("ab") as said,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as process,
    ):
        began = said.tell()
        try:
            output = _output(ws, process, name, at, holder)
        except BaseException:
            process.kill()
            raise
    run, error = _run_of(output), "" if process.returncode == 0 else _last(log, began)
    with ws.database.write() as tx:
        schedules.end(tx, name, at, holder=holder, run=run, error=error)
    return run, error


def _output(ws: Workspace, process: subprocess.Popen[bytes], name: str, at: int, holder: str) -> bytes:
    """What a run prints; while it runs, its fire stays ours."""
    while True:
        try:
            return process.communicate(timeout=_RENEW_SECONDS)[0]
        except subprocess.TimeoutExpired:
            try:
                with ws.database.write() as tx:
                    schedules.renew(tx, name, at, holder=holder, now=ws.now())
            except Conflict:
                process.kill()
                return b""


def _run_of(output: bytes) -> str:
    try:
        return str(json.loads(output)["id"])
    except (ValueError, KeyError, TypeError):
        return ""


def _last(log: Path, began: int) -> str:
    with log.open("rb") as file:
        file.seek(max(began, log.stat().st_size - _TAIL))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("error: ")]
    return (said or lines or ["it ended without a word"])[-1].removeprefix("error: ")
