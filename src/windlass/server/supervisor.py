"""`windlass up`: one process that starts the gateways, the control process and the workers, and keeps them.

It decides nothing: which workers should be up stands in the database (delivery.workers), and their standing is
written back there, as that of the gateways is (delivery.gateways). Every child holds the reading end of a pipe whose
other end only this process has, so that nothing is left behind even when this process is killed.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from windlass.delivery import gateways, workers
from windlass.delivery.config import GatewayConfig
from windlass.domain.errors import Denied, Failure, NotFound, Unavailable
from windlass.governance import tokens
from windlass.server import binding, health
from windlass.server.child import Child, Program, Standing, State
from windlass.server.doors import Doors
from windlass.server.fleet import Fleet, Measured, Prepare, Report
from windlass.serving import admin, tls
from windlass.workspace.layout import Layout
from windlass.workspace.workspace import Workspace, current_actor

LOOPBACK = "127.0.0.1"
GATEWAY_PORT = 8800
CONTROL_PORT = 8801
FORMAT = 1
POLL_SECONDS = 0.1
FALSE_STARTS = 3
PORT_PATIENCE_SECONDS = 5.0
GATEWAY_HANG_SECONDS = 10.0


def supervise(
    layout: Layout,
    *,
    host: str = "127.0.0.1",
    names: Sequence[str] = (),
    gateway_host: str | None = None,
    gateway_port: int = GATEWAY_PORT,
    control_port: int = CONTROL_PORT,
    gateway_processes: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
    ready: Callable[[str, str], None] = lambda _gateway, _control: None,
    stop: threading.Event,
    prepare: Prepare,
) -> None:
    """Start everything, keep it until ``stop`` is set, end it in order; a port of 0 takes a free one.

    ``ready`` is called once, with the URLs of gateway and control process, when both answer and the address file
    stands. ``prepare`` lays a release's package out and says which Python runs it.

    ``host`` beyond the loopback is the control process's alone. ``gateway_host`` beyond it needs TLS, and then every
    endpoint needs an API key: one that has none yet answers nobody.
    ``names`` are what clients may call the control process besides the host.
    ``gateway_processes`` share the gateway's port; without it, as many as the project's configuration says.

    Raises:
        Denied: the host is not loopback, and there is no live token; or the gateway's is not, and there is no TLS.
        Invalid, NotFound: the gateway's certificate or key is no good.
        Unavailable: another `windlass up` runs here, or a port is in use.
        Failure: the gateway or the control process does not start.
    """
    beyond = not binding.is_loopback(host)
    if beyond:
        binding.checked_host(host, guarded=tokens.anybody(Workspace(layout, actor=current_actor()).database))
    hosts = {"gateway": gateway_host or (LOOPBACK if beyond else host), "control": host}
    layout.home.mkdir(parents=True, exist_ok=True)
    with alone(layout):
        unclean = layout.address.exists()
        layout.address.unlink(missing_ok=True)
        ports = _ports(hosts, gateway_port, control_port, patient=unclean)
        _socket_folder(layout)
        workspace = Workspace(layout, actor=current_actor())
        config = _gateway_config(workspace, progress)
        if not binding.is_loopback(hosts["gateway"]) and config.tls(layout.root) is None:
            raise Denied(
                f"refusing to let the gateway listen on {hosts['gateway']} without TLS: keys would go over the wire",
                hint="set gateway.tls_certificate and gateway.tls_key in windlass.toml, or put a proxy before it",
            )
        count = config.processes if gateway_processes is None else gateway_processes
        place = Place(layout=layout, hosts=hosts, ports=ports, gateways=count, config=config)
        doors = Doors(hosts["gateway"], ports["gateway"], count)
        children = {
            **{place.gateway(number): _child(place.gateway(number), partial(_gateway, place, doors, number))
               for number in range(count)},
            "control": _child("control", lambda: _control(layout, host, names, ports["control"])),
        }  # fmt: skip
        for child in children.values():
            child.start()
        fleet = _fleet(workspace, prepare)
        try:
            if _both_ready(children, fleet, layout, stop):
                write_atomically(layout.address, _address(place, children, fleet))
                ready(place.url("gateway"), place.url("control"))
                _keep(place, children, fleet, doors, Reporter(workspace, place), progress, stop)
        finally:
            progress("draining")
            _drain(children, fleet, doors)
            layout.address.unlink(missing_ok=True)
            for number in range(count):
                layout.gateway_socket(number).unlink(missing_ok=True)
            with suppress(OSError):  # somebody else's socket may be in it, a gate's for one
                layout.socket("gateway").parent.rmdir()


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C, SIGTERM and the end of the terminal set; for the main thread."""
    stop = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN or signum is not signal.SIGHUP:  # as under nohup
            signal.signal(signum, lambda *_: stop.set())
    return stop


@contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Hold the project's lock; the kernel gives it back however this process ends.

    Raises:
        Unavailable: another holds it; names its process and its URL.
    """
    with layout.lock.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise Unavailable(
                f"`windlass up` runs here already (process {holder}, {_where(layout)})",
                hint=f"use that one, or end it first: kill {holder}",
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _where(layout: Layout) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(layout.address.read_text())["control"]["url"])
    return "still starting"


def _ports(hosts: Mapping[str, str], gateway: int, control: int, *, patient: bool) -> dict[str, int]:
    """The ports to use. After an unclean end, the children of the one before may need a moment to notice."""
    until = time.monotonic() + (PORT_PATIENCE_SECONDS if patient else 0.0)
    while True:
        try:
            with (
                binding.listen(hosts["gateway"], gateway, option="--gateway-port", guarded=True) as first,
                binding.listen(hosts["control"], control, option="--control-port", guarded=True) as second,
            ):
                return {"gateway": first.getsockname()[1], "control": second.getsockname()[1]}
        except Unavailable:
            if time.monotonic() > until:
                raise
            time.sleep(POLL_SECONDS)


def _socket_folder(layout: Layout) -> None:
    """The folder of the sockets is ours alone: who can connect to one can ask a worker, or change the routes."""
    folder = layout.socket("gateway").parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.getuid():
        raise Denied(
            f"{folder} belongs to somebody else", hint="remove it, or set XDG_RUNTIME_DIR to a folder of yours"
        )
    folder.chmod(0o700)


def _child(name: str, program: Callable[[], Program]) -> Child:
    # What everything goes through is never given up.
    return Child(name, program, gives_up=False, jitter=random.SystemRandom().random)


def _gateway_config(workspace: Workspace, progress: Callable[[str], None]) -> GatewayConfig:
    """How gateways are asked for. What the configuration says of anything else must not keep users from being served.

    Raises:
        Invalid, NotFound: it cannot be read and speaks of TLS, or the certificate or key is no good.
    """
    layout = workspace.layout
    try:
        config = workspace.config.gateway
    except NotFound:
        return GatewayConfig()
    except Failure as failure:
        if b"tls_" in layout.config.read_bytes():
            raise  # rather than answer in plain text who had asked for a secret
        progress(f"one gateway is started, for the configuration cannot be read: {failure.message}")
        return GatewayConfig()
    if (files := config.tls(layout.root)) is not None:
        tls.context(*files)
    return config


def _gateway(place: Place, doors: Doors, number: int) -> Program:
    layout, config, socket = place.layout, place.config, place.layout.gateway_socket(number)
    command = [
        sys.executable, "-P", "-m", "windlass.serving.gateway", "--routes", str(layout.routes), "--socket", str(socket),
        "--log", str(layout.predictions), "--name", f"gateway-{number}", "--listener", str(doors.descriptor(number)),
        "--stdin-watch", "--max-body-kb", str(config.max_body_kb), "--max-header-kb", str(config.max_header_kb),
        "--max-connections", str(config.max_connections),
    ]  # fmt: skip
    if not binding.is_loopback(place.hosts["gateway"]):
        command += ["--require-keys"]
    if (files := config.tls(layout.root)) is not None:
        command += ["--tls-certificate", str(files[0]), "--tls-key", str(files[1])]
    return Program(
        command=command,
        log=layout.logs / f"{place.gateway(number)}.log",
        folder=layout.home,
        ready=partial(_routes, socket),
        descriptors=(doors.descriptor(number),),
        watch=partial(_pulse_of_gateway, socket, health.Pulse(hang_seconds=GATEWAY_HANG_SECONDS)),
    )


def _pulse_of_gateway(socket: Path, pulse: health.Pulse, _: int) -> str:
    return pulse.judge(0 if _routes(socket) else None, time.monotonic())


def _routes(socket: Path) -> bool:
    try:
        admin.state(socket, timeout=1.0)
    except Failure:
        return False
    return True


def _control(layout: Layout, host: str, names: Sequence[str], port: int) -> Program:
    command = [
        sys.executable, "-P", "-m", "windlass.server.control", "--project", str(layout.root), "--host", host,
        "--port", str(port), "--stdin-watch", *(f"--allow-host={name}" for name in names),
    ]  # fmt: skip
    url = binding.url(host, port)
    return Program(command=command, log=layout.logs / "control.log", folder=layout.home, ready=partial(_answers, url))


def _answers(url: str) -> bool:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=2.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _both_ready(children: Mapping[str, Child], fleet: Fleet, layout: Layout, stop: threading.Event) -> bool:
    """Wait for the first time that all are ready; False if told to stop before.

    The workers start meanwhile: users may ask as soon as a gateway listens.

    Raises:
        Failure: one dies again and again; says what it died of.
    """
    look_at = 0.0
    while not stop.is_set():
        for name, child in children.items():
            if child.standing.restarts >= FALSE_STARTS:
                raise Failure(f"the {name} does not start: it {child.standing.error}", hint=f"see {layout.logs}")
        if all(child.standing.state is State.READY for child in children.values()):
            return True
        if time.monotonic() >= look_at:
            fleet.reconcile()
            look_at = time.monotonic() + POLL_SECONDS
        stop.wait(0.01)
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where everything is."""

    layout: Layout
    hosts: Mapping[str, str]
    ports: Mapping[str, int]
    gateways: int = 1
    config: GatewayConfig = field(default_factory=GatewayConfig)

    def gateway(self, number: int) -> str:
        """The name of one of the gateways; a single one needs no number."""
        return "gateway" if number == 0 else f"gateway-{number}"

    def host_of(self, name: str) -> str:
        return self.hosts["control" if name == "control" else "gateway"]

    def port_of(self, name: str) -> int:
        return self.ports["control" if name == "control" else "gateway"]

    def url(self, name: str) -> str:
        scheme = "https" if name != "control" and self.config.tls_certificate else "http"
        return binding.url(self.host_of(name), self.port_of(name), scheme=scheme)

    def sockets(self) -> dict[str, Path]:
        """Every gateway's admin socket."""
        return {self.gateway(number): self.layout.gateway_socket(number) for number in range(self.gateways)}


class Reporter:
    """Tells the database how the gateways stand; later, if it does not answer now."""

    def __init__(self, workspace: Workspace, place: Place) -> None:
        self._workspace, self._sockets = workspace, place.sockets()
        self._told: dict[str, Standing] = {}

    def tell(self, children: Mapping[str, Child]) -> None:
        standings = {name: children[name].standing for name in self._sockets}
        changed = {name: each for name, each in standings.items() if self._told.get(name) != each}
        if not changed:
            return
        try:
            with self._workspace.database.write() as tx:
                if not self._told:
                    gateways.keep(tx, list(self._sockets))
                for name, each in changed.items():
                    gateways.report(
                        tx, name, str(self._sockets[name]), state=each.state.value, pid=each.pid,
                        restarts=each.restarts, error=each.error, at=self._workspace.now(),
                    )  # fmt: skip
        except Failure:
            return
        self._told.update(changed)


def _fleet(workspace: Workspace, prepare: Prepare) -> Fleet:
    def wanted() -> list[workers.Wanted]:
        with workspace.database.read() as tx:
            return workers.desired(tx)

    def report(changed: Sequence[Report]) -> None:
        with workspace.database.write() as tx:
            for (release, number), standing in changed:
                workers.report(
                    tx,
                    release,
                    number=number,
                    state=standing.state.value,
                    pid=standing.pid,
                    restarts=standing.restarts,
                    error=standing.error,
                    at=workspace.now(),
                )

    def measured(found: Sequence[Measured]) -> None:
        with workspace.database.write() as tx:
            for (release, number), usage in found:
                workers.measure(
                    tx, release, number, rss_bytes=usage.rss_bytes, cpu_seconds=usage.cpu_seconds, at=workspace.now()
                )

    layout = workspace.layout
    return Fleet(wanted=wanted, report=report, measured=measured, prepare=prepare, logs=layout.logs, folder=layout.home)


def _keep(
    place: Place,
    children: Mapping[str, Child],
    fleet: Fleet,
    doors: Doors,
    reporter: Reporter,
    progress: Callable[[str], None],
    stop: threading.Event,
) -> None:
    """The loop: what should be up is, and where everything is stands in the address file."""
    written: dict[str, Any] | None = None
    told: dict[str, int] = {}
    starts: dict[int, int] = {}  # of each gateway when it was last ready
    while True:
        address = _address(place, children, fleet)
        if address != written:
            write_atomically(place.layout.address, address)
            written = address
        for child in (*children.values(), *fleet.children):
            restarts = child.standing.restarts
            if restarts > told.get(child.name, 0):
                progress(f"{child.name} {child.standing.error or 'ended'}; restart {restarts}")
            told[child.name] = restarts
        if stop.wait(POLL_SECONDS):
            return
        reporter.tell(children)
        for number in range(place.gateways):
            standing = children[place.gateway(number)].standing
            if standing.state is State.READY:
                starts[number] = standing.restarts
            elif standing.restarts > starts.get(number, 0) + 1:
                doors.leave(number)
        fleet.reconcile()


def _address(place: Place, children: Mapping[str, Child], fleet: Fleet) -> dict[str, Any]:
    found: dict[str, Any] = {"format": FORMAT, "pid": os.getpid(), "host": place.hosts["control"]}
    for name, child in children.items():
        found[name] = {
            "pid": child.standing.pid,
            "port": place.port_of(name),
            "url": place.url(name),
        }
    for name, socket in place.sockets().items():
        found[name]["socket"] = str(socket)
    found["workers"] = fleet.address()
    return found


def write_atomically(path: Path, value: Any) -> None:
    """Replace a JSON file: a reader sees the old one or the new one."""
    partial_file = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial_file.write_bytes(msgspec.json.encode(value) + b"\n")
    partial_file.replace(path)


def _drain(children: Mapping[str, Child], fleet: Fleet, doors: Doors) -> None:
    """Control first (nothing moves any more), then the gateways (their requests finish), then the workers."""
    children["control"].stop()
    children["control"].join()
    doors.close()
    for child in children.values():
        child.stop()
    for child in children.values():
        child.join()
    fleet.stop()
