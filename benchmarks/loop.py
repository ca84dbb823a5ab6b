"""What a user waits for: `python benchmarks/loop.py [--runs N] [--demo]` prints a table and, last, a JSON document.

Each figure is the median of N runs; the command without work is timed in turn with `python -c pass`, in one run.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

WINDLASS = [sys.executable, "-m", "windlass"]


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def up_seconds() -> float:
    """From the start of `windlass up` in an empty folder to its ready line."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*WINDLASS, "--project", folder, "up", "--gateway-port", "0", "--control-port", "0", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            return time.perf_counter() - started
        finally:
            process.terminate()
            process.wait(20)


def project_seconds(runs: int) -> dict[str, float]:
    """The example's first run, and a run with nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        here = [*WINDLASS, "--project", folder]
        seconds([*WINDLASS, "init", folder, "--example"])
        seconds([*here, "data", "add", "--name", "acs"])
        first = seconds([*here, "run"])
        return {
            "first run of the example": first,
            "run with nothing to do": statistics.median(seconds([*here, "run"]) for _ in range(runs)),
            "data add, nothing changed": statistics.median(
                seconds([*here, "data", "add", "--name", "acs"]) for _ in range(runs)
            ),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--demo", action="store_true", help="also time the whole demo, once")
    options = parser.parse_args()
    pairs = [(seconds([sys.executable, "-c", "pass"]), seconds([*WINDLASS, "--help"])) for _ in range(options.runs)]
    figures = {
        "python -c pass": statistics.median(python for python, _ in pairs),
        "windlass --help": statistics.median(help_ for _, help_ in pairs),
        "windlass --help, beyond python -c pass": statistics.median(help_ - python for python, help_ in pairs),
        "windlass up, empty folder, to ready": statistics.median(up_seconds() for _ in range(options.runs)),
        **project_seconds(options.runs),
    }
    if options.demo:
        figures["windlass demo"] = seconds([*WINDLASS, "demo", "--json"])
    for what, value in figures.items():
        print(f"{what:<42}{value:8.3f} s")
    facts = {name: version(name) for name in ("windlass", "click", "numpy", "pyarrow", "scipy", "uvicorn")}
    machine = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    print(json.dumps({"seconds": figures, "runs": options.runs, "machine": machine, "versions": facts}))


if __name__ == "__main__":
    main()
