"""The process that runs one query: a request on stdin, its result or its error on stdout, as JSON."""

from __future__ import annotations

import sys

import msgspec

from windlass.capture.sources import engine
from windlass.domain.errors import Failure

Answer = dict[str, engine.Result] | dict[str, dict[str, str]]


def main() -> None:
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=engine.Request)
    answer: Answer
    try:
        answer = {"result": engine.run(request)}
    except Failure as error:
        answer = {"error": {"kind": error.kind, "message": error.message, "hint": error.hint}}
    sys.stdout.buffer.write(msgspec.json.encode(answer))


if __name__ == "__main__":
    main()
