"""The gateway: users on one side, workers on the other, routes from the control plane, every answer in the log.

    python -P -m windlass.serving.gateway --routes FILE --socket ADMIN --log DIR --host 127.0.0.1 --port 8800
        [--tls-certificate FILE --tls-key FILE] [--max-body-kb N] [--max-header-kb N] [--max-connections N] ...

It needs the control plane for nothing but new routes: it serves, and starts, by the table in its file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket as sockets
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from windlass.domain.errors import Failure, Invalid, Unavailable
from windlass.domain.routing import RouteTable
from windlass.serving import routes, tls
from windlass.serving.client import EXIT_CODES
from windlass.serving.dispatch import Dispatcher
from windlass.serving.http import Bounds, Front, Limits, Reply, Request
from windlass.serving.http.files import room_for
from windlass.serving.lifetime import end_with_stdin
from windlass.serving.log import FIRST_WRITER, Writer
from windlass.serving.pool import Pool
from windlass.serving.reception import Reception

GRACE_SECONDS = 5.0
SWEEP_SECONDS = 1.0


class Gateway:
    """The one object of the process: its routes, its pools, its logs."""

    def __init__(
        self, *, routes_file: Path, log: Path, name: str, listener: sockets.socket, bounds: Bounds, require_keys: bool
    ) -> None:
        self._file, self._log, self._name, self._listener = routes_file, log, name, listener
        self._dispatcher = Dispatcher(table=routes.EMPTY, pools={}, writers={})
        self._reception = Reception(self._dispatcher, self._gauges, require_keys=require_keys)
        self._leaving: list[tuple[str, Pool]] = []
        self._pushing = asyncio.Lock()
        self._unwritten = ""  # why the table that is served is not on disk
        self._log_errors: dict[str, str] = {}  # of endpoints whose log cannot be opened
        self.front = Front(self.handle, bounds)
        self._swap(routes.load(routes_file))

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer one HTTP request, now or later."""
        self._reception.handle(request, reply)

    def _gauges(self) -> dict[str, float]:
        return {
            "windlass_routes_revision": self._dispatcher.table.revision,
            "windlass_predictions_unlogged": self._unlogged(),
            "windlass_shadows_dropped": self._dispatcher.shadows_dropped,
        }

    async def push(self, table: RouteTable) -> int:
        """Serve by ``table`` from now on; on disk before it is acknowledged.

        What cannot be written is served all the same: a full disk must not keep users on what was rolled back.

        Raises:
            Conflict, Invalid: as ``routes.fence`` and ``routes.check``.
            Unavailable: it is served, and cannot be written; to be pushed again.
        """
        async with self._pushing:
            routes.check(table)
            routes.fence(self._dispatcher.table, table)
            if table != self._dispatcher.table or self._unwritten:
                try:
                    # In a thread: an fsync must not hold up those who are being answered.
                    await asyncio.get_running_loop().run_in_executor(None, routes.save, self._file, table)
                    self._unwritten = ""
                except OSError as error:
                    self._unwritten = error.strerror or str(error)
                if table != self._dispatcher.table:
                    self._swap(table)
            if self._unwritten:
                raise Unavailable(
                    f"the gateway cannot write {self._file}: {self._unwritten}",
                    hint="check that its disk is not full; it serves by the new routes till it ends",
                )
            return self._dispatcher.table.revision

    def catch_up(self) -> None:
        """Take the file's table if it is newer: what was pushed to the others while this one was starting."""
        table = routes.load(self._file)
        if table.revision > self._dispatcher.table.revision:
            self._swap(table)

    def _swap(self, table: RouteTable) -> None:
        old = dict(self._dispatcher.pools)
        pools = {
            release: old.pop(release) if release in old and old[release].sockets == sockets else Pool(sockets)
            for release, sockets in table.sockets.items()
        }
        self._open_logs(table)
        self._dispatcher.table, self._dispatcher.pools = table, pools
        # Requests in flight hold the pools that they began with; those are closed when nobody is left in them.
        self._leaving += old.items()

    def _open_logs(self, table: RouteTable) -> None:
        writers = self._dispatcher.writers
        for endpoint, route in table.routes.items():
            try:
                if endpoint not in writers:
                    writers[endpoint] = Writer(self._log / endpoint, self._name)
                writers[endpoint].follow(route.log)
                self._log_errors.pop(endpoint, None)
            except (Failure, OSError) as error:
                self._log_errors[endpoint] = str(error)  # answered all the same; what is lost is counted

    def sweep(self) -> None:
        if self._log_errors:
            self._open_logs(self._dispatcher.table)
        self.front.sweep(asyncio.get_running_loop().time())
        for left in [each for each in self._leaving if each[1].in_flight == 0]:
            left[1].close()
            self._leaving.remove(left)

    def state(self) -> dict[str, Any]:
        """What ``admin.state`` tells."""
        host, port = self._listener.getsockname()[:2]
        releases = {**dict(self._leaving), **self._dispatcher.pools}
        writers = self._dispatcher.writers.values()
        logs = {endpoint: {"error": why, "dropped": 0, "lost_at": 0} for endpoint, why in self._log_errors.items()}
        for endpoint, writer in self._dispatcher.writers.items():
            logs[endpoint] = {"error": writer.error, "dropped": writer.dropped, "lost_at": writer.lost_at}
        return {
            "revision": self._dispatcher.table.revision,
            "table": self._dispatcher.table,
            "host": host,
            "port": port,
            "pid": os.getpid(),
            "releases": {
                release: {
                    "connected": pool.connected, "in_flight": pool.in_flight, "answered": pool.counts.answered,
                    "failed": pool.counts.failed, "shed": pool.counts.shed,
                }
                for release, pool in releases.items()
            },
            "log": {
                "written": sum(writer.written for writer in writers),
                "dropped": self._unlogged(),
                "error": next((each["error"] for each in logs.values() if each["error"]), ""),
                "endpoints": logs,
            },
        }  # fmt: skip

    def _unlogged(self) -> int:
        return self._dispatcher.unlogged + sum(writer.dropped for writer in self._dispatcher.writers.values())

    async def drain(self) -> None:
        """Let every request be answered, and the log be written."""
        until = asyncio.get_running_loop().time() + GRACE_SECONDS
        self.front.drain()
        while (self.front.busy or self._dispatcher.shadows) and (asyncio.get_running_loop().time() < until):
            await asyncio.sleep(0.01)
        for writer in self._dispatcher.writers.values():
            writer.close()


class Admin(asyncio.Protocol):
    """The admin socket: one line of JSON in, one out (``serving.admin``)."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway, self._received = gateway, bytearray()
        self._transport: asyncio.BaseTransport | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._task is None and self._received.endswith(b"\n"):
            self._task = asyncio.get_running_loop().create_task(self._answer(bytes(self._received)))

    async def _answer(self, line: bytes) -> None:
        try:
            answer = await self._answered(line)
        except Failure as failure:
            answer = {"ok": False, "kind": failure.kind, "message": failure.message, "hint": failure.hint}
        transport: Any = self._transport
        transport.write(msgspec.json.encode(answer) + b"\n")
        transport.close()

    async def _answered(self, line: bytes) -> dict[str, Any]:
        try:
            request = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            asked = msgspec.json.decode(request["op"], type=str)
        except (msgspec.MsgspecError, KeyError) as error:
            raise Invalid(f"not a request: {error}") from None
        if asked == "push":
            return {
                "ok": True,
                "revision": await self._gateway.push(routes.parse(bytes(request.get("table", b"null")))),
            }
        if asked == "state":
            return {"ok": True, "state": self._gateway.state()}
        raise Invalid(f"no operation '{asked}'")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM, SIGINT, or (with ``--stdin-watch``) the end of stdin; prints one JSON line when ready."""
    parser = argparse.ArgumentParser(prog="python -m windlass.serving.gateway", description=__doc__)
    parser.add_argument("--routes", type=Path, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--name", default=FIRST_WRITER, help="this gateway's, among those that write to the same log")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8800, help="0 takes a free one")
    parser.add_argument(
        "--listener", type=int, help="a listening socket that was handed down, instead of host and port"
    )
    parser.add_argument("--require-keys", action="store_true", help="an endpoint without API keys answers nobody")
    parser.add_argument("--stdin-watch", action="store_true", help="end when stdin does: who started this has died")
    parser.add_argument(
        "--tls-certificate", type=Path, help="PEM, with --tls-key: serve https, and read it anew when it changes"
    )
    parser.add_argument("--tls-key", type=Path, help="PEM, not encrypted")
    parser.add_argument("--max-body-kb", type=int, default=1024, help="of one request")
    parser.add_argument("--max-header-kb", type=int, default=16, help="of one request, its first line included")
    parser.add_argument("--max-connections", type=int, default=16_384)
    parser.add_argument("--idle-seconds", type=float, default=75.0, help="a connection may be without a request")
    parser.add_argument("--slow-seconds", type=float, default=20.0, help="a request may take to arrive")
    options = parser.parse_args(arguments)
    if (options.tls_certificate is None) != (options.tls_key is None):
        parser.error("--tls-certificate and --tls-key belong together")
    try:
        listener = (
            _listen(options.host, options.port) if options.listener is None else sockets.socket(fileno=options.listener)
        )
        with listener:
            uvloop.run(_serve(options, listener))
    except Failure as failure:
        sys.stderr.write(f"error: {failure.message}\n")
        return next(EXIT_CODES[kind] for kind in type(failure).__mro__ if kind in EXIT_CODES)
    return 0


def _listen(host: str, port: int) -> sockets.socket:
    listener = sockets.socket(sockets.AF_INET6 if ":" in host else sockets.AF_INET, sockets.SOCK_STREAM)
    listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Unavailable(f"port {port} on {host} is in use: {error.strerror}", hint="choose another") from None
    return listener


async def _serve(options: argparse.Namespace, listener: sockets.socket) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, ended.set)
    bounds = Bounds(
        connections=room_for(options.max_connections),
        idle=options.idle_seconds,
        slow=options.slow_seconds,
        request=Limits(body=options.max_body_kb << 10, head=options.max_header_kb << 10),
    )
    certificate = tls.Certificate(options.tls_certificate, options.tls_key) if options.tls_certificate else None
    gateway = Gateway(
        routes_file=options.routes, log=options.log, name=options.name, listener=listener, bounds=bounds,
        require_keys=options.require_keys,
    )  # fmt: skip
    options.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    options.socket.unlink(missing_ok=True)
    os.umask(0o077)  # who can connect to the admin socket can change the routes
    admin = await loop.create_unix_server(lambda: Admin(gateway), path=str(options.socket))
    gateway.catch_up()  # now that it can be pushed to, and before anybody is answered
    secured: dict[str, Any] = {}
    if certificate is not None:
        loop.add_signal_handler(signal.SIGHUP, lambda: certificate.refresh(changed=True))
        secured = {
            "ssl": certificate.context,
            "ssl_handshake_timeout": tls.HANDSHAKE_SECONDS,
            "ssl_shutdown_timeout": tls.SHUTDOWN_SECONDS,
        }
    server = await loop.create_server(gateway.front.connect, sock=listener, backlog=1024, **secured)
    ready = {"ready": True, "port": listener.getsockname()[1], "pid": os.getpid()}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    if options.stdin_watch:
        end_with_stdin(ended)
    while not ended.is_set():
        gateway.sweep()
        if certificate is not None:
            certificate.refresh()
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), SWEEP_SECONDS)
    await gateway.front.settle()
    server.close()
    await gateway.drain()
    admin.close()
    options.socket.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
