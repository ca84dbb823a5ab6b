"""Packs: many objects in one append-only file, with the list of what is in it at its end. Only bytes in, bytes out.

Format 1 (docs/internals/packs.md): the objects' bodies, one after another; then a record for each (``<32sQIQB``:
digest, offset, bytes stored, bytes of the object, form); then ``<Q32s8s``: how many records, their BLAKE3, and
``WLPACK01``.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

import zstandard
from blake3 import blake3

from windlass.domain.errors import Corrupt

MAGIC = b"WLPACK01"
RECORD = struct.Struct("<32sQIQB")
TAIL = struct.Struct("<Q32s8s")
# A pack is full at this size: large enough that an fsync is cheap for each object, small enough to be rewritten.
FULL = 32 << 20
_LEVEL = 1
_PROBE = 16 << 10
_PAYS = 0.9  # less saved than a tenth is not worth the time of reading it


class Form(IntEnum):
    """How an object's body is written."""

    RAW = 0
    ZSTD = 1
    LISTED = 2  # the body is the digest of a list of chunks (see chunks.py)


class Record(NamedTuple):
    """Where an object lies in its pack. ``size`` is the object's own; ``stored`` its body's."""

    digest: bytes
    offset: int
    stored: int
    size: int
    form: int


class _Codecs(threading.local):
    """Made once a thread: making one costs more than a small object."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True)
        self.decompressor = zstandard.ZstdDecompressor()


_codecs = _Codecs()


def encode(data: bytes | memoryview) -> tuple[bytes | memoryview, Form]:
    """The body for an object: compressed where that pays, which a probe of its middle tells for a large one."""
    size = len(data)
    if size < 64:
        return data, Form.RAW
    compressor = _codecs.compressor
    if size > 4 * _PROBE:
        middle = size // 2
        if len(compressor.compress(data[middle : middle + _PROBE])) > _PROBE * _PAYS:
            return data, Form.RAW
    packed = compressor.compress(data)
    return (packed, Form.ZSTD) if len(packed) <= size * _PAYS else (data, Form.RAW)


def decode(body: bytes | memoryview, form: int, size: int) -> bytes | memoryview:
    """The object of a body.

    Raises:
        Corrupt: it cannot be decompressed, or has another size.
    """
    if form == Form.ZSTD:
        try:
            # What the frame claims is checked before anything is allocated for it.
            claimed = zstandard.get_frame_parameters(body).content_size
            body = _codecs.decompressor.decompress(body) if claimed == size else b""
        except zstandard.ZstdError as error:
            raise Corrupt(f"a packed object cannot be decompressed: {error}") from None
    if len(body) != size:
        raise Corrupt(f"a packed object has {len(body)} bytes and not the {size} that its record says")
    return body


def footer(records: Iterable[Record]) -> bytes:
    """What ends a pack."""
    listed = [RECORD.pack(*record) for record in records]
    body = b"".join(listed)
    return body + TAIL.pack(len(listed), blake3(body).digest(), MAGIC)


def footer_size(tail: bytes) -> int:
    """How many bytes the footer has whose last bytes (``TAIL.size`` of them) are ``tail``.

    Raises:
        Corrupt: it is no end of a pack.
    """
    if len(tail) != TAIL.size or tail[-len(MAGIC) :] != MAGIC:
        raise Corrupt("a pack does not end as a pack does")
    return int(TAIL.unpack(tail)[0]) * RECORD.size + TAIL.size


def records(ending: bytes, size: int) -> list[Record]:
    """The records of a pack of ``size`` bytes with the footer ``ending``.

    Raises:
        Corrupt: the footer is damaged, or places an object outside of the pack.
    """
    count, expected, _ = TAIL.unpack(ending[-TAIL.size :])
    body = ending[: -TAIL.size]
    if len(body) != count * RECORD.size or blake3(body).digest() != expected:
        raise Corrupt("a pack's list of objects is damaged")
    found = [Record._make(each) for each in RECORD.iter_unpack(body)]
    room = size - len(ending)
    if any(each.offset + each.stored > room for each in found):
        raise Corrupt("a pack's list names objects beyond its end")
    return found


def runs(wanted: Iterable[Record], *, gap: int = 64 << 10, most: int = 8 << 20) -> Iterator[list[Record]]:
    """Records of one pack in groups that are read at once: near each other, and no group over ``most`` bytes."""
    group: list[Record] = []
    start = end = 0
    for record in sorted(wanted, key=lambda each: each.offset):
        after = record.offset + record.stored
        if group and (record.offset - end > gap or after - start > most):
            yield group
            group = []
        if not group:
            start = record.offset
        group.append(record)
        end = after
    if group:
        yield group
