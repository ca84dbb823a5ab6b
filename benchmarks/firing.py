"""The client of the serving benchmark: one thread, one epoll, keep-alive connections, bytes made beforehand.

    python firing.py PORT-OR-SOCKET REQUESTS --connections 16 --seconds 5 [--frames]

REQUESTS is a file of requests, each with its length (u32, little-endian) before it; every connection goes round them
from another start. Where a request has "@@@@@@@@", there is another number each time it is sent: a user whom nobody saw
before. What it costs is missing from the server's rate, so it looks at no more of an answer than its
status, its length and, at the end, how many there were of each status. The last line on stdout is JSON.
"""

from __future__ import annotations

import argparse
import array
import itertools
import json
import select
import signal
import socket
import struct
import time
from pathlib import Path
from typing import Any

LENGTH = struct.Struct("<I")
LONGEST_WAIT = 60.0
MOST_LOST = 1000  # a server that takes connections only to close them
OK = 200
HOLE = b"@" * 8


def requests_of(path: Path) -> list[bytes]:
    data, at, found = path.read_bytes(), 0, list[bytes]()
    while at < len(data):
        (length,) = LENGTH.unpack_from(data, at)
        found.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return found


def status_of_http(data: bytes) -> int:
    """The status of a whole answer; 0: some of it is still to come."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0
    at = data.find(b"ontent-")  # nearly always the right header; the two that it may be are told apart
    while 0 <= at < end:
        if data[at + 7 : at + 14].lower() == b"length:":
            stop = data.find(b"\r\n", at)
            return int(data[9:12]) if len(data) >= end + 4 + int(data[at + 14 : stop]) else 0
        at = data.find(b"ontent-", at + 7)
    if data[:end].lower().find(b"\ntransfer-encoding: chunked") >= 0:
        return int(data[9:12]) if data.endswith(b"\r\n0\r\n\r\n") else 0
    raise SystemExit(f"an answer without a length: {data[:300]!r}")


def status_of_frame(data: bytes) -> int:
    """As of HTTP: 200 for answers (the frame of a worker, docs/internals/wire.md), 500 for a refusal."""
    if len(data) < 4 or len(data) < 4 + LENGTH.unpack_from(data)[0]:
        return 0
    return OK if data.find(b"answers", 4, 16) > 0 else 500


def connected(target: str) -> socket.socket:
    if target.isdigit():
        made = socket.create_connection(("127.0.0.1", int(target)), timeout=LONGEST_WAIT)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(LONGEST_WAIT)
    made.connect(target)
    return made


def fire(options: argparse.Namespace) -> dict[str, Any]:
    """Keep one request under way on each connection until time is up or SIGTERM comes; then await the last ones."""
    sent, whole = requests_of(options.requests), status_of_frame if options.frames else status_of_http
    holed, users = HOLE in sent[0], itertools.count()

    def request(at: int) -> bytes:
        return sent[at].replace(HOLE, b"%08d" % next(users), 1) if holed else sent[at]

    number, clock = len(sent), time.perf_counter_ns
    poll, sockets, began, held = select.epoll(), dict[int, socket.socket](), dict[int, int](), dict[int, bytes]()
    turn = dict[int, int]()
    taken, statuses, lost, failure = array.array("q"), dict[int, int](), 0, ""
    for at in range(options.connections):
        made = connected(options.target)
        handle = made.fileno()
        sockets[handle], turn[handle] = made, at * 31 % number
        poll.register(handle, select.EPOLLIN)
    stop = list[bool]()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.append(True))
    print("sending", flush=True)
    cpu, start = time.process_time(), time.perf_counter()
    for handle, made in sockets.items():
        began[handle] = clock()
        made.sendall(request(turn[handle]))
    until, ended = clock() + int(options.seconds * 1e9), 0.0
    now = clock()
    while began:
        events = poll.poll(LONGEST_WAIT)
        if not events and not stop:
            lost, failure = lost + len(began), failure or f"no answer within {LONGEST_WAIT:g} s"
            break
        for handle, _ in events:
            made = sockets[handle]
            try:
                data = made.recv(1 << 18)
            except OSError as error:
                data, failure = b"", failure or str(error)
            if not data:
                lost, failure = lost + 1, failure or "the server closed the connection"
                poll.unregister(handle)
                del began[handle]
                made.close()
                if lost < MOST_LOST and now < until and not stop:
                    made = connected(options.target)
                    sockets[made.fileno()], turn[made.fileno()] = made, turn[handle]
                    poll.register(made.fileno(), select.EPOLLIN)
                    began[made.fileno()] = clock()
                    made.sendall(request(turn[handle]))
                continue
            if handle in held:
                data = held.pop(handle) + data
            status = whole(data)
            if not status:
                held[handle] = data
                continue
            now = clock()
            taken.append(now - began[handle])
            statuses[status] = statuses.get(status, 0) + 1
            if status != OK and not failure:
                failure = data[-500:].decode(errors="replace")
            if now >= until or stop:
                del began[handle]
                continue
            turn[handle] = following = (turn[handle] + 1) % number
            began[handle] = now
            made.send(request(following))
    ended = time.perf_counter()
    spent = time.process_time() - cpu
    for made in sockets.values():
        made.close()
    ordered = sorted(taken)
    answered = len(ordered)

    def percentile(percent: float) -> float | None:
        return ordered[min(answered - 1, int(answered * percent / 100))] / 1e6 if answered else None

    return {
        "answered": answered,
        "failed": lost + answered - statuses.get(OK, 0),
        "statuses": {str(status): count for status, count in statuses.items()},
        "first_failure": failure,
        "seconds": ended - start,
        "rate": statuses.get(OK, 0) / (ended - start),
        "p50_ms": percentile(50),
        "p99_ms": percentile(99),
        "client_us": 1e6 * spent / max(1, answered),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", help="a port of 127.0.0.1, or the path of a Unix socket")
    parser.add_argument("requests", type=Path)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--frames", action="store_true", help="a worker's frames instead of HTTP")
    print(json.dumps(fire(parser.parse_args())), flush=True)


if __name__ == "__main__":
    main()
