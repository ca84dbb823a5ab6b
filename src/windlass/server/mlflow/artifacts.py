"""MLflow's artifact service: files of runs and of logged models, streamed into and out of the store.

Every byte that is sent was held against a digest before: each piece of a large file against its own, and the whole
against the file's, whose last piece is sent only if it is right.
"""

from __future__ import annotations

import asyncio
import mimetypes
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import quote

from blake3 import blake3
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from windlass.domain import digest
from windlass.domain.errors import Corrupt, Invalid, NotFound, Unavailable, WrongState
from windlass.domain.ports import Database, ObjectStore, Transaction
from windlass.governance.retention import standing
from windlass.registry import sources
from windlass.registry.tracking import artifacts, logged_models, runs, uploads
from windlass.registry.tracking.artifacts import Artifact
from windlass.server.errors import Busy
from windlass.server.mlflow import wire
from windlass.server.mlflow.edge import Call, Edge, Read
from windlass.server.mlflow.errors import Unserved, WrongMethod
from windlass.server.mlflow.forms import SCHEME, file
from windlass.server.mlflow.messages import CreateUpload, EndUpload, ListArtifacts
from windlass.server.streams import Pipe
from windlass.server.threads import Pool

PIECE = 1 << 20
SMALL = 1 << 20
MOST_PARTS = 10_000
MOST_DOWNLOADS = 128  # at once: each holds a few megabytes of its file until its client has taken them
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


def list_artifacts(tx: Transaction, asked: ListArtifacts, _: Edge) -> dict[str, Any]:
    wire.required(asked, *([] if asked.run else ["run_id"]))
    row = runs.info(tx, asked.run)
    root = runs.run_root(str(row["experiment"]), row["run_id"])
    files = [file(path, size) for path, size in artifacts.list_artifacts(tx, root, _folder(asked.path))]
    return {"root_uri": SCHEME + root, **({"files": files} if files else {})}


CALLS: dict[tuple[str, str], Call] = {("GET", "artifacts/list"): Read(ListArtifacts, list_artifacts)}


@dataclass(frozen=True, slots=True)
class Place:
    """A path below the root of a run's or a logged model's artifacts."""

    root: str
    owner: str
    experiment: str
    is_model: bool
    path: str


def place_of(path: str) -> Place:
    """``EXPERIMENT/RUN/artifacts/PATH`` or ``EXPERIMENT/models/MODEL/artifacts/PATH``: what runs and models are given.

    Raises:
        Invalid: it is neither, or leads out of it.
    """
    parts = _folder(path).split("/")
    is_model = len(parts) >= 4 and parts[1] == "models"
    head = 4 if is_model else 3
    if len(parts) < head or parts[head - 1] != "artifacts" or not parts[0].isdigit() or not parts[0].isascii():
        raise Invalid(
            f"Invalid path: '{path[:200]}' is not of a run's or a model's artifacts",
            hint="it begins with EXPERIMENT/RUN/artifacts or EXPERIMENT/models/MODEL/artifacts",
        )
    inside = "/".join(parts[head:])
    if inside:
        artifacts.checked_path(inside)
    return Place("/".join(parts[:head]), parts[head - 2], parts[0], is_model, inside)


def _folder(path: str) -> str:
    if path.startswith("/") or "//" in path:
        raise Invalid(f"Invalid path: '{path[:200]}' is absolute or has an empty part")
    return path.rstrip("/")


class ArtifactService:
    """What is under ``mlflow-artifacts/``."""

    def __init__(self, db: Database, objects: ObjectStore, edge: Edge, *, pool: Pool, uploads: Pool) -> None:
        """``uploads`` has a thread for each large file that is coming in, ``pool`` does the rest."""
        self.db, self.objects, self.edge, self.pool, self.uploads = db, objects, edge, pool, uploads
        self._downloads = 0

    async def serve(self, request: Request, method: str, path: str) -> Response:
        """``path``: what follows ``mlflow-artifacts/``, decoded once."""
        kind, _, rest = path.partition("/")
        match kind, method:
            case "artifacts", "GET" | "HEAD" if rest:
                return await self._download(request, place_of(rest))
            case "artifacts", "GET":
                return await self._list(request.query_params.get("path", ""))
            case "artifacts", "PUT":
                return await self._upload(request, place_of(rest))
            case "artifacts", "DELETE":
                return await self._delete(place_of(rest))
            case "mpu", "POST":
                return await self._multipart(request, rest)
            case "parts", "PUT":
                return await self._part(request, rest)
            case "presigned", _:
                raise Unserved("this store signs no URLs: download through the server, by ranges if need be")
        raise WrongMethod(f"{method} {kind[:80]}: there is no such call")

    async def _list(self, path: str) -> Response:
        def listed() -> list[dict[str, Any]]:
            with self.db.read() as tx:
                if not path:
                    return []
                at = place_of(path)
                found = artifacts.list_artifacts(tx, at.root, at.path)
            return [file(each.rpartition("/")[2], size) for each, size in found]

        files = await self.pool.run(listed)
        return _json({"files": files} if files else {})

    async def _download(self, request: Request, at: Place) -> Response:
        if not at.path:
            raise Invalid("Invalid path: it names a folder of artifacts, not a file")

        if self._downloads >= MOST_DOWNLOADS:
            raise Busy("more files are being downloaded than at once can be", hint="try again in a moment")

        def find() -> tuple[Artifact, BinaryIO]:
            with self.db.read() as tx:
                found = artifacts.find_artifact(tx, at.root, at.path)
            return found, self.objects.open(found.digest)

        found, source = await self.pool.run(find)
        name = at.path.rpartition("/")[2]
        headers = {
            # Never shown by a browser as a page of this server: a run's files are whatever somebody uploaded.
            "content-disposition": f"attachment; filename*=utf-8''{quote(name)}",
            "x-content-type-options": "nosniff",
            "accept-ranges": "bytes",
            "etag": f'"{found.digest}"',
        }
        first, last, status = 0, found.size - 1, 200
        wanted = _wanted(request.headers.get("range", ""), found.size)
        if wanted is not None and request.headers.get("if-range", headers["etag"]) == headers["etag"]:
            if wanted[0] > wanted[1]:
                return Response(status_code=416, headers={"content-range": f"bytes */{found.size}"})
            (first, last), status = wanted, 206
            headers["content-range"] = f"bytes {first}-{last}/{found.size}"
        headers["content-length"] = str(last - first + 1)
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        if request.method == "HEAD":
            return Response(status_code=status, headers=headers, media_type=kind)
        whole = found.digest if status == 200 else ""
        body = self._pieces(source, first, last - first + 1, whole)
        return StreamingResponse(body, status_code=status, headers=headers, media_type=kind)

    async def _pieces(self, source: BinaryIO, start: int, length: int, whole: str) -> AsyncIterator[bytes]:
        hasher = blake3()

        def piece(size: int) -> bytes:
            data = source.read(size)
            hasher.update(data)
            return data

        self._downloads += 1
        coming: asyncio.Task[bytes] | None = None
        try:
            await self.pool.run(partial(source.seek, start))
            coming = self.pool.begin(partial(piece, min(PIECE, length)))
            while length:
                data = await coming
                length -= len(data)
                if not data or (not length and whole and digest.PREFIX + hasher.hexdigest() != whole):
                    # The answer has begun: all that is left is to break it off, and the client sees that it is short.
                    raise Corrupt(f"the artifact {whole} is damaged", hint="windlass data verify --repair")
                if length:
                    # The next one is read while this one is sent.
                    coming = self.pool.begin(partial(piece, min(PIECE, length)))
                yield data
        finally:
            self._downloads -= 1
            if coming is not None:
                with suppress(Exception, asyncio.CancelledError):
                    await asyncio.shield(coming)
            source.close()

    async def _upload(self, request: Request, at: Place) -> Response:
        if not at.path:
            raise Invalid("Invalid path: it names a folder of artifacts, not a file")
        await self.pool.run(partial(self._refuse, at))
        await self._received(request, partial(_written, at))
        return _json({})

    def _refuse(self, at: Place) -> None:
        """What is to be refused anyhow is refused before its bytes are read. Raises as ``_require_writable``."""
        with self.db.read() as tx:
            _require_writable(tx, at)

    async def _received(self, request: Request, refer: Callable[[Transaction, str, int], None]) -> str:
        """Store a request's body and refer to it; returns its digest."""
        # Who sends nothing, or a little now and then, holds memory of ours, but none of the few threads.
        stream, first = request.stream(), bytearray()
        async for data in stream:
            first += data
            if len(first) > SMALL:
                break
        else:
            return await self.pool.run(partial(self._kept, bytes(first), refer))
        pipe = Pipe()
        task = self.uploads.begin(partial(self._streamed, pipe, refer))
        try:
            await pipe.feed(bytes(first))
            del first
            async for data in stream:
                if data:
                    await pipe.feed(data)
            pipe.end()
        except BaseException:
            pipe.end(Unavailable("the client went away before its upload was complete"))
            with suppress(Exception):
                await task
            raise
        return await task

    def _kept(self, data: bytes, refer: Callable[[Transaction, str, int], None]) -> str:
        # Not into the batch, which would make a pack of one small object; the open batch keeps it from collection.
        with self.objects.batch():
            name = self.objects.put(data)
            with self.db.write() as tx:
                refer(tx, name, len(data))
        return name

    def _streamed(self, pipe: Pipe, refer: Callable[[Transaction, str, int], None]) -> str:
        counted = _Counted(pipe.readinto)
        try:
            with self.objects.batch() as batch:
                name = batch.put_stream(counted)
                batch.flush()
                with self.db.write() as tx:
                    refer(tx, name, counted.size)
        finally:
            pipe.abandon()
        return name

    async def _delete(self, at: Place) -> Response:
        def remove() -> None:
            with self.db.write() as tx:
                _require_writable(tx, at, removing=True)
                artifacts.remove_artifacts(tx, at.root, at.path)

        await self.pool.run(remove)
        return _json({})

    # ---- in parts

    async def _multipart(self, request: Request, rest: str) -> Response:
        action, _, path = rest.partition("/")
        body = await request.body()
        if action == "create":
            asked = wire.decoded(body, CreateUpload)
            wire.required(asked, "path")
            if not 1 <= asked.num_parts <= MOST_PARTS:
                raise Invalid(f"num_parts is {asked.num_parts}", hint=f"1 to {MOST_PARTS}")
            at = place_of(f"{path}/{asked.path.rpartition('/')[2]}")
            upload = secrets.token_hex(24)

            def begin() -> None:
                with self.db.write() as tx:
                    _require_writable(tx, at)
                    uploads.begin(
                        tx, upload, root=at.root, path=at.path, parts=asked.num_parts, at=self.edge.milliseconds
                    )

            await self.pool.run(begin)
            base = f"{request.url.scheme}://{request.headers['host']}/api/2.0/mlflow-artifacts/parts/{upload}"
            credentials = [
                {"url": f"{base}/{number}", "part_number": number, "headers": {}}
                for number in range(1, asked.num_parts + 1)
            ]
            return _json({"upload_id": upload, "credentials": credentials})
        ending = wire.decoded(body, EndUpload)
        wire.required(ending, "upload_id")
        if action == "complete":
            await self.pool.run(partial(self._joined, ending.upload_id))
        elif action == "abort":

            def abort() -> None:
                with self.db.write() as tx:
                    uploads.end(tx, ending.upload_id)

            await self.pool.run(abort)
        else:
            raise WrongMethod(f"mpu/{action[:80]}: there is no such call")
        return _json({})

    async def _part(self, request: Request, rest: str) -> Response:
        upload, _, number = rest.partition("/")
        if not (number.isascii() and number.isdigit() and len(number) < 6):
            raise Invalid(f"'{number[:80]}' is not the number of a part")

        def known() -> None:
            with self.db.read() as tx:
                uploads.find(tx, upload)

        await self.pool.run(known)
        name = await self._received(
            request, lambda tx, name, size: uploads.add_part(tx, upload, int(number), digest=name, size=size)
        )
        return Response(b"{}", media_type="application/json", headers={"etag": f'"{name}"'})

    def _joined(self, upload: str) -> None:
        with self.db.read() as tx:
            found = uploads.find(tx, upload)
            parts = uploads.parts(tx, upload)
        if len(parts) != found.parts:
            raise Invalid(f"{len(parts)} of {found.parts} parts were uploaded", hint="upload the rest, then complete")
        reader = _Counted(_concatenated([partial(self.objects.open, part.digest) for part in parts]))
        with self.objects.batch() as batch:
            name = batch.put_stream(reader)
            batch.flush()
            with self.db.write() as tx:
                # It may have been registered since the upload began.
                _written(place_of(f"{found.root}/{found.path}"), tx, name, reader.size)
                uploads.end(tx, upload)


def _written(at: Place, tx: Transaction, name: str, size: int) -> None:
    _require_writable(tx, at)
    artifacts.add_artifact(tx, at.root, path=at.path, digest=name, size=size)


def _require_writable(tx: Transaction, at: Place, *, removing: bool = False) -> None:
    """Raises:
    NotFound: no such run or model.
    WrongState: it is registered: its files never change; or what is there is held.
    """
    if at.is_model:
        row = logged_models.require(tx, at.owner)
        if tx.row("SELECT 1 AS one FROM model_versions WHERE model_id = ?", (at.owner,)):
            raise WrongState(f"logged model {at.owner} is registered: its files never change", hint="log another model")
    else:
        row = runs.info(tx, at.owner)
    if reference := sources.holder(tx, at.root, at.path, below=removing):
        raise WrongState(
            f"'{at.path or at.root}' belongs to the registered {reference}: its files never change",
            hint="log it under another path",
        )
    if str(row["experiment"]) != at.experiment:
        raise NotFound(f"nothing with id '{at.owner}' in experiment {at.experiment}")
    if removing or artifacts.exists(tx, at.root, at.path):
        thing = f"{'logged-model' if at.is_model else 'run'}/{at.owner}"
        if why := standing.holding(tx, thing, f"experiment/{at.experiment}"):
            raise WrongState(
                f"'{at.path or at.root}' is held ({why}): it stays as it is", hint="windlass hold ls shows by whom"
            )


class _Counted:
    """A reader that says how much was read."""

    def __init__(self, read: Callable[[memoryview], int]) -> None:
        self._read = read
        self.size = 0

    def readinto(self, into: memoryview, /) -> int:
        count = self._read(into)
        self.size += count
        return count


def _concatenated(sources: list[Callable[[], BinaryIO]]) -> Callable[[memoryview], int]:
    remaining = list(reversed(sources))
    current: list[BinaryIO] = []

    def readinto(into: memoryview) -> int:
        while True:
            if not current:
                if not remaining:
                    return 0
                current.append(remaining.pop()())
            count = current[0].readinto(into)  # type: ignore[attr-defined]
            if count:
                return int(count)
            current.clear()

    return readinto


def _wanted(header: str, size: int) -> tuple[int, int] | None:
    """The one range of bytes that a Range header asks for; None is all. An empty one cannot be satisfied."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


def _json(value: Mapping[str, Any]) -> Response:
    return Response(wire.encoded(value), media_type="application/json")
