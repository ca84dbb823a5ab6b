"""A step's process: started with pinned seeds and threads, ended with all that it started when its time is up."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_TAIL = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """``error`` is empty when it went well, else the last thing that it said."""

    seconds: float
    error: str


def environment(threads: int, extra: Mapping[str, str]) -> dict[str, str]:
    """The variables of a step: the caller's, with everything pinned that could change a result."""
    pinned = {name: str(threads) for name in _THREADS}
    return {**os.environ, **pinned, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", **extra}


def run(command: Sequence[str], *, folder: Path, log: Path, variables: Mapping[str, str], timeout: float) -> Ended:
    """Run a command in ``folder``; what it says goes to ``log``, appended."""
    started = time.monotonic()
    with log.open("ab") as said:
        began = said.tell()
        try:
            process = subprocess.Popen(
                list(command), cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                env=dict(variables), start_new_session=True,
            )  # fmt: skip
        except OSError as failure:
            return Ended(seconds=0.0, error=f"{command[0]}: {failure.strerror}")
        try:
            code = process.wait(timeout)
            error = "" if code == 0 else _last(log, began) or f"ended with code {code}"
        except subprocess.TimeoutExpired:
            error = f"did not end within {timeout:g} s"
        finally:
            # The whole group: a step may have started others, and none of them may outlive it.
            _kill_group(process)
    return Ended(seconds=time.monotonic() - started, error=error)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last(log: Path, began: int) -> str:
    with log.open("rb") as file:
        file.seek(max(began, log.stat().st_size - _TAIL))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith("next: ")]
    return said[-1] if said else ""
