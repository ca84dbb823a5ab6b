"""Checking a store: every byte of it, against its digest."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from windlass.domain.errors import Corrupt, Failure, NotFound
from windlass.domain.progress import Meter, unwatched
from windlass.store import chunks, objects, pack
from windlass.store.objects import PackedObjects
from windlass.store.pack import Form, Record

_THREADS = 2


@dataclass(frozen=True, slots=True)
class Checked:
    """``intact`` are the objects that are whole; ``damaged`` says of each other one why it is not."""

    intact: frozenset[bytes]
    damaged: dict[bytes, str]
    packs: int
    size: int
    unreadable: dict[str, str] = field(default_factory=dict)


def check(store: PackedObjects, *, meter: Meter = unwatched) -> Checked:
    """Read and hash everything that a store holds."""
    by_pack: dict[str, list[Record]] = {}
    for _, name, record in store.index.objects():
        by_pack.setdefault(name, []).append(record)
    sizes = store.index.packs()
    loose = [objects.raw(name) for name in store.loose()]
    damaged: dict[bytes, str] = {}
    intact: set[bytes] = set()
    unreadable: dict[str, str] = {}
    total = sum(sizes.values())
    done = 0
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="windlass-check") as pool:
        results = pool.map(lambda name: (name, _check_pack(store, name, sizes[name], by_pack.get(name, []))), sizes)
        for name, (whole, wrong, why) in results:
            intact |= whole
            damaged |= wrong
            if why:
                unreadable[name] = why
            done += sizes[name]
            meter("checking", done, total)
    for key in loose:
        try:
            objects.checked(key, store.blobs.get(objects.blob(key)))
        except Failure as error:
            if key not in intact:
                damaged[key] = error.message
        else:
            intact.add(key)
            damaged.pop(key, None)
            done += store.blobs.size(objects.blob(key)) or 0
    listed = [record for records in by_pack.values() for record in records if record.form == Form.LISTED]
    for record in listed:
        if record.digest in intact and (why := _incomplete(store, record, intact)):
            intact.discard(record.digest)
            damaged[record.digest] = why
    return Checked(frozenset(intact), damaged, len(sizes), done, unreadable)


def repair(store: PackedObjects, damaged: Iterable[bytes], source: PackedObjects) -> tuple[int, list[bytes]]:
    """Write damaged objects anew from another store; returns how many, and those that it has not either."""
    mended, missing = 0, []
    with store.batch() as batch:
        for key in damaged:
            place = source.index.place(key)
            try:
                if place is not None and place.record.form == Form.LISTED:
                    root = source.body(place)
                    for node, _ in chunks.nodes(root, source.whole):
                        if not _is_whole(store, node):
                            batch.replace(node, source.whole(node))
                    batch.replace_listed(key, root, place.record.size)
                else:
                    batch.replace(key, source.whole(key, place))
                mended += 1
            except (NotFound, Corrupt):
                missing.append(key)
    return mended, missing


def _check_pack(
    store: PackedObjects, name: str, size: int, records: list[Record]
) -> tuple[set[bytes], dict[bytes, str], str]:
    intact: set[bytes] = set()
    damaged: dict[bytes, str] = {}
    why = ""
    try:
        said = {record.digest: record for record in store.records(name, size)}
        if any(said.get(record.digest) != record for record in records):
            why = f"{name} lists its objects otherwise than the index does"
    except Failure as error:
        why = error.message
    for group in pack.runs(records):
        start, last = group[0].offset, group[-1]
        try:
            data = memoryview(store.blobs.read(name, start, last.offset + last.stored - start))
        except Failure as error:
            damaged |= {record.digest: error.message for record in group}
            continue
        for record in group:
            body = data[record.offset - start : record.offset - start + record.stored]
            try:
                if record.form == Form.LISTED:
                    if len(body) != record.stored:
                        raise Corrupt("its pack is cut short")
                else:
                    objects.compare(record.digest, chunks.identity(pack.decode(body, record.form, record.size)))
                intact.add(record.digest)
            except Corrupt as error:
                damaged[record.digest] = error.message
    return intact, damaged, why


def _incomplete(store: PackedObjects, record: Record, intact: set[bytes]) -> str:
    place = store.index.place(record.digest)
    try:
        root = store.body(place) if place else b""
        for node, _ in chunks.nodes(root, store.whole):
            if node not in intact:
                return f"its part {node.hex()[:12]} is damaged or missing"
    except Failure as error:
        return error.message
    return ""


def _is_whole(store: PackedObjects, key: bytes) -> bool:
    try:
        store.whole(key)
    except Failure:
        return False
    return True
