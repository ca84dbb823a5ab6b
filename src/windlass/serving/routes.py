"""The gateway's route table on disk, by which it starts with the control plane down; and what a push must satisfy."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from windlass.domain.errors import Conflict, Invalid
from windlass.domain.routing import TABLE_FORMAT, RouteTable, releases_of

EMPTY = RouteTable(revision=0)


def load(path: Path) -> RouteTable:
    """The last acknowledged table; an empty one where there is none.

    Raises:
        Invalid: the file is no route table.
    """
    try:
        return parse(path.read_bytes())
    except FileNotFoundError:
        return EMPTY


def parse(data: bytes) -> RouteTable:
    try:
        table = msgspec.json.decode(data, type=RouteTable)
    except msgspec.MsgspecError as error:
        raise Invalid(f"not a route table: {error}") from None
    check(table)
    return table


def check(table: RouteTable) -> None:
    """Hold a table against what it must be.

    Raises:
        Invalid: a share outside of 0 to 1, a release without a socket, a share without a candidate.
    """
    if table.format != TABLE_FORMAT:
        raise Invalid(f"a route table of format {table.format}", hint="upgrade the gateway")
    for endpoint, route in table.routes.items():
        if not 0.0 <= route.weight <= 1.0:
            raise Invalid(f"endpoint {endpoint}: {route.weight} is no share of the traffic")
        if route.candidate is None and (route.weight > 0 or route.shadow):
            raise Invalid(f"endpoint {endpoint} gives traffic to no candidate")
        for rule in route.rules:
            if not 0.0 <= rule.share <= 1.0:
                raise Invalid(f"endpoint {endpoint}, rule {rule.name}: {rule.share} is no share of the users")
        for release in releases_of(route):
            if not table.sockets.get(release):
                raise Invalid(f"endpoint {endpoint}: release {release[:15]} has no worker's socket")


def fence(current: RouteTable, pushed: RouteTable) -> None:
    """Refuse what is older than what is served, or another table under the same revision.

    Raises:
        Conflict: it is; a push that comes late, or from a controller that lost its lease, must not undo a newer one.
    """
    if pushed.revision < current.revision:
        raise Conflict(f"revision {pushed.revision} is older than {current.revision}, which is served")
    if pushed.revision == current.revision and pushed != current:
        raise Conflict(f"revision {pushed.revision} is served already, and is another table")


def save(path: Path, table: RouteTable) -> None:
    """Write the table durably: the old one or the new one is there, whatever happens.

    Gateways on one machine share the file. One that missed a push starts by what another was given; and a push that
    comes late to one of them leaves a newer table alone.
    """
    with _locked(path):
        try:
            newer = load(path).revision > table.revision
        except Invalid:
            newer = False
        if newer:
            return
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        with partial.open("wb") as file:
            file.write(msgspec.json.encode(table))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.with_name(f".{path.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
