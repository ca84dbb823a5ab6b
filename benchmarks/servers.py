"""The peers of the serving benchmark: how each is started, and the request of one row that is its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import sessions
from firing import LENGTH
from measuring import Failed

APPS = Path(__file__).resolve().parent / "apps"
START_SECONDS = 180.0
TOLERANCE = 1e-6  # of a probability: the same estimator answers everywhere
MB = 1e6


@dataclass(frozen=True, slots=True)
class Served:
    """A model as ``models.py`` made it, and its rows with the probabilities that every server has to answer."""

    kind: str
    folder: Path
    columns: list[str]
    data: list[list[float]]
    expected: list[float]

    @staticmethod
    def read(kind: str, folder: Path) -> Served:
        found = json.loads((folder / "rows.json").read_text())
        return Served(kind, folder, found["columns"], found["data"], found["expected"])


@dataclass
class Server:
    """Processes that answer: ``leaders`` are those of their sessions. ``probability`` finds P(1) in an answer."""

    name: str
    port: int
    leaders: list[subprocess.Popen[bytes]]
    path: str
    body: Callable[[Served, int], Any]
    probability: Callable[[Any], float]
    served: Served
    start_seconds: float = 0.0
    headers: Callable[[int], str] = field(default=lambda _: "")

    def request(self, at: int) -> bytes:
        """The request of one row."""
        body = json.dumps(self.body(self.served, at)).encode()
        head = f"POST {self.path} HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\ncontent-type: application/json\r\n"
        return f"{head}{self.headers(at)}content-length: {len(body)}\r\n\r\n".encode() + body

    def write(self, path: Path) -> Path:
        """A file of requests, one of each row, for ``firing.py``."""
        requests = [self.request(at) for at in range(len(self.served.data))]
        path.write_bytes(b"".join(LENGTH.pack(len(each)) + each for each in requests))
        return path

    def check(self) -> None:
        """Raises Failed where its answers are not those of the estimator."""
        for at in (0, 1, 2):
            answer = self.ask(at)
            if not abs(answer - self.served.expected[at]) <= TOLERANCE:
                raise Failed(f"{self.name} answers row {at} with {answer}, and it is {self.served.expected[at]}")

    def ask(self, at: int = 0) -> float:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            body = json.dumps(self.body(self.served, at))
            connection.request("POST", self.path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise Failed(f"{self.name} answers {answer.status}: {raw[:500].decode(errors='replace')}")
        return self.probability(json.loads(raw))

    def megabytes(self) -> float:
        """Of all its processes now, shared pages divided by those that share them (PSS)."""
        return sum(map(sessions.proportional, self._processes())) / MB

    def processor_seconds(self) -> float:
        """That its processes have used so far: what other work on the machine changes least."""
        return sum(map(sessions.processor_seconds, self._processes()))

    def _processes(self) -> list[int]:
        return [pid for leader in self.leaders for pid in sessions.members(leader.pid)]

    def end(self) -> None:
        for leader in reversed(self.leaders):
            sessions.end(leader)


@dataclass(frozen=True, slots=True)
class Peer:
    """How to start one, and what it is asked. ``words`` has the program, the model's folder and the port."""

    words: Callable[[Path, Path, int], list[str]]
    path: str
    body: Callable[[Served, int], Any]
    probability: Callable[[Any], float]
    prepare: Callable[[Path, Served, Path, dict[str, str]], None] = lambda *_: None


def split(served: Served, at: int) -> Any:
    """What Windlass is asked: MLflow's `dataframe_split`."""
    return {"dataframe_split": {"columns": served.columns, "data": [served.data[at]]}}


def _listed(served: Served, at: int) -> Any:
    return {"rows": [served.data[at]]}


def _inputs(served: Served, at: int) -> Any:
    return {"inputs": [served.data[at]]}


def _tensor(served: Served, at: int) -> Any:
    row = served.data[at]
    tensor = {"name": "rows", "shape": [1, len(row)], "datatype": "FP64", "data": row}
    return {"inputs": [tensor], "outputs": [{"name": "predict_proba"}]}


def _for_mlflow(program: Path, served: Served, folder: Path, env: dict[str, str]) -> None:
    words = [str(program.parent / "python"), str(APPS / "for_mlflow.py")]
    words += [str(served.folder / "model.pkl"), str(served.folder / "rows.json"), str(folder / "mlflow")]
    _run(words, folder, env)


def _for_mlserver(_: Path, served: Served, folder: Path, env: dict[str, str]) -> None:
    shutil.copyfile(served.folder / "model.pkl", folder / "model.pkl")
    model = {
        "name": "model", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.pkl"}
    }  # fmt: skip
    (folder / "model-settings.json").write_text(json.dumps(model))


def _run(words: list[str], folder: Path, env: dict[str, str]) -> None:
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)}: {done.stderr.strip()[-1000:]}")


def _mlflow_words(program: Path, folder: Path, port: int) -> list[str]:
    where = ["--model-uri", str(folder / "mlflow"), "--host", "127.0.0.1", "--port", str(port)]
    return [str(program), "models", "serve", *where, "--workers", "1", "--env-manager", "local"]


PEERS = {
    "mlflow-serve": Peer(
        _mlflow_words, "/invocations", _inputs, lambda answer: float(answer["predictions"][0][1]), _for_mlflow
    ),
    "litserve": Peer(
        lambda program, _, port: [str(program), str(APPS / "lit.py"), str(port)],
        "/predict", _listed, lambda answer: float(answer["probabilities"][0]),
    ),
    "mlserver": Peer(
        lambda program, folder, _: [str(program), "start", str(folder)],
        "/v2/models/model/infer", _tensor, lambda answer: float(answer["outputs"][0]["data"][1]), _for_mlserver,
    ),
    "bentoml": Peer(
        lambda program, _, port: [
            str(program), "serve", "bento:Served", "--host", "127.0.0.1", "--port", str(port),
            "--working-dir", str(APPS),
        ],
        "/predict", _listed, lambda answer: float(answer[0]),
    ),
    "fastapi": Peer(
        lambda program, _, port: [
            str(program), "by_hand:app", "--app-dir", str(APPS), "--host", "127.0.0.1", "--port", str(port),
            "--workers", "1", "--log-level", "warning", "--no-access-log",
        ],
        "/predict", _listed, lambda answer: float(answer["probabilities"][0]),
    ),
}  # fmt: skip


def start(name: str, program: Path, served: Served, folder: Path, env: dict[str, str]) -> Server:
    """Start a peer on a fresh folder and wait for its first answer. ``start_seconds``: from its start to that."""
    peer = PEERS[name]
    folder.mkdir(parents=True)
    port = sessions.free_port()
    own = env | {
        "MODEL": str(served.folder / "model.pkl"),
        "PATH": f"{program.parent}:{env['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "BENTOML_DO_NOT_TRACK": "True",
        # One row is too little work to share, and threads would wait for each other: as Windlass' worker has it.
        "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    }  # fmt: skip
    peer.prepare(program, served, folder, own)
    if name == "mlserver":
        ports = {"http_port": port, "grpc_port": sessions.free_port(), "metrics_port": sessions.free_port()}
        settings = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False, **ports}
        (folder / "settings.json").write_text(json.dumps(settings))
    os.sync()
    began = time.perf_counter()
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            peer.words(program, folder, port), cwd=folder, env=own, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    server = Server(name, port, [process], peer.path, peer.body, peer.probability, served)
    try:
        await_answer(server, began)
    except Failed as error:
        server.end()
        said = (folder / "server.log").read_text(errors="replace").strip()[-1500:]
        raise Failed(f"{name} did not start: {error}\n{said}") from None
    return server


def await_answer(server: Server, began: float) -> None:
    """Until it answers a row; sets ``start_seconds``."""
    last: Exception = Failed("no answer")
    while time.perf_counter() - began < START_SECONDS and server.leaders[0].poll() is None:
        try:
            server.ask()
        except (OSError, HTTPException, Failed) as error:
            last = error
            time.sleep(0.01)
        else:
            server.start_seconds = time.perf_counter() - began
            return
    raise Failed(str(last))


@contextlib.contextmanager
def closing(servers: dict[str, Server]) -> Iterator[dict[str, Server]]:
    """End them all, however this ends."""
    try:
        yield servers
    finally:
        for server in servers.values():
            server.end()
