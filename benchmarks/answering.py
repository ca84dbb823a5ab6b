"""A server that answers anything at once with the same bytes: what the client of the serving benchmark can do at most.

    python answering.py

Prints its port as JSON, then serves until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import cast

import uvloop

BODY = b'{"predictions":[1],"probabilities":[0.5]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY


class Answering(asyncio.Protocol):
    """Takes whatever comes for a whole request: those of the benchmark are one segment each."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    def data_received(self, _: bytes) -> None:
        self.transport.write(ANSWER)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve())
