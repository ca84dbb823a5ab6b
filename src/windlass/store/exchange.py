"""Exchange between stores: what the other lacks is copied, in packs. What was copied before a crash stays copied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from windlass.domain.progress import Meter, unwatched
from windlass.store import chunks, collect, objects
from windlass.store.objects import PackedObjects
from windlass.store.pack import Form

_TOGETHER = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """Objects that the other store had, and that were copied, with their bytes."""

    there: int
    copied: int
    size: int


def copy(source: PackedObjects, target: PackedObjects, wanted: Iterable[str], *, meter: Meter = unwatched) -> Copied:
    """Copy objects, each checked on the way. On return they are durable in ``target``.

    Raises:
        NotFound, Corrupt: ``source`` lacks one, or its bytes are damaged: nothing that refers to it should follow.
    """
    keys = {objects.raw(name) for name in wanted}
    places = source.index.places(list(keys))
    listed = {key: place for key, place in places.items() if place.record.form == Form.LISTED}
    parts = collect.with_parts(source, keys) - listed.keys()
    done = 0
    with target.batch() as batch:
        there = batch.keep([objects.text(key) for key in parts])
        missing = [key for key in parts if objects.text(key) not in there]
        found = source.index.places(missing)
        total = sum(found[key].record.size for key in missing if key in found)
        group: list[bytes] = []
        held = 0
        for _, data in source.many([objects.text(key) for key in missing]):
            group.append(data)
            held += len(data)
            if held >= _TOGETHER:
                batch.put_many(group)
                done += held
                group, held = [], 0
                meter("copying", done, total)
        batch.put_many(group)
        done += held
        kept = batch.keep([objects.text(key) for key in listed])
        lists = [objects.text(key) for key in listed if objects.text(key) not in kept]
        # After their parts, in packs that become visible later: whoever sees a list finds all of it.
        for name in lists:
            place = listed[objects.raw(name)]
            chunks.read_page(source.whole(source.body(place)))
            batch.link(name, source.body(place), place.record.size)
        batch.flush()
    return Copied(there=len(keys | parts) - len(missing) - len(lists), copied=len(missing) + len(lists), size=done)
