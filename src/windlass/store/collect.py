"""Collecting garbage: objects that nothing refers to go into quarantine, and are deleted a grace period later.

Safe while others write, by this order. What is dead by a first look goes into quarantine; whoever stores such an object
again takes it out. Writers at work may have counted on an object before it went there: nothing is deleted that went
there after the longest of them began. A second look, after that, sees what those who ended have referred to. Then, in
one transaction, what is still in quarantine is deleted; packs that lost much are written anew before they go.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from windlass.domain.errors import Corrupt, NotFound, Unavailable
from windlass.domain.progress import Meter, unwatched
from windlass.store import chunks, objects, pack, sessions
from windlass.store.objects import PACKS, PackedObjects
from windlass.store.pack import Record
from windlass.store.writer import Writer

# A pack is written anew when it has lost this part of its bytes, or when it and others are this small.
_LOST = 0.25
_SMALL = pack.FULL // 4
_LEFT_BEHIND = re.compile(r"(?:pack|blob)-(\d+)-.*")

Mark = Callable[[], set[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Counts of objects, and bytes as they are stored. After a dry run: what would have been."""

    live: int
    quarantined: int
    quarantined_bytes: int
    deleted: int
    deleted_bytes: int
    released: int
    packs_rewritten: int
    freed_bytes: int
    waiting_for: str
    dry_run: bool


def collect(
    store: PackedObjects,
    mark: Mark,
    *,
    grace: int,
    dry_run: bool,
    at_once: frozenset[bytes] = frozenset(),
    meter: Meter = unwatched,
) -> Collected:
    """Collect what ``mark`` does not name: it gives the digests of all that is referred to, as of when it is called.

    ``grace``: how long (us) an object stays in quarantine; those of ``at_once`` stay no longer than writers at work do.

    Raises:
        Unavailable: another process collects.
    """
    with _alone(store):
        return _collect(store, mark, grace, dry_run, at_once, meter)


def _collect(
    store: PackedObjects, mark: Mark, grace: int, dry_run: bool, at_once: frozenset[bytes], meter: Meter
) -> Collected:
    if not dry_run:
        remove_left_behind(store)
    sizes = {key: record.stored for key, _, record in store.index.objects()}
    loose = {objects.raw(name): 0 for name in store.loose()}
    loose = {key: store.blobs.size(objects.blob(key)) or 0 for key in loose}
    everything = sizes.keys() | loose.keys()
    live = with_parts(store, mark())
    before = store.index.quarantined()
    back = [key for key in before if key in live]
    dead = [key for key in everything if key not in live]
    fresh = [key for key in dead if key not in before]
    if not dry_run:
        _quarantine(store, fresh, back)
    now = store.clock()
    horizon = now - grace
    waiting = ""
    if (oldest := sessions.oldest(store.local / "writers")) is not None and oldest < (now if at_once else horizon):
        now, horizon, waiting = oldest, min(oldest, horizon), "a writer is at work"
    held = {key: since for key, since in store.index.quarantined().items() if key not in live}
    due = [key for key, since in held.items() if since <= (now if key in at_once else horizon)]
    if dry_run:
        due = list({*due, *(key for key in fresh if grace == 0 or key in at_once)})
    size_of = {key: sizes.get(key, 0) + loose.get(key, 0) for key in {*dead, *due}}
    rewritten = freed = 0
    if due and not dry_run:
        live = with_parts(store, mark())
        due = _delete(store, [key for key in due if key not in live], loose)
        freed += sum(loose.get(key, 0) for key in due)
    if not dry_run:
        rewritten, packed = _rewrite(store, meter)
        freed += packed
    remaining = [key for key in {*held, *fresh} if key not in set(due)]
    return Collected(
        live=len(everything) - len(dead),
        quarantined=len(remaining),
        quarantined_bytes=sum(size_of.get(key, 0) for key in remaining),
        deleted=len(due),
        deleted_bytes=sum(size_of.get(key, 0) for key in due),
        released=len(back),
        packs_rewritten=rewritten,
        freed_bytes=freed,
        waiting_for=waiting,
        dry_run=dry_run,
    )


@contextmanager
def _alone(store: PackedObjects) -> Iterator[None]:
    handle = os.open(store.local / "collect.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Unavailable("another process collects garbage in this store", hint="wait until it has ended") from None
    finally:
        os.close(handle)


def with_parts(store: PackedObjects, keys: set[bytes]) -> set[bytes]:
    """Objects with the chunks and pages that they are made of."""
    found = set(keys)
    for key, place in store.index.places(list(keys)).items():
        if place.record.form == pack.Form.LISTED:
            try:
                found.update(node for node, _ in chunks.nodes(store.body(place), store.whole))
            except NotFound as error:
                raise Corrupt(
                    f"object {key.hex()[:12]} lacks a part: {error.message}",
                    hint="nothing was collected; run `windlass data verify --repair` from a copy first",
                ) from None
    return found


def remove_left_behind(store: PackedObjects) -> None:
    """Remove what killed writers had begun, and packs that were on their way out."""
    for path in store.incoming.iterdir():
        match = _LEFT_BEHIND.fullmatch(path.name)
        if match and not sessions.is_alive(int(match.group(1))):
            path.unlink(missing_ok=True)
    _unlink_dropped(store)


def _quarantine(store: PackedObjects, fresh: list[bytes], back: list[bytes]) -> None:
    with store.index.changing() as change:
        since = store.clock()
        change.executemany("INSERT OR IGNORE INTO quarantine VALUES (?, ?)", [(key, since) for key in fresh])
        change.executemany("DELETE FROM quarantine WHERE digest = ?", [(key,) for key in back])


def _delete(store: PackedObjects, due: list[bytes], loose: dict[bytes, int]) -> list[bytes]:
    deleted = []
    with store.index.changing() as change:
        for key in due:
            if change.execute("DELETE FROM quarantine WHERE digest = ?", (key,)).rowcount:
                change.execute("DELETE FROM objects WHERE digest = ?", (key,))
                deleted.append(key)
        for key in deleted:
            if key in loose:
                # Within the transaction: whoever stores it again waits for the lock, and then finds it gone.
                store.blobs.delete(objects.blob(key))
    return deleted


def _rewrite(store: PackedObjects, meter: Meter) -> tuple[int, int]:
    """Write packs anew that hold little; returns how many, and the bytes that it freed."""
    # The packs first: one that comes meanwhile would seem to hold less than it does.
    sizes = store.index.packs()
    kept: dict[str, list[Record]] = {name: [] for name in sizes}
    for _, name, record in store.index.objects():
        if name in kept:
            kept[name].append(record)
    used = {name: sum(record.stored for record in records) for name, records in kept.items()}
    thin = [name for name, size in sizes.items() if used[name] < size * (1 - _LOST) - _overhead(kept[name])]
    small = [name for name, size in sizes.items() if size < _SMALL and name not in thin]
    chosen = [*thin, *(small if len(small) > 8 else ())]
    before = sum(sizes[name] for name in chosen)
    done = 0
    with Rewriter(store) as rewriter:
        for name in chosen:
            for group in pack.runs(kept[name]):
                start, last = group[0].offset, group[-1]
                data = store.blobs.read(name, start, last.offset + last.stored - start)
                for record in group:
                    body = data[record.offset - start : record.offset - start + record.stored]
                    rewriter.move(record, body)
            done += sizes[name]
            meter("writing packs anew", done, before)
        written = rewriter.finish(chosen)
    _unlink_dropped(store)
    return len(chosen), before - written


def _overhead(records: list[Record]) -> int:
    return len(records) * pack.RECORD.size + pack.TAIL.size


class Rewriter:
    """Moves objects from packs to new ones. Until ``finish`` everybody reads the old ones."""

    def __init__(self, store: PackedObjects) -> None:
        self._store = store
        self._moved: list[tuple[str, int, list[Record]]] = []
        self._writer = Writer(store.blobs, self._note, store.incoming, PACKS)

    def __enter__(self) -> Rewriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def move(self, record: Record, body: bytes) -> None:
        self._writer.append(record.digest, body, record.size, pack.Form(record.form))

    def finish(self, old: list[str]) -> int:
        """Let everybody read the new packs, and mark the old for removal; returns the bytes of the new."""
        self._writer.flush()
        with self._store.index.changing() as change:
            ids = dict(change.execute("SELECT name, id FROM packs").fetchall())
            gone = [ids[name] for name in old if name in ids]
            for name, size, records in self._moved:
                change.execute("INSERT OR IGNORE INTO packs (name, size) VALUES (?, ?)", (name, size))
                new = change.execute("SELECT id FROM packs WHERE name = ?", (name,)).fetchone()[0]
                # Only what still lies in a pack that goes: an object may have been written anew meanwhile.
                old_ones = ",".join(map(str, gone))
                change.executemany(
                    f"UPDATE objects SET pack = ?, offset = ? WHERE digest = ? AND pack IN ({old_ones})",
                    [(new, record.offset, record.digest) for record in records],
                )
            # A pack goes only if nothing is left in it, whatever was reckoned before.
            change.executemany(
                "UPDATE packs SET dropped = 1"
                " WHERE id = ? AND NOT EXISTS (SELECT 1 FROM objects WHERE pack = packs.id)",
                [(each,) for each in gone],
            )
        return sum(size for _, size, _ in self._moved)

    def _note(self, name: str, size: int, records: Iterable[Record]) -> None:
        self._moved.append((name, size, list(records)))


def _unlink_dropped(store: PackedObjects) -> None:
    # The row goes last: as long as it is there, nobody takes the file for a pack that came from elsewhere.
    for name in store.index.packs(dropped=True):
        store.blobs.delete(name)
        with store.index.changing() as change:
            change.execute("DELETE FROM packs WHERE name = ? AND dropped = 1", (name,))
