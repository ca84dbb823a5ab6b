"""`windlass up` with real processes: ready, alone, ended whole, and unharmed by what is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from windlass.server import binding
from windlass.workspace.layout import Layout

PROGRAM = """
import pathlib, sys
from windlass.domain.errors import Failure
from windlass.server import supervisor
from windlass.workspace.layout import Layout

stop = supervisor.stop_on_signals()
try:
    supervisor.supervise(
        Layout(pathlib.Path(sys.argv[1])), gateway_port=int(sys.argv[2]), control_port=int(sys.argv[3]), stop=stop,
        ready=lambda gateway, control: print(gateway, control, flush=True),
        progress=lambda line: print(line, file=sys.stderr, flush=True),
        prepare=lambda wanted: (wanted.package, sys.executable),
    )
except Failure as error:
    print(error.kind, error.message, error.hint, sep="|", flush=True)
    sys.exit(5)
"""


def alive(pid: int) -> bool:
    """Whether a process is there and more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(holds: Callable[[], Any], seconds: float = 15.0) -> Any:
    until = time.monotonic() + seconds
    while True:
        with suppress(OSError, ValueError, KeyError):
            if found := holds():
                return found
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.02)


class Up:
    def __init__(self, folder: Path, gateway: int = 0, control: int = 0) -> None:
        self.layout = Layout(folder)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), str(gateway), str(control)], text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline().strip()

    @property
    def urls(self) -> list[str]:
        return self.said.split()

    def pids(self) -> dict[str, int]:
        address = json.loads(self.layout.address.read_text())
        return {"gateway": address["gateway"]["pid"], "control": address["control"]["pid"]}

    def end(self, signum: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signum)
        try:
            self.process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        return self.process.returncode


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Up]]:
    started: list[Up] = []

    def begin(*ports: int) -> Up:
        started.append(Up(tmp_path, *ports))
        return started[-1]

    with tempfile.TemporaryDirectory(prefix="w") as sockets:  # a socket's path has to be short
        monkeypatch.setenv("XDG_RUNTIME_DIR", sockets)
        yield begin
        for each in started:
            each.end()


def answers(url: str) -> bool:
    with urllib.request.urlopen(url + "/health", timeout=2) as response:
        return bool(response.status == 200)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_in_an_empty_folder_until_told_to_end_and_leaves_nothing_running(
    start: Callable[..., Up], signum: int
) -> None:
    up = start()
    gateway, control = up.urls
    assert answers(gateway) and answers(control)
    pids = up.pids()
    assert all(alive(pid) for pid in pids.values())
    assert up.end(signum) == 0
    assert not any(alive(pid) for pid in pids.values())
    assert not up.layout.address.exists()
    assert not up.layout.socket("gateway").parent.exists()


def test_a_second_one_is_told_who_is_first_and_where(start: Callable[..., Up]) -> None:
    first = start()
    second = start()
    assert second.process.wait(10) == 5
    kind, message, hint = second.said.split("|")
    assert kind == "unavailable"
    assert str(first.process.pid) in message and first.urls[1] in message
    assert str(first.process.pid) in hint
    assert answers(first.urls[1])


@pytest.mark.parametrize("which", ["gateway", "control"])
def test_a_port_in_use_is_told_and_nothing_is_started(start: Callable[..., Up], which: str) -> None:
    with binding.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        up = start(*((port, 0) if which == "gateway" else (0, port)))
        assert up.process.wait(10) == 5
    kind, message, hint = up.said.split("|")
    assert (kind, message) == ("unavailable", f"port {port} on 127.0.0.1 is in use")
    assert f"--{which}-port" in hint
    assert not up.layout.address.exists()


def test_when_it_is_killed_its_children_end_by_themselves_and_the_next_one_starts(start: Callable[..., Up]) -> None:
    up = start()
    pids = up.pids()
    ports = [int(url.rpartition(":")[2]) for url in up.urls]
    up.process.kill()
    up.process.wait()
    eventually(lambda: not any(alive(pid) for pid in pids.values()))
    again = start(*ports)
    assert again.urls == up.urls and answers(again.urls[1])


def test_the_gateway_goes_on_when_the_control_process_is_killed_which_comes_back(start: Callable[..., Up]) -> None:
    up = start()
    before = up.pids()
    os.kill(before["control"], signal.SIGKILL)
    assert answers(up.urls[0])
    after = eventually(lambda: answers(up.urls[1]) and up.pids()["control"] != before["control"] and up.pids())
    assert after["gateway"] == before["gateway"] and alive(before["gateway"])


def test_a_gateway_that_is_killed_comes_back_with_its_routes(start: Callable[..., Up]) -> None:
    from windlass.domain.routing import Route, RouteTable
    from windlass.serving import admin

    up = start()
    before = up.pids()
    table = RouteTable(
        revision=7, routes={"employment": Route(stable="b3:r")}, sockets={"b3:r": (str(up.layout.socket("nobody")),)}
    )
    assert admin.push(up.layout.socket("gateway"), table) == 7
    os.kill(before["gateway"], signal.SIGKILL)
    after = eventually(lambda: answers(up.urls[0]) and up.pids()["gateway"] != before["gateway"] and up.pids())
    assert after["control"] == before["control"]
    assert admin.state(up.layout.socket("gateway"))["revision"] == 7
