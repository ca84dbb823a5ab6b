"""`windlass up` with real processes: ready, alone, ended whole, and unharmed by what is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from windlass.domain.errors import Unavailable
from windlass.domain.routing import Route, RouteTable
from windlass.server import binding
from windlass.serving import admin
from windlass.workspace.layout import Layout

PROGRAM = """
import os, pathlib, sys
from windlass.domain.errors import Failure
from windlass.server import supervisor
from windlass.workspace.layout import Layout

supervisor.GATEWAY_HANG_SECONDS = float(os.environ.get("HANG", 10))
stop = supervisor.stop_on_signals()
try:
    supervisor.supervise(
        Layout(pathlib.Path(sys.argv[1])), gateway_port=int(sys.argv[2]), control_port=int(sys.argv[3]), stop=stop,
        gateway_processes=int(sys.argv[4]) if len(sys.argv) > 4 else None,
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
        with suppress(OSError, ValueError, KeyError, Unavailable):
            if found := holds():
                return found
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.02)


class Up:
    def __init__(self, folder: Path, gateway: int = 0, control: int = 0, *more: int) -> None:
        self.layout = Layout(folder)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), str(gateway), str(control), *map(str, more)], text=True,
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


def test_several_gateways_share_a_port_and_the_routes(start: Callable[..., Up]) -> None:
    up = start(0, 0, 2)
    sockets = [up.layout.gateway_socket(number) for number in range(2)]
    table = RouteTable(revision=3, routes={"e": Route(stable="b3:r")}, sockets={"b3:r": (str(up.layout.socket("x")),)})
    assert [admin.push(socket, table) for socket in sockets] == [3, 3]
    first, second = (admin.state(socket) for socket in sockets)
    assert first["port"] == second["port"] and first["pid"] != second["pid"]
    address = json.loads(up.layout.address.read_text())
    assert [address[name]["pid"] for name in ("gateway", "gateway-1")] == [first["pid"], second["pid"]]
    os.kill(first["pid"], signal.SIGKILL)
    assert answered(up.urls[0])  # by the other one, at once or when a connection to the dead one was refused
    assert eventually(lambda: admin.state(sockets[0]))["revision"] == 3
    assert up.end() == 0
    assert not any(alive(each["pid"]) for each in (first, second))


def answered(url: str) -> bool:
    try:
        return answers(url)
    except OSError:
        return answers(url)


def test_a_port_of_several_gateways_is_nobody_elses(start: Callable[..., Up], tmp_path: Path) -> None:
    up = start(0, 0, 2)
    port = int(up.urls[0].rpartition(":")[2])
    other = Up(tmp_path / "other", port, 0, 2)
    assert other.process.wait(10) == 5 and other.end() == 5
    assert f"port {port} on 127.0.0.1 is in use" in other.said
    assert answers(up.urls[0])


def test_a_gateway_that_hangs_is_killed_and_comes_back(
    start: Callable[..., Up], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANG", "1.5")
    up = start()
    before = up.pids()
    os.kill(before["gateway"], signal.SIGSTOP)
    after = eventually(lambda: up.pids()["gateway"] != before["gateway"] and answers(up.urls[0]) and up.pids(), 30)
    assert after["control"] == before["control"] and not alive(before["gateway"])


def test_the_configuration_says_how_many_gateways_and_a_broken_one_keeps_nobody_from_serving(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    (tmp_path / "windlass.toml").write_text("[gateway\n")
    up = start()
    assert answers(up.urls[0]) and up.end() == 0
    (tmp_path / "windlass.toml").write_text(
        '[project]\nname = "p"\n[model]\nname = "m"\n[endpoint]\nname = "e"\n[gateway]\nprocesses = 2\n'
    )
    up = start()
    assert "gateway-1" in json.loads(up.layout.address.read_text())


PROJECT = '[project]\nname = "p"\n[model]\nname = "m"\n[endpoint]\nname = "e"\n[gateway]\n'


def made_certificate(folder: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("certificates are made with openssl")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=p", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "tls.key", "-out", "tls.pem"],
        check=True, capture_output=True, cwd=folder,
    )  # fmt: skip


def test_the_gateway_serves_https_with_the_certificate_of_the_configuration(
    start: Callable[..., Up], tmp_path: Path
) -> None:
    made_certificate(tmp_path)
    files = 'tls_certificate = "tls.pem"\ntls_key = "tls.key"\n'
    (tmp_path / "windlass.toml").write_text(PROJECT + files + "max_header_kb = 1\n")
    up = start()
    url = up.urls[0]
    assert url.startswith("https://127.0.0.1:") and url == json.loads(up.layout.address.read_text())["gateway"]["url"]
    trusting = ssl.create_default_context(cafile=str(tmp_path / "tls.pem"))
    with urllib.request.urlopen(url + "/health", timeout=5, context=trusting) as response:
        assert response.status == 200
    with pytest.raises(urllib.error.HTTPError, match="431"):
        urllib.request.urlopen(url + "/" + "x" * 1100, timeout=5, context=trusting)
    assert answers(up.urls[1])


def test_no_gateway_is_started_in_plain_text_where_tls_is_asked_for(start: Callable[..., Up], tmp_path: Path) -> None:
    made_certificate(tmp_path)
    for text, word in (
        (PROJECT + 'tls_certificate = "tls.pem"\ntls_key = "absent.key"\n', "absent.key"),
        (PROJECT + 'tls_certificate = "tls.pem"\ntls_key = "tls.pem"\n', "holds no private key"),
        (PROJECT + 'tls_certificate = "tls.pem"\n', "tls_key is not"),
        (PROJECT + 'tls_certificate = "tls.pem"\ntls_key = "tls.key"\n[oops\n', "windlass.toml"),
    ):
        (tmp_path / "windlass.toml").write_text(text)
        up = start()
        assert "|" in up.said and word in up.said
        up.end()
