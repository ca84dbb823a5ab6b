"""Chunks: a large file as pieces cut by its content, so that a small change makes few new ones.

A list of chunks is a tree of pages, cut by content as well: a change in a long file writes a few pages, not the list.
A page (format 1): ``b"WLCHUNK1"``, the level (0: its entries are chunks, else pages), then ``<32sQ`` an entry: digest,
and how many bytes of the file it stands for. Chunking: FastCDC (Xia et al., USENIX ATC 2016; the 2020 revision).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from blake3 import blake3

from windlass.domain.errors import Corrupt

# Files from this size on are cut: below, the whole file is as small as what a change would write anyway.
CUT_FROM = 1 << 20
_MINIMUM, _AVERAGE, _MAXIMUM = 32 << 10, 128 << 10, 512 << 10
_MAGIC = b"WLCHUNK1"
_ENTRY = struct.Struct("<32sQ")
_DEEPEST = 8  # 64 ** 8 chunks: a list that claims more is hostile
_LONGEST = 1024


class Piece(NamedTuple):
    """A chunk, or a page of the list, and how many bytes of the file it stands for."""

    digest: bytes
    size: int


def cut(stream: Any) -> Iterator[memoryview]:
    """The chunks of a stream (anything with ``readinto``); each is valid until the next one is asked for."""
    from pyfastcdc import FastCDC  # noqa: PLC0415 - only large files need it

    cutter = FastCDC(_AVERAGE, min_size=_MINIMUM, max_size=_MAXIMUM, normalized_chunking=2)
    for chunk in cutter.cut_stream(stream):
        yield chunk.data


def pages(pieces: Iterable[Piece], put: Callable[[bytes], bytes]) -> bytes:
    """Write the list of a file's chunks by ``put`` (page -> digest); returns the digest of its root."""
    level, current = 0, list(pieces)
    while True:
        groups = list(_grouped(current))
        current = [Piece(put(_page(level, group)), sum(piece.size for piece in group)) for group in groups or [[]]]
        if len(current) == 1:
            return current[0].digest
        level += 1


def pieces(
    root: bytes, get: Callable[[bytes], bytes], *, start: int = 0, stop: int | None = None
) -> Iterator[tuple[int, Piece]]:
    """The chunks that hold the bytes from ``start`` to ``stop``: (offset in the file, chunk), in order.

    Raises:
        Corrupt: a page is none.
    """
    yield from _walk(root, get, start, stop, offset=0, depth=0)


def nodes(root: bytes, get: Callable[[bytes], bytes]) -> Iterator[tuple[bytes, bool]]:
    """Everything that a list needs, itself included: (digest, whether it is a page)."""
    yield root, True
    level, entries = read_page(get(root))
    for entry in entries:
        if level:
            yield from nodes(entry.digest, get)
        else:
            yield entry.digest, False


def read_page(data: bytes) -> tuple[int, list[Piece]]:
    """A page's level and entries.

    Raises:
        Corrupt: it is none.
    """
    head = len(_MAGIC) + 1
    if data[: len(_MAGIC)] != _MAGIC or (len(data) - head) % _ENTRY.size or len(data) < head:
        raise Corrupt("an object is not a page of a list of chunks")
    return data[len(_MAGIC)], [Piece._make(each) for each in _ENTRY.iter_unpack(data[head:])]


def _walk(
    page: bytes, get: Callable[[bytes], bytes], start: int, stop: int | None, offset: int, depth: int
) -> Iterator[tuple[int, Piece]]:
    if depth > _DEEPEST:
        raise Corrupt("a list of chunks is deeper than any file needs")
    level, entries = read_page(get(page))
    for entry in entries:
        after = offset + entry.size
        if after > start and (stop is None or offset < stop):
            if level:
                yield from _walk(entry.digest, get, start, stop, offset, depth + 1)
            else:
                yield offset, entry
        offset = after


def _page(level: int, group: Iterable[Piece]) -> bytes:
    return _MAGIC + bytes([level]) + b"".join(_ENTRY.pack(*piece) for piece in group)


def _grouped(current: list[Piece]) -> Iterator[list[Piece]]:
    """A page ends after an entry whose digest says so, one in 64: pages are the same wherever the same entries are."""
    group: list[Piece] = []
    for piece in current:
        group.append(piece)
        if piece.digest[0] < 4 or len(group) >= _LONGEST:
            yield group
            group = []
    if group:
        yield group


def identity(data: bytes | memoryview) -> bytes:
    """The digest of a chunk or page, as bytes."""
    return blake3(data).digest()
