"""The worker's queue: what waits is one call, and a slow model does not keep others from being heard."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from windlass.serving.client import WorkerClient, worker_process
from windlass.serving.wire import REPLIES, Answers, Ask, Frames, Ping, Pong, Refusal, Reply, frame


def exchange(path: Path, messages: list[Ask | Ping]) -> list[Reply]:
    """Send all in one piece, and read until each has a reply."""
    frames, replies = Frames(REPLIES), list[Reply]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        connection.sendall(b"".join(map(frame, messages)))
        while len(replies) < len(messages):
            data = connection.recv(1 << 16)
            assert data, "the worker closed the connection"
            replies += frames.feed(data)
    return replies


def test_what_comes_together_is_answered_each_for_itself(packages: dict[str, Path], tmp_path: Path) -> None:
    rows = json.loads((packages["good"] / "golden.json").read_text())["rows"]
    bad = [{"x": 1.0, "y": 1.0}]  # y is a whole number
    asks: list[Ask | Ping] = [Ask(1, rows[:1]), Ask(2, bad), Ping(3), Ask(4, rows[1:3]), Ask(5, rows[:1], deadline=1)]
    with worker_process(packages["good"], tmp_path / "w.sock"):
        replies = {each.id: each for each in exchange(tmp_path / "w.sock", asks)}
    first, other = replies[1], replies[4]
    assert isinstance(first, Answers) and isinstance(other, Answers)
    assert (len(first.predictions), len(other.predictions)) == (1, 2)
    assert isinstance(replies[2], Refusal) and replies[2].kind == "invalid" and "'y' is float" in replies[2].message
    assert isinstance(replies[3], Pong)
    assert isinstance(replies[5], Refusal) and replies[5].kind == "unavailable"


def test_a_model_that_is_slow_again_and_again_is_asked_aside_from_the_pings(
    packages: dict[str, Path], tmp_path: Path
) -> None:
    folder, path = tmp_path / "package", tmp_path / "w.sock"
    shutil.copytree(packages["good"], folder)
    code = folder / "code/features_of_test.py"
    code.write_text(code.read_text().replace("time.sleep(0.0)", "time.sleep(0.0 if len(x) > 1 else max(0, x[0]))"))
    with worker_process(folder, path), WorkerClient(path) as asking, WorkerClient(path) as pinging:
        asking.answer([{"x": 0.6, "y": 1}])  # keeps the loop for the last time
        replies: list[str] = []

        def ask() -> None:
            asking.answer([{"x": 2.0, "y": 1}])
            replies.append("answer")

        thread = threading.Thread(target=ask)
        thread.start()
        for _ in range(5):
            assert pinging.ready(timeout=10)
        replies.append("pings")
        thread.join()
    assert replies == ["pings", "answer"]


def test_a_worker_whose_loop_hangs_ends_with_the_one_that_started_it() -> None:
    script = (
        "import asyncio, time\n"
        "from windlass.serving.lifetime import end_with_stdin\n"
        "async def main():\n"
        "    end_with_stdin(asyncio.Event(), by_force_after=0.2)\n"
        "    time.sleep(3600)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert done.returncode == 1


def test_a_model_of_numbers_is_served_without_loading_pandas_or_pyarrow(tmp_path: Path) -> None:
    rows = [{"a": float(each), "b": -1} for each in range(20)]
    inputs = np.array([[row["a"], row["b"]] for row in rows])
    estimator = LogisticRegression().fit(inputs, np.arange(20) > 9)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(estimator))
    columns = [{"name": "a", "kind": "number"}, {"name": "b", "kind": "integer"}]
    described = {
        "format": 1, "features": None, "classes": [False, True], "positive": True,
        "signature": {"inputs": columns, "outputs": []},
    }  # fmt: skip
    chances = estimator.predict_proba(inputs)[:, 1].tolist()
    answers = [{"prediction": chance > 0.5, "probability": chance} for chance in chances]
    (tmp_path / "windlass.json").write_text(json.dumps(described))
    (tmp_path / "golden.json").write_text(json.dumps({"rows": rows, "answers": answers}))
    script = (
        "import sys; from pathlib import Path; from windlass.serving.model import Model, check_golden\n"
        "check_golden(Model.load(Path(sys.argv[1])))\n"
        "print(sorted({'pandas', 'pyarrow'} & sys.modules.keys()))\n"
        "import pandas, pyarrow; print(pandas.DataFrame({'a': [1]}).a[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n1\n"
