"""Talking to a gateway over its admin socket: JSON lines, one request and one answer a connection.

``{"op": "push", "table": {...}}`` -> ``{"ok": true, "revision": 7}``; ``{"op": "state"}`` -> ``{"ok": true,
"state": {...}}``; a refusal is ``{"ok": false, "kind": "conflict", "message": "...", "hint": "..."}``.
"""

from __future__ import annotations

import socket as sockets
from pathlib import Path
from typing import Any

import msgspec

from windlass.domain.errors import KINDS, Failure, Unavailable
from windlass.domain.routing import RouteTable

TIMEOUT = 5.0


class Down(Unavailable):
    """Nobody listens: no gateway runs there, so that it serves nobody by any table."""


def push(socket: Path | str, table: RouteTable, timeout: float = TIMEOUT) -> int:
    """Give the gateway a route table; returns the revision that it now serves and has written to its file.

    Pushing the same table again is acknowledged again.

    Raises:
        Conflict: the gateway serves a newer revision, or another table under this one.
        Invalid: the table makes no sense.
        Down: no gateway runs there.
        Unavailable: the gateway does not answer, or cannot write its file.
    """
    return int(_ask(socket, {"op": "push", "table": table}, timeout)["revision"])


def state(socket: Path | str, timeout: float = TIMEOUT) -> dict[str, Any]:
    """What the gateway serves now.

    Keys: ``revision``, ``table``, ``host``, ``port``, ``pid``, ``releases`` (release -> {``connected``, ``in_flight``,
    ``answered``, ``failed``, ``shed``}; those no longer routed stay till their last request is answered), ``log``
    ({``written``, ``dropped``, ``error``, ``endpoints``: endpoint -> {``error``, ``dropped``, ``lost_at``}}, where
    ``error`` is why the last write failed and ``lost_at`` when a record was last lost, us since the epoch).

    Raises:
        Unavailable: the gateway does not answer.
    """
    found: dict[str, Any] = _ask(socket, {"op": "state"}, timeout)["state"]
    return found


def _ask(path: Path | str, request: dict[str, Any], timeout: float) -> dict[str, Any]:
    try:
        with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall(msgspec.json.encode(request) + b"\n")
            received = bytearray()
            while not received.endswith(b"\n"):
                if not (data := connection.recv(1 << 16)):
                    break
                received += data
        answer: dict[str, Any] = msgspec.json.decode(received, type=dict[str, Any])
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise Down(
            f"no gateway runs at {path}: {error.strerror}", hint="see whether it does: `windlass status`"
        ) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise Unavailable(
            f"the gateway does not answer on {path}: {error}", hint="see whether it runs: `windlass status`"
        ) from None
    if not answer.get("ok"):
        kind = KINDS.get(str(answer.get("kind")), Failure)
        raise kind(str(answer.get("message", "the gateway refused")), str(answer.get("hint", "")))
    return answer
