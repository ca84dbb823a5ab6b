"""The demo's users: a client process that sends real census records through the gateway, one a request.

    python -m windlass.demo.traffic --url http://127.0.0.1:8800/endpoints/employment/invocations \
        --data acs_2016.parquet --labels labels.jsonl [--count N] [--recode]

Each record is a person with a user key of its own. Without ``--count`` it sends until SIGTERM, going round the
file again under new users. What was answered is written to ``--labels`` as ``{"id", "label"}`` lines, the truth
that arrives later. The last line on stdout is a JSON summary.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

import pyarrow.parquet as pq

TARGET, UNSENT = "employed", ("employed", "year")

# From 2019 the Bureau codes the relationship to the reference person anew (examples/employment/data/README.md).
RELSHIPP = {
    0: 20, 1: 21, 2: 25, 3: 26, 4: 27, 5: 28, 6: 29, 7: 30, 8: 31, 9: 32, 10: 33,
    11: 34, 12: 34, 13: 22, 14: 35, 15: 36, 16: 37, 17: 38,
}  # fmt: skip


@dataclass
class Tally:
    """What the users saw."""

    sent: int = 0
    failed: int = 0
    latencies: list[float] = field(default_factory=list)
    first_failure: str = ""

    def summary(self) -> dict[str, Any]:
        ordered = sorted(self.latencies)
        return {
            "sent": self.sent,
            "failed": self.failed,
            "p50_ms": round(1000 * ordered[len(ordered) // 2], 2) if ordered else None,
            "p99_ms": round(1000 * ordered[int(len(ordered) * 0.99)], 2) if ordered else None,
            "first_failure": self.first_failure,
        }


def requests(data: Path, *, start: int, recode: bool, prefix: str) -> Iterator[tuple[str, bytes, int]]:
    """(user, body, label) for ever: the file's records in one random order from ``start``, then round again."""
    records = pq.read_table(data).to_pylist()
    # People come in no order; the file is sorted by household, and by kind of home.
    random.Random(data.name).shuffle(records)  # noqa: S311 - the same order each time
    passes = 0
    while True:
        for index in range(start if passes == 0 else 0, len(records)):
            record = dict(records[index])
            label = record[TARGET]
            for column in UNSENT:
                del record[column]
            if recode:
                record["RELP"] = RELSHIPP[record["RELP"]]
            body = json.dumps({"dataframe_records": [record]}).encode()
            yield f"{prefix}-{passes}-{index}", body, label
        passes += 1


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends the next request when the last one is answered."""

    def __init__(
        self, path: str, host: str, source: Iterator[tuple[str, bytes, int]], tally: Tally, labels: TextIO, limit: int
    ) -> None:
        self.head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n".encode()
        self.source, self.tally, self.labels, self.limit = source, tally, labels, limit
        self.buffer = b""
        self.label, self.started = 0, 0.0
        self.stopping = False
        self.waiting = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.send()

    def send(self) -> None:
        if self.stopping or self.tally.sent >= self.limit:
            self.transport.close()
            return
        user, body, self.label = next(self.source)
        self.tally.sent += 1
        self.waiting = True
        self.started = time.perf_counter()
        head = b"%swindlass-user: %s\r\ncontent-length: %d\r\n\r\n" % (self.head, user.encode(), len(body))
        self.transport.write(head + body)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        at = head.find(b"content-length:") + len(b"content-length:")
        length = int(head[at : head.find(b"\r", at) if head.find(b"\r", at) > 0 else None])
        if len(self.buffer) < end + 4 + length:
            return
        body, self.buffer = self.buffer[end + 4 : end + 4 + length], self.buffer[end + 4 + length :]
        self.waiting = False
        self.tally.latencies.append(time.perf_counter() - self.started)
        if head.startswith(b"http/1.1 200"):
            self.labels.write(json.dumps({"id": json.loads(body)["id"], "label": self.label}) + "\n")
        else:
            self.fail(body[:200].decode(errors="replace"))
        self.send()

    def connection_lost(self, error: Exception | None) -> None:
        if self.waiting:
            self.fail(f"connection lost: {error or 'closed'}")
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, why: str) -> None:
        self.tally.failed += 1
        self.tally.first_failure = self.tally.first_failure or why


async def drive(url: str, source: Iterator[tuple[str, bytes, int]], labels: TextIO, count: int, width: int) -> Tally:
    """Send over ``width`` connections until ``count`` requests are sent or a signal says stop."""
    parts = urlsplit(url)
    tally, loop = Tally(), asyncio.get_running_loop()
    pairs = [
        await loop.create_connection(
            lambda: Connection(parts.path, parts.netloc, source, tally, labels, count),
            parts.hostname or "",
            parts.port or 80,
        )
        for _ in range(width)
    ]

    def stop() -> None:
        for _, connection in pairs:
            connection.stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    print("sending", flush=True)  # noqa: T201 - whoever started this may stop it from now on
    await asyncio.gather(*(connection.done for _, connection in pairs))
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description="Send census records through a gateway.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1 << 62)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--recode", action="store_true", help="send RELP in the codes of 2019")
    parser.add_argument("--prefix", default="user")
    options = parser.parse_args()
    source = requests(options.data, start=options.start, recode=options.recode, prefix=options.prefix)
    with options.labels.open("w") as labels:
        tally = asyncio.run(drive(options.url, source, labels, options.count, options.connections))
    print(json.dumps(tally.summary()), flush=True)  # noqa: T201 - the summary is this program's result


if __name__ == "__main__":
    main()
