"""What was answered is kept: the control process is killed again and again while clients log."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from postgres_server import Server
from windlass.workspace import databases

KILLS = int(os.environ.get("WINDLASS_KILLS", "8"))
WRITERS = 4


@contextmanager
def control(folder: Path, url: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "windlass.server.control", "--project", str(folder), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | {databases.VARIABLE: url},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["port"], process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: object = None) -> dict[str, object]:
    headers = {"content-type": "application/json"}
    connection.request(method, f"/api/2.0/mlflow/{path}", None if body is None else json.dumps(body), headers)
    reply = connection.getresponse()
    text = reply.read()
    assert reply.status == 200, text
    found: dict[str, object] = json.loads(text)
    return found


def logging(port: int, run: str, first: int, answered: list[int]) -> None:
    """Log one point after another until the server is gone; what is answered is in ``answered``."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        for step in range(first, first + 100_000):
            try:
                point = {"run_id": run, "key": "loss", "value": step, "timestamp": step, "step": step}
                ask(connection, "POST", "runs/log-metric", point)
            except (OSError, http.client.HTTPException):
                return
            answered.append(step)


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_an_answered_write_survives_the_death_of_the_server(
    tmp_path: Path, request: pytest.FixtureRequest, engine: str
) -> None:
    server: Server | None = request.getfixturevalue("postgres") if engine == "postgres" else None
    url = server.database() if server else ""
    chance, runs, answered = random.Random(7), list[str](), [list[int]() for _ in range(WRITERS)]
    try:
        for kill in range(KILLS + 1):
            with control(tmp_path, url) as (port, process):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                if not runs:
                    made = [ask(connection, "POST", "runs/create", {"experiment_id": "0"}) for _ in range(WRITERS)]
                    runs = [each["run"]["info"]["run_id"] for each in made]  # type: ignore[index]
                for run, steps in zip(runs, answered, strict=True):
                    found = ask(connection, "GET", f"metrics/get-history?run_id={run}&metric_key=loss")
                    points = found.get("metrics", [])
                    kept = {point["step"] for point in points}  # type: ignore[attr-defined]
                    assert kept >= set(steps), f"lost after {kill} kills"
                    assert len(kept) <= len(steps) + kill  # of each kill at most one that was not answered any more
                writers = [
                    threading.Thread(target=logging, args=(port, run, 100_000 * kill, steps))
                    for run, steps in zip(runs, answered, strict=True)
                ]
                for writer in writers:
                    writer.start()
                time.sleep(chance.uniform(0.05, 0.4))
                process.send_signal(signal.SIGKILL)
                for writer in writers:
                    writer.join()
                connection.close()
        assert all(answered)
    finally:
        if server:
            server.drop(url)
