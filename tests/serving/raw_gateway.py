"""A gateway alone, and clients that send it bytes."""

from __future__ import annotations

import json
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

PATIENCE = 60.0  # of a client, so that a hang fails the test
GET = b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n"


class RawGateway:
    """A gateway process without workers: what is tested is what it does with bytes."""

    def __init__(self, folder: Path, sockets: Path, *options: str, files: int | None = None) -> None:
        """``files``: how many it may have open at most; else 1024 until it asks for more."""
        self.admin, self.errors = sockets / "admin.sock", folder / "errors"
        limit = f"ulimit -n {files}" if files else "ulimit -Sn 1024"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                ["sh", "-c", f'{limit}; exec "$@"', "sh", sys.executable, "-P", "-m", "windlass.serving.gateway",
                 "--routes", str(folder / "routes.json"), "--socket", str(self.admin), "--log", str(folder / "log"),
                 "--port", "0", *options],
                stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
        assert self.process.stdout is not None
        self.out: BinaryIO = self.process.stdout  # type: ignore[assignment]
        line = self.out.readline()
        if not line:
            self.stop()
            raise AssertionError(self.errors.read_text())
        self.port = int(json.loads(line)["port"])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.out.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def talk(self, *sent: bytes) -> bytes:
        """All that comes back for some bytes, up to the end of the connection."""
        with self.connect() as client:
            for piece in sent:
                client.sendall(piece)
            return read_all(client)

    def healthy(self) -> bool:
        """Whether a client who does as it should is answered."""
        answer = self.talk(GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        return answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b'{"status":"ok"}')

    def memory(self) -> int:
        """Bytes that it has in memory now."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found.group(1)) << 10

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


def read_all(client: socket.socket | ssl.SSLSocket) -> bytes:
    """What comes up to the end; a reset counts as one."""
    received = b""
    try:
        while chunk := client.recv(1 << 16):
            received += chunk
    except ConnectionResetError:
        pass
    return received


def read_answers(client: socket.socket | ssl.SSLSocket, count: int) -> bytes:
    """So many answers of ``/health``."""
    received = b""
    while received.count(b'{"status":"ok"}') < count:
        chunk = client.recv(1 << 16)
        assert chunk, received
        received += chunk
    return received


def statuses(received: bytes) -> list[int]:
    return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]
