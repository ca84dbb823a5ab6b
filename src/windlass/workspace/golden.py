"""Golden rows: the packaged answers that a worker must still give before a release takes traffic again."""

from __future__ import annotations

import msgspec

from windlass.capture import trees
from windlass.delivery import workers
from windlass.domain.errors import Unavailable
from windlass.domain.release import Release
from windlass.serving.client import WorkerClient
from windlass.serving.golden import require_same, tolerance_of
from windlass.serving.record import Answer, Row
from windlass.workspace.workspace import Workspace


def revalidate(ws: Workspace, release: Release) -> None:
    """Ask a release's running worker the golden rows of its package.

    Raises:
        Unavailable: no worker of it runs.
        Corrupt: it answers otherwise than when it was packaged.
    """
    with ws.database.read() as tx:
        sockets = workers.ready_sockets(tx, release.id)
    if not sockets:
        raise Unavailable(f"no worker of {release.model}@{release.version} runs", hint="see `windlass status`")
    packaged = msgspec.json.decode(trees.read(ws.objects, release.package, "golden.json"))
    if not packaged["rows"]:
        return
    with WorkerClient(sockets[0]) as client:
        answers = client.answer(packaged["rows"])
    if packaged["answers"] is not None:
        require_same(packaged["answers"], answers, tolerance_of(packaged))


def first(ws: Workspace, package: str) -> tuple[Row, Answer] | None:
    """The first of a package's golden rows with its answer; None where there is none."""
    packaged = msgspec.json.decode(trees.read(ws.objects, package, "golden.json"))
    return (packaged["rows"][0], packaged["answers"][0]) if packaged["rows"] and packaged["answers"] else None
