"""The object store: small objects in packs, large ones in chunks, single ones by themselves; on any blobs.

An object that is put alone is a blob of its own, ``ab/cdef…``. A batch writes packs (``packs/…``), and what is large it
cuts into chunks. Whoever reads does not see the difference.
"""

from __future__ import annotations

import io
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from blake3 import blake3

from windlass.domain import digest
from windlass.domain.clock import Clock, now
from windlass.domain.errors import Corrupt, Failure, NotFound, Unavailable
from windlass.domain.ports import Blobs, Readable
from windlass.store import chunks, pack, sessions
from windlass.store.ahead import Ahead
from windlass.store.encoder import Encoder
from windlass.store.index import Index, Place
from windlass.store.pack import Form, Record
from windlass.store.writer import Writer

PACKS = "packs"
_BLOCK = 4 << 20


class PackedObjects:
    """The object store port. ``local`` is a folder of this machine for the index, locks and what is being written."""

    def __init__(self, blobs: Blobs, local: Path, clock: Clock = now) -> None:
        self.blobs = blobs
        self.local = local
        self.clock = clock
        self.incoming = local / "incoming"
        self.incoming.mkdir(parents=True, exist_ok=True)
        self.index = Index(local / "index.db")
        self.refresh()

    def refresh(self) -> None:
        """Take note of packs that came or went without our doing: a writer was killed, or somebody copied them."""
        used, dropped = self.index.packs(), self.index.packs(dropped=True)
        listed = dict(self.blobs.ls(PACKS))
        for name in listed.keys() - used.keys() - dropped.keys():
            self.index.add(name, listed[name], self.records(name, listed[name]))
        if gone := used.keys() - listed.keys():
            self.index.forget(gone)

    def records(self, name: str, size: int) -> list[Record]:
        """What a pack says that it holds.

        Raises:
            Corrupt: its list is damaged.
        """
        try:
            tail = self.blobs.read(name, max(0, size - pack.TAIL.size), pack.TAIL.size)
            length = pack.footer_size(tail)
            if length > size:
                raise Corrupt("a pack's list is longer than the pack")
            return pack.records(self.blobs.read(name, size - length, length), size)
        except Corrupt as error:
            raise Corrupt(
                f"{name}: {error.message}", hint="run `windlass data verify`, with --repair from a copy"
            ) from None

    def put(self, data: bytes) -> str:
        key = chunks.identity(data)
        if not self._keep(key):
            self.blobs.put(blob(key), data)
        return text(key)

    def put_file(self, path: Path) -> str:
        return store_file(self, path)

    def put_stream(self, stream: Readable) -> str:
        with self.batch() as batch:
            return batch.put_stream(stream)

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """As the port."""
        with sessions.session(self.local / "writers", self.clock()):
            batch = Batch(self)
            try:
                yield batch
                batch.flush()
            finally:
                batch.close()

    def has(self, name: str) -> bool:
        key = raw(name)
        return self.index.place(key) is not None or self.blobs.size(blob(key)) is not None

    def size(self, name: str) -> int:
        key = raw(name)
        if place := self.index.place(key):
            return place.record.size
        found = self.blobs.size(blob(key))
        if found is None:
            raise absent(key)
        return found

    def get(self, name: str) -> bytes:
        key = raw(name)
        place = self.index.place(key)
        if place is not None and place.record.form == Form.LISTED:
            data = b"".join(self.chunks_of(self.body(place)))
            return checked(key, data)
        return self.whole(key, place)

    def whole(self, key: bytes, place: Place | None = None) -> bytes:
        """An object that is not in chunks, checked."""
        place = place or self.index.place(key)
        if place is None:
            try:
                return checked(key, self.blobs.get(blob(key)))
            except NotFound:
                # It may have been packed, or have come in a pack, just now.
                self.refresh()
                place = self.index.place(key)
                if place is None:
                    raise absent(key) from None
        body = self.body(place)
        try:
            return checked(key, bytes(pack.decode(body, place.record.form, place.record.size)))
        except Corrupt as error:
            if error.expected:
                raise
            raise damaged(key, error.message) from None

    def body(self, place: Place) -> bytes:
        """An object's bytes as they are written in its pack."""
        record = place.record
        try:
            found = self.blobs.read(place.pack, record.offset, record.stored)
        except NotFound:
            # The pack was written anew in the meantime: ask where its objects are now.
            again = self.index.place(record.digest)
            if again is None or again.pack == place.pack:
                raise Corrupt(
                    f"the store has lost {place.pack}", hint="run `windlass data verify --repair` from a copy"
                ) from None
            return self.body(again)
        if len(found) != record.stored:
            raise damaged(record.digest, "its pack is cut short")
        return found

    def chunks_of(self, root: bytes, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The chunks of a list that hold the bytes from ``start`` to ``stop``."""
        for _, piece in chunks.pieces(root, self.whole, start=start, stop=stop):
            yield self.whole(piece.digest)

    def many(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        keys = list(dict.fromkeys(raw(name) for name in names))
        places = self.index.places(keys)
        by_pack: dict[str, list[Record]] = {}
        apart = []
        for key in keys:
            place = places.get(key)
            if place is None or place.record.form == Form.LISTED:
                apart.append(key)
            else:
                by_pack.setdefault(place.pack, []).append(place.record)
        for packed, wanted in by_pack.items():
            for group in pack.runs(wanted):
                yield from self._group(packed, group)
        for key in apart:
            yield text(key), self.get(text(key))

    def _group(self, packed: str, group: list[Record]) -> Iterator[tuple[str, bytes]]:
        start, last = group[0].offset, group[-1]
        try:
            data = memoryview(self.blobs.read(packed, start, last.offset + last.stored - start))
        except NotFound:
            data = memoryview(b"")
        for record in group:
            body = data[record.offset - start : record.offset - start + record.stored]
            if len(body) != record.stored:
                # The pack was written anew in the meantime, or is cut short, which this tells.
                yield text(record.digest), self.whole(record.digest)
                continue
            try:
                yield text(record.digest), checked(record.digest, bytes(pack.decode(body, record.form, record.size)))
            except Corrupt as error:
                raise (error if error.expected else damaged(record.digest, error.message)) from None

    def fetch(self, name: str, destination: Path, *, mode: int = 0o644) -> None:
        key = raw(name)
        place = self.index.place(key)
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            partial = destination.with_name(f".{secrets.token_hex(6)}.part")
            try:
                handle = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
                with os.fdopen(handle, "wb", buffering=0) as target:
                    if place is not None and place.record.form == Form.LISTED:
                        hasher = blake3()
                        for chunk in self.chunks_of(self.body(place)):
                            hasher.update(chunk)
                            target.write(chunk)
                        compare(key, hasher.digest())
                    else:
                        target.write(self.whole(key, place))
                partial.replace(destination)
            finally:
                partial.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot write {destination}: {error.strerror}", hint="check the disk") from error

    def open(self, name: str) -> BinaryIO:
        from windlass.store.reader import ObjectFile  # noqa: PLC0415 - few read by parts

        key = raw(name)
        place = self.index.place(key)
        if place is not None and place.record.form == Form.LISTED:
            return cast(BinaryIO, ObjectFile(self, self.body(place), place.record.size))
        return io.BytesIO(self.whole(key, place))

    def digests(self) -> Iterator[str]:
        for key, _, _ in self.index.objects():
            yield text(key)
        yield from self.loose()

    def loose(self) -> Iterator[str]:
        """The objects that are blobs of their own."""
        for folder in (f"{number:02x}" for number in range(256)):
            for name, _ in self.blobs.ls(folder):
                with suppress(Failure):
                    yield digest.checked(digest.PREFIX + name.replace("/", ""))

    def _keep(self, key: bytes) -> bool:
        """Whether the store has an object; if so it stays, were it in quarantine or not."""
        if self.index.known([key]):
            return True
        # In this order: once out of quarantine an object cannot be deleted, and one that was deleted is not in it.
        if self.index.is_quarantined(key):
            self.index.release([key])
        return self.blobs.size(blob(key)) is not None


class Batch:
    """The batch port: packs are written while the next is being filled."""

    def __init__(self, store: PackedObjects) -> None:
        self._store = store
        self._lock = threading.RLock()
        self._writer = Writer(store.blobs, store.index.add, store.incoming, PACKS)

    def put(self, data: bytes) -> str:
        return self.put_many([data])[0]

    def put_many(self, many: Sequence[bytes]) -> list[str]:
        keys = [chunks.identity(data) for data in many]
        with self._lock:
            new = [(key, data) for key, data in zip(keys, many, strict=True) if key not in self._writer.pending]
            there = self._store.index.known([key for key, _ in new]) if new else set()
            for key, data in new:
                if key not in there:
                    self._writer.add(key, data)
        return [text(key) for key in keys]

    def put_file(self, path: Path) -> str:
        return store_file(self, path)

    def put_stream(self, stream: Readable) -> str:
        pieces: list[chunks.Piece] = []
        known: set[bytes] = set()
        with Ahead(stream) as ahead, Encoder(self._append) as encoder:
            for chunk in chunks.cut(ahead):
                key = chunks.identity(chunk)
                pieces.append(chunks.Piece(key, len(chunk)))
                if key not in known and not self._has(key):
                    encoder.add(key, bytes(chunk))
                known.add(key)
            encoder.flush()
            key = ahead.digest()
        with self._lock:
            root = chunks.pages(pieces, lambda page: raw(self.put(page)))
            if not self._has(key):
                self._writer.add_listed(key, root, sum(piece.size for piece in pieces))
        return text(key)

    def keep(self, digests: Sequence[str]) -> set[str]:
        keys = [raw(name) for name in digests]
        with self._lock:
            found = self._store.index.known([key for key in keys if key not in self._writer.pending])
            return {text(key) for key in keys if key in found or key in self._writer.pending}

    def many(self, digests: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        self.flush()
        return self._store.many(digests)

    def get(self, name: str) -> bytes:
        with self._lock:
            pending = self._writer.read(raw(name))
        if pending is not None:
            return pending
        return self._store.get(name)

    def has(self, name: str) -> bool:
        with self._lock:
            return raw(name) in self._writer.pending or self._store.has(name)

    def size(self, name: str) -> int:
        with self._lock:
            record = self._writer.pending.get(raw(name))
        return self._store.size(name) if record is None else record.size

    def fetch(self, name: str, destination: Path, *, mode: int = 0o644) -> None:
        self.flush()
        self._store.fetch(name, destination, mode=mode)

    def open(self, name: str) -> BinaryIO:
        self.flush()
        return self._store.open(name)

    def digests(self) -> Iterator[str]:
        self.flush()
        return self._store.digests()

    def flush(self) -> None:
        with self._lock:
            self._writer.flush()

    def link(self, name: str, root: bytes, size: int) -> None:
        """Store a large object whose chunks and list of them (``root``) are stored."""
        key = raw(name)
        if not self._has(key):
            with self._lock:
                self._writer.add_listed(key, root, size)

    def replace(self, key: bytes, data: bytes) -> None:
        """Store an object anew whose bytes in the store are damaged."""
        checked(key, data)
        with self._lock:
            self._store.index.discard(key)
            self._store.blobs.delete(blob(key))
            self._writer.add(key, data)

    def replace_listed(self, key: bytes, root: bytes, size: int) -> None:
        """As ``replace``, of an object whose chunks and list are stored."""
        with self._lock:
            self._store.index.discard(key)
            self._writer.add_listed(key, root, size)

    def _has(self, key: bytes) -> bool:
        with self._lock:
            return key in self._writer.pending or bool(self._store.index.known([key]))

    def _append(self, key: bytes, body: bytes | memoryview, size: int, form: Form) -> None:
        with self._lock:
            if key not in self._writer.pending:
                self._writer.append(key, body, size, form)

    def close(self) -> None:
        """Let go of what was not flushed."""
        with self._lock:
            self._writer.close()


def store_file(objects: PackedObjects | Batch, path: Path) -> str:
    """As ``put_file`` of the port: a large file is cut into chunks as it is read."""
    try:
        with path.open("rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size < chunks.CUT_FROM:
                return objects.put(file.read())
            return objects.put_stream(file)
    except FileNotFoundError:
        raise NotFound(f"no file {path}") from None
    except OSError as error:
        raise Unavailable(f"cannot store {path}: {error.strerror}", hint="check the disk") from error


def raw(name: str) -> bytes:
    """A digest's bytes. Raises Invalid for what is no digest."""
    return bytes.fromhex(digest.checked(name)[len(digest.PREFIX) :])


def text(key: bytes) -> str:
    return digest.PREFIX + key.hex()


def blob(key: bytes) -> str:
    """The name of an object that is a blob of its own."""
    name = key.hex()
    return f"{name[:2]}/{name[2:]}"


def checked(key: bytes, data: bytes) -> bytes:
    compare(key, chunks.identity(data))
    return data


def compare(key: bytes, found: bytes) -> None:
    if found != key:
        raise Corrupt(
            f"object {digest.short(text(key))} is damaged: its bytes are those of {digest.short(text(found))}",
            hint="run `windlass verify` for all that is damaged, and `windlass data verify --repair` with a remote",
            expected=text(key),
            actual=text(found),
        )


def damaged(key: bytes, why: str) -> Corrupt:
    return Corrupt(
        f"object {digest.short(text(key))} is damaged: {why}",
        hint="run `windlass verify` for all that is damaged, and `windlass data verify --repair` with a remote",
        expected=text(key),
    )


def absent(key: bytes) -> NotFound:
    return NotFound(f"no object {digest.short(text(key))} in the store", hint="run `windlass verify`")
